//! Who is due: connections with something to send, with something to report, with a deadline, at an address.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use super::connection::Conn;
use super::event::ConnId;

/// Queues of connections; each is in a queue at most once, so none grows beyond the table. Names that have become
/// stale are skipped when they come up.
#[derive(Default)]
pub(super) struct Queues {
    /// May have something to send, in the order of their turns.
    pub(super) dirty: VecDeque<ConnId>,
    /// Trains that the first of `dirty` has sent in its turn.
    pub(super) trains_of_first: usize,
    /// May have something to report.
    pub(super) eventful: VecDeque<ConnId>,
    /// Deadlines. Ordered by time, then by place, so that equal runs stay equal.
    deadlines: BTreeSet<(Instant, u32)>,
    /// Places by peer address. A tree, not a map with a cheap hash: peers choose the keys.
    remotes: BTreeSet<(SocketAddr, u32)>,
}

impl Queues {
    /// The connection may have something to send and to report.
    pub(super) fn mark(&mut self, conn: &mut Conn) {
        if !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push_back(conn.id);
        }
        if !std::mem::replace(&mut conn.eventful, true) {
            self.eventful.push_back(conn.id);
        }
    }

    /// Gives the turn to the next connection.
    pub(super) fn end_turn(&mut self) {
        self.trains_of_first = 0;
        self.dirty.rotate_left(usize::from(!self.dirty.is_empty()));
    }

    /// Puts the connection under its present deadline and address.
    pub(super) fn register(&mut self, conn: &mut Conn) {
        let deadline = conn.next_deadline();
        if deadline != conn.deadline {
            self.forget_deadline(conn);
            if let Some(at) = deadline {
                self.deadlines.insert((at, conn.id.index));
            }
            conn.deadline = deadline;
        }
        let remote = conn.inner.remote_address();
        if remote != conn.remote {
            self.remotes.remove(&(conn.remote, conn.id.index));
            conn.remote = remote;
        }
        self.remotes.insert((remote, conn.id.index));
    }

    /// Takes the connection out of everything that is not skipped by its name.
    pub(super) fn unregister(&mut self, conn: &mut Conn) {
        self.forget_deadline(conn);
        self.remotes.remove(&(conn.remote, conn.id.index));
    }

    fn forget_deadline(&mut self, conn: &mut Conn) {
        if let Some(at) = conn.deadline.take() {
            self.deadlines.remove(&(at, conn.id.index));
        }
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// Appends the places whose deadline has come.
    pub(super) fn due(&self, now: Instant, places: &mut Vec<u32>) {
        places.extend(self.deadlines.range(..=(now, u32::MAX)).map(|&(_, index)| index));
    }

    /// The places of connections to this address.
    pub(super) fn at_remote(&self, remote: SocketAddr) -> Vec<u32> {
        self.remotes.range((remote, 0)..=(remote, u32::MAX)).map(|&(_, index)| index).collect()
    }

    /// Entries that are not names: zero once every connection is gone.
    pub(super) fn registered(&self) -> usize {
        self.deadlines.len() + self.remotes.len()
    }
}
