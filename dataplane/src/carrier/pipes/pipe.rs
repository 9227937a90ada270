//! One stream: what was received and not read, and which of its halves are left.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::limits::PIPES_PIECE_BYTES_MIN;
use crate::quic::ReadState;
use crate::wire::ResetCode;

/// How the receiving half stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// More may come.
    Open,
    /// Nobody reads: what comes is thrown away. When our sending half ends, the peer is told with this code.
    Unread(ResetCode),
    /// The peer's end has come; what is before it can still be read.
    Ended,
    /// The peer has reset it.
    Reset(ResetCode),
    /// It is over for its reader, too.
    Gone,
}

/// A stream that somebody may still use.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) receiving: Receiving,
    /// The sending half is not over.
    pub(super) sends: bool,
    /// The sending half waits for its window.
    pub(super) wants_window: bool,
    /// The reader knows that there is something to read.
    pub(super) told: bool,
    received: Received,
}

impl Pipe {
    pub(super) fn new() -> Self {
        Self {
            receiving: Receiving::Open,
            sends: true,
            wants_window: false,
            told: false,
            received: Received::default(),
        }
    }

    /// Whether nobody has any use for it.
    pub(super) fn is_over(&self) -> bool {
        !self.sends && self.receiving == Receiving::Gone
    }

    /// Takes payload that the peer's window allowed. What of it nobody will read is returned, as bytes to give back.
    pub(super) fn receive(&mut self, bytes: Bytes) -> usize {
        match self.receiving {
            Receiving::Open => {
                self.received.push(bytes);
                0
            }
            _ => bytes.len(),
        }
    }

    /// The peer has ended its side.
    pub(super) fn on_end(&mut self) {
        self.receiving = match self.receiving {
            Receiving::Open => Receiving::Ended,
            Receiving::Unread(_) => Receiving::Gone,
            other => other,
        };
    }

    /// The peer has reset both sides. What it ended before stays readable.
    pub(super) fn on_reset(&mut self, code: ResetCode) {
        self.sends = false;
        self.wants_window = false;
        self.receiving = match self.receiving {
            Receiving::Open => {
                self.received = Received::default();
                Receiving::Reset(code)
            }
            Receiving::Unread(_) => Receiving::Gone,
            other => other,
        };
    }

    /// Appends what can be read, at most so many bytes; where that ended, or nothing if the half is gone. Also how many
    /// bytes were read.
    pub(super) fn read(&mut self, max_bytes: usize, out: &mut Vec<Bytes>) -> Option<(ReadState, usize)> {
        self.told = false;
        match self.receiving {
            Receiving::Gone | Receiving::Unread(_) => None,
            Receiving::Reset(code) => {
                self.receiving = Receiving::Gone;
                Some((ReadState::Reset(code), 0))
            }
            Receiving::Open | Receiving::Ended => {
                let count = self.received.take(max_bytes, out);
                if count == max_bytes {
                    return Some((ReadState::More, count));
                }
                if self.receiving == Receiving::Open {
                    return Some((ReadState::Blocked, count));
                }
                self.receiving = Receiving::Gone;
                Some((ReadState::Finished, count))
            }
        }
    }

    /// Drops what waits to be read; how many bytes that was.
    pub(super) fn drop_received(&mut self) -> usize {
        std::mem::take(&mut self.received).bytes
    }
}

/// Bytes that wait for their reader, in the pieces that they came in, small ones put together: a peer that sends single
/// bytes must not make each of them cost an allocation.
#[derive(Debug, Default)]
struct Received {
    pieces: VecDeque<Bytes>,
    /// Small pieces, behind the others.
    gathered: BytesMut,
    bytes: usize,
}

