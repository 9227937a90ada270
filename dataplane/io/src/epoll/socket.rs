//! What the driver remembers of a socket: its readiness and the operations on it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use super::ledger::{Ledger, OpIndex, Work};
use super::poller::Ready;
use crate::net::addr::Family;
use crate::net::{OwnedSocket, SocketKind};

/// A socket of the table.
pub(super) struct Socket {
    inner: OwnedSocket,
    /// Of a UDP socket: how addresses must be written for it.
    pub(super) family: Family,
    /// Reading is worth a try. False once the kernel said that there is nothing, until the next event.
    pub(super) readable: bool,
    /// Likewise for writing.
    pub(super) writable: bool,
    /// See [`Ready::read_ended`]. Stays: such a socket is readable for ever.
    pub(super) read_ended: bool,
    /// See [`Ready::hung_up`]. Stays.
    pub(super) hung_up: bool,
    /// UDP: the error queue is worth a look.
    pub(super) errors_queued: bool,
    /// The accept or receive.
    pub(super) receiving: Option<OpIndex>,
    /// Sends and shutdowns, served in order. A connect is one, too.
    pub(super) sending: VecDeque<OpIndex>,
    /// The watch.
    pub(super) watching: Option<OpIndex>,
    /// Whether it stands in the driver's queue.
    pub(super) queued: bool,
}

impl Socket {
    /// Writable until it turns out not to be; readable once an event says so.
    pub(super) fn new(inner: OwnedSocket) -> Self {
        let family = match inner.kind() {
            SocketKind::Udp => inner.local_addr().map_or(Family::V4, |local| Family::of(&local)),
            _ => Family::V4,
        };
        Self {
            inner,
            family,
            readable: false,
            writable: true,
            read_ended: false,
            hung_up: false,
            errors_queued: false,
            receiving: None,
            sending: VecDeque::new(),
            watching: None,
            queued: false,
        }
    }

    pub(super) fn into_inner(self) -> OwnedSocket {
        self.inner
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }

    pub(super) const fn kind(&self) -> SocketKind {
        self.inner.kind()
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.inner.local_addr()
    }

    /// Remembers what an event said.
    pub(super) fn apply(&mut self, ready: Ready) {
        self.readable |= ready.readable;
        self.writable |= ready.writable;
        if self.kind() == SocketKind::Udp {
            // A pending error of a UDP socket ends nothing.
            self.errors_queued |= ready.error;
        } else {
            self.read_ended |= ready.read_ended;
            self.hung_up |= ready.hung_up;
        }
    }

    /// Whether an operation on it could get on now.
    pub(super) fn has_work(&self, ledger: &Ledger) -> bool {
        let sending = self.sending.front().is_some_and(|op| {
            // A shutdown needs no room in the send buffer.
            self.writable || matches!(ledger.work(*op), Work::ShutdownWrite)
        });
        sending
            || (self.receiving.is_some() && (self.readable || self.errors_queued))
            || (self.watching.is_some() && self.hung_up)
    }

    /// Drops an operation that was cancelled.
    pub(super) fn forget(&mut self, op: OpIndex) {
        self.receiving = self.receiving.filter(|other| *other != op);
        self.watching = self.watching.filter(|other| *other != op);
        self.sending.retain(|other| *other != op);
    }

    /// Takes all operations, the oldest of each direction first.
    pub(super) fn take_operations(&mut self) -> Vec<OpIndex> {
        self.receiving.take().into_iter().chain(self.sending.drain(..)).chain(self.watching.take()).collect()
    }
}
