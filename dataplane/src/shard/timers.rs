//! Deadlines of a shard: a heap with lazy deletion. Whoever is woken checks its own deadline, so a deadline that
//! moved or vanished needs no removal; a deadline that moved later costs one extra wake-up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::stream::table::Key;

/// Whom to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A tunnel.
    Tunnel(Key),
    /// A session with a peer.
    Session(Key),
    /// One of an agent's connections to its server.
    Connector(u32),
    /// A listener whose accept failed.
    Listener(Key),
    /// Tunnels that found no receive slot.
    Starved,
    /// Shards that have not taken what they were given.
    Peers,
    /// Stopped readers over the budget.
    Budget,
    /// The drain's deadline.
    Drain,
}

/// All deadlines of a shard.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
}

impl Timers {
    /// Wakes `timer` at `at` (and at every earlier time it was set to).
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    /// The next time at which somebody wants to be woken.
    #[must_use]
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }

    /// How many wake-ups are set, stale ones included.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Drops the wake-ups that `keep` does not want: called when stale ones outnumber what exists.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(Instant, Timer) -> bool) {
        self.heap.retain(|Reverse((at, timer))| keep(*at, *timer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn due_ones_come_in_order() {
        let now = Instant::now();
        let mut timers = Timers::default();
        timers.set(now + Duration::from_millis(2), Timer::Drain);
        timers.set(now + Duration::from_millis(1), Timer::Starved);
        assert_eq!(timers.pop_due(now), None);
        let later = now + Duration::from_millis(2);
        assert_eq!(timers.pop_due(later), Some(Timer::Starved));
        assert_eq!(timers.pop_due(later), Some(Timer::Drain));
        assert_eq!(timers.pop_due(later), None);
    }
}
