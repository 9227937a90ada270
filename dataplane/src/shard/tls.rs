//! TLS over TCP: what it puts between a socket and what is spoken on it, whoever the peer is.
//!
//! Everything that a record can mean is [`TlsSession`]'s; here is what the shard does about it. Payload is counted and
//! charged as on a plain socket: what encryption adds is nobody's.

use std::sync::Arc;

use adit_io::{Close, DatagramDriver, Op, PeerAddr, SocketId};
use bytes::{Bytes, BytesMut};
use rustls::ServerConfig;

use super::Shard;
use super::token::Purpose;
use super::tunnel::{Phase, TlsPeer, Tunnel};
use crate::limits::CONNECT_HEAD_TIME_MAX;
use crate::port::{DialOutcome, Event};
use crate::quic::{Fault, LostKind, LostReason};
use crate::stream::table::Key;
use crate::stream::tls::{TlsFailure, TlsSession};
use crate::wire::ResetCode;

/// What all who connect over TLS for one purpose share.
#[derive(Debug)]
pub(super) struct TlsAccept {
    config: Option<Arc<ServerConfig>>,
    /// Those whose handshake is not complete.
    handshakes: usize,
    handshakes_max: usize,
}

impl TlsAccept {
    /// Nobody is accepted yet.
    pub(super) const fn new(handshakes_max: usize) -> Self {
        Self { config: None, handshakes: 0, handshakes_max }
    }

    /// The configuration from now on.
    pub(super) fn publish(&mut self, config: Arc<ServerConfig>) {
        self.config = Some(config);
    }

    /// A session for somebody new; `None` when there are too many handshakes, or nothing to do one with.
    pub(super) fn session(&self, peer: &PeerAddr) -> Option<Box<TlsSession>> {
        if self.handshakes >= self.handshakes_max {
            return None;
        }
        let remote = match peer {
            PeerAddr::Inet(address) => Some(*address),
            PeerAddr::Unix => None,
        };
        let session = TlsSession::accept(Arc::clone(self.config.as_ref()?), remote).ok()?;
        Some(Box::new(session))
    }

    /// A handshake has begun.
    pub(super) const fn begin(&mut self) {
        self.handshakes += 1;
    }

    fn end(&mut self) {
        self.handshakes -= 1;
    }
}

impl<D: DatagramDriver> Shard<D> {
    pub(super) fn on_tls_frontend(&mut self, socket: SocketId, peer: &PeerAddr) {
        let Some(session) = self.frontend_tls.session(peer) else {
            self.stats.frontends_refused += 1;
            return self.driver.close(socket, Close::Reset);
        };
        let before = self.tunnels.len();
        self.on_frontend(socket, peer, Some(session));
        if self.tunnels.len() > before {
            self.frontend_tls.begin();
        }
    }

    /// A tunnel was removed.
    pub(super) fn forget_tls(&mut self, tunnel: &Tunnel) {
        if tunnel.tls.as_ref().is_some_and(|tls| !tls.was_established()) {
            self.end_handshake(tunnel.tls_peer);
        }
    }

    fn end_handshake(&mut self, peer: TlsPeer) {
        match peer {
            TlsPeer::Frontend => self.frontend_tls.end(),
            TlsPeer::Agent => self.agent_tls.end(),
            TlsPeer::Server(_) => {}
        }
    }

    fn on_tls_established(&mut self, key: Key) {
        let Some(peer) = self.tunnels.get(key).map(|tunnel| tunnel.tls_peer) else { return };
        self.end_handshake(peer);
        match peer {
            TlsPeer::Frontend => {}
            TlsPeer::Agent => self.begin_agent_over_tcp(key),
            TlsPeer::Server(index) => self.begin_server_over_tcp(key, index),
        }
    }

