//! What a thread holds on the heap: an allocator that counts, for tests that bound memory.
//!
//! A test binary names it as its `#[global_allocator]` and asks [`held_bytes`] before and after. It counts per thread,
//! so tests that run beside each other do not disturb each other; memory freed by another thread than the one that
//! allocated it is counted wrongly, so it is for code that stays on its thread. What C code allocates is not seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD_BYTES: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting.
#[derive(Debug)]
pub struct Counting;

/// Bytes that this thread has allocated and not freed; negative where it freed what others had allocated.
#[must_use]
pub fn held_bytes() -> isize {
    HELD_BYTES.try_with(Cell::get).unwrap_or(0)
}

fn count(bytes: isize) {
    // At the end of a thread its counter may be gone before its last memory is.
    let _ = HELD_BYTES.try_with(|held| held.set(held.get().wrapping_add(bytes)));
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

// SAFETY: every call goes to the system's allocator with the arguments it came with, and its answer goes back
// unchanged. Counting touches a thread-local cell without a destructor, which neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller keeps to the contract of `GlobalAlloc::alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: as above, for `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the pointer came from `System` by one of the other methods, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(signed(new_size) - signed(layout.size()));
        // SAFETY: the pointer came from `System` with this layout; the caller vouches for the new size.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
