//! Bytes that wait, in one piece. Who pushes keeps the limit.

/// Consumed bytes in front are moved out of the way once they are this many.
const GAP_BYTES_MAX: usize = 64 * 1024;

/// First in, first out.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    consumed: usize,
}

impl Queue {
    /// Adds at the end.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What waits.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    /// How much of it.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.consumed
    }

    /// Whether it is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the first ones away.
    pub(super) fn consume(&mut self, count: usize) {
        self.consumed += count.min(self.len());
        if self.consumed == self.bytes.len() {
            self.clear();
        } else if self.consumed > GAP_BYTES_MAX {
            self.bytes.drain(..self.consumed);
            self.consumed = 0;
        }
    }

    /// Takes everything away.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.consumed = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::Queue;

    proptest! {
        #[test]
        fn it_is_a_queue(steps in prop::collection::vec((0_usize..100_000, 0_usize..100_000), 1..20)) {
            let mut queue = Queue::default();
            let mut model = VecDeque::new();
            for (step, (pushed, consumed)) in steps.into_iter().enumerate() {
                let piece: Vec<u8> = (0..pushed).map(|at| (at + step).to_le_bytes()[0]).collect();
                queue.push(&piece);
                model.extend(piece);
                queue.consume(consumed);
                model.drain(..consumed.min(model.len()));
                prop_assert_eq!(queue.bytes(), model.make_contiguous());
                prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }
}
