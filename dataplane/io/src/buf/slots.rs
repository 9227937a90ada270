//! One pool of receive slots.
//!
//! A slot is one allocation for the life of the pool. Its states:
//!
//! ```text
//!   free ──take()──▶ taken ──lend()──▶ lent ──(every byte dropped, reclaim())──▶ free
//!     ▲                │
//!     └──put_back()────┘
//! ```
//!
//! *Taken* means that somebody may write into it: the kernel (it is in a provided-buffer ring) or a read that is
//! about to happen. *Lent* means that the filled front was given away as an owned [`BytesMut`]; the pool keeps the
//! empty tail of the same allocation. The allocation counts its handles, so once the tail is the last of them
//! [`BytesMut::try_reclaim`] moves it back to the start of the allocation: nothing is copied or allocated again.

use std::collections::VecDeque;
use std::mem::MaybeUninit;

use bytes::BytesMut;

use crate::driver::SlotUse;

/// Most slots of one pool: a provided-buffer ring has at most 2^15 entries (io_uring_register_buf_ring(3)).
pub(crate) const SLOTS_MAX: usize = 1 << 15;

/// Names a slot of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotIndex(u16);

impl SlotIndex {
    /// The index that travels through the kernel as a buffer id.
    pub(crate) const fn get(self) -> u16 {
        self.0
    }

    /// From a buffer id. The pool checks it at its use.
    pub(crate) const fn from_id(id: u16) -> Self {
        Self(id)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Taken,
    Lent,
}

#[derive(Debug)]
struct Slot {
    /// Free and taken: the whole allocation, empty. Lent: the tail behind the part that was given away.
    handle: BytesMut,
    state: State,
}

/// Slots of one size.
#[derive(Debug)]
pub(crate) struct SlotPool {
    slot_bytes: usize,
    slots: Vec<Slot>,
    /// Last in, first out: the slot used last is the one whose memory is still warm.
    free: Vec<SlotIndex>,
    /// In the order of lending, except that slots found in use go to the back.
    lent: VecDeque<SlotIndex>,
    /// Slots lent since the last [`Self::reclaim_lately_lent`].
    lately_lent: usize,
}

impl SlotPool {
    /// A pool of `count` slots (at most [`SLOTS_MAX`]) of `slot_bytes` each. A slot's memory is allocated when it is
    /// first taken and kept from then on: as slots are reused last in, first out, a quiet process owns few.
    pub(crate) fn new(count: usize, slot_bytes: usize) -> Self {
        assert!(count <= SLOTS_MAX, "a pool of {count} slots");
        let count = u16::try_from(count).expect("SLOTS_MAX fits 16 bits");
        let slots = (0..count).map(|_| Slot { handle: BytesMut::new(), state: State::Free }).collect();
        Self {
            slot_bytes,
            slots,
            free: (0..count).rev().map(SlotIndex).collect(),
            lent: VecDeque::with_capacity(usize::from(count)),
            lately_lent: 0,
        }
    }

    /// Bytes that each slot can take.
    pub(crate) const fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// How many slots are free.
    pub(crate) const fn free(&self) -> usize {
        self.free.len()
    }

    /// How many slots exist, and how many are lent as far as [`Self::reclaim`] has looked.
    pub(crate) fn usage(&self) -> SlotUse {
        SlotUse { total: self.slots.len(), held: self.lent.len() }
    }

    /// Takes a free slot to be written into.
    pub(crate) fn take(&mut self) -> Option<SlotIndex> {
        let index = self.free.pop()?;
        let slot = &mut self.slots[usize::from(index.0)];
        debug_assert_eq!(slot.state, State::Free);
        if slot.handle.capacity() == 0 {
            // Zeroed once, so that every byte is initialised for good, also those that a kernel leaves out between
            // the parts of what it writes.
            slot.handle = BytesMut::zeroed(self.slot_bytes);
            slot.handle.clear();
        }
        slot.state = State::Taken;
        Some(index)
    }

    /// Where to write into a taken slot: exactly [`Self::slot_bytes`], at an address that stays the same until
    /// the slot was lent and reclaimed.
    pub(crate) fn writable(&mut self, index: SlotIndex) -> &mut [MaybeUninit<u8>] {
        let bytes = self.slot_bytes;
        let slot = self.taken(index);
        &mut slot.handle.spare_capacity_mut()[..bytes]
    }

    /// Gives a taken slot back unused.
    pub(crate) fn put_back(&mut self, index: SlotIndex) {
        self.taken(index).state = State::Free;
        self.free.push(index);
    }

    /// Gives the first `filled` bytes of a taken slot away, whoever wrote them. Nobody may write to the slot any
    /// more. Panics when `filled` exceeds [`Self::slot_bytes`].
    pub(crate) fn lend(&mut self, index: SlotIndex, filled: usize) -> BytesMut {
        assert!(filled <= self.slot_bytes, "a slot of {} bytes was filled with {filled}", self.slot_bytes);
        let slot = self.taken(index);
        // SAFETY: the slot's bytes were zeroed when it was made, so they are initialised whoever wrote to them
        // since, and `filled` is within the capacity: `slot_bytes` were there when it was made or reclaimed.
        unsafe { slot.handle.set_len(filled) };
        let tail = slot.handle.split_off(filled);
        slot.state = State::Lent;
        let front = std::mem::replace(&mut slot.handle, tail);
        self.lent.push_back(index);
        self.lately_lent += 1;
        front
    }

