//! Who used the machine while a sample was taken: all of its busy time (proc_stat(5)) against what our own processes
//! took (proc_pid_stat(5)). The rest was somebody else's, or the hypervisor's, and the sample is worth less.
//!
//! The kernel counts the machine's time by its tick and a process's by the clock, so a share of some percent either
//! way is noise. Deliberately absent: judging; [`FOREIGN_SHARE_MAX`] only decides whether a sample is taken again.

use std::collections::{BTreeMap, BTreeSet};

use procfs::process::{Process, all_processes};
use procfs::{CurrentSI as _, KernelStats, ProcResult};

/// Share of all cores above which a sample is taken once more.
pub const FOREIGN_SHARE_MAX: f64 = 0.05;

/// One moment, in clock ticks since the start of the machine or process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Of all cores: whatever was not idle, time stolen by the hypervisor included.
    pub busy: u64,
    /// Of all cores: everything.
    pub all: u64,
    /// Of our processes.
    pub own: u64,
}

/// The share of all cores' time between two readings that others took, 0 to 1; `None` where no time passed.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "ticks are few")]
pub fn foreign_share(before: &Reading, after: &Reading) -> Option<f64> {
    let passed = after.all.checked_sub(before.all).filter(|&passed| passed > 0)?;
    let busy = after.busy.saturating_sub(before.busy);
    let own = after.own.saturating_sub(before.own);
    Some(busy.saturating_sub(own) as f64 / passed as f64)
}

/// Reads everything: the machine, this process with its children that have ended, and these processes.
///
/// # Errors
/// `/proc` cannot be read. A process that is gone counts nothing.
pub fn read(pids: &BTreeSet<u32>) -> ProcResult<Reading> {
    let cpu = KernelStats::current()?.total;
    let extra = |value: Option<u64>| value.unwrap_or(0);
    let kernel = cpu.system + extra(cpu.irq) + extra(cpu.softirq) + extra(cpu.steal);
    let busy = cpu.user + cpu.nice + kernel;
    let of = |process: ProcResult<Process>| {
        process.and_then(|process| process.stat()).map_or(0, |stat| {
            let children = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
            stat.utime + stat.stime + children
        })
    };
    let others = pids.iter().filter_map(|&pid| i32::try_from(pid).ok()).map(|pid| of(Process::new(pid)));
    let own = of(Process::myself()) + others.sum::<u64>();
    Ok(Reading { busy, all: busy + cpu.idle + extra(cpu.iowait), own })
}

/// These processes and all that they started and that still run; what has ended and only waits to be noticed does not.
#[must_use]
pub fn with_descendants(roots: &[u32]) -> BTreeSet<u32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let stats = all_processes().into_iter().flatten().filter_map(|process| process.ok()?.stat().ok());
    for stat in stats.filter(|stat| stat.state != 'Z') {
        children.entry(stat.ppid).or_default().push(stat.pid);
    }
    descend(roots, &children)
}

fn descend(roots: &[u32], children: &BTreeMap<i32, Vec<i32>>) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut next: Vec<u32> = roots.to_vec();
    while let Some(pid) = next.pop() {
        if found.insert(pid) {
            let of = i32::try_from(pid).ok().and_then(|pid| children.get(&pid));
            next.extend(of.into_iter().flatten().filter_map(|&pid| u32::try_from(pid).ok()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{Reading, descend, foreign_share, read, with_descendants};

    #[test]
    fn what_is_busy_and_not_ours_is_foreign() {
        let before = Reading { busy: 100, all: 1000, own: 50 };
        let after = |busy: u64, own: u64| Reading { busy: 100 + busy, all: 1400, own: 50 + own };
        assert_eq!(foreign_share(&before, &after(200, 200)), Some(0.0));
        assert_eq!(foreign_share(&before, &after(300, 200)), Some(0.25));
        assert_eq!(foreign_share(&before, &after(190, 200)), Some(0.0));
        assert_eq!(foreign_share(&before, &before), None);
    }

    #[test]
    fn children_of_children_belong_to_us() {
        let children = BTreeMap::from([(1, vec![2, 9]), (2, vec![3]), (3, vec![4, 5]), (9, vec![10])]);
        assert_eq!(descend(&[2], &children), BTreeSet::from([2, 3, 4, 5]));
        assert_eq!(descend(&[3, 9], &children), BTreeSet::from([3, 4, 5, 9, 10]));
        let us = std::process::id();
        assert!(with_descendants(&[us]).contains(&us));
    }

    #[test]
    fn the_machine_is_at_least_as_busy_as_we_are() {
        let none = BTreeSet::new();
        let before = read(&none).unwrap();
        let mut after = before;
        let mut number = 1_u64;
        while after.own < before.own + 5 {
            number = (0..100_000).fold(number, |number, step| number.wrapping_mul(31).wrapping_add(step));
            after = read(&none).unwrap();
        }
        assert!(number != 0 && after.all > before.all && after.busy > before.busy, "{before:?} {after:?}");
        assert!(foreign_share(&before, &after).unwrap() <= 1.0);
    }
}
