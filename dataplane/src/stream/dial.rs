//! An agent's attempts at the addresses of one dial: in order, each with a head start (RFC 8305 section 5), the first
//! connection wins. Pure: it says when to start the next attempt, and what the dial came to.

use std::net::SocketAddr;
use std::time::Instant;

use adit_io::OpError;

use crate::limits::{DIAL_ADDRESSES_MAX, DIAL_FALLBACK_DELAY};

/// One attempt's place; doubles as the attempt's part of the token.
pub type AttemptIndex = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Running,
    Failed(OpError),
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialStep {
    /// Connect to this address.
    Connect(AttemptIndex, SocketAddr),
    /// Nothing until an attempt completes or this time comes.
    WaitUntil(Instant),
    /// Nothing until an attempt completes.
    Wait,
    /// Every address failed. The first address's error speaks for all, as in Go's dialer.
    Failed(SocketAddr, OpError),
}

/// The attempts of one dial.
#[derive(Debug)]
pub struct Attempts {
    addresses: Vec<SocketAddr>,
    started: Vec<Attempt>,
    next_at: Instant,
}

impl Attempts {
    /// Attempts at `addresses` in their order, the first one now. `addresses` is not empty; what exceeds
    /// [`DIAL_ADDRESSES_MAX`] is not tried.
    #[must_use]
    pub fn new(mut addresses: Vec<SocketAddr>, now: Instant) -> Self {
        debug_assert!(!addresses.is_empty());
        addresses.truncate(DIAL_ADDRESSES_MAX);
        Self { started: Vec::with_capacity(addresses.len()), addresses, next_at: now }
    }

    /// What is to be done at `now`. Call again after acting on it.
    pub fn step(&mut self, now: Instant) -> DialStep {
        let running = self.started.contains(&Attempt::Running);
        let next = self.addresses.get(self.started.len()).copied();
        match next {
            Some(address) if !running || now >= self.next_at => {
                let index = u8::try_from(self.started.len()).unwrap_or(u8::MAX);
                self.started.push(Attempt::Running);
                self.next_at = now + DIAL_FALLBACK_DELAY;
                DialStep::Connect(index, address)
            }
            Some(_) => DialStep::WaitUntil(self.next_at),
            None if running => DialStep::Wait,
            None => match self.started.first() {
                Some(Attempt::Failed(error)) => DialStep::Failed(self.addresses[0], *error),
                _ => DialStep::Wait,
            },
        }
    }

    /// An attempt failed.
    pub fn on_failed(&mut self, index: AttemptIndex, error: OpError) {
        if let Some(attempt) = self.started.get_mut(usize::from(index)) {
            *attempt = Attempt::Failed(error);
        }
    }

    /// Attempts that still run: to be cancelled once one has won, or the dial is given up.
    pub fn running(&self) -> impl Iterator<Item = AttemptIndex> + '_ {
        (0u8..)
            .zip(&self.started)
            .filter(|(_, attempt)| **attempt == Attempt::Running)
            .map(|(index, _)| index)
    }

    /// The address of an attempt.
    #[must_use]
    pub fn address(&self, index: AttemptIndex) -> Option<SocketAddr> {
        self.addresses.get(usize::from(index)).copied()
    }

    /// The first address: what a timeout is reported against.
    #[must_use]
    pub fn first_address(&self) -> SocketAddr {
        self.addresses[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|last| SocketAddr::from(([127, 0, 0, last], 80))).collect()
    }

    const REFUSED: OpError = OpError::Os(111);
    const UNREACHABLE: OpError = OpError::Os(113);

    #[test]
    fn a_failure_starts_the_next_at_once() {
        let now = Instant::now();
        let mut attempts = Attempts::new(addresses(2), now);
        assert!(matches!(attempts.step(now), DialStep::Connect(0, _)));
        assert_eq!(attempts.step(now), DialStep::WaitUntil(now + DIAL_FALLBACK_DELAY));
        attempts.on_failed(0, REFUSED);
        assert!(matches!(attempts.step(now), DialStep::Connect(1, _)));
        assert_eq!(attempts.step(now), DialStep::Wait);
        attempts.on_failed(1, UNREACHABLE);
        assert_eq!(attempts.step(now), DialStep::Failed(addresses(2)[0], REFUSED));
    }

    #[test]
    fn a_silent_address_delays_the_next_by_the_fallback_delay_only() {
        let now = Instant::now();
        let mut attempts = Attempts::new(addresses(2), now);
        assert!(matches!(attempts.step(now), DialStep::Connect(0, _)));
        let almost = now + DIAL_FALLBACK_DELAY - Duration::from_millis(1);
        assert!(matches!(attempts.step(almost), DialStep::WaitUntil(_)));
        assert!(matches!(attempts.step(now + DIAL_FALLBACK_DELAY), DialStep::Connect(1, _)));
        assert_eq!(attempts.running().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn too_many_addresses_are_not_tried() {
        let now = Instant::now();
        let mut attempts = Attempts::new(addresses(200), now);
        for index in 0..u8::try_from(DIAL_ADDRESSES_MAX).unwrap() {
            assert!(matches!(attempts.step(now), DialStep::Connect(at, _) if at == index));
            attempts.on_failed(index, REFUSED);
        }
        assert!(matches!(attempts.step(now), DialStep::Failed(..)));
    }
}
