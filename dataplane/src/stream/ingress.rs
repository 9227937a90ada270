//! One half of a splice: socket → stream. Decides when to read, with which slot, and when to end the stream.
//!
//! Inputs are `on_*`; `want_*` says what is to be done next. Nothing here performs I/O.

use std::collections::VecDeque;

use adit_io::{Shots, SlotSize};
use bytes::Bytes;

use crate::limits::INGRESS_PENDING_BYTES_TARGET;

/// Full small slots in a row that make a connection a bulk one.
const FULL_SLOTS_TO_BULK: u8 = 4;
/// Receives in a row that would have fitted a small slot and make it an interactive one again.
const SHORT_RECEIVES_TO_INTERACTIVE: u8 = 8;

/// What to do about the receive operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvWant {
    /// Leave it as it is.
    Nothing,
    /// Submit one.
    Arm(SlotSize, Shots),
    /// Cancel the one that is armed: its bytes could not be passed on, or its slots do not fit the habit.
    Cancel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Armed {
    No,
    Yes(SlotSize, Shots),
    Cancelling,
}

/// Socket → stream.
#[derive(Debug)]
pub struct Ingress {
    pending: VecDeque<Bytes>,
    pending_bytes: usize,
    armed: Armed,
    bulk: bool,
    streak: u8,
    socket_ended: bool,
    broken: bool,
    stream_stopped: bool,
    stream_blocked: bool,
    stream_finished: bool,
}

impl Default for Ingress {
    fn default() -> Self {
        Self {
            pending: VecDeque::new(),
            pending_bytes: 0,
            armed: Armed::No,
            bulk: false,
            streak: 0,
            socket_ended: false,
            broken: false,
            stream_stopped: false,
            stream_blocked: false,
            stream_finished: false,
        }
    }
}

impl Ingress {
    /// A receive brought so many bytes (with TLS: of ciphertext): the connection's habit.
    pub fn on_received(&mut self, received_bytes: usize) {
        let short = received_bytes < SlotSize::Small.bytes();
        self.streak = if short == self.bulk { self.streak.saturating_add(1) } else { 0 };
        let turning = if self.bulk { SHORT_RECEIVES_TO_INTERACTIVE } else { FULL_SLOTS_TO_BULK };
        if self.streak >= turning {
            self.bulk = !self.bulk;
            self.streak = 0;
        }
    }

    /// Bytes came from the socket (or had been read behind a head), to be passed on.
    pub fn on_bytes(&mut self, bytes: Bytes) {
        if bytes.is_empty() || self.stream_stopped {
            return;
        }
        self.pending_bytes += bytes.len();
        self.pending.push_back(bytes);
    }

    /// The socket's peer finished sending.
    pub fn on_end(&mut self) {
        self.socket_ended = true;
    }

    /// The socket has broken: nothing more is read, and what was read has no orderly end.
    pub fn on_broken(&mut self) {
        self.broken = true;
    }

    /// The stream's peer takes no more: this half is over, and what the socket still says is for nobody. The other
    /// half may have bytes on their way and goes on until its own end.
    pub fn on_stopped(&mut self) {
        self.discard();
        self.broken = true;
        self.stream_stopped = true;
        self.stream_finished = true;
    }

    /// A receive was submitted.
    pub fn on_armed(&mut self, slot: SlotSize, shots: Shots) {
        debug_assert_eq!(self.armed, Armed::No);
        self.armed = Armed::Yes(slot, shots);
    }

    /// The cancellation of the receive was asked for.
    pub fn on_cancelling(&mut self) {
        self.armed = Armed::Cancelling;
    }

    /// The receive had its final completion.
    pub fn on_disarmed(&mut self) {
        self.armed = Armed::No;
    }

