//! Provided-buffer rings (io_uring_register_buf_ring(3)): the kernel takes a receive slot when bytes are there, so
//! that an idle connection holds none.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::BytesMut;
use io_uring::types::BufRingEntry;

use super::ring::Ring;
use crate::buf::{SlotIndex, SlotPool};
use crate::driver::SlotUse;

/// Lent slots looked at in a turn when the ring is low: 1024 is a few microseconds, once.
const LOOKS_WHEN_LOW: usize = 1024;
/// Lent slots looked at in a turn at least, so that what the caller drops in quiet times is noticed.
const LOOKS_MIN: usize = 16;

/// A slot pool whose free slots are all in the hands of the kernel.
///
/// The kernel writes into a slot at any time between [`Self::replenish`] and the completion that names it. It must
/// therefore not be dropped before the ring has no receive in flight.
#[derive(Debug)]
pub(super) struct Provided {
    pool: SlotPool,
    entries: Entries,
    group: u16,
    /// Entries ever added, as the kernel counts them: modulo 2^16.
    tail: u16,
    /// Slots in the kernel's hands.
    inside: usize,
    /// Slots lent since the last [`Self::replenish`].
    lent: usize,
}

impl Provided {
    /// Registers a ring of `count` slots of `slot_bytes` under the group id and fills it.
    pub(super) fn register(ring: &Ring, group: u16, count: usize, slot_bytes: usize) -> io::Result<Self> {
        let entries = Entries::map(count.next_power_of_two())?;
        let pool = SlotPool::new(count, slot_bytes);
        let mut provided = Self { pool, entries, group, tail: 0, inside: 0, lent: 0 };
        let address = provided.entries.base.as_ptr() as u64;
        let length = provided.entries.length;
        // SAFETY: the mapping has room for `length` entries and stays until this value is dropped, which is after
        // the ring was closed, or after the failed start below it.
        unsafe { ring.get().submitter().register_buf_ring_with_flags(address, length, group, 0)? };
        provided.replenish();
        Ok(provided)
    }

    /// The id for `buf_group` of a receive.
    pub(super) const fn group(&self) -> u16 {
        self.group
    }

    pub(super) fn usage(&self) -> SlotUse {
        self.pool.usage()
    }

    /// Puts slots that the caller has dropped back into the ring. Bounded work; more when few are left.
    pub(super) fn replenish(&mut self) {
        let low = self.inside * 4 < self.pool.usage().total;
        let looks = if low { LOOKS_WHEN_LOW } else { LOOKS_MIN.max(2 * self.lent) };
        self.lent = 0;
        self.pool.reclaim(looks);
        if self.pool.free() == 0 {
            return;
        }
        let length = u32::try_from(self.pool.slot_bytes()).expect("a slot is a few pages");
        while let Some(index) = self.pool.take() {
            let address = self.pool.writable(index).as_mut_ptr() as u64;
            self.entries.set(self.tail, address, length, index.get());
            self.tail = self.tail.wrapping_add(1);
            self.inside += 1;
        }
        self.entries.publish(self.tail);
    }

    /// A receive has filled the slot with this id: a completion named it, so the kernel has given it up. (The pool
    /// checks that the slot was there to be written to.)
    pub(super) fn lend(&mut self, id: u16, filled: usize) -> BytesMut {
        self.inside -= 1;
        self.lent += 1;
        self.pool.lend(SlotIndex::from_id(id), filled)
    }

    /// A receive took the slot with this id and left it empty (end of stream, or an error).
    pub(super) fn return_unused(&mut self, id: u16) {
        self.inside -= 1;
        self.pool.put_back(SlotIndex::from_id(id));
    }
}

/// The ring's memory: an array of `struct io_uring_buf`, shared with the kernel, which reads entries up to the tail.
/// The tail lies in a reserved field of the first entry.
#[derive(Debug)]
struct Entries {
    base: NonNull<BufRingEntry>,
    /// A power of two.
    length: u16,
}

impl Entries {
    fn map(length: usize) -> io::Result<Self> {
        let bytes = length * size_of::<BufRingEntry>();
        let length = u16::try_from(length).expect("at most 2^15 entries");
        // A mapping, because the kernel wants it to start on a page.
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).expect("a mapping is not at address zero");
        Ok(Self { base, length })
    }

    fn set(&mut self, position: u16, address: u64, length: u32, id: u16) {
        let index = usize::from(position & (self.length - 1));
        // SAFETY: `index` is below `self.length`, which the mapping was made for.
        let entry = unsafe { self.base.add(index) }.as_ptr();
        // SAFETY: aligned and inside the mapping, which started as zeroes, a valid entry. The kernel only reads
        // entries, and not this one before `publish`; the setters leave the tail in the first entry alone.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(length);
        entry.set_bid(id);
    }

    fn publish(&mut self, tail: u16) {
        // SAFETY: `base` is the first entry of the ring.
        let field = unsafe { BufRingEntry::tail(self.base.as_ptr()) };
        // SAFETY: the field is two bytes long and aligned, lives as long as the mapping, and is only accessed
        // through atomics by us and by the kernel.
        let field = unsafe { AtomicU16::from_ptr(field.cast_mut()) };
        // Release: the entries are written before the kernel can see that they count.
        field.store(tail, Ordering::Release);
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        let bytes = usize::from(self.length) * size_of::<BufRingEntry>();
        // SAFETY: exactly the mapping of `map`, unmapped once.
        unsafe { libc::munmap(self.base.as_ptr().cast(), bytes) };
    }
}
