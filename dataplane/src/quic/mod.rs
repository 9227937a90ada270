//! quinn-proto, driven by hand: one shard's QUIC endpoint and its connections as one object without I/O.
//!
//! [`Quic`] is a function of (state, input, now). Its methods are of four kinds:
//!
//! * **inputs**: [`handle_datagrams`](Quic::handle_datagrams), [`handle_timeouts`](Quic::handle_timeouts),
//!   [`peer_unreachable`](Quic::peer_unreachable);
//! * **commands**: [`connect`](Quic::connect), [`close`](Quic::close), [`welcome`](Quic::welcome) and the stream
//!   operations [`open`](Quic::open), [`read`](Quic::read), [`write`](Quic::write), [`finish`](Quic::finish),
//!   [`reset`](Quic::reset), [`stop`](Quic::stop);
//! * **outputs**: [`poll_event`](Quic::poll_event), [`poll_transmit`](Quic::poll_transmit),
//!   [`poll_stray`](Quic::poll_stray), [`next_timeout`](Quic::next_timeout);
//! * **views**: [`path`](Quic::path), [`peer_certificates`](Quic::peer_certificates), counts.
//!
//! One turn of the shard calls them in the order: all datagrams, timeouts, events (which lead to commands), trains
//! while there is room for them, strays; and then sleeps until [`next_timeout`](Quic::next_timeout). Packets are the
//! cost, so a connection is driven once for all that a turn brought it.
//!
//! ```text
//!   datagrams ─▶ owner check ─▶ quinn_proto::Endpoint ─▶ Connection ─┐ settle: endpoint ⇄ connection, liveness,
//!                   │ strays        │ responses (Retry, refusal, …)   │ deadlines
//!                   ▼               ▼                                 ▼
//!               other shard     poll_transmit ◀── fair turns ── dirty connections ──▶ poll_event
//! ```
//!
//! What is deliberately absent: sockets, a clock, global randomness, and any meaning of a stream's bytes. All
//! randomness comes from [`QuicConfig::seed`]; given equal inputs two runs differ only in the TLS key exchange, whose
//! bytes nothing branches on (with Ed25519 certificates, whose signatures have one length).
//!
//! Hash tables: quinn-proto uses the standard, keyed hash where peers choose the keys and a cheap one for connection
//! IDs that we choose; here are only vectors by index and ordered trees.

mod cid;
mod config;
mod connection;
mod drive;
mod endpoint;
mod event;
mod identity;
mod keys;
mod liveness;
mod lost;
mod proof;
mod queues;
mod streams;
pub mod tls;
mod transmit;
mod transport;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use adit_io::Datagrams;
use quinn_proto::Endpoint;
pub use quinn_proto::TimeSource;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

pub use cid::{CONNECTION_ID_BYTES, GENERATION_MAX, SHARD_BITS, owner, short_header_owner};
pub use config::{QuicConfig, QuicConfigError};
pub use endpoint::EndpointCounts;
pub use event::{ConnId, ConnectError, Gone, Path, QuicEvent, ReadState, Side, StreamId, WriteState};
pub use keys::ClusterKeys;
pub use lost::{Fault, LostKind, LostReason};

use connection::Table;
use endpoint::Response;
use queues::Queues;

use crate::limits;

#[cfg(test)]
mod tests;

/// One shard's QUIC endpoint and connections. See the module for the order of calls.
pub struct Quic {
    shard: u8,
    shards: u8,
    endpoint: Endpoint,
    client: Option<quinn_proto::ClientConfig>,
    rng: ChaCha20Rng,
    gso_segments_max: usize,
    copy_received: bool,
    table: Table,
    queues: Queues,
    /// Connections whose end was not reported.
    usable: usize,
    /// Of those, the ones that others began and whose handshake has not ended.
    half_open: usize,
    /// Reports that do not wait inside a connection. Drained by the shard in every turn; bounded by what one turn
    /// brings: one of a kind for each connection, and a stream's opening for each packet.
    events: VecDeque<QuicEvent>,
    /// First packets that became no connection; at most [`limits::REJECTIONS_MAX`].
    rejections: VecDeque<(SocketAddr, LostReason)>,
    /// The last stream reported readable since datagrams came.
    last_readable: Option<(ConnId, StreamId)>,
    responses: VecDeque<Response>,
    strays: VecDeque<Datagrams>,
    counts: EndpointCounts,
    /// Where the endpoint writes its responses.
    response: Vec<u8>,
    /// Connections that the datagrams at hand were for; kept for its memory.
    touched: Vec<ConnId>,
    /// Places whose deadline has come; kept for its memory.
    due: Vec<u32>,
}

