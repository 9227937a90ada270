//! The dials and connections of one stream.
//!
//! Connections are numbered from 1 in the order in which they were established, so that "was" and "never was" are told
//! apart without remembering what was (section 2.2; the numbers are those of the stream, section 0.11).

use std::collections::BTreeMap;

use crate::limits::GRPC_DIALS_PER_STREAM_MAX;

use super::super::pieces::Pieces;
use super::outcome::DialKey;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Bytes flow.
    Open,
    /// The client wants it closed, and bytes that it sent before wait to be taken.
    Flushing,
    /// The caller was told to close it.
    Closing,
}

/// An established connection.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) phase: Phase,
    /// What the client sent and the tunnel has not taken.
    pub(super) unread: Pieces,
}

/// Dials under way and connections.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The client's number for each dial.
    pending: BTreeMap<DialKey, i64>,
    tunnels: BTreeMap<i64, Tunnel>,
    last_key: u64,
    last_connect_id: i64,
    /// Bytes in all `unread`.
    unread_bytes: usize,
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.tunnels.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.pending.len() + self.tunnels.len() >= GRPC_DIALS_PER_STREAM_MAX
    }

    pub(super) const fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }

    /// The dial under way that the client knows by this number.
    pub(super) fn dial_of(&self, random: i64) -> Option<DialKey> {
        self.pending.iter().find(|(_, known)| **known == random).map(|(key, _)| *key)
    }

    pub(super) fn begin_dial(&mut self, random: i64) -> DialKey {
        self.last_key += 1;
        let key = DialKey(self.last_key);
        self.pending.insert(key, random);
        key
    }

    /// Ends a dial, and gives back the client's number for it.
    pub(super) fn end_dial(&mut self, key: DialKey) -> Option<i64> {
        self.pending.remove(&key)
    }

    pub(super) fn take_dials(&mut self) -> impl Iterator<Item = DialKey> + use<> {
        std::mem::take(&mut self.pending).into_keys()
    }

    pub(super) fn establish(&mut self) -> i64 {
        self.last_connect_id += 1;
        self.tunnels.insert(self.last_connect_id, Tunnel { phase: Phase::Open, unread: Pieces::default() });
        self.last_connect_id
    }

    /// Whether a connection of this number was ever established.
    pub(super) const fn was_established(&self, connect_id: i64) -> bool {
        connect_id >= 1 && connect_id <= self.last_connect_id
    }

    pub(super) fn phase(&self, connect_id: i64) -> Option<Phase> {
        self.tunnels.get(&connect_id).map(|tunnel| tunnel.phase)
    }

    pub(super) fn set_phase(&mut self, connect_id: i64, phase: Phase) {
        if let Some(tunnel) = self.tunnels.get_mut(&connect_id) {
            tunnel.phase = phase;
        }
    }

    pub(super) fn connect_ids(&self) -> Vec<i64> {
        self.tunnels.keys().copied().collect()
    }

    /// Keeps bytes for a connection; whether there is one.
    pub(super) fn push_unread(&mut self, connect_id: i64, data: bytes::Bytes) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(&connect_id) else { return false };
        self.unread_bytes += data.len();
        tunnel.unread.push(data);
        true
    }

    /// The first bytes that wait for a connection, and whether they were the last.
    pub(super) fn pop_unread(&mut self, connect_id: i64) -> Option<(bytes::Bytes, bool)> {
        let tunnel = self.tunnels.get_mut(&connect_id)?;
        let piece = tunnel.unread.pop()?;
        self.unread_bytes -= piece.len();
        Some((piece, tunnel.unread.is_empty()))
    }

    /// Whether nothing waits for a connection.
    pub(super) fn has_taken_all(&self, connect_id: i64) -> bool {
        self.tunnels.get(&connect_id).is_none_or(|tunnel| tunnel.unread.is_empty())
    }

    /// Forgets a connection and what waits for it; its phase, if there was one.
    pub(super) fn remove(&mut self, connect_id: i64) -> Option<Phase> {
        let tunnel = self.tunnels.remove(&connect_id)?;
        self.unread_bytes -= tunnel.unread.len();
        Some(tunnel.phase)
    }
}
