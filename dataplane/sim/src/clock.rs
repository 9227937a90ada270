//! Virtual time: one real `Instant` as the base, and an offset that only the world moves.
//!
//! Nothing here measures anything. Traces and reports print offsets, never the base, so that equal seeds print
//! equal lines.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A moment of virtual time, in nanoseconds since the world began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimTime(pub u64);

impl SimTime {
    /// This moment and some nanoseconds more.
    #[must_use]
    pub const fn plus_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// This moment and a duration more.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_ns(nanos(duration))
    }
}

impl std::fmt::Display for SimTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>6}.{:06}ms", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A duration in nanoseconds, saturating.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock that everything in one world shares. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    base: Instant,
    offset_ns: Rc<Cell<u64>>,
}

impl Clock {
    /// A clock at offset zero.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "two clocks made alike are not alike: each has its own base"
    )]
    pub fn new() -> Self {
        Self { base: Instant::now(), offset_ns: Rc::default() }
    }

    /// The current virtual time as an offset.
    #[must_use]
    pub fn time(&self) -> SimTime {
        SimTime(self.offset_ns.get())
    }

    /// The current virtual time as the `Instant` that shards are given.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.instant(self.time())
    }

    /// The `Instant` of a virtual time.
    #[must_use]
    pub fn instant(&self, at: SimTime) -> Instant {
        self.base + Duration::from_nanos(at.0)
    }

    /// The virtual time of an `Instant`; zero for one before the world began.
    #[must_use]
    pub fn time_of(&self, at: Instant) -> SimTime {
        SimTime(nanos(at.saturating_duration_since(self.base)))
    }

    /// Moves on to a moment; time never goes back.
    pub fn advance_to(&self, at: SimTime) {
        self.offset_ns.set(self.offset_ns.get().max(at.0));
    }
}