impl Received {
    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        if piece.len() < PIPES_PIECE_BYTES_MIN && !(self.pieces.is_empty() && self.gathered.is_empty()) {
            self.gathered.extend_from_slice(&piece);
            if self.gathered.len() >= PIPES_PIECE_BYTES_MIN {
                self.close_gathered();
            }
        } else {
            self.close_gathered();
            self.pieces.push_back(piece);
        }
    }

    fn close_gathered(&mut self) {
        if !self.gathered.is_empty() {
            self.pieces.push_back(std::mem::take(&mut self.gathered).freeze());
        }
    }

    fn take(&mut self, max_bytes: usize, out: &mut Vec<Bytes>) -> usize {
        self.close_gathered();
        let mut left = max_bytes;
        while left > 0
            && let Some(first) = self.pieces.front_mut()
        {
            let piece = first.split_to(first.len().min(left));
            if first.is_empty() {
                self.pieces.pop_front();
            }
            left -= piece.len();
            out.push(piece);
        }
        self.bytes -= max_bytes - left;
        max_bytes - left
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{PIPES_PIECE_BYTES_MIN, Pipe, ReadState, Receiving, ResetCode};

    fn read(pipe: &mut Pipe, max_bytes: usize) -> (Vec<u8>, Option<ReadState>) {
        let mut out = Vec::new();
        let state = pipe.read(max_bytes, &mut out).map(|(state, _)| state);
        (out.concat(), state)
    }

    #[test]
    fn what_came_before_the_end_is_read_and_then_the_end_once() {
        let mut pipe = Pipe::new();
        assert_eq!(read(&mut pipe, 9), (vec![], Some(ReadState::Blocked)));
        pipe.receive(Bytes::from_static(b"abc"));
        pipe.on_end();
        pipe.on_reset(ResetCode::Cancelled);
        assert_eq!(read(&mut pipe, 2), (b"ab".to_vec(), Some(ReadState::More)));
        assert_eq!(read(&mut pipe, 2), (b"c".to_vec(), Some(ReadState::Finished)));
        assert_eq!(read(&mut pipe, 2), (vec![], None));
        assert!(pipe.is_over());
    }

    #[test]
    fn a_reset_takes_what_was_not_read() {
        let mut pipe = Pipe::new();
        pipe.receive(Bytes::from_static(b"abc"));
        pipe.on_reset(ResetCode::Deadline);
        assert_eq!(read(&mut pipe, 9), (vec![], Some(ReadState::Reset(ResetCode::Deadline))));
        assert!(pipe.is_over());
    }

    #[test]
    fn what_nobody_reads_is_given_back() {
        let mut pipe = Pipe::new();
        pipe.receive(Bytes::from_static(b"abc"));
        assert_eq!(pipe.drop_received(), 3);
        pipe.receiving = Receiving::Unread(ResetCode::Cancelled);
        assert_eq!(pipe.receive(Bytes::from_static(b"de")), 2);
        assert_eq!(read(&mut pipe, 9), (vec![], None));
        pipe.on_end();
        assert_eq!(pipe.receiving, Receiving::Gone);
    }

    #[test]
    fn single_bytes_cost_no_piece_each() {
        let mut pipe = Pipe::new();
        for byte in 0..100_000_u32 {
            pipe.receive(Bytes::copy_from_slice(&byte.to_be_bytes()[3..]));
        }
        let mut out = Vec::new();
        assert_eq!(pipe.read(usize::MAX, &mut out), Some((ReadState::Blocked, 100_000)));
        assert!(out.len() <= 2 + 100_000 / PIPES_PIECE_BYTES_MIN, "{} pieces", out.len());
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9000), 0..20),
            reads in prop::collection::vec(1_usize..20_000, 0..20),
        ) {
            let mut pipe = Pipe::new();
            let (mut pushed, mut got) = (Vec::new(), Vec::new());
            let mut reads = reads.into_iter();
            for piece in pieces {
                pushed.extend_from_slice(&piece);
                pipe.receive(piece.into());
                if let Some(count) = reads.next() {
                    got.extend(read(&mut pipe, count).0);
                }
            }
            got.extend(read(&mut pipe, usize::MAX).0);
            prop_assert_eq!(got, pushed);
        }
    }
}
