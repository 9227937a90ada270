//! The boundary with control: what a shard is told and what it asks.
//!
//! Control answers questions and publishes immutable snapshots; it never touches payload. Both directions are
//! bounded queues of plain messages (`shard::mailbox`). A slow or dead control delays new agents and the
//! resolution of names, never an established tunnel.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_io::{Counters, DriverKind, SlotUse};
use bytes::Bytes;

use crate::quic::EndpointCounts;
use crate::route::{DestinationPolicy, RouteTable};
use crate::shard::peers::Peers;
use crate::stats::ShardStats;
use crate::stream::tls::ClientName;
use crate::wire::{Hello, Welcome};

/// A shard's number: the five shard bits of the connection IDs it issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u8);

/// Names a connection of one shard, over QUIC or TCP; carries a generation, so it is never mistaken for a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey {
    /// The owning shard.
    pub shard: ShardId,
    /// Place in its table.
    pub index: u32,
    /// How often that place had been taken before.
    pub generation: u32,
}

impl ConnectionKey {
    /// The bit of [`Self::index`] that a connection over TCP has.
    pub(crate) const OVER_TCP: u32 = 1 << 31;

    /// Whether it is over TCP, and not over QUIC.
    #[must_use]
    pub const fn is_over_tcp(self) -> bool {
        self.index & Self::OVER_TCP != 0
    }
}

/// Names a question about a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResolveKey(pub u64);

/// Who connects to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerKind {
    /// Frontends on a Unix socket: HTTP CONNECT or GRPC mode, told apart by their first bytes.
    UnixFrontends,
    /// The same over TCP with mutual TLS, as the last [`Command::FrontendTls`] says; without one nobody is accepted.
    TlsFrontends,
    /// Agents over TCP with mutual TLS, as the last [`Command::AgentTls`] says; without one nobody is accepted.
    TlsAgents,
}

/// Where an agent finds a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTarget {
    /// UDP addresses, in the order in which to try them.
    pub addresses: Vec<SocketAddr>,
    /// The way over TCP, where there is one.
    pub tcp: Option<TcpRoute>,
    /// The name that the server's certificate must carry.
    pub server_name: String,
}

/// The way to a server over TCP.
#[derive(Clone, PartialEq, Eq)]
pub struct TcpRoute {
    /// Addresses of the server, or of the proxy before it, in the order in which to try them.
    pub addresses: Vec<SocketAddr>,
    /// What the proxy is asked first ([`crate::carrier::egress_proxy::connect_request`]). There may be a password in
    /// it.
    pub proxy_request: Option<Bytes>,
}

impl fmt::Debug for TcpRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpRoute")
            .field("addresses", &self.addresses)
            .field("through_proxy", &self.proxy_request.is_some())
            .finish()
    }
}

/// What carries a connection between server and agent, for metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerTransport {
    /// QUIC.
    Quic,
    /// TCP, where both ends are adit.
    Tcp,
    /// TCP, where one of the ends is Konnectivity's.
    Konnectivity,
}

impl PeerTransport {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Quic, Self::Tcp, Self::Konnectivity];

    /// The word for it, in labels and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::Konnectivity => "konnectivity",
        }
    }
}

/// What control says of an agent that presented itself.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Welcome it. Routes that include it follow as a [`Command::Routes`].
    Accept(Welcome),
    /// Close its connection with this reason, which the agent logs.
    Refuse(String),
}

/// Why a name has no address, Go-shaped (`lookup NAME: no such host`).
pub type ResolveError = String;

/// How many servers there are by a count of the agent's own, beside what each says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCount {
    /// So many, whatever the servers say.
    Instead(u32),
    /// So many, or as many as the servers say where that is more.
    AtLeast(u32),
}

/// A bearer token (RFC 6750), which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} bytes)", self.0.len())
    }
}

/// Control → shard. `S` is the driver's socket type.
#[derive(Debug)]
pub enum Command<S> {
    /// Server: the way to the other shards of this process. Comes first, or never where there is one shard.
    Peers(Peers<S>),
    /// Server: accept frontends here.
    Listen {
        /// A listening socket.
        socket: S,
        /// What its connections speak.
        kind: ListenerKind,
    },
    /// Server: the TLS of frontends that are accepted from now on. Sessions that run keep what they started with.
    FrontendTls(Arc<rustls::ServerConfig>),
    /// Server: the TLS of agents that connect over TCP from now on.
    AgentTls(Arc<rustls::ServerConfig>),
    /// Agent: keep connections to this server. Replaces the earlier target; existing connections stay.
    Server(ServerTarget),
    /// Agent: how many servers are behind the server's address over TCP.
    ServerCount(ServerCount),
    /// Agent: the bearer token to say Hello with from now on. Connections that run are not told.
    Token(Token),
    /// Server: the answer to [`Event::AgentPresented`].
    Verdict {
        /// Which connection.
        connection: ConnectionKey,
        /// What of it.
        verdict: Verdict,
    },
    /// Server: the routes from now on.
    Routes(Arc<RouteTable>),
    /// Agent: the destination policy from now on.
    Policy(Arc<DestinationPolicy>),
    /// Agent: the answer to [`Event::Resolve`].
    Resolved {
        /// Which question.
        key: ResolveKey,
        /// Addresses in the order in which to try them.
        result: Result<Vec<IpAddr>, ResolveError>,
    },
    /// Answer with [`Event::Stats`].
    Stats,
    /// Take nothing new, finish what runs, end at the deadline.
    Drain {
        /// When what still runs is cut.
        deadline: Instant,
    },
}

