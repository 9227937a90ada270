//! A tunnel as the shard keeps it: a socket, a stream, and how far it has come.
//!
//! What carries many tunnels over one socket is an entry of the same table: it has the socket, and they have none.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_io::SocketId;
use bytes::Bytes;

use super::carriers::CarrierLink;
use super::grpc::{CallRef, GrpcConnection};
use super::relayed::Relayed;
use crate::carrier::egress_proxy::ConnectAnswer;
use crate::frontend::HeadReader;
use crate::port::{ConnectionKey, ResolveKey};
use crate::quic::{ConnId, StreamId};
use crate::route::Target;
use crate::stream::dial::Attempts;
use crate::stream::egress::Egress;
use crate::stream::ingress::Ingress;
use crate::stream::tls::{ClientName, TlsSession};
use crate::wire::FrameReader;

/// An entry of the tunnel table.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) phase: Phase,
    pub(crate) socket: Option<SocketId>,
    /// Which call's dial this is: it has no socket of its own.
    pub(crate) call: Option<CallRef>,
    /// A Unix socket: it has no reset, and its unsent bytes say what the reader has not read.
    pub(crate) unix: bool,
    /// What is spoken on the socket instead of plain bytes.
    pub(crate) tls: Option<Box<TlsSession>>,
    /// Who is at the other end of that.
    pub(crate) tls_peer: TlsPeer,
    pub(crate) stream: Option<(ConnId, StreamId)>,
    pub(crate) ingress: Ingress,
    pub(crate) egress: Egress,
    /// When the present phase is given up (or, while open, the next look at the answer).
    pub(crate) deadline: Option<Instant>,
    /// Whether it waits in the work queue.
    pub(crate) queued: bool,
    pub(crate) watching: bool,
    /// When the socket's peer finished sending.
    pub(crate) half_closed_at: Option<Instant>,
    /// Whether the socket's peer has gone in both directions.
    pub(crate) gone: bool,
    /// Whether the stream may have something to read.
    pub(crate) readable: bool,
    /// Nobody reads the stream any more, which is said behind what is to be written to it.
    pub(crate) stops_behind_end: bool,
    /// Since when a batch has been on its way to the socket.
    pub(crate) sending_since: Option<Instant>,
    /// The pause before the next look at whether the answer was read.
    pub(crate) answer_poll: Duration,
    /// When the answer was first seen to be read.
    pub(crate) answer_read_at: Option<Instant>,
}

/// Who is at the other end of a TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsPeer {
    /// Server: a frontend.
    Frontend,
    /// Server: an agent.
    Agent,
    /// Agent: a server, to which this is the connection with this number.
    Server(u32),
}

/// How far a tunnel has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Server: the CONNECT head is being read.
    Head(HeadReader),
    /// Server: HTTP/2 in GRPC mode, whose calls' dials are entries of their own.
    Grpc(Box<GrpcConnection>),
    /// Agent: a server, or the proxy before it, is being reached at this address.
    Reaching(SocketAddr),
    /// Agent: the proxy before the server is being asked.
    Proxy(ConnectAnswer, SocketAddr),
    /// The TLS handshake with a peer over TCP is under way.
    Handshake,
    /// A peer's connection over TCP, which carries tunnels in QUIC's place.
    Carrier(CarrierLink),
    /// Server: an agent is being asked.
    Dialing(Box<PendingDial>),
    /// Server: the dial goes to this connection of another shard, as soon as nothing is outstanding on the socket.
    Moving(Box<PendingDial>, ConnectionKey),
    /// The refusal is on its way; what the frontend still sends is ignored.
    Lingering,
    /// Agent: the stream's header is being read.
    Header(FrameReader),
    /// Agent: the name is being resolved.
    Resolving(Box<AgentDial>),
    /// Agent: connecting.
    Connecting(Box<AgentDial>, Attempts),
    /// Bytes flow.
    Open,
    /// Server: this shard's part of another shard's tunnel, whose frontend cannot move.
    Relayed(Box<Relayed>),
    /// The socket has broken. What its peer said before is passed on, then the stream is reset.
    Broken,
}

/// A dial at the server.
#[derive(Debug)]
pub(crate) struct PendingDial {
    pub(crate) raw_target: String,
    /// Who asks, where a certificate says so.
    pub(crate) frontend: Option<Arc<ClientName>>,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// Agents' connections that were asked in vain.
    pub(crate) tried: Vec<ConnectionKey>,
    /// The connection that is asked, stream open or not.
    pub(crate) conn: Option<ConnId>,
    /// What of the header the stream has not taken.
    pub(crate) header: VecDeque<Bytes>,
    pub(crate) response: FrameReader,
    /// Why the last agent failed.
    pub(crate) last_error: String,
}

/// A dial at the agent.
#[derive(Debug)]
pub(crate) struct AgentDial {
    pub(crate) target: Target,
    pub(crate) deadline: Instant,
    /// What control was asked.
    pub(crate) question: Option<ResolveKey>,
    /// Bytes that came behind the header.
    pub(crate) early: VecDeque<Bytes>,
}

impl Tunnel {
    pub(crate) fn new(phase: Phase) -> Self {
        Self {
            phase,
            socket: None,
            call: None,
            unix: false,
            tls: None,
            tls_peer: TlsPeer::Frontend,
            stream: None,
            ingress: Ingress::default(),
            egress: Egress::default(),
            deadline: None,
            queued: false,
            watching: false,
            half_closed_at: None,
            gone: false,
            readable: false,
            stops_behind_end: false,
            sending_since: None,
            answer_poll: Duration::ZERO,
            answer_read_at: None,
        }
    }

    /// The connection that this tunnel runs on or is asking.
    pub(crate) fn conn(&self) -> Option<ConnId> {
        match (&self.stream, &self.phase) {
            (Some((conn, _)), _) => Some(*conn),
            (None, Phase::Dialing(dial)) => dial.conn,
            (None, Phase::Relayed(relayed)) => Some(relayed.conn),
            _ => None,
        }
    }

    /// Whether it carries tunnels, or a part of one, and is none.
    pub(crate) const fn is_carrying(&self) -> bool {
        use Phase::{Carrier, Grpc, Handshake, Proxy, Reaching, Relayed};
        matches!(self.phase, Grpc(_) | Carrier(_) | Handshake | Proxy(..) | Reaching(_) | Relayed(_))
    }

    pub(crate) fn is_over(&self) -> bool {
        match self.phase {
            Phase::Open => self.ingress.is_done() && self.egress.is_done(),
            Phase::Lingering if self.socket.is_some() => self.egress.is_done() && self.ingress.has_ended(),
            Phase::Lingering => self.ingress.is_done(),
            _ => false,
        }
    }
}
