//! A line on the terminal that shows that long work goes on; nothing where nobody watches.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Between two updates.
const INTERVAL: Duration = Duration::from_millis(200);

/// One piece of work.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    unit: (&'static str, u64),
    shown: bool,
    begun: Instant,
    last: Instant,
}

impl Progress {
    /// Work of `total` steps, shown in units of `unit.1` steps called `unit.0`.
    pub(crate) fn new(what: &'static str, total: u64, unit: (&'static str, u64)) -> Self {
        let now = Instant::now();
        Self { what, total, unit, shown: io::stderr().is_terminal(), begun: now, last: now }
    }

    /// `done` steps are done.
    pub(crate) fn at(&mut self, done: u64) {
        if !self.shown || (self.last.elapsed() < INTERVAL && done < self.total) {
            return;
        }
        self.last = Instant::now();
        let (unit, size) = self.unit;
        let (done, total) = (done / size, self.total / size);
        let mut stderr = io::stderr().lock();
        // A terminal that went away is no reason to stop.
        let _ = write!(
            stderr,
            "\r\x1b[K  {}: {done} of {total} {unit}, {} s",
            self.what,
            self.begun.elapsed().as_secs()
        );
        let _ = stderr.flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
