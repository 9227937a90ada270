//! Waking the driver from other threads: an eventfd(2) in the epoll set.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::driver::Wake;

/// The part that other threads hold. It outlives the driver without harm: then nobody waits.
#[derive(Debug)]
pub(super) struct WakeHandle {
    event: File,
    /// Set by the first wake, cleared by the driver before its turn returns, so that of many wakes between two
    /// turns only one enters the kernel. What the caller queued before a wake that found it set is seen after the
    /// turn that clears it.
    pending: AtomicBool,
}

impl WakeHandle {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: eventfd(2) takes two integers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { event: File::from(fd), pending: AtomicBool::new(false) })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// The driver has seen the event. The counter is not read: each write is an edge of its own, and 2^64 wakes do
    /// not come together in a process's life.
    pub(super) fn seen(&self) {
        self.pending.store(false, Ordering::SeqCst);
    }
}

impl Wake for WakeHandle {
    fn wake(&self) {
        if !self.pending.swap(true, Ordering::SeqCst) {
            let _ = (&self.event).write(&1_u64.to_ne_bytes());
        }
    }
}
