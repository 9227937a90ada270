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

/// Slots that a ring starts with.
const TARGET_MIN: usize = 16;
/// Turns after which a ring that was filled for a burst is filled less again.
const WINDOW_TURNS: u32 = 256;

/// A slot pool of which some slots are in the hands of the kernel: as many as a few turns have lately used.
///
/// The kernel takes slots in turn. Were all of them in the ring, each receive would go to the memory that was used
/// longest ago, and out of the processor's cache; the pool gives out the one used last.
///
/// The kernel writes into a slot at any time between [`Self::fill`] and the completion that names it. It must
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
    /// How many of them there are to be.
    target: usize,
    /// Slots lent since the last [`Self::replenish`].
    lent: usize,
    /// The most of [`Self::lent`] in this window, and the turns that are left of it.
    peak: usize,
    window_turns: u32,
}

impl Provided {
    /// Registers a ring of `count` slots of `slot_bytes` under the group id and fills it.
    pub(super) fn register(ring: &Ring, group: u16, count: usize, slot_bytes: usize) -> io::Result<Self> {
        let entries = Entries::map(count.next_power_of_two())?;
        let pool = SlotPool::new(count, slot_bytes);
        let mut provided = Self {
            pool,
            entries,
            group,
            tail: 0,
            inside: 0,
            target: TARGET_MIN.min(count),
            lent: 0,
            peak: 0,
            window_turns: WINDOW_TURNS,
        };
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

    /// Once per turn: notices what the caller has dropped and fills the ring. Bounded work; more when few slots are
    /// left.
    pub(super) fn replenish(&mut self) {
        let low = self.pool.free() == 0 && self.inside * 4 < self.target;
        let looks = if low { LOOKS_WHEN_LOW } else { LOOKS_MIN.max(2 * self.lent) };
        self.adapt();
        self.pool.reclaim(looks);
        self.fill();
    }

    /// A receive has found the ring empty. Whether there is a slot for it now; if not, every one is held.
    pub(super) fn refill(&mut self) -> bool {
        self.target = (2 * self.target).min(self.pool.usage().total);
        if self.pool.free() == 0 {
            self.pool.reclaim(LOOKS_WHEN_LOW);
        }
        self.fill();
        self.inside > 0
    }

    /// Four turns' worth of slots: at once when they become too few, and after a while when they are too many.
    fn adapt(&mut self) {
        let total = self.pool.usage().total;
        self.peak = self.peak.max(self.lent);
        if 4 * self.lent > self.target {
            self.target = (4 * self.lent).min(total);
        }
        self.lent = 0;
        self.window_turns -= 1;
        if self.window_turns == 0 {
            self.target = (4 * self.peak).max(TARGET_MIN).min(total);
            self.peak = 0;
            self.window_turns = WINDOW_TURNS;
        }
    }

    fn fill(&mut self) {
        let before = self.tail;
        let length = u32::try_from(self.pool.slot_bytes()).expect("a slot is a few pages");
        while self.inside < self.target {
            let Some(index) = self.pool.take() else { break };
            let address = self.pool.writable(index).as_mut_ptr() as u64;
            self.entries.set(self.tail, address, length, index.get());
            self.tail = self.tail.wrapping_add(1);
            self.inside += 1;
        }
        if self.tail != before {
            self.entries.publish(self.tail);
        }
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
