//! A shard: one thread's sockets, QUIC endpoint, tunnels and timers, as a function of (state, completions, now).
//!
//! It shares nothing. Only messages cross, to control ([`mailbox`]) and to other shards ([`peers`]); only whole sockets
//! ever move. The same code runs over io_uring, epoll and the simulator. [`Shard::turn`] is one pass: collect, decide,
//! act.
//!
//! Deliberately absent: locks, a clock, waiting for control, policy other than pure functions over snapshots.

mod agent;
mod agents_tcp;
mod broken;
mod budget;
mod carriers;
mod completions;
mod connector;
mod datagrams;
mod drain;
mod frontends;
mod grpc;
mod handover;
mod links;
pub mod mailbox;
pub mod peers;
mod pump;
mod quic_events;
mod relay;
mod relayed;
mod report;
mod server;
mod servers_tcp;
mod session;
mod submit;
mod timers;
mod tls;
mod token;
mod tunnel;
mod turn;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use adit_io::{Completion, DatagramDriver, Op, SocketId, Token};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashMap;

use crate::config::{Role, ShardConfig};
use crate::limits::{AGENT_HANDSHAKES_MAX, FRONTEND_HANDSHAKES_MAX, LISTENERS_MAX, TUNNELS_MAX};
use crate::port::{ConnectionKey, ResolveKey, ShardId};
use crate::quic::{ConnId, Quic, QuicConfigError, StreamId};
use crate::route::{DestinationPolicy, Realm, RouteTable};
use crate::stats::ShardStats;
use crate::stream::table::{Key, Table};

use budget::StoppedReaders;
use connector::Connector;
use datagrams::Trains;
use drain::Drain;
use frontends::Listener;
use mailbox::ShardMailbox;
use peers::Peers;
use relay::Remote;
pub use report::Holdings;
use session::Session;
use timers::Timers;
use tls::TlsAccept;
use tunnel::Tunnel;

/// A shard over a driver.
#[derive(Debug)]
pub struct Shard<D: DatagramDriver> {
    config: ShardConfig,
    driver: D,
    mailbox: ShardMailbox<D::Socket>,
    /// The other shards of this process, if there are any.
    peers: Option<Peers<D::Socket>>,
    quic: Quic,
    udp: SocketId,
    rng: ChaCha8Rng,
    now: Instant,
    /// When the wait of the next turn ends, as decided at the end of this one.
    wake_at: Option<Instant>,

    tunnels: Table<Tunnel>,
    /// Keys are ours and the peer's consecutive numbers: Fx is safe, a peer cannot choose colliding ones freely.
    by_stream: FxHashMap<(ConnId, StreamId), Key>,
    /// Keys are ours.
    sessions: FxHashMap<ConnId, Session>,
    /// Streams of other shards' connections, by our numbers.
    remotes: FxHashMap<u32, Remote>,
    remote_next: u32,
    /// Streams that are carried for other shards. Keys are theirs: consecutive numbers.
    relayed: FxHashMap<(ShardId, u32), Key>,
    listeners: Table<Listener>,
    frontend_tls: TlsAccept,
    agent_tls: TlsAccept,
    /// Keys are ours: tunnels that wait for a name.
    resolving: FxHashMap<ResolveKey, Key>,
    resolve_next: u64,
    dial_next: u64,

    /// What frontends and agents belong to; one realm today.
    realm: Realm,
    routes: Arc<RouteTable>,
    policy: Arc<DestinationPolicy>,
    connector: Option<Connector>,

    timers: Timers,
    trains: Trains,
    stopped: StoppedReaders,
    /// Tunnels that found no receive slot; bounded by the table.
    starved: Vec<Key>,
    /// Tunnels to be worked on, each at most once.
    work: VecDeque<Key>,
    /// Operations that the driver handed back, in order. Bounded: each belongs to a table's entry.
    refused: VecDeque<(Op, Token)>,
    /// Completions made up for refused operations that were cancelled.
    synthesized: Vec<Completion>,
    completions: Vec<Completion>,
    drain: Drain,
    stats: ShardStats,
}

impl<D: DatagramDriver> Shard<D> {
    /// A shard that serves `udp` and listens to `mailbox`.
    ///
    /// # Errors
    /// When the QUIC configuration does not hold together, or the driver has no room for one socket.
    pub fn new(
        config: ShardConfig,
        mut driver: D,
        mailbox: ShardMailbox<D::Socket>,
        udp: D::Socket,
    ) -> Result<Self, ShardError> {
        let udp = driver.adopt(udp).map_err(|refused| ShardError::NoRoom(refused.reason.to_string()))?;
        let now = driver.now();
        let mut quic = Quic::new(&config.quic)?;
        quic.set_gso_segments_max(driver.capabilities().gso_segments_max);
        let connector = match &config.role {
            Role::Agent(role) => Some(Connector::new(role, config.id)),
            Role::Server(_) => None,
        };
        Ok(Self {
            rng: ChaCha8Rng::from_seed(config.seed),
            config,
            driver,
            mailbox,
            peers: None,
            quic,
            udp,
            now,
            wake_at: Some(now),
            tunnels: Table::new(TUNNELS_MAX),
            by_stream: FxHashMap::default(),
            sessions: FxHashMap::default(),
            remotes: FxHashMap::default(),
            remote_next: 0,
            relayed: FxHashMap::default(),
            listeners: Table::new(LISTENERS_MAX),
            frontend_tls: TlsAccept::new(FRONTEND_HANDSHAKES_MAX),
            agent_tls: TlsAccept::new(AGENT_HANDSHAKES_MAX),
            resolving: FxHashMap::default(),
            resolve_next: 0,
            dial_next: 0,
            realm: Realm::default(),
            routes: Arc::default(),
            policy: Arc::default(),
            connector,
            timers: Timers::default(),
            trains: Trains::default(),
            stopped: StoppedReaders::default(),
            starved: Vec::new(),
            work: VecDeque::new(),
            refused: VecDeque::new(),
            synthesized: Vec::new(),
            completions: Vec::new(),
            drain: Drain::default(),
            stats: ShardStats::default(),
        })
    }

    /// This shard's number.
    #[must_use]
    pub const fn id(&self) -> ShardId {
        self.config.id
    }

    /// The driver, for whoever owns the thread.
    #[must_use]
    pub const fn driver(&self) -> &D {
        &self.driver
    }

    /// Takes turns until the shard has drained.
    ///
    /// # Errors
    /// When the driver breaks.
    pub fn run(&mut self) -> std::io::Result<()> {
        while !self.is_drained() {
            self.turn()?;
        }
        Ok(())
    }

    fn connection_key(&self, conn: ConnId) -> ConnectionKey {
        if let Some(there) = links::remote_of_conn(conn) {
            return there;
        }
        ConnectionKey { shard: self.config.id, index: conn.index, generation: conn.generation }
    }
}

/// Why a shard could not start.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// The QUIC configuration does not hold together.
    #[error(transparent)]
    Quic(#[from] QuicConfigError),
    /// The driver refused the UDP socket.
    #[error("the driver has no room for the UDP socket: {0}")]
    NoRoom(String),
}
