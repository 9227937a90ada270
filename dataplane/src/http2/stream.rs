//! One stream: how much it may send, what its reader has given back, and what was said on it.

use crate::limits::{HTTP2_CREDIT_BYTES_MIN, HTTP2_STREAM_WINDOW_BYTES, STREAM_WINDOW_BYTES};

use super::pipes::Use;

/// A stream that is not over.
#[derive(Debug)]
pub(super) struct Stream {
    /// What the peer lets it send. Negative where the peer made its windows smaller (RFC 9113 section 6.9.2).
    pub(super) send_window_bytes: i64,
    /// Whether what the peer sends does not go through the library.
    pub(super) goes_past_library: bool,
    /// What the peer may send that way.
    pub(super) receive_window_bytes: usize,
    /// Payload that the consumer has and did not credit.
    held_bytes: usize,
    /// Credited, and not given back to the peer yet.
    uncredited_bytes: usize,
    /// The response's header fields are sent.
    pub(super) responded: bool,
    /// Payload is sent: whoever resets it now has had some use of it.
    pub(super) served: bool,
    /// The peer ended its side.
    pub(super) peer_ended: bool,
    /// We ended ours.
    pub(super) ended: bool,
}

impl Stream {
    pub(super) fn new(send_window_bytes: u32, usage: Use, peer_ended: bool) -> Self {
        let receive_window_bytes = match usage {
            Use::Calls => HTTP2_STREAM_WINDOW_BYTES,
            Use::Pipes => STREAM_WINDOW_BYTES,
        };
        Self {
            send_window_bytes: i64::from(send_window_bytes),
            goes_past_library: false,
            receive_window_bytes: receive_window_bytes as usize,
            held_bytes: 0,
            uncredited_bytes: 0,
            responded: false,
            served: false,
            peer_ended,
            ended: false,
        }
    }

    /// Takes a DATA frame's bytes, padding included, from the window; false where they are more than was allowed.
    pub(super) const fn take_window(&mut self, bytes: usize) -> bool {
        if bytes > self.receive_window_bytes {
            return false;
        }
        self.receive_window_bytes -= bytes;
        true
    }

    /// Takes note of a DATA frame; padding has no reader, and is credited at once.
    pub(super) fn received(&mut self, payload_bytes: usize, padding_bytes: usize) {
        self.held_bytes += payload_bytes;
        self.uncredited_bytes += padding_bytes;
    }

    /// Takes note of what the consumer passed on.
    pub(super) fn credit(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.held_bytes, "more is credited than was received");
        let bytes = bytes.min(self.held_bytes);
        self.held_bytes -= bytes;
        self.uncredited_bytes += bytes;
    }

    /// How much window to give back now: nothing in small steps, nor to a peer that has ended its side.
    pub(super) fn take_credit(&mut self) -> Option<usize> {
        if self.uncredited_bytes < HTTP2_CREDIT_BYTES_MIN || self.peer_ended {
            return None;
        }
        Some(std::mem::take(&mut self.uncredited_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::{Stream, Use};

    #[test]
    fn a_window_is_given_back_for_what_was_passed_on_and_in_large_steps() {
        let mut stream = Stream::new(10, Use::Calls, false);
        stream.received(100_000, 0);
        assert_eq!(stream.take_credit(), None);
        stream.credit(32 * 1024 - 1);
        assert_eq!(stream.take_credit(), None);
        stream.credit(1);
        assert_eq!(stream.take_credit(), Some(32 * 1024));
        assert_eq!(stream.take_credit(), None);
    }

    #[test]
    fn padding_is_given_back_although_nobody_reads_it() {
        let mut stream = Stream::new(10, Use::Calls, false);
        for _ in 0..128 {
            stream.received(0, 256);
        }
        assert_eq!(stream.take_credit(), Some(32 * 1024));
    }

    #[test]
    fn a_peer_that_ended_its_side_is_given_nothing() {
        let mut stream = Stream::new(10, Use::Calls, true);
        stream.received(100_000, 0);
        stream.credit(100_000);
        assert_eq!(stream.take_credit(), None);
    }
}
