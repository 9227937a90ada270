//! Whether a silent peer is still there: when to ask it, and when to give it up.
//!
//! Whoever drives a connection says what it received and acts as it is told; PING itself (RFC 9113 section 6.7) is
//! [`Connection::ping`]'s. Any bytes are a sign of life, not only the answer: a peer that is busy sending may be late
//! with it.

use std::time::{Duration, Instant};

use crate::limits::HTTP2_KEEP_ALIVE_TIMEOUT;

use super::connection::Connection;

/// The payload of our PING, which is not a drain's.
pub(super) const PING: [u8; 8] = *b"adit up?";

/// When a peer was last heard of. For one connection, whatever its use and whichever its side.
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    interval: Duration,
    heard_at: Instant,
    /// When it is asked because something else was asked of it, if it was not heard since.
    expected_at: Option<Instant>,
    /// When it was asked, if it was not heard since.
    asked_at: Option<Instant>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAliveDue {
    /// Nothing yet.
    Nothing,
    /// [`Connection::ping`].
    Ping,
    /// Nothing came for [`HTTP2_KEEP_ALIVE_TIMEOUT`] after a PING: the peer, or the path to it, is dead.
    Dead,
}

impl KeepAlive {
    /// Begins with a peer that was heard of just now, and is asked after `interval` of silence.
    ///
    /// A server may limit how often it is asked. grpc-go's allows a PING every 5 minutes unless it is told otherwise
    /// (`keepalive.EnforcementPolicy`), and ends the connection of whoever asks more often.
    #[must_use]
    pub const fn new(now: Instant, interval: Duration) -> Self {
        Self { interval, heard_at: now, expected_at: None, asked_at: None }
    }

    /// Takes note that bytes came, whatever they are.
    pub const fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.expected_at = None;
        self.asked_at = None;
    }

    /// Takes note that the peer was told something to which it says something within this time, whatever it is: one
    /// that does not is asked then, and not only after the interval.
    pub fn expect(&mut self, now: Instant, within: Duration) {
        self.expected_at.get_or_insert(now + within);
    }

    /// When [`Self::on_time`] has something to say.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match self.asked_at {
            Some(asked_at) => asked_at + HTTP2_KEEP_ALIVE_TIMEOUT,
            None => {
                let at = self.heard_at + self.interval;
                self.expected_at.map_or(at, |expected_at| expected_at.min(at))
            }
        }
    }

    /// What is due. [`KeepAliveDue::Ping`] is said once for each silence, [`KeepAliveDue::Dead`] as often as asked.
    pub fn on_time(&mut self, now: Instant) -> KeepAliveDue {
        if now < self.deadline() {
            return KeepAliveDue::Nothing;
        }
        if self.asked_at.is_some() {
            return KeepAliveDue::Dead;
        }
        self.asked_at = Some(now);
        KeepAliveDue::Ping
    }
}

impl Connection {
    /// Sends a PING, even where output has no room for payload. That of [`Self::drain`] is another.
    pub fn ping(&mut self) {
        if self.ended {
            return;
        }
        self.put_ping(&PING);
        self.pings_unanswered = self.pings_unanswered.saturating_add(1);
    }

    /// How many PINGs of [`Self::ping`] the peer has not acknowledged. It acknowledges them in order.
    #[must_use]
    pub const fn pings_unanswered(&self) -> u32 {
        self.pings_unanswered
    }

