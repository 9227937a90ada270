//! What [`super::Quic`] reports, and the answers of its stream operations.

use std::net::SocketAddr;
use std::time::Duration;

pub use quinn_proto::{Side, StreamId};

use super::lost::LostReason;
use crate::wire::ResetCode;

/// Names a connection: place in the table and how often that place had been taken before, so that a name outlived by
/// its connection is never mistaken for a later one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ConnId {
    /// Place in the connection table.
    pub index: u32,
    /// How often it had been taken before.
    pub generation: u32,
}

/// The connection, or the stream, is not there any more (or never was).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection or stream is gone")]
pub struct Gone;

/// Something happened. Out of [`super::Quic::poll_event`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuicEvent {
    /// The handshake ended well. On a server the client's certificate has been verified by then; a client may still
    /// see its own certificate refused ([`LostKind::TlsPeer`](super::LostKind::TlsPeer)) right after this.
    Connected {
        /// Which connection.
        conn: ConnId,
        /// This side's role.
        side: Side,
    },
    /// The connection ended; its streams are gone. Comes exactly once for every connection, also when this side closed
    /// it, and without an earlier [`Self::Connected`] where the handshake failed. It is the connection's last event.
    Lost {
        /// Which connection.
        conn: ConnId,
        /// Why.
        reason: LostReason,
    },
    /// The peer opened a stream. It may already be readable: no [`Self::Readable`] announces its first bytes.
    Opened {
        /// Which connection.
        conn: ConnId,
        /// Which stream.
        stream: StreamId,
    },
    /// There is something to read: bytes, the end or a reset.
    Readable {
        /// Which connection.
        conn: ConnId,
        /// Which stream.
        stream: StreamId,
    },
    /// A stream that had been [`WriteState::Blocked`] takes bytes again.
    Writable {
        /// Which connection.
        conn: ConnId,
        /// Which stream.
        stream: StreamId,
    },
    /// The peer will not read the stream any further. Its sending half has been reset with the same code (RFC 9000
    /// section 3.5); nothing more can be written.
    Stopped {
        /// Which connection.
        conn: ConnId,
        /// Which stream.
        stream: StreamId,
        /// The peer's code; one that a newer peer invented reads as [`ResetCode::ResetByPeer`].
        code: ResetCode,
    },
    /// Everything written to a finished stream, and its end, was acknowledged.
    Finished {
        /// Which connection.
        conn: ConnId,
        /// Which stream.
        stream: StreamId,
    },
    /// The peer granted more streams: [`super::Quic::open`] may succeed where it said `None`.
    StreamsAvailable {
        /// Which connection.
        conn: ConnId,
    },
    /// The peer stopped answering; [`Self::Recovered`] or [`Self::Lost`] follows. May come before
    /// [`Self::Connected`] when the network reports the peer unreachable.
    Suspect {
        /// Which connection.
        conn: ConnId,
    },
    /// Nothing was heard of the peer for so long that it would be given up, were it not there by another way: whoever
    /// knows of none says so ([`super::Quic::give_up`]). Comes again each
    /// [`limits::PROBE_INTERVAL_MAX`](crate::limits::PROBE_INTERVAL_MAX) until then, or until
    /// [`limits::HELD_TIME_MAX`](crate::limits::HELD_TIME_MAX) is over; [`Self::Recovered`] or [`Self::Lost`] follows.
    Silent {
        /// Which connection.
        conn: ConnId,
    },
    /// The peer answers again.
    Recovered {
        /// Which connection.
        conn: ConnId,
    },
    /// A first packet that could not become a connection. Anybody can cause it, with any source address: of those that
    /// wait to be collected more than [`limits::REJECTIONS_MAX`](crate::limits::REJECTIONS_MAX) are only counted.
    Rejected {
        /// Where it came from, as the packet says.
        remote: SocketAddr,
        /// Why.
        reason: LostReason,
    },
}

/// Where a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadState {
    /// Nothing more is there now; [`QuicEvent::Readable`] will say when.
    Blocked,
    /// The byte limit of the call was reached; there may be more.
    More,
    /// The end of the stream: everything was read. The receiving half is gone.
    Finished,
    /// The peer reset the stream; bytes not read are lost. The receiving half is gone.
    Reset(ResetCode),
}

/// Where a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteState {
    /// Everything was taken.
    Took,
    /// The rest was not; [`QuicEvent::Writable`] will say when to go on.
    Blocked,
    /// The peer does not read any further. Nothing more will be taken.
    Stopped(ResetCode),
}

/// One connection's path at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The peer's current address.
    pub remote: SocketAddr,
    /// UDP payload that the path carries, as discovered so far.
    pub mtu_bytes: u16,
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Packets declared lost, path MTU probes apart.
    pub lost_packets: u64,
    /// Whether the peer has stopped answering.
    pub suspect: bool,
}

/// Why [`super::Quic::connect`] could not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// There is no client configuration.
    #[error("this endpoint has no client configuration")]
    NoClientConfig,
    /// The table is full.
    #[error("{0} connections are open, which is the limit")]
    Full(usize),
    /// The server name is neither a DNS name nor an IP address.
    #[error("{0:?} is no name that a certificate can carry; use a DNS name or an IP address")]
    ServerName(String),
    /// Nothing can be sent there.
    #[error("cannot connect to {0}; use an address with a port that is not 0")]
    Address(SocketAddr),
}
