//! Waking the ring from other threads: an eventfd(2) that the ring reads from.
//!
//! One read is always outstanding. Wakes coalesce: after the first, a flag keeps the others from entering the
//! kernel, until the driver has seen it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use io_uring::{opcode, squeue, types};

use super::key::Key;
use super::message::Stable;
use crate::driver::Wake;

/// The part that other threads hold. It outlives the driver without harm: then nobody reads.
#[derive(Debug)]
pub(super) struct WakeHandle {
    event: File,
    /// Set by the first wake, cleared by the driver before its turn returns: what was queued before a wake that
    /// found it set is seen after that turn.
    pending: AtomicBool,
}

impl Wake for WakeHandle {
    fn wake(&self) {
        if !self.pending.swap(true, Ordering::SeqCst) {
            // Cannot block or fail: the counter is read to zero between two writes.
            let _ = (&self.event).write(&1_u64.to_ne_bytes());
        }
    }
}

/// The part of the driver.
#[derive(Debug)]
pub(super) struct WakeSource {
    handle: Arc<WakeHandle>,
    /// Where the kernel writes the counter.
    counter: Stable<[u8; 8]>,
    /// Whether the read is outstanding.
    pub(super) armed: bool,
}

impl WakeSource {
    pub(super) fn new() -> io::Result<Self> {
        // Not EFD_NONBLOCK: io_uring would then complete the read with EAGAIN instead of waiting.
        // SAFETY: eventfd(2) takes two integers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let handle = WakeHandle { event: File::from(fd), pending: AtomicBool::new(false) };
        Ok(Self { handle: Arc::new(handle), counter: Stable::new([0; 8]), armed: false })
    }

    pub(super) fn handle(&self) -> Arc<WakeHandle> {
        Arc::clone(&self.handle)
    }

    /// The read. It points to [`Self::counter`], which must stay until it has completed.
    pub(super) fn entry(&self) -> squeue::Entry {
        opcode::Read::new(types::Fd(self.handle.event.as_raw_fd()), self.counter.as_ptr().cast(), 8)
            .build()
            .user_data(Key::Wake.encode())
    }

    /// The read has completed.
    pub(super) fn completed(&mut self) {
        self.armed = false;
        self.handle.pending.store(false, Ordering::SeqCst);
    }

    /// Gives the counter up without freeing it: the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::replace(&mut self.counter, Stable::new([0; 8])));
    }
}