    /// Ciphertext, or the end of TCP, from a frontend's socket.
    pub(super) fn on_tls_received(&mut self, key: Key, bytes: BytesMut) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Some(tls) = &mut tunnel.tls else { return };
        if bytes.is_empty() {
            return self.on_tls_transport_end(key);
        }
        tunnel.ingress.on_received(bytes.len());
        if matches!(tunnel.phase, Phase::Lingering) {
            // For nobody: it is read only so that closing the socket does not destroy the answer.
            return self.queue(key);
        }
        match tls.on_ciphertext(bytes) {
            Ok(received) => {
                if received.established {
                    self.on_tls_established(key);
                }
                if received.payload.is_empty() {
                    self.queue(key);
                } else {
                    self.on_socket_bytes(key, received.payload);
                }
                if received.ended {
                    self.on_socket_end(key);
                }
            }
            Err(failure) => self.on_tls_failed(key, &failure.to_string()),
        }
    }

    /// The end of TCP: in order after `close_notify`, a truncation without it (RFC 8446 section 6.1).
    fn on_tls_transport_end(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get(key) else { return };
        let Some(tls) = &tunnel.tls else { return };
        match tunnel.phase {
            Phase::Lingering => self.on_socket_end(key),
            _ if tls.has_peer_ended() => self.queue(key),
            Phase::Handshake => {
                self.give_up_handshake(key, "the peer closed the connection in the TLS handshake")
            }
            Phase::Carrier(_) => self.on_carrier_socket_end(key),
            Phase::Head(_) if tls.was_established() || !tls.has_heard() => {
                // Nothing was asked for; a load balancer that looks whether anybody listens does no more.
                self.close_tunnel(key, Close::Graceful, None);
            }
            Phase::Head(_) => {
                self.tell_of_tls_handshake_left(key, "closed");
                self.close_tunnel(key, Close::Graceful, None);
            }
            _ => {
                self.tell_of_tls_failure(key, "TCP ended without close_notify");
                self.on_receive_failed(key);
            }
        }
    }

    /// The client left before its handshake was complete, if it had begun one. Some say so by an alert, which is told
    /// of as such; others do not.
    pub(super) fn tell_of_tls_handshake_left(&mut self, key: Key, how: &str) {
        let Some(tls) = self.tunnels.get(key).and_then(|tunnel| tunnel.tls.as_ref()) else { return };
        if tls.has_heard() && !tls.was_established() && !tls.has_failed() {
            self.tell_of_tls_failure(key, &format!("the client {how} the connection during the handshake"));
        }
    }

    /// The socket has broken when both ends had said everything, and only our `close_notify` was on its way: whoever
    /// closes altogether does not wait for it, and takes it for an intrusion (RST). On a plain socket a FIN is all that
    /// would have been sent, and nothing would have come back.
    pub(super) fn needs_no_farewell(&mut self, key: Key) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return false };
        let open = matches!(tunnel.phase, Phase::Open);
        let said = tunnel.tls.as_ref().is_some_and(|tls| tls.is_closing() && tls.has_peer_ended());
        if open && said {
            tunnel.egress.on_shutdown();
            self.queue(key);
        }
        open && said
    }

    pub(super) fn on_tls_handshake_timeout(&mut self, key: Key) {
        let seconds = CONNECT_HEAD_TIME_MAX.as_secs();
        self.tell_of_tls_failure(key, &format!("the handshake did not end within {seconds} s"));
        self.close_tunnel(key, Close::Reset, None);
    }

    /// The session is over: the alert goes out, and whatever hung on the session ends.
    fn on_tls_failed(&mut self, key: Key, reason: &str) {
        self.tell_of_tls_failure(key, reason);
        let Some(tunnel) = self.tunnels.get(key) else { return };
        match tunnel.phase {
            Phase::Lingering => return,
            Phase::Broken => return self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer)),
            Phase::Dialing(_) | Phase::Moving(..) => {
                self.report_dial(key, DialOutcome::FrontendClose, reason);
                self.stats.dials_pending -= 1;
                self.detach_stream(key, ResetCode::Cancelled);
            }
            Phase::Handshake => self.leave_handshake(key, reason),
            Phase::Grpc(_) => self.leave_grpc(key),
            Phase::Carrier(_) => {
                // A TLS 1.3 server refuses an agent's certificate when the agent has long believed it was accepted.
                self.leave_carrier(key, LostReason::new(LostKind::TlsPeer, Fault::Peer, true, reason));
            }
            Phase::Open => {
                self.stats.tunnels_reset += 1;
                self.detach_stream(key, ResetCode::ResetByPeer);
            }
            _ => {}
        }
        if let Some(tunnel) = self.tunnels.get_mut(key) {
            tunnel.egress.end();
        }
        self.linger(key);
    }

    fn tell_of_tls_failure(&mut self, key: Key, reason: &str) {
        let Some(tunnel) = self.tunnels.get(key) else { return };
        let (TlsPeer::Frontend, Some(tls)) = (tunnel.tls_peer, &tunnel.tls) else { return };
        if tls.was_established() {
            self.stats.frontend_sessions_broken += 1;
        } else {
            self.stats.frontend_handshakes_failed += 1;
        }
        let event = Event::FrontendFailed {
            remote: tls.remote(),
            client: tls.client().cloned(),
            reason: reason.to_owned(),
        };
        self.mailbox.send_or_drop(event);
    }

    /// What TLS has to say itself, the batch, and the end after it → socket.
    pub(super) fn pump_tls(&mut self, key: Key) {
        if let Err(failure) = self.seal(key) {
            self.on_tls_failed(key, &failure.to_string());
        }
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let (Some(socket), Some(tls)) = (tunnel.socket, &mut tunnel.tls) else { return };
        if let Some(data) = tls.want_send() {
            self.reader_must_take(key);
            self.submit(Op::Send { socket, data, zero_copy: false }, Purpose::Send, key);
        } else if tls.is_closing() && !tls.has_unsent() && tunnel.egress.want_shutdown() {
            tunnel.egress.on_shutdown_submitted();
            self.submit(Op::ShutdownWrite { socket }, Purpose::ShutdownWrite, key);
        }
    }

    /// Batch → ciphertext. To the egress half the batch is on its way until the ciphertext was sent whole.
    fn seal(&mut self, key: Key) -> Result<(), TlsFailure> {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return Ok(()) };
        let Some(tls) = &mut tunnel.tls else { return Ok(()) };
        if tunnel.egress.want_shutdown() && !tls.has_unsent() {
            tls.close();
        }
        if !tls.may_seal() {
            return Ok(());
        }
        match tunnel.egress.want_send() {
            Some(batch) => tls.seal(batch),
            None => Ok(()),
        }
    }

    pub(super) fn on_tls_sent(&mut self, key: Key, sent_bytes: usize, data: Vec<Bytes>) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Some(tls) = &mut tunnel.tls else { return };
        if let Some((payload_bytes, storage)) = tls.on_sent(sent_bytes, data) {
            tunnel.egress.on_sent(0, storage);
            self.stats.bytes_to_sockets += payload_bytes as u64;
        }
        if !tls.has_unsent() && !tunnel.egress.has_unsent() {
            self.reader_took_all(key);
        }
        self.queue(key);
    }
}
