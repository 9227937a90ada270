//! Streams, whatever carries them: a QUIC connection or a carrier over TCP. Sessions and tunnels do not ask which.
//!
//! A [`ConnId`] names either: those of carriers have the topmost bit of their place set, and the rest is the key of
//! their entry in the tunnel table, which has their socket.

use std::collections::VecDeque;

use adit_io::DatagramDriver;
use bytes::Bytes;

use super::Shard;
use super::tunnel::Phase;
use crate::carrier::Carrier;
use crate::limits::{CONNECTIONS_MAX, TUNNELS_MAX};
use crate::quic::{ConnId, Gone, Path, ReadState, StreamId, WriteState};
use crate::stream::table::Key;
use crate::wire::{CloseCode, ResetCode, Welcome};

const TCP: u32 = 1 << 31;

const _: () = {
    assert!(CONNECTIONS_MAX < TCP as usize);
    assert!(TUNNELS_MAX < TCP as usize);
};

/// The name of the connection whose carrier is this entry's.
pub(super) const fn conn_of_carrier(key: Key) -> ConnId {
    ConnId { index: key.index | TCP, generation: key.generation }
}

/// The entry of a connection's carrier; `None` for one over QUIC.
pub(super) const fn carrier_of_conn(conn: ConnId) -> Option<Key> {
    if conn.index & TCP == 0 {
        return None;
    }
    Some(Key { index: conn.index & !TCP, generation: conn.generation })
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

    /// See [`crate::quic::Quic::open`].
    pub(super) fn open_stream(&mut self, conn: ConnId) -> Result<Option<StreamId>, Gone> {
        match carrier_of_conn(conn) {
            None => self.quic.open(conn),
            Some(key) => self.carrier(key)?.open(),
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
        match carrier_of_conn(conn) {
            None => self.quic.read(conn, stream, max_bytes, out),
            Some(key) => self.carrier(key)?.read(now, stream, max_bytes, out),
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
        match carrier_of_conn(conn) {
            None => self.quic.write(conn, stream, chunks),
            Some(key) => self.carrier(key)?.write(now, stream, chunks),
        }
    }

    /// See [`crate::quic::Quic::finish`].
    pub(super) fn finish_stream(&mut self, conn: ConnId, stream: StreamId) -> Result<(), Gone> {
        match carrier_of_conn(conn) {
            None => self.quic.finish(conn, stream),
            Some(key) => self.carrier(key)?.finish(stream),
        }
    }

    /// Ends the sending half at once. One that is gone already is left alone.
    pub(super) fn reset_stream(&mut self, conn: ConnId, stream: StreamId, code: ResetCode) {
        let _ = match carrier_of_conn(conn) {
            None => self.quic.reset(conn, stream, code),
            Some(key) => self.carrier(key).and_then(|carrier| carrier.reset(stream, code)),
        };
    }

    /// Reads no further. A receiving half that is gone already is left alone.
    pub(super) fn stop_stream(&mut self, conn: ConnId, stream: StreamId, code: ResetCode) {
        let _ = match carrier_of_conn(conn) {
            None => self.quic.stop(conn, stream, code),
            Some(key) => self.carrier(key).and_then(|carrier| carrier.stop(stream, code)),
        };
    }

    /// See [`crate::quic::Quic::received_reset`].
    pub(super) fn received_reset(&mut self, conn: ConnId, stream: StreamId) -> bool {
        match carrier_of_conn(conn) {
            None => self.quic.received_reset(conn, stream),
            Some(key) => self.carrier(key).is_ok_and(|carrier| carrier.received_reset(stream)),
        }
    }

    /// A connection's path, where it is known what it is like: over QUIC.
    pub(super) fn quic_path(&self, conn: ConnId) -> Option<Path> {
        self.quic.path(conn)
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
        }
    }
}