    pub(super) fn put_ping(&mut self, payload: &[u8; 8]) {
        self.put_header(8, 0x6, 0);
        self.output.put_slice(payload);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::{HTTP2_KEEP_ALIVE_TIMEOUT, KeepAlive, KeepAliveDue};

    const INTERVAL: Duration = Duration::from_secs(10);

    #[test]
    fn a_silent_peer_is_asked_once_and_given_up_when_it_does_not_answer() {
        let now = Instant::now();
        let mut keep_alive = KeepAlive::new(now, INTERVAL);
        assert_eq!(keep_alive.deadline(), now + INTERVAL);
        assert_eq!(keep_alive.on_time(now + INTERVAL - Duration::from_millis(1)), KeepAliveDue::Nothing);
        let asked = now + INTERVAL;
        assert_eq!(keep_alive.on_time(asked), KeepAliveDue::Ping);
        assert_eq!(keep_alive.on_time(asked), KeepAliveDue::Nothing);
        assert_eq!(keep_alive.deadline(), asked + HTTP2_KEEP_ALIVE_TIMEOUT);
        assert_eq!(keep_alive.on_time(keep_alive.deadline()), KeepAliveDue::Dead);
    }

    #[test]
    fn whatever_comes_is_an_answer_and_the_silence_begins_anew() {
        let now = Instant::now();
        let mut keep_alive = KeepAlive::new(now, INTERVAL);
        assert_eq!(keep_alive.on_time(now + INTERVAL), KeepAliveDue::Ping);
        let heard = now + INTERVAL + HTTP2_KEEP_ALIVE_TIMEOUT - Duration::from_millis(1);
        keep_alive.heard(heard);
        assert_eq!(keep_alive.on_time(now + INTERVAL + HTTP2_KEEP_ALIVE_TIMEOUT), KeepAliveDue::Nothing);
        assert_eq!(keep_alive.deadline(), heard + INTERVAL);
        assert_eq!(keep_alive.on_time(heard + INTERVAL), KeepAliveDue::Ping);
    }

    #[test]
    fn time_that_was_slept_through_asks_before_it_buries() {
        let now = Instant::now();
        let mut keep_alive = KeepAlive::new(now, INTERVAL);
        assert_eq!(keep_alive.on_time(now + Duration::from_secs(3600)), KeepAliveDue::Ping);
        let asked = now + Duration::from_secs(3600);
        assert_eq!(keep_alive.deadline(), asked + HTTP2_KEEP_ALIVE_TIMEOUT);
    }

    #[test]
    fn whoever_does_not_answer_what_it_always_answers_is_asked_before_the_interval_is_over() {
        let now = Instant::now();
        let within = INTERVAL / 5;
        let mut keep_alive = KeepAlive::new(now, INTERVAL);
        keep_alive.expect(now, within);
        keep_alive.expect(now + within / 2, within);
        assert_eq!(keep_alive.deadline(), now + within, "the first counts");
        keep_alive.heard(now + within / 2);
        assert_eq!(keep_alive.deadline(), now + within / 2 + INTERVAL, "whatever comes is an answer");
        keep_alive.expect(now + within, within);
        assert_eq!(keep_alive.on_time(now + 2 * within), KeepAliveDue::Ping);
        assert_eq!(keep_alive.deadline(), now + 2 * within + HTTP2_KEEP_ALIVE_TIMEOUT);
        assert_eq!(keep_alive.on_time(keep_alive.deadline()), KeepAliveDue::Dead);
    }

    proptest! {
        /// A peer that says something often enough lives, and is not asked more often than the interval allows; one
        /// that does not is dead within the interval and the timeout.
        #[test]
        fn only_the_silent_are_buried(gaps in prop::collection::vec(0_u64..40_000, 1..50)) {
            let mut now = Instant::now();
            let (mut keep_alive, mut asked_at) = (KeepAlive::new(now, INTERVAL), None);
            for gap in gaps {
                let heard_next = now + Duration::from_millis(gap);
                let dead_at = now + INTERVAL + HTTP2_KEEP_ALIVE_TIMEOUT;
                while keep_alive.deadline() < heard_next {
                    let due = keep_alive.deadline();
                    match keep_alive.on_time(due) {
                        KeepAliveDue::Ping => {
                            prop_assert!(asked_at.is_none_or(|asked_at| due >= asked_at + INTERVAL));
                            asked_at = Some(due);
                        }
                        KeepAliveDue::Dead => {
                            prop_assert_eq!(due, dead_at);
                            return Ok(());
                        }
                        KeepAliveDue::Nothing => prop_assert!(false, "a deadline is for something"),
                    }
                }
                prop_assert!(heard_next <= dead_at);
                keep_alive.heard(heard_next);
                now = heard_next;
            }
        }
    }
}
