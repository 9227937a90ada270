//! A small cover over the ring: set up, push, enter, take completions.
//!
//! It does not know what an operation is and keeps no memory alive: that is the in-flight table's.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

use crate::select::DriverConfig;

pub(super) struct Ring {
    ring: IoUring,
    /// Entries that found the submission queue full. Bounded: each belongs to an operation in the table, is one
    /// of the few private ones, or cancels or closes one of a bounded number of sockets.
    backlog: VecDeque<squeue::Entry>,
    /// io_uring_enter(2) calls made.
    enters: u64,
}

impl Ring {
    /// Sets a ring up for the calling thread, which alone may use it from then on (`IORING_SETUP_SINGLE_ISSUER`).
    pub(super) fn open(config: &DriverConfig) -> io::Result<Self> {
        let entries = |count: usize| u32::try_from(count).expect("queues have at most 65,536 entries");
        let ring = IoUring::builder()
            .setup_single_issuer()
            // Completion work runs when this thread asks for it, all at once, and never interrupts it.
            .setup_defer_taskrun()
            // One bad entry must not keep the ones behind it from being submitted.
            .setup_submit_all()
            .setup_cqsize(entries(config.completion_entries()))
            // A child process has no business with this memory.
            .dontfork()
            .build(entries(config.submission_entries()))?;
        Ok(Self { ring, backlog: VecDeque::new(), enters: 0 })
    }

    pub(super) const fn get(&self) -> &IoUring {
        &self.ring
    }

    /// Queues an entry. It is handed to the kernel with the next [`Self::enter`], or at once when the queue is
    /// full.
    ///
    /// # Safety
    /// All memory that the entry points to stays valid, at its address, until the entry's last completion; and
    /// descriptors in it stay open until it was submitted.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() && self.ring.submission().is_full() {
            // An error is met again, and reported, in the next turn.
            let _ = self.enter(Some(Duration::ZERO));
        }
        if self.backlog.is_empty() {
            // SAFETY: the caller's promise.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    /// One io_uring_enter(2): hands over what is queued, runs the completion work, and waits for a completion
    /// until `timeout` has passed (`None`: for ever; zero: does not wait).
    ///
    /// `IORING_ENTER_GETEVENTS` is always set: without it the kernel runs no deferred work, and a loop that only
    /// submits would never see a completion.
    pub(super) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.drain_backlog();
        self.enters += 1;
        let timespec = timeout.map(Timespec::from).unwrap_or_default();
        let args = SubmitArgs::new();
        let args = if timeout.is_some() { args.timespec(&timespec) } else { args };
        let want = u32::from(timeout != Some(Duration::ZERO));
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        let queued = u32::try_from(self.ring.submission().len()).expect("the queue is short");
        // SAFETY: with IORING_ENTER_EXT_ARG the argument is a struct io_uring_getevents_arg, which `SubmitArgs`
        // is by representation, and the timespec in it lives across the call. `queued` entries are in the queue,
        // each pushed under the promise of `push`.
        let result = unsafe { self.ring.submitter().enter(queued, want, flags.bits(), Some(&args)) };
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // The time is over; a signal came; completions must be taken first; memory is short right now.
                // What was not submitted stays queued for the next time.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn drain_backlog(&mut self) {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: the promise made to `push` when it went into the backlog.
            if unsafe { queue.push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Whether no completion is waiting to be taken.
    pub(super) fn is_drained(&mut self) -> bool {
        self.ring.completion().is_empty()
    }

    /// Takes one completion.
    pub(super) fn next(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// Whether the kernel keeps completions back because the queue is full (`IORING_SQ_CQ_OVERFLOW`).
    pub(super) fn is_overflown(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    /// io_uring_enter(2) calls since the last time.
    pub(super) const fn take_enters(&mut self) -> u64 {
        std::mem::replace(&mut self.enters, 0)
    }
}
