//! Listeners and the heads of frontend connections.

use adit_io::{Close, DatagramDriver, Op, OpError, Outcome, PeerAddr, SocketId};
use bytes::{Bytes, BytesMut};

use super::Shard;
use super::timers::Timer;
use super::token::Purpose;
use super::tunnel::{Phase, Tunnel};
use crate::config::{FrontendProtocols, Role};
use crate::frontend::{Answer, HeadReader, HeadState};
use crate::limits::{ACCEPT_PAUSE, CONNECT_HEAD_TIME_MAX, LINGER_TIME_MAX};
use crate::port::{Event, ListenerKind};
use crate::stream::table::Key;
use crate::stream::tls::TlsSession;
use crate::wire::ResetCode;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    socket: SocketId,
    kind: ListenerKind,
}

impl<D: DatagramDriver> Shard<D> {
    pub(super) fn listen(&mut self, socket: D::Socket, kind: ListenerKind) {
        // A refusal would be control's mistake (too many listeners); the socket is dropped and so closed.
        let Ok(socket) = self.driver.adopt(socket) else { return };
        match self.listeners.insert(Listener { socket, kind }) {
            Ok(key) => self.arm_listener(key),
            Err(listener) => self.driver.close(listener.socket, Close::Graceful),
        }
    }

    pub(super) fn arm_listener(&mut self, key: Key) {
        if let Some(listener) = self.listeners.get(key) {
            let listener = listener.socket;
            self.submit(Op::Accept { listener }, Purpose::Accept, key);
        }
    }

    /// Stops accepting. Connections that the kernel had queued are refused by its closing the socket.
    pub(super) fn close_listeners(&mut self) {
        let keys: Vec<Key> = self.listeners.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.forget_refused_accept(key);
            if let Some(listener) = self.listeners.remove(key) {
                self.driver.close(listener.socket, Close::Graceful);
            }
        }
    }

    pub(super) fn on_accepted(&mut self, key: Key, more: bool, outcome: Outcome) {
        let Outcome::Accepted(result) = outcome else { return };
        let kind = self.listeners.get(key).map(|listener| listener.kind);
        match (result, kind) {
            (Ok((socket, peer)), Some(ListenerKind::UnixFrontends)) => self.deal(socket, peer),
            // Its listeners share a port, and the kernel deals.
            (Ok((socket, peer)), Some(ListenerKind::TlsFrontends)) => self.on_tls_frontend(socket, &peer),
            (Ok((socket, peer)), Some(ListenerKind::TlsAgents)) => self.on_tls_agent(socket, &peer),
            (Ok((socket, _)), None) => self.driver.close(socket, Close::Reset),
            (Err(error), Some(_)) => {
                self.stats.accept_errors += 1;
                if is_shortage(error) {
                    self.mailbox.send_or_drop(Event::OutOfDescriptors { doing: "accepting a frontend" });
                }
                if !more {
                    // EMFILE and its like pass; spinning on them does not help.
                    self.timers.set(self.now + ACCEPT_PAUSE, Timer::Listener(key));
                }
                return;
            }
            (Err(_), None) => return,
        }
        if !more {
            self.arm_listener(key);
        }
    }

    /// A frontend's connection is this shard's from now on, or until its dial goes to another shard's agent.
    pub(super) fn on_frontend(&mut self, socket: SocketId, peer: &PeerAddr, tls: Option<Box<TlsSession>>) {
        let mut tunnel = Tunnel::new(Phase::Head(HeadReader::new()));
        tunnel.socket = Some(socket);
        tunnel.tls = tls;
        tunnel.unix = *peer == PeerAddr::Unix;
        match self.tunnels.insert(tunnel) {
            Ok(key) => {
                self.stats.frontends_accepted += 1;
                self.set_deadline(key, self.now + CONNECT_HEAD_TIME_MAX);
                self.queue(key);
            }
            Err(_) => {
                self.stats.frontends_refused += 1;
                self.driver.close(socket, Close::Reset);
            }
        }
    }

    pub(super) fn on_head_bytes(&mut self, key: Key, bytes: BytesMut) {
        let speaks = self.speaks();
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Phase::Head(reader) = &mut tunnel.phase else { return };
        reader.push(bytes.freeze());
        match reader.poll() {
            HeadState::Incomplete => self.queue(key),
            HeadState::Refuse(answer) => self.refuse_head(key, answer),
            HeadState::Http2 { bytes } if speaks.grpc => self.begin_grpc(key, bytes),
            HeadState::Http2 { .. } => self.refuse_head(key, Answer::only_http_connect()),
            HeadState::Connect { .. } if !speaks.http_connect => {
                self.refuse_head(key, Answer::only_grpc());
            }
            HeadState::Connect { raw_target, rest, .. } => {
                for piece in rest {
                    tunnel.ingress.on_bytes(piece);
                }
                self.start_dial(key, raw_target);
            }
        }
    }

    pub(super) fn on_head_timeout(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get(key) else { return };
        let Phase::Head(reader) = &tunnel.phase else { return };
        if tunnel.tls.as_ref().is_some_and(|tls| !tls.was_established()) {
            return self.on_tls_handshake_timeout(key);
        }
        let answer: Answer = reader.timed_out();
        self.refuse_head(key, answer);
    }

    fn refuse_head(&mut self, key: Key, answer: Answer) {
        self.stats.heads_refused += 1;
        self.refuse(key, answer.into_bytes());
    }

    /// What frontends may speak.
    const fn speaks(&self) -> FrontendProtocols {
        match &self.config.role {
            Role::Server(role) => role.frontend_protocols,
            Role::Agent(_) => FrontendProtocols::ALL,
        }
    }

    /// Sends a last answer and closes once the frontend has read it, or after a moment.
    pub(super) fn refuse(&mut self, key: Key, answer: Bytes) {
        self.detach_stream(key, ResetCode::Cancelled);
        if let Some(tunnel) = self.tunnels.get_mut(key) {
            tunnel.egress.answer_and_end(answer);
        }
        self.linger(key);
    }

    /// What is on its way to the frontend is sent, with the end behind it; what it still says is for nobody.
    pub(super) fn linger(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        tunnel.phase = Phase::Lingering;
        tunnel.ingress.discard();
        self.set_deadline(key, self.now + LINGER_TIME_MAX);
        self.queue(key);
    }
}

/// ENOMEM, ENFILE, EMFILE, ENOSPC and ENOBUFS, on every Linux architecture; others are of the connection that failed.
const fn is_shortage(error: OpError) -> bool {
    matches!(error, OpError::Os(12 | 23 | 24 | 28 | 105))
}
