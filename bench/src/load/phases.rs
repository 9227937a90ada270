//! The phases of a round, as instants.

use std::time::{Duration, Instant};

/// Length of a slot of the time series.
pub(super) const SLOT: Duration = Duration::from_millis(100);

/// When each phase of a round begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct Phases {
    /// Work begins.
    pub begin: Instant,
    /// Figures begin.
    pub window_start: Instant,
    /// Figures end, and nothing new is begun.
    pub window_end: Instant,
    /// What has not ended by now will not.
    pub deadline: Instant,
}

impl Phases {
    /// Phases that begin at `begin`.
    pub(super) fn new(begin: Instant, warm_up: Duration, duration: Duration, grace: Duration) -> Self {
        let window_start = begin + warm_up;
        let window_end = window_start + duration;
        Self { begin, window_start, window_end, deadline: window_end + grace }
    }

    /// Whether an instant lies in the window.
    #[must_use]
    pub fn in_window(&self, at: Instant) -> bool {
        (self.window_start..self.window_end).contains(&at)
    }

    /// The series slot of an instant in the window.
    #[must_use]
    pub fn slot(&self, at: Instant) -> Option<usize> {
        let since = at.checked_duration_since(self.window_start)?;
        self.in_window(at)
            .then(|| usize::try_from(since.as_millis() / SLOT.as_millis()).unwrap_or(usize::MAX))
    }

    /// Slots of the window, the last one perhaps shorter.
    #[must_use]
    pub fn slots(&self) -> usize {
        let window = self.window_end - self.window_start;
        usize::try_from(window.as_millis().div_ceil(SLOT.as_millis())).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Phases;

    #[test]
    fn slots_cover_the_window_and_nothing_else() {
        let begin = Instant::now();
        let phases = Phases::new(begin, Duration::ZERO, Duration::from_millis(250), Duration::ZERO);
        assert_eq!(phases.slots(), 3);
        assert_eq!(phases.slot(begin), Some(0));
        assert_eq!(phases.slot(begin + Duration::from_millis(249)), Some(2));
        assert_eq!(phases.slot(begin + Duration::from_millis(250)), None);
    }
}