    /// Looks at twice as many lent slots as were lent since the last time, and at `least` of them at least: called
    /// once per turn, [`Self::usage`] keeps up with what the caller drops however much it is given.
    pub(crate) fn reclaim_lately_lent(&mut self, least: usize) {
        let budget = least.max(2 * std::mem::take(&mut self.lately_lent));
        self.reclaim(budget);
    }

    /// Looks at up to `budget` lent slots, longest unseen first, and frees those of which every byte was dropped.
    /// Returns how many came back.
    pub(crate) fn reclaim(&mut self, budget: usize) -> usize {
        let mut back = 0;
        for _ in 0..budget.min(self.lent.len()) {
            let Some(index) = self.lent.pop_front() else { break };
            let slot = &mut self.slots[usize::from(index.0)];
            // False while another handle lives. True moves the tail to the front if the space behind it is short.
            if slot.handle.try_reclaim(self.slot_bytes) {
                slot.state = State::Free;
                self.free.push(index);
                back += 1;
            } else {
                self.lent.push_back(index);
            }
        }
        back
    }

    fn taken(&mut self, index: SlotIndex) -> &mut Slot {
        let slot = &mut self.slots[usize::from(index.0)];
        assert_eq!(slot.state, State::Taken, "slot {} is not being written to", index.0);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `text` into a slot and lends it.
    fn fill(pool: &mut SlotPool, text: &[u8]) -> BytesMut {
        let index = pool.take().expect("a free slot");
        for (to, from) in pool.writable(index).iter_mut().zip(text) {
            to.write(*from);
        }
        pool.lend(index, text.len())
    }

    #[test]
    fn memory_is_recycled_once_every_part_was_dropped() {
        let mut pool = SlotPool::new(1, 64);
        let mut data = fill(&mut pool, b"hello world");
        let address = data.as_ptr();
        let part = data.split_to(5).freeze();
        assert!(pool.take().is_none());
        drop(data);
        assert_eq!(pool.reclaim(usize::MAX), 0, "`part` still lives");
        assert_eq!(&part[..], b"hello");
        assert_eq!(pool.usage(), SlotUse { total: 1, held: 1 });
        drop(part);
        assert_eq!(pool.reclaim(usize::MAX), 1);
        assert_eq!(pool.usage(), SlotUse { total: 1, held: 0 });
        for round in 0..100 {
            let again = fill(&mut pool, &[round; 64][..usize::from(round % 65)]);
            assert_eq!(again.len(), usize::from(round % 65));
            assert!(again.is_empty() || again.as_ptr() == address, "round {round}: the same allocation");
            drop(again);
            assert_eq!(pool.reclaim(1), 1);
        }
    }

    #[test]
    fn lent_bytes_outlive_the_pool() {
        let mut pool = SlotPool::new(2, 32);
        let data = fill(&mut pool, b"kept");
        drop(pool);
        assert_eq!(&data[..], b"kept");
    }

    #[test]
    fn an_empty_loan_is_free_at_once() {
        let mut pool = SlotPool::new(1, 32);
        let empty = fill(&mut pool, b"");
        assert_eq!(pool.reclaim(1), 1);
        let full = fill(&mut pool, &[7; 32]);
        assert!(empty.is_empty());
        assert_eq!(&full[..], &[7; 32]);
    }

    #[test]
    fn the_count_keeps_up_with_what_is_dropped() {
        let mut pool = SlotPool::new(64, 16);
        for turn in 0..100 {
            drop((0..20).map(|n| fill(&mut pool, &[n; 16])).collect::<Vec<_>>());
            pool.reclaim_lately_lent(4);
            assert_eq!(pool.usage().held, 0, "turn {turn}");
        }
    }

    #[test]
    fn the_search_is_bounded_and_rotates() {
        let mut pool = SlotPool::new(4, 16);
        let mut held: Vec<_> = (0..4).map(|n| fill(&mut pool, &[n; 16])).collect();
        held.truncate(3);
        assert_eq!(pool.reclaim(2), 0, "the two longest lent are in use");
        assert_eq!(pool.reclaim(2), 1, "the search goes on where it stopped");
        assert_eq!(pool.free(), 1);
        assert_eq!(held[2], [2; 16][..]);
    }

    #[test]
    fn a_slot_can_be_given_back_unused() {
        let mut pool = SlotPool::new(1, 16);
        let index = pool.take().expect("a free slot");
        assert_eq!(pool.writable(index).len(), 16);
        assert_eq!(SlotIndex::from_id(index.get()), index);
        pool.put_back(index);
        assert_eq!(pool.free(), 1);
        assert_eq!(pool.slot_bytes(), 16);
    }

    #[test]
    #[should_panic(expected = "is not being written to")]
    fn lending_twice_is_a_bug() {
        let mut pool = SlotPool::new(1, 16);
        let index = pool.take().expect("a free slot");
        let _first = pool.lend(index, 0);
        let _second = pool.lend(index, 0);
    }
}
