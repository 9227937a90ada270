//! Carriers: connections over TCP that carry tunnels where QUIC does not. Their socket and its TLS are an entry of the
//! tunnel table; what the bytes mean is the [`Carrier`]'s, and what follows from it is what follows from QUIC's events.
//!
//! Deliberately absent: who listens and who dials (`agents_tcp`, `connector`), and what the peer speaks.

use std::net::SocketAddr;

use adit_io::{Close, DatagramDriver};

use super::Shard;
use super::links::{carrier_of_conn, conn_of_carrier};
use super::session::Session;
use super::tunnel::Phase;
use crate::carrier::{Carrier, CarrierEvent};
use crate::config::Role;
use crate::quic::{ConnId, Fault, LostKind, LostReason, StreamId};
use crate::stream::table::Key;
use crate::stream::tls::AgentProtocol;

/// A carrier and its connection.
#[derive(Debug)]
pub(crate) struct CarrierLink {
    pub(crate) carrier: Box<dyn Carrier>,
    /// The other end of its TCP connection.
    pub(crate) remote: SocketAddr,
    /// What its ends agreed to speak.
    pub(crate) protocol: AgentProtocol,
}

impl<D: DatagramDriver> Shard<D> {
    /// The bytes on this entry's socket are this carrier's from now on.
    pub(super) fn begin_carrier(
        &mut self,
        key: Key,
        carrier: Box<dyn Carrier>,
        remote: SocketAddr,
        protocol: AgentProtocol,
    ) {
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        entry.phase = Phase::Carrier(CarrierLink { carrier, remote, protocol });
        entry.deadline = None;
        self.stats.carriers_open += 1;
        self.queue(key);
    }

    fn carrier_link(&mut self, key: Key) -> Option<&mut CarrierLink> {
        match &mut self.tunnels.get_mut(key)?.phase {
            Phase::Carrier(link) => Some(link),
            _ => None,
        }
    }

    /// Hears what the peer says, and hands what is to be said to the socket's half.
    pub(super) fn pump_carrier(&mut self, key: Key) {
        self.hear_carrier(key);
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        let Phase::Carrier(link) = &mut entry.phase else { return };
        if let Some(mut batch) = entry.egress.want_read() {
            let pieces = batch.len();
            link.carrier.take_output_into(&mut batch);
            if batch.len() > pieces {
                // Room in the output may be what streams wait for.
                self.queue(key);
            }
            let Some(entry) = self.tunnels.get_mut(key) else { return };
            entry.egress.on_read(batch);
        }
        if let Some(at) = self.carrier_link(key).and_then(|link| link.carrier.deadline()) {
            self.wake_by(key, at);
        }
        self.pump_send(key);
        self.pump_receive(key);
    }

    fn hear_carrier(&mut self, key: Key) {
        loop {
            let now = self.now;
            let Some(entry) = self.tunnels.get_mut(key) else { return };
            let Phase::Carrier(link) = &mut entry.phase else { return };
            if let Some(event) = link.carrier.poll_event(now) {
                self.on_carrier_event(key, event);
            } else if link.carrier.wants_input()
                && let Some(piece) = entry.ingress.take_piece()
            {
                link.carrier.receive(now, piece);
            } else {
                return;
            }
        }
    }

    fn on_carrier_event(&mut self, key: Key, event: CarrierEvent) {
        let conn = conn_of_carrier(key);
        match event {
            CarrierEvent::Connected => {
                self.sessions.entry(conn).or_insert_with(|| Session::new(0));
                self.on_session_connected(conn);
            }
            CarrierEvent::Presented(hello) => {
                self.sessions.insert(conn, Session::new(0));
                self.present(conn, hello);
            }
            CarrierEvent::Welcomed(welcome) => self.on_welcome(conn, *welcome),
            CarrierEvent::Opened(stream) => self.on_opened(conn, stream),
            CarrierEvent::Readable(stream) => self.on_readable(conn, stream),
            CarrierEvent::Writable(stream) => self.on_writable(conn, stream),
            CarrierEvent::Stopped(stream, _) => {
                self.on_stream_settled(conn, stream);
                self.on_stopped(conn, stream);
            }
            CarrierEvent::Finished(stream) => self.on_stream_settled(conn, stream),
            CarrierEvent::StreamsAvailable => self.on_streams_available(conn),
            CarrierEvent::Draining => {
                if let Some(session) = self.sessions.get_mut(&conn) {
                    session.on_drain();
                }
                self.on_link_draining(conn);
            }
            CarrierEvent::ReaderStopped(_) => self.stats.readers_cut_off += 1,
            CarrierEvent::Lost(reason) => self.on_carrier_lost(key, &reason),
        }
    }

    /// The peer opened a stream.
    pub(super) fn on_opened(&mut self, conn: ConnId, stream: StreamId) {
        match self.config.role {
            Role::Server(_) => self.on_control_stream(conn, stream),
            Role::Agent(_) => self.on_dial_stream(conn, stream),
        }
    }

    /// The carrier's connection is over: what waits goes out, with the end behind it.
    fn on_carrier_lost(&mut self, key: Key, reason: &LostReason) {
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        let Phase::Carrier(mut link) = std::mem::replace(&mut entry.phase, Phase::Lingering) else { return };
        self.stats.carriers_open -= 1;
        let output = link.carrier.take_output();
        self.lost(conn_of_carrier(key), Some(link.remote), reason);
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        entry.egress.push(output);
        entry.egress.on_stream_end();
        self.linger(key);
    }

    /// The socket below a carrier has ended or broken, or is to be closed.
    pub(super) fn leave_carrier(&mut self, key: Key, reason: LostReason) {
        let now = self.now;
        let Some(link) = self.carrier_link(key) else { return };
        link.carrier.on_transport_end(now, reason);
        self.hear_carrier(key);
        debug_assert!(self.carrier_link(key).is_none(), "a carrier without a socket is lost");
    }

    /// The peer of a carrier closed its connection. What it said before is heard first.
    pub(super) fn on_carrier_socket_end(&mut self, key: Key) {
        self.hear_carrier(key);
        let text = "the peer closed the TCP connection";
        self.leave_carrier(key, LostReason::new(LostKind::ClosedByPeer(None), Fault::Peer, true, text));
        self.close_tunnel(key, Close::Graceful, None);
    }

    pub(super) fn on_carrier_timer(&mut self, key: Key) {
        let now = self.now;
        if let Some(link) = self.carrier_link(key) {
            link.carrier.on_time(now);
            self.queue(key);
        }
    }

    /// Where a connection's peer is.
    pub(super) fn remote_of(&self, conn: ConnId) -> Option<SocketAddr> {
        let Some(key) = carrier_of_conn(conn) else {
            return self.quic.path(conn).map(|path| path.remote);
        };
        match &self.tunnels.get(key)?.phase {
            Phase::Carrier(link) => Some(link.remote),
            _ => None,
        }
    }

    /// The DER certificates that a connection's peer has proved possession of, leaf first.
    pub(super) fn certificates_of(&self, conn: ConnId) -> Vec<Vec<u8>> {
        match carrier_of_conn(conn) {
            None => self.quic.peer_certificates(conn),
            Some(key) => {
                let tls = self.tunnels.get(key).and_then(|entry| entry.tls.as_ref());
                tls.map(|tls| tls.peer_certificates()).unwrap_or_default()
            }
        }
    }
}

/// Why a connection over TCP is over when its socket fails.
pub(super) fn socket_failed() -> LostReason {
    LostReason::new(LostKind::Reset, Fault::Network, true, "the TCP connection was reset or failed")
}
