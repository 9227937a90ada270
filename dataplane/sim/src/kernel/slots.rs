//! Receive slots: a fixed number of buffers that are lent out as `BytesMut` and come back when every part of the
//! lent bytes was dropped. A slot that came back is poisoned, so that bytes read too late are recognised.

use adit_io::SlotUse;
use bytes::BytesMut;

/// What released memory is filled with.
pub(crate) const POISON: u8 = 0xdb;

#[derive(Debug)]
struct Slot {
    /// The kept tail: the whole buffer while the slot is free.
    tail: BytesMut,
    lent_bytes: usize,
    free: bool,
}

/// Slots of one size.
#[derive(Debug)]
pub(crate) struct SlotPool {
    slots: Vec<Slot>,
    slot_bytes: usize,
    next: usize,
}

impl SlotPool {
    pub(crate) fn new(count: usize, slot_bytes: usize) -> Self {
        let slots = (0..count).map(|_| Slot { tail: BytesMut::new(), lent_bytes: 0, free: true }).collect();
        Self { slots, slot_bytes, next: 0 }
    }

    /// A free slot, filled by `fill`, which must not write more than the slot holds; `None` when all are held.
    pub(crate) fn take(&mut self, fill: impl FnOnce(&mut BytesMut)) -> Option<BytesMut> {
        let count = self.slots.len();
        let first = self.next;
        let chosen = (0..count).map(|step| (first + step) % count).find(|index| self.reclaim(*index))?;
        self.next = (chosen + 1) % count;
        let slot = &mut self.slots[chosen];
        if slot.tail.capacity() < self.slot_bytes {
            slot.tail = BytesMut::with_capacity(self.slot_bytes);
        }
        fill(&mut slot.tail);
        assert!(slot.tail.len() <= self.slot_bytes, "a receive overran its slot");
        slot.lent_bytes = slot.tail.len();
        slot.free = slot.lent_bytes == 0;
        Some(slot.tail.split())
    }

    pub(crate) const fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    pub(crate) fn usage(&mut self) -> SlotUse {
        let total = self.slots.len();
        let held = (0..total).filter(|index| !self.reclaim(*index)).count();
        SlotUse { total, held }
    }

    /// Whether the slot is free, taking it back if everything lent was dropped meanwhile.
    fn reclaim(&mut self, index: usize) -> bool {
        let slot = &mut self.slots[index];
        if !slot.free && slot.tail.try_reclaim(self.slot_bytes) {
            slot.free = true;
            slot.tail.resize(slot.lent_bytes, POISON);
            slot.tail.clear();
        }
        slot.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_comes_back_when_its_last_part_is_dropped() {
        let mut pool = SlotPool::new(1, 64);
        let mut bytes = pool.take(|slot| slot.extend_from_slice(b"head and body")).expect("free");
        assert_eq!(pool.usage(), SlotUse { total: 1, held: 1 });
        let head = bytes.split_to(4).freeze();
        drop(bytes);
        assert!(pool.take(|_| {}).is_none());
        drop(head);
        assert_eq!(pool.usage().held, 0);
        assert!(pool.take(|slot| slot.extend_from_slice(&[1; 64])).is_some());
    }
}
