//! Streams, whatever carries them: a QUIC connection or a carrier over TCP. Sessions and tunnels do not ask which.
//!
//! A [`ConnId`] names any of them: those of carriers have the topmost bit of their place set, and the rest is the key
//! of their entry in the tunnel table, which has their socket. Those of other shards have the next bit set, and the
//! shard.

use std::collections::VecDeque;

use adit_io::DatagramDriver;
use bytes::Bytes;

use super::Shard;
use super::tunnel::Phase;
use crate::carrier::Carrier;
use crate::limits::{CONNECTIONS_MAX, SHARDS_MAX, TUNNELS_MAX};
use crate::port::{ConnectionKey, ShardId};
use crate::quic::{ConnId, Gone, ReadState, StreamId, WriteState};
use crate::stream::table::Key;
use crate::wire::{CloseCode, ResetCode, Welcome};

const TCP: u32 = ConnectionKey::OVER_TCP;
const REMOTE: u32 = 1 << 30;
const SHARD_SHIFT: u32 = 24;
const PLACE_MASK: u32 = (1 << SHARD_SHIFT) - 1;

const _: () = {
    assert!(CONNECTIONS_MAX <= PLACE_MASK as usize);
    assert!(TUNNELS_MAX <= PLACE_MASK as usize);
    assert!(SHARDS_MAX <= 1 << (30 - SHARD_SHIFT));
};

/// The name of the connection whose carrier is this entry's.
pub(super) const fn conn_of_carrier(key: Key) -> ConnId {
    ConnId { index: key.index | TCP, generation: key.generation }
}

/// The entry of a connection's carrier; `None` for one over QUIC.
pub(super) const fn carrier_of_conn(conn: ConnId) -> Option<Key> {
    if conn.index & TCP == 0 || conn.index & REMOTE != 0 {
        return None;
    }
    Some(Key { index: conn.index & !TCP, generation: conn.generation })
}

/// The name that another shard's connection has here.
pub(super) const fn conn_of_remote(key: ConnectionKey) -> ConnId {
    let shard = (key.shard.0 as u32) << SHARD_SHIFT;
    ConnId { index: key.index | REMOTE | shard, generation: key.generation }
}

/// The connection of another shard; `None` for one of this shard's own.
pub(super) const fn remote_of_conn(conn: ConnId) -> Option<ConnectionKey> {
    if conn.index & REMOTE == 0 {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "what is left has six bits")]
    let shard = ShardId(((conn.index & !(TCP | REMOTE)) >> SHARD_SHIFT) as u8);
    let index = conn.index & (TCP | PLACE_MASK);
    Some(ConnectionKey { shard, index, generation: conn.generation })
}

/// Where a connection's streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// With this shard's QUIC endpoint.
    Quic,
    /// With this entry's carrier.
    Carrier(Key),
    /// On another shard.
    Remote,
}

impl Link {
    const fn of(conn: ConnId) -> Self {
        match (remote_of_conn(conn), carrier_of_conn(conn)) {
            (Some(_), _) => Self::Remote,
            (None, Some(key)) => Self::Carrier(key),
            (None, None) => Self::Quic,
        }
    }
}

impl<D: DatagramDriver> Shard<D> {
    /// A carrier that is about to be changed: what it has to say afterwards is looked at in this turn.
    fn carrier(&mut self, key: Key) -> Result<&mut dyn Carrier, Gone> {
        self.queue(key);
        match self.tunnels.get_mut(key).map(|entry| &mut entry.phase) {
            Some(Phase::Carrier(link)) => Ok(&mut *link.carrier),
            _ => Err(Gone),
        }
    }

    /// See [`crate::quic::Quic::open`]. Those of other shards are opened with more to say ([`Self::open_remote`]).
    pub(super) fn open_stream(&mut self, conn: ConnId) -> Result<Option<StreamId>, Gone> {
        match Link::of(conn) {
            Link::Quic => self.quic.open(conn),
            Link::Carrier(key) => self.carrier(key)?.open(),
            Link::Remote => Err(Gone),
        }
    }

