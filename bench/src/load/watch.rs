//! What processes take, read from /proc (proc_pid_stat(5), proc_pid_status(5)).

use std::time::Duration;

use procfs::process::Process;

/// A process that cannot be watched (any more).
#[derive(Debug, thiserror::Error)]
#[error("process {pid} cannot be watched: {source}")]
pub struct WatchError {
    pid: u32,
    source: procfs::ProcError,
}

/// A process under watch.
#[derive(Debug)]
pub struct Watched {
    pid: u32,
    name: String,
    process: Process,
    ticks_per_second: u64,
}

/// Its use at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// CPU time in user mode since its start.
    pub user: Duration,
    /// CPU time in kernel mode since its start.
    pub system: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
}

impl Watched {
    /// # Errors
    /// No such process, or not ours to read.
    pub fn new(pid: u32) -> Result<Self, WatchError> {
        let wrong = |source| WatchError { pid, source };
        let number = i32::try_from(pid).map_err(|_| wrong(procfs::ProcError::NotFound(None)))?;
        let process = Process::new(number).map_err(wrong)?;
        let name = process.stat().map_err(wrong)?.comm;
        Ok(Self { pid, name, process, ticks_per_second: procfs::ticks_per_second() })
    }

    /// As on the command line.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Its command's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// # Errors
    /// It has ended.
    pub fn read(&self) -> Result<Reading, WatchError> {
        let wrong = |source| WatchError { pid: self.pid, source };
        let stat = self.process.stat().map_err(wrong)?;
        if stat.state == 'Z' {
            return Err(wrong(procfs::ProcError::Other("it has ended".to_owned())));
        }
        let status = self.process.status().map_err(wrong)?;
        let time = |ticks: u64| Duration::from_millis(ticks * 1000 / self.ticks_per_second.max(1));
        Ok(Reading {
            user: time(stat.utime),
            system: time(stat.stime),
            resident_bytes: status.vmrss.unwrap_or(0) * 1024,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Watched;

    #[test]
    fn this_process_has_memory_and_a_name() {
        let watched = Watched::new(std::process::id()).unwrap();
        assert!(!watched.name().is_empty());
        assert!(watched.read().unwrap().resident_bytes > 100_000);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let error = Watched::new(u32::MAX).unwrap_err().to_string();
        assert!(error.contains("4294967295"), "{error}");
    }
}
