//! What a shard is told once, at its start. Everything here was validated by whoever built it.

use std::sync::Arc;
use std::time::Duration;

use crate::port::ShardId;
use crate::quic::QuicConfig;
use crate::route::Strategy;
use crate::wire::Hello;

/// A shard's immutable configuration.
#[derive(Debug)]
pub struct ShardConfig {
    /// This shard.
    pub id: ShardId,
    /// What it does.
    pub role: Role,
    /// Its QUIC endpoint.
    pub quic: QuicConfig,
    /// Seeds every random choice of the shard.
    pub seed: [u8; 32],
    /// Ask for zero copy on large sends; drivers that find it does not pay turn it off by themselves.
    pub zero_copy: bool,
    /// Bytes that may wait for stopped readers on this shard: the process's budget divided by its shards.
    pub budget_bytes: usize,
    /// A deliberate defect, for proving that the simulator finds it.
    #[cfg(feature = "defects")]
    pub defect: Option<Defect>,
}

/// What a shard does.
#[derive(Debug)]
pub enum Role {
    /// Accepts frontends and agents.
    Server(ServerRole),
    /// Connects to servers and dials for them.
    Agent(AgentRole),
}

/// A server's part.
#[derive(Debug)]
pub struct ServerRole {
    /// How an agent is chosen, in this order.
    pub strategies: Vec<Strategy>,
    /// Silence after which an agent over TCP is asked whether it is there.
    pub keep_alive: Duration,
    /// The same for frontends in GRPC mode.
    pub frontend_keep_alive: Duration,
    /// What frontends may speak (`--mode`).
    pub frontend_protocols: FrontendProtocols,
    /// Every dial is answered within this time; at most [`crate::limits::ANSWER_TIME_MAX`].
    pub answer_time: Duration,
    /// How long an old agent may take nothing while a dial waits for it, before its connection is given up and with it
    /// its tunnels; `None`: without end.
    pub retire_after: Option<Duration>,
}

/// What frontends may speak; told apart by their first bytes, whatever the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontendProtocols {
    /// HTTP CONNECT: kube-apiserver's `proxyProtocol: HTTPConnect`.
    pub http_connect: bool,
    /// `/ProxyService/Proxy` over HTTP/2: its `proxyProtocol: GRPC`.
    pub grpc: bool,
}

impl FrontendProtocols {
    /// Both.
    pub const ALL: Self = Self { http_connect: true, grpc: true };
}

/// An agent's part.
#[derive(Debug)]
pub struct AgentRole {
    /// What to say to every server; `connection_index` is filled in.
    pub hello: Hello,
    /// How the server is reached.
    pub transport: Transport,
    /// The TLS of connections over TCP; `None` where there are none.
    pub tcp_tls: Option<Arc<rustls::ClientConfig>>,
    /// Silence after which a server over TCP is asked whether it is there.
    pub keep_alive: Duration,
    /// Whether servers behind the same address are looked for over TCP however many there are said to be.
    pub sync_forever: bool,
    /// Connections to keep; `None`: as many as the server has shards, at most
    /// [`crate::limits::AGENT_CONNECTIONS_AUTO_MAX`].
    pub connections: Option<u32>,
    /// Time between attempts to connect (`--sync-interval`).
    pub retry_interval: Duration,
    /// What that time grows to when attempts keep failing (`--sync-interval-cap`).
    pub retry_interval_max: Duration,
    /// The shard bits of the first connection's initial ID; connection *i* uses this plus *i*.
    pub first_shard: u8,
    /// Shards of the agent's process: connection *i* is kept by shard *i* modulo this. At least 1.
    pub shards: u8,
}

/// How an agent reaches its server (`--transport`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// QUIC, and TCP where UDP does not pass.
    Auto,
    /// QUIC alone.
    #[default]
    Quic,
    /// TCP alone.
    Tcp,
}

/// A defect that the simulator must find.
#[cfg(feature = "defects")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The end of a stream is now and then not passed on to the socket.
    LostFin,
    /// A receive that the kernel ended is now and then not armed again.
    MultishotNotRearmed,
    /// The generation of a completion's token is not checked.
    StaleTokenAccepted,
    /// A stream is now and then not read again after its bytes were sent.
    CreditNotReturned,
    /// The place of a train that was sent with zero copy is used again at the result, before the notification.
    BufferReusedEarly,
}

#[cfg(feature = "defects")]
impl Defect {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::LostFin,
        Self::MultishotNotRearmed,
        Self::StaleTokenAccepted,
        Self::CreditNotReturned,
        Self::BufferReusedEarly,
    ];
}