    /// See [`crate::quic::Quic::read`].
    pub(super) fn read_stream(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
    ) -> Result<ReadState, Gone> {
        let now = self.now;
        match Link::of(conn) {
            Link::Quic => self.quic.read(conn, stream, max_bytes, out),
            Link::Carrier(key) => self.carrier(key)?.read(now, stream, max_bytes, out),
            Link::Remote => self.read_remote(stream, max_bytes, out),
        }
    }

    /// See [`crate::quic::Quic::write`].
    pub(super) fn write_stream(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        chunks: &mut VecDeque<Bytes>,
    ) -> Result<WriteState, Gone> {
        let now = self.now;
        match Link::of(conn) {
            Link::Quic => self.quic.write(conn, stream, chunks),
            Link::Carrier(key) => self.carrier(key)?.write(now, stream, chunks),
            Link::Remote => self.write_remote(stream, chunks),
        }
    }

    /// See [`crate::quic::Quic::finish`].
    pub(super) fn finish_stream(&mut self, conn: ConnId, stream: StreamId) -> Result<(), Gone> {
        match Link::of(conn) {
            Link::Quic => self.quic.finish(conn, stream),
            Link::Carrier(key) => self.carrier(key)?.finish(stream),
            Link::Remote => self.end_remote(stream, None),
        }
    }

    /// Ends the sending half at once. One that is gone already is left alone.
    pub(super) fn reset_stream(&mut self, conn: ConnId, stream: StreamId, code: ResetCode) {
        let _ = match Link::of(conn) {
            Link::Quic => self.quic.reset(conn, stream, code),
            Link::Carrier(key) => self.carrier(key).and_then(|carrier| carrier.reset(stream, code)),
            Link::Remote => self.end_remote(stream, Some(code)),
        };
    }

    /// Reads no further. A receiving half that is gone already is left alone.
    pub(super) fn stop_stream(&mut self, conn: ConnId, stream: StreamId, code: ResetCode) {
        let _ = match Link::of(conn) {
            Link::Quic => self.quic.stop(conn, stream, code),
            Link::Carrier(key) => self.carrier(key).and_then(|carrier| carrier.stop(stream, code)),
            Link::Remote => self.stop_remote(stream, code),
        };
    }

    /// See [`crate::quic::Quic::received_reset`].
    pub(super) fn received_reset(&mut self, conn: ConnId, stream: StreamId) -> bool {
        match Link::of(conn) {
            Link::Quic => self.quic.received_reset(conn, stream),
            Link::Carrier(key) => self.carrier(key).is_ok_and(|carrier| carrier.received_reset(stream)),
            Link::Remote => self.received_reset_of_remote(stream),
        }
    }

    /// The agent of a carrier without a control stream is accepted.
    pub(super) fn welcome_over_carrier(&mut self, conn: ConnId, welcome: &Welcome) {
        let now = self.now;
        if let Some(key) = carrier_of_conn(conn)
            && let Ok(carrier) = self.carrier(key)
        {
            carrier.welcome(now, welcome);
        }
    }

    /// This end takes nothing new: said to a peer without a control stream.
    pub(super) fn drain_carrier(&mut self, conn: ConnId) {
        let now = self.now;
        if let Some(key) = carrier_of_conn(conn)
            && let Ok(carrier) = self.carrier(key)
        {
            carrier.drain(now);
        }
    }

    /// Ends a connection; its end is still to be reported.
    pub(super) fn close_link(&mut self, conn: ConnId, code: CloseCode, reason: &str) {
        let now = self.now;
        match carrier_of_conn(conn) {
            None => self.quic.close(now, conn, code, reason),
            Some(key) => {
                if let Ok(carrier) = self.carrier(key) {
                    carrier.close(now, code, reason);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carriers_name_leads_back_to_its_entry_and_no_quic_connections_does() {
        for index in [0, 1, 65_535] {
            let key = Key { index, generation: 3 };
            assert_eq!(carrier_of_conn(conn_of_carrier(key)), Some(key));
            assert_eq!(carrier_of_conn(ConnId { index, generation: 3 }), None);
            for index in [index, conn_of_carrier(key).index] {
                let there = ConnectionKey { shard: ShardId(31), index, generation: 3 };
                let here = conn_of_remote(there);
                assert_eq!((remote_of_conn(here), carrier_of_conn(here)), (Some(there), None));
                assert_eq!(remote_of_conn(ConnId { index, generation: 3 }), None);
            }
        }
    }
}
