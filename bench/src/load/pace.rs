//! When operations begin. Pure: instants come in, instants go out.

use std::time::{Duration, Instant};

use super::phases::Phases;

/// The sequence of one role's intended starts.
#[derive(Clone, Debug)]
pub(super) enum Pace {
    /// Closed loop: the next begins when the last has ended.
    Closed {
        /// No start at or after it.
        end: Instant,
    },
    /// Open loop: starts are laid down beforehand, whatever becomes of the operations. A latency counts from the
    /// intended start, so that a system that stalls cannot slow down its own judge.
    Open {
        /// The next intended start.
        next: Instant,
        /// Between two.
        interval: Duration,
        /// No intended start at or after it.
        end: Instant,
        /// Overdue starts are made up for until then, and given up.
        give_up: Instant,
    },
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Begin now; this is when it was to be.
    Begin(Instant),
    /// Wait, then ask again.
    Wait(Instant),
    /// All is begun, or given up: so many starts were due and never happened.
    Over(u64),
}

impl Pace {
    /// The pace of number `index` of `count` that share `rate` operations a second; their starts are staggered.
    pub(super) fn new(phases: &Phases, rate: Option<f64>, index: u32, count: u32) -> Self {
        let end = phases.window_end;
        match rate {
            None => Self::Closed { end },
            Some(rate) => {
                let between = Duration::from_secs_f64(1.0 / rate);
                Self::Open {
                    next: phases.begin + between * index,
                    interval: between * count,
                    end,
                    give_up: phases.deadline,
                }
            }
        }
    }

    /// What to do at `now`.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        match self {
            Self::Closed { end } => {
                if now < *end {
                    Step::Begin(now)
                } else {
                    Step::Over(0)
                }
            }
            Self::Open { next, interval, end, give_up } => {
                if *next >= *end {
                    return Step::Over(0);
                }
                if now >= *give_up {
                    let missed = (*end - *next).as_nanos().div_ceil(interval.as_nanos().max(1));
                    return Step::Over(u64::try_from(missed).unwrap_or(u64::MAX));
                }
                if now < *next {
                    return Step::Wait(*next);
                }
                let intended = *next;
                *next += *interval;
                Step::Begin(intended)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::{Pace, Step};
    use crate::load::phases::Phases;

    fn phases(begin: Instant, window: Duration) -> Phases {
        Phases::new(begin, Duration::ZERO, window, window)
    }

    #[test]
    fn a_closed_loop_begins_whenever_it_is_asked_in_time() {
        let (begin, ms) = (Instant::now(), Duration::from_millis(1));
        let mut pace = Pace::new(&phases(begin, 10 * ms), None, 0, 1);
        assert_eq!(pace.step(begin + 3 * ms), Step::Begin(begin + 3 * ms));
        assert_eq!(pace.step(begin + 10 * ms), Step::Over(0));
    }

    #[test]
    fn a_stall_does_not_move_the_intended_starts() {
        let (begin, ms) = (Instant::now(), Duration::from_millis(1));
        let mut pace = Pace::new(&phases(begin, 100 * ms), Some(100.0), 0, 1);
        assert_eq!(pace.step(begin), Step::Begin(begin));
        assert_eq!(pace.step(begin + ms), Step::Wait(begin + 10 * ms));
        // The operation took 35 ms: three starts are overdue, each with the time it should have had.
        for due in [10, 20, 30] {
            assert_eq!(pace.step(begin + 35 * ms), Step::Begin(begin + due * ms));
        }
        assert_eq!(pace.step(begin + 36 * ms), Step::Wait(begin + 40 * ms));
        // Behind the window's end too, and until the grace is over: 50, 60, … 90 were due and never happened.
        assert_eq!(pace.step(begin + 120 * ms), Step::Begin(begin + 40 * ms));
        assert_eq!(pace.step(begin + 200 * ms), Step::Over(5));
    }

    proptest! {
        #[test]
        fn all_together_keep_the_rate(count in 1..20u32, rate in 10.0..5000.0f64) {
            let begin = Instant::now();
            let phases = phases(begin, Duration::from_secs(1));
            let mut starts = 0_u64;
            for index in 0..count {
                let mut pace = Pace::new(&phases, Some(rate), index, count);
                let mut now = begin;
                loop {
                    match pace.step(now) {
                        Step::Begin(_) => starts += 1,
                        Step::Wait(until) => now = until,
                        Step::Over(missed) => {
                            prop_assert_eq!(missed, 0);
                            break;
                        }
                    }
                }
            }
            prop_assert!((starts as f64 - rate).abs() <= 2.0, "{} of {}", starts, rate);
        }
    }
}
