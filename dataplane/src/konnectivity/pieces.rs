//! Bytes in order, in the pieces they came in, and never in very many of them.
//!
//! A peer that sends a byte at a time would otherwise pin a receive buffer, and cost a queue's entry, for each.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::GRPC_PIECES_MAX;

/// A queue of bytes. Holds no empty pieces, and at most [`GRPC_PIECES_MAX`].
#[derive(Debug, Default)]
pub(super) struct Pieces {
    queue: VecDeque<Bytes>,
    bytes: usize,
}

impl Pieces {
    /// How many bytes wait.
    pub(super) const fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes a piece; the one too many makes one of all.
    pub(super) fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.bytes += piece.len();
        self.queue.push_back(piece);
        if self.queue.len() > GRPC_PIECES_MAX {
            let mut all = BytesMut::with_capacity(self.bytes);
            for piece in self.queue.drain(..) {
                all.extend_from_slice(&piece);
            }
            self.queue.push_back(all.freeze());
        }
    }

    /// The first piece, which stays.
    pub(super) fn front(&self) -> Option<&Bytes> {
        self.queue.front()
    }

    /// The first piece, which goes.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let piece = self.queue.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }

    /// So many bytes of the first piece at most; `None` if there is none.
    pub(super) fn take(&mut self, bytes_max: usize) -> Option<Bytes> {
        let first = self.queue.front_mut()?;
        let part = first.split_to(first.len().min(bytes_max));
        self.bytes -= part.len();
        if first.is_empty() {
            self.queue.pop_front();
        }
        Some(part)
    }

    /// Drops bytes of the first piece, at most as many as it has.
    pub(super) fn consume(&mut self, count: usize) {
        let Some(first) = self.queue.front_mut() else { return };
        let count = count.min(first.len());
        first.advance(count);
        self.bytes -= count;
        if first.is_empty() {
            self.queue.pop_front();
        }
    }
}
