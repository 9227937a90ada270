//! Connections of one stream whose reader is behind.
//!
//! The old protocol has no credit for one connection: while one of them holds more than its target, the peer gets no
//! credit at all, and every other connection waits. So each reader is watched: whoever takes nothing for long is due to
//! be closed. Deliberately absent: the bytes themselves.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::limits::{INGRESS_PENDING_BYTES_TARGET, STOPPED_AFTER};

/// Which connections hold more than [`INGRESS_PENDING_BYTES_TARGET`], and since when nothing was taken of each.
#[derive(Debug, Default)]
pub(super) struct Readers {
    behind: BTreeMap<i64, Instant>,
}

impl Readers {
    /// Something came for a connection, of which so much waits now.
    pub(super) fn on_pushed(&mut self, now: Instant, connect_id: i64, unread_bytes: usize) {
        if unread_bytes > INGRESS_PENDING_BYTES_TARGET {
            self.behind.entry(connect_id).or_insert(now);
        }
    }

    /// Something was taken of a connection, of which so much still waits.
    pub(super) fn on_taken(&mut self, now: Instant, connect_id: i64, unread_bytes: usize) {
        if unread_bytes > INGRESS_PENDING_BYTES_TARGET {
            self.behind.insert(connect_id, now);
        } else {
            self.behind.remove(&connect_id);
        }
    }

    /// Nothing of a connection waits any more.
    pub(super) fn forget(&mut self, connect_id: i64) {
        self.behind.remove(&connect_id);
    }

    /// Nobody waits for a reader any more.
    pub(super) fn clear(&mut self) {
        self.behind.clear();
    }

    /// Whether the peer has to wait for one of them.
    pub(super) fn are_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// When the first of them has taken nothing for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.behind.values().min().map(|since| *since + STOPPED_AFTER)
    }

    /// Those that have taken nothing for too long.
    pub(super) fn due(&self, now: Instant) -> Vec<i64> {
        let is_due = |since: &Instant| now.duration_since(*since) >= STOPPED_AFTER;
        self.behind.iter().filter(|(_, since)| is_due(since)).map(|(id, _)| *id).collect()
    }
}