/// How a dial ended, for metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialOutcome {
    /// A tunnel was established.
    Established,
    /// No agent to choose.
    NoAgent,
    /// The agent answered with an error.
    ErrorResponse,
    /// The agent's connection ended, and no other agent was left to try.
    BackendClose,
    /// Nothing came in time.
    Timeout,
    /// The frontend went away first.
    FrontendClose,
}

/// Shard → control.
#[derive(Debug)]
pub enum Event {
    /// Server: an agent finished its handshake and said Hello. Wants a [`Command::Verdict`].
    AgentPresented {
        /// Which connection.
        connection: ConnectionKey,
        /// What it said.
        hello: Box<Hello>,
        /// The DER certificates it proved possession of, leaf first; empty without client authentication.
        certificates: Vec<Vec<u8>>,
        /// Its current address.
        remote: SocketAddr,
        /// What carries the connection.
        transport: PeerTransport,
    },
    /// Server: an agent's connection ended.
    AgentGone {
        /// Which connection.
        connection: ConnectionKey,
        /// Why, for the log.
        reason: String,
    },
    /// Server: a handshake failed: most likely TLS, for want of a certificate that either end believes, or because what
    /// came was no agent's. Anybody can cause it: it may be dropped when control is slow (and of first packets beyond
    /// [`limits::REJECTIONS_MAX`](crate::limits::REJECTIONS_MAX) in a turn), and is logged with restraint.
    AgentRejected {
        /// From where, if that is still known.
        remote: Option<SocketAddr>,
        /// Why, for the log.
        reason: String,
    },
    /// Server: the TLS session of a frontend over TCP failed, most likely for want of a certificate that either end
    /// believes. Anybody can cause it: it may be dropped when control is slow, and is logged with restraint.
    FrontendFailed {
        /// From where, if that is still known.
        remote: Option<SocketAddr>,
        /// Who it was, when it had proved that before.
        client: Option<Arc<ClientName>>,
        /// Why, for the log.
        reason: String,
    },
    /// There is no descriptor left, or no place for a socket. Said again for as long as it lasts; may be dropped when
    /// control is slow, and is logged with restraint.
    OutOfDescriptors {
        /// What the shard wanted one for.
        doing: &'static str,
    },
    /// Agent: a server welcomed connection number `index`.
    ServerReady {
        /// Which of the agent's connections.
        index: u32,
        /// What it said.
        welcome: Box<Welcome>,
        /// Its address; a proxy's, where the way leads through one.
        remote: SocketAddr,
        /// What carries the connection.
        transport: PeerTransport,
    },
    /// Agent: the connection ended or an attempt failed. The shard tries again by itself.
    ServerLost {
        /// Which of the agent's connections.
        index: u32,
        /// Why, for the log.
        reason: String,
        /// When it tries next.
        retry_in: Duration,
        /// Whether it had been welcomed.
        was_ready: bool,
    },
    /// Agent: wants a [`Command::Resolved`].
    Resolve {
        /// Which question.
        key: ResolveKey,
        /// The host name.
        name: String,
    },
    /// Server: a dial ended. Sent once for every dial; may be dropped (and is counted) when control is slow.
    DialFinished {
        /// How.
        outcome: DialOutcome,
        /// From the complete head to the answer.
        duration: Duration,
        /// The request-target.
        target: String,
        /// Who asked, where a certificate says so: over TCP. Whoever may open the Unix socket has no name.
        frontend: Option<Arc<ClientName>>,
        /// The agent that answered last, if any.
        agent: Option<ConnectionKey>,
        /// The error text given to the frontend; empty when established.
        error: String,
    },
    /// The answer to [`Command::Stats`].
    Stats(Box<ShardReport>),
    /// Nothing runs any more after a [`Command::Drain`]; the shard's thread ends.
    Drained {
        /// Tunnels that were cut at the deadline.
        cut: usize,
    },
}

/// A shard's figures at one moment.
#[derive(Clone, Debug)]
pub struct ShardReport {
    /// Whose.
    pub shard: ShardId,
    /// The driver in use.
    pub driver: DriverKind,
    /// What the shard counted.
    pub stats: ShardStats,
    /// What its driver counted.
    pub io: Counters,
    /// Use of small stream receive slots.
    pub small_slots: SlotUse,
    /// Use of large stream receive slots.
    pub large_slots: SlotUse,
    /// Use of datagram receive slots.
    pub datagram_slots: SlotUse,
    /// Each QUIC connection's path.
    pub paths: Vec<PathReport>,
    /// What each transport carries.
    pub carried: [Carried; PeerTransport::ALL.len()],
    /// What the QUIC endpoint did outside any connection.
    pub endpoint: EndpointCounts,
    /// Handshakes that others began and that have not ended.
    pub handshakes_under_way: u64,
}

/// What a transport carries now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Which.
    pub transport: PeerTransport,
    /// Connections of it whose peers are welcome.
    pub sessions: u64,
    /// Tunnels on its connections, dials included.
    pub tunnels: u64,
}

/// One QUIC connection's path.
#[derive(Clone, Debug)]
pub struct PathReport {
    /// Which connection.
    pub connection: ConnectionKey,
    /// The peer's address.
    pub remote: SocketAddr,
    /// UDP payload that the path carries, as discovered.
    pub mtu_bytes: u16,
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Packets declared lost.
    pub lost_packets: u64,
    /// Tunnels on it.
    pub tunnels: u32,
    /// Whether it is suspect.
    pub suspect: bool,
}