impl Quic {
    /// An endpoint without connections.
    ///
    /// # Errors
    /// [`QuicConfigError`] when the configuration cannot be used.
    pub fn new(config: &QuicConfig) -> Result<Self, QuicConfigError> {
        config.check()?;
        // One generator for each purpose, so that a draw more in one does not shift the others.
        let mut rng = ChaCha20Rng::from_seed(config.seed);
        let mut seed = || {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            seed
        };
        let (endpoint_seed, cid_seed, own_seed) = (seed(), seed(), seed());
        let server = config.server.as_ref().map(|tls| transport::server(config, tls)).transpose()?;
        let client = config.client.as_ref().map(|tls| transport::client(config, tls)).transpose()?;
        let endpoint_config = Arc::new(transport::endpoint(config, endpoint_seed, cid_seed));
        Ok(Self {
            shard: config.shard,
            shards: config.shards,
            // Path MTU discovery is allowed: every driver sets don't-fragment.
            endpoint: Endpoint::new(endpoint_config, server, true, None),
            client,
            rng: ChaCha20Rng::from_seed(own_seed),
            gso_segments_max: config.gso_segments_max.max(1),
            copy_received: false,
            table: Table::default(),
            queues: Queues::default(),
            usable: 0,
            half_open: 0,
            events: VecDeque::new(),
            rejections: VecDeque::new(),
            last_readable: None,
            responses: VecDeque::new(),
            strays: VecDeque::new(),
            counts: EndpointCounts::default(),
            response: Vec::new(),
            touched: Vec::new(),
            due: Vec::new(),
        })
    }

    /// Begins a connection. `server_name` is what the server's certificate must carry. `initial_shard` asks a sharded
    /// server to let that shard have the connection, by the first byte of the initial destination connection ID.
    ///
    /// # Errors
    /// [`ConnectError`] when it cannot begin; everything later is [`QuicEvent::Lost`].
    pub fn connect(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        server_name: &str,
        initial_shard: Option<u8>,
    ) -> Result<ConnId, ConnectError> {
        let mut config = self.client.clone().ok_or(ConnectError::NoClientConfig)?;
        if self.table.len() >= limits::CONNECTIONS_MAX {
            return Err(ConnectError::Full(limits::CONNECTIONS_MAX));
        }
        let destination = cid::initial_destination(&mut self.rng, initial_shard);
        config.initial_dst_cid_provider(Arc::new(move || destination));
        let (handle, inner) =
            self.endpoint.connect(now, config, remote, server_name).map_err(|error| match error {
                quinn_proto::ConnectError::InvalidServerName(name) => ConnectError::ServerName(name),
                quinn_proto::ConnectError::CidsExhausted => ConnectError::Full(self.table.len()),
                _ => ConnectError::Address(remote),
            })?;
        Ok(self.adopt(now, handle, inner))
    }

    /// The path of a connection; `None` for a stale name or a connection whose end was reported.
    #[must_use]
    pub fn path(&self, id: ConnId) -> Option<Path> {
        let conn = self.table.get(id).filter(|conn| conn.is_usable())?;
        Some(Path {
            remote: conn.inner.remote_address(),
            mtu_bytes: conn.inner.current_mtu(),
            rtt: conn.inner.rtt(),
            lost_packets: conn.inner.stats().path.lost_packets,
            suspect: conn.liveness.is_suspect(),
        })
    }

    /// Whether the peer has stopped answering.
    #[must_use]
    pub fn is_suspect(&self, id: ConnId) -> bool {
        self.table.get(id).is_some_and(|conn| conn.liveness.is_suspect())
    }

    /// The peer's current address; after the connection's end its last one, for as long as its place is not free.
    #[must_use]
    pub fn remote(&self, id: ConnId) -> Option<SocketAddr> {
        self.table.get(id).map(|conn| conn.inner.remote_address())
    }

    /// The connections whose end was not reported, handshakes included.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> {
        self.table.iter().filter(|conn| conn.is_usable()).map(|conn| conn.id)
    }

    /// How many connections there are whose end was not reported.
    #[must_use]
    pub const fn open_connections(&self) -> usize {
        self.usable
    }

    /// How many places are taken: open connections, and closed ones that wait out late packets.
    #[must_use]
    pub const fn table_len(&self) -> usize {
        self.table.len()
    }

    /// How many connections that others began have not ended their handshake.
    #[must_use]
    pub const fn half_open(&self) -> usize {
        self.half_open
    }

    /// Whether nothing at all is left: no connection, deadline, event, response or stray. For conservation checks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
            && self.queues.registered() == 0
            && self.events.is_empty()
            && self.rejections.is_empty()
            && self.responses.is_empty()
            && self.strays.is_empty()
            && self.endpoint.open_connections() == 0
    }

    /// How many streams of a connection have not ended: (those whose sending half may hold unacknowledged data, those
    /// that the peer opened). For conservation checks.
    pub fn open_streams(&mut self, id: ConnId) -> Option<(usize, u64)> {
        let conn = self.table.get_mut(id).filter(|conn| conn.is_usable())?;
        let streams = conn.inner.streams();
        Some((streams.send_streams(), streams.remote_open_streams(quinn_proto::Dir::Bi)))
    }
}

impl fmt::Debug for Quic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quic")
            .field("shard", &self.shard)
            .field("shards", &self.shards)
            .field("connections", &self.table.len())
            .field("half_open", &self.half_open)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
