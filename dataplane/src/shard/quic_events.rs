//! What QUIC reports, passed on to whom it concerns.

use std::net::SocketAddr;

use adit_io::{Close, DatagramDriver};

use super::Shard;
use super::session::Session;
use super::tunnel::Phase;
use crate::config::Role;
use crate::port::Event;
use crate::quic::{ConnId, LostKind, LostReason, QuicEvent, Side, StreamId};
use crate::wire::{CloseCode, ResetCode};

impl<D: DatagramDriver> Shard<D> {
    pub(super) fn take_quic_events(&mut self) {
        while let Some(event) = self.quic.poll_event() {
            match event {
                QuicEvent::Connected { conn, side } => {
                    if side == Side::Server {
                        self.sessions.insert(conn, Session::new(0));
                    }
                    self.on_session_connected(conn);
                }
                QuicEvent::Lost { conn, reason } => self.lost(conn, self.quic.remote(conn), &reason),
                QuicEvent::Opened { conn, stream } => self.on_opened(conn, stream),
                QuicEvent::Readable { conn, stream } => self.on_readable(conn, stream),
                QuicEvent::Writable { conn, stream } => self.on_writable(conn, stream),
                QuicEvent::Stopped { conn, stream, .. } => {
                    self.on_stream_settled(conn, stream);
                    self.on_stopped(conn, stream);
                }
                QuicEvent::Finished { conn, stream } => self.on_stream_settled(conn, stream),
                QuicEvent::StreamsAvailable { conn } => self.on_streams_available(conn),
                QuicEvent::Suspect { conn } => match self.config.role {
                    Role::Server(_) => self.move_dials_from_suspect(conn),
                    Role::Agent(_) => self.on_link_suspect(conn),
                },
                QuicEvent::Silent { conn } => self.on_silent(conn),
                QuicEvent::Recovered { conn } => self.on_link_recovered(conn),
                QuicEvent::Rejected { remote, reason } => self.tell_rejection(Some(remote), &reason),
            }
        }
    }

    pub(super) fn on_readable(&mut self, conn: ConnId, stream: StreamId) {
        if let Some(key) = self.by_stream.get(&(conn, stream)).copied() {
            if let Some(tunnel) = self.tunnels.get_mut(key) {
                tunnel.readable = true;
            }
            self.queue(key);
        } else if self.is_control_stream(conn, stream) {
            self.pump_session(conn);
        }
    }

    pub(super) fn on_writable(&mut self, conn: ConnId, stream: StreamId) {
        if let Some(key) = self.by_stream.get(&(conn, stream)).copied() {
            if let Some(tunnel) = self.tunnels.get_mut(key) {
                tunnel.ingress.on_stream_writable();
            }
            self.queue(key);
        } else if self.is_control_stream(conn, stream) {
            self.pump_session(conn);
        }
    }

    /// The peer's socket takes nothing any more. What comes from it may still be on its way: its own end, or its reset,
    /// decides when the tunnel is over. Before bytes flow the agent's answer decides at the server; an agent is told
    /// that its dial is not wanted any more.
    pub(super) fn on_stopped(&mut self, conn: ConnId, stream: StreamId) {
        if let Some(key) = self.by_stream.get(&(conn, stream)).copied() {
            match self.tunnels.get_mut(key).map(|tunnel| (&tunnel.phase, &mut tunnel.ingress)) {
                Some((Phase::Open, ingress)) => {
                    ingress.on_stopped();
                    self.queue(key);
                }
                Some((Phase::Dialing(_), _)) => self.queue(key),
                Some((Phase::Relayed(_), _)) => self.say_stopped(key, ResetCode::ResetByPeer),
                _ => self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer)),
            }
        } else if self.is_control_stream(conn, stream) {
            self.close_session(conn, CloseCode::Protocol, "the control stream was stopped");
        }
    }

    /// Nothing is heard of the peer: its connection ends, unless it is the network that lets no QUIC through while the
    /// peer is there over TCP.
    fn on_silent(&mut self, conn: ConnId) {
        let is_there = self.sessions.get(&conn).is_some_and(|session| {
            let by_routes = || {
                let routes = self.routes.realm(&self.realm);
                routes.is_some_and(|it| it.is_there_over_tcp(&session.peer_id, &session.peer_instance))
            };
            session.is_ready() && (self.reaches_over_tcp(conn) || by_routes())
        });
        if !is_there {
            self.quic.give_up(self.now, conn);
        }
    }

    /// Anybody can cause this as often as they like, so it may be dropped.
    pub(super) fn tell_rejection(&mut self, remote: Option<SocketAddr>, reason: &LostReason) {
        self.mailbox.send_or_drop(Event::AgentRejected { remote, reason: reason.text.clone() });
    }

    /// A connection has ended: its dials move on, its tunnels are reset, everything of it goes.
    pub(super) fn lost(&mut self, conn: ConnId, remote: Option<SocketAddr>, reason: &LostReason) {
        let presented = self.sessions.get(&conn).is_some_and(Session::was_presented);
        if matches!(self.config.role, Role::Server(_)) && !presented && is_refusal(reason.kind) {
            self.tell_rejection(remote, reason);
        }
        let Some(mut session) = self.sessions.remove(&conn) else { return };
        if session.is_ready() {
            self.stats.sessions_ready -= 1;
        }
        session.waiting.clear();
        if session.was_presented() {
            let connection = self.connection_key(conn);
            self.mailbox.send(Event::AgentGone { connection, reason: reason.text.clone() });
        }
        for key in self.tunnels_on(conn) {
            let dialing =
                self.tunnels.get(key).is_some_and(|tunnel| matches!(tunnel.phase, Phase::Dialing(_)));
            if dialing {
                self.move_dial(key, &reason.text);
            } else {
                self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer));
            }
        }
        if matches!(self.config.role, Role::Agent(_)) {
            self.on_link_lost(conn, &session, reason);
        }
    }
}

/// Whether an operator wants to know of an agent that was not one yet. Not of addresses that fell silent: a flood is
/// made of them.
const fn is_refusal(kind: LostKind) -> bool {
    use CloseCode::{HelloTimeout, Protocol};
    match kind {
        LostKind::TlsLocal | LostKind::TlsPeer | LostKind::Protocol | LostKind::VersionMismatch => true,
        LostKind::ClosedLocally(code) => matches!(code, HelloTimeout | Protocol),
        _ => false,
    }
}
