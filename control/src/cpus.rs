//! CPUs that this process may use, and keeping a thread to one of them.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps the calling thread to one of the CPUs that it may use (`sched_setaffinity(2)`): the one in this place among
/// them, beginning again after the last.
///
/// # Errors
/// As the system calls: a sandbox may forbid them.
pub(crate) fn pin_this_thread(place: usize) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let cpu = *cpus.get(place % cpus.len().max(1)).ok_or(io::ErrorKind::NotFound)?;
    let mut one = CpuSet::new();
    one.set(cpu);
    Ok(sched_setaffinity(None, &one)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_in_consecutive_places_get_cpus_in_turns() {
        let allowed = sched_getaffinity(None).unwrap();
        let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        for place in 0..2 * cpus.len() {
            let mine = std::thread::spawn(move || {
                pin_this_thread(place).unwrap();
                let mine = sched_getaffinity(None).unwrap();
                (0..CpuSet::MAX_CPU).filter(|cpu| mine.is_set(*cpu)).collect::<Vec<_>>()
            });
            assert_eq!(mine.join().unwrap(), [cpus[place % cpus.len()]]);
        }
    }
}