    /// Whether a receive is outstanding.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed != Armed::No
    }

    /// What to do about the receive operation. Bulk connections are read one slot at a time, so that what is read
    /// ahead of the stream's credit is exact; interactive ones stay armed and hold no buffer while idle.
    #[must_use]
    pub fn want_recv(&self) -> RecvWant {
        let room = self.has_room();
        let (slot, shots) =
            if self.bulk { (SlotSize::Large, Shots::One) } else { (SlotSize::Small, Shots::Many) };
        match self.armed {
            Armed::No if room && !self.socket_ended && !self.broken => RecvWant::Arm(slot, shots),
            Armed::Yes(_, Shots::Many) if !room || slot != SlotSize::Small || self.stream_stopped => {
                RecvWant::Cancel
            }
            _ => RecvWant::Nothing,
        }
    }

    /// Whether more may be taken from the socket.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.pending_bytes < INGRESS_PENDING_BYTES_TARGET
    }

    /// Takes the first of the bytes, where something else than a stream is to have them.
    pub fn take_piece(&mut self) -> Option<Bytes> {
        let piece = self.pending.pop_front()?;
        self.pending_bytes -= piece.len();
        Some(piece)
    }

    /// Whether reading stopped because the stream does not take the bytes.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        !self.socket_ended && self.stream_blocked && self.pending_bytes >= INGRESS_PENDING_BYTES_TARGET
    }

    /// Takes the bytes to write to the stream now, if any and if it is not blocked. What it does not take is given back
    /// with [`Self::on_written`].
    pub fn take_for_stream(&mut self) -> Option<VecDeque<Bytes>> {
        (!self.stream_blocked && !self.pending.is_empty()).then(|| std::mem::take(&mut self.pending))
    }

    /// The stream took what it could from the front of [`Self::take_for_stream`]; this is left.
    pub fn on_written(&mut self, left: VecDeque<Bytes>) {
        debug_assert!(self.pending.is_empty(), "nothing came meanwhile");
        self.pending = left;
        self.pending_bytes = self.pending.iter().map(Bytes::len).sum();
        self.stream_blocked = !self.pending.is_empty();
    }

    /// The stream can take bytes again.
    pub fn on_stream_writable(&mut self) {
        self.stream_blocked = false;
    }

    /// Whether the stream is to be finished now: everything was written and nothing will follow.
    #[must_use]
    pub fn want_finish(&self) -> bool {
        self.socket_ended && self.pending.is_empty() && !self.stream_finished
    }

    /// The stream was finished.
    pub fn on_finished(&mut self) {
        self.stream_finished = true;
    }

    /// Whether the peer of the socket finished sending.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.socket_ended
    }

    /// Whether this half is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stream_finished
    }

    /// Whether the receive that is outstanding is to be cancelled because the socket leaves this shard.
    #[must_use]
    pub fn wants_cancel_to_leave(&self) -> bool {
        matches!(self.armed, Armed::Yes(..))
    }

    /// What was read and not written, for whoever takes the socket over.
    #[must_use]
    pub fn into_pending(self) -> VecDeque<Bytes> {
        debug_assert_eq!(self.armed, Armed::No);
        self.pending
    }

    /// Bytes read and not yet taken by the stream.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Drops what was read: the tunnel never came to be.
    pub fn discard(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
        self.stream_blocked = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Bytes {
        Bytes::from(vec![7; len])
    }

    fn receive(ingress: &mut Ingress, len: usize) {
        ingress.on_received(len);
        ingress.on_bytes(bytes(len));
    }

    fn take_all(ingress: &mut Ingress) {
        if ingress.take_for_stream().is_some() {
            ingress.on_written(VecDeque::new());
        }
    }

    #[test]
    fn it_starts_armed_for_many_small_receives() {
        assert_eq!(Ingress::default().want_recv(), RecvWant::Arm(SlotSize::Small, Shots::Many));
    }

    #[test]
    fn full_slots_make_it_bulk_and_short_ones_interactive_again() {
        let mut ingress = Ingress::default();
        ingress.on_armed(SlotSize::Small, Shots::Many);
        for _ in 0..FULL_SLOTS_TO_BULK {
            assert_eq!(ingress.want_recv(), RecvWant::Nothing);
            receive(&mut ingress, SlotSize::Small.bytes());
            take_all(&mut ingress);
        }
        assert_eq!(ingress.want_recv(), RecvWant::Cancel);
        ingress.on_cancelling();
        assert_eq!(ingress.want_recv(), RecvWant::Nothing);
        ingress.on_disarmed();
        assert_eq!(ingress.want_recv(), RecvWant::Arm(SlotSize::Large, Shots::One));
        for _ in 0..SHORT_RECEIVES_TO_INTERACTIVE {
            receive(&mut ingress, 100);
            take_all(&mut ingress);
        }
        assert_eq!(ingress.want_recv(), RecvWant::Arm(SlotSize::Small, Shots::Many));
    }

    #[test]
    fn a_blocked_stream_stops_reading_until_it_is_writable() {
        let mut ingress = Ingress::default();
        ingress.on_armed(SlotSize::Small, Shots::Many);
        ingress.on_bytes(bytes(INGRESS_PENDING_BYTES_TARGET));
        let refused = ingress.take_for_stream().unwrap();
        ingress.on_written(refused);
        assert!(ingress.take_for_stream().is_none(), "blocked");
        assert_eq!(ingress.want_recv(), RecvWant::Cancel);
        assert!(ingress.is_stopped());
        ingress.on_cancelling();
        ingress.on_disarmed();
        assert_eq!(ingress.want_recv(), RecvWant::Nothing);
        ingress.on_stream_writable();
        take_all(&mut ingress);
        assert!(matches!(ingress.want_recv(), RecvWant::Arm(..)));
        assert!(!ingress.is_stopped());
    }

    #[test]
    fn a_stopped_stream_ends_this_half_and_takes_nothing_more() {
        let mut ingress = Ingress::default();
        ingress.on_armed(SlotSize::Small, Shots::Many);
        ingress.on_bytes(bytes(10));
        ingress.on_stopped();
        assert!(ingress.is_done() && !ingress.want_finish());
        assert_eq!(ingress.want_recv(), RecvWant::Cancel);
        ingress.on_bytes(bytes(10));
        assert!(ingress.take_for_stream().is_none(), "what comes late is dropped");
        ingress.on_cancelling();
        ingress.on_disarmed();
        assert_eq!(ingress.want_recv(), RecvWant::Nothing);
    }

    #[test]
    fn the_stream_is_finished_once_after_the_last_byte() {
        let mut ingress = Ingress::default();
        ingress.on_bytes(bytes(10));
        ingress.on_end();
        assert!(!ingress.want_finish(), "bytes are left");
        take_all(&mut ingress);
        assert!(ingress.want_finish());
        ingress.on_finished();
        assert!(!ingress.want_finish());
        assert!(ingress.is_done());
        assert_eq!(ingress.want_recv(), RecvWant::Nothing, "nothing to read after the end");
    }
}
