//! The traits that a shard is generic over. The rules they obey are in the crate's documentation.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::counters::Counters;
use crate::error::Refused;
use crate::op::{Completion, DatagramOp, Op, SlotSize};

/// The caller's name for an operation; comes back in each of its completions. Opaque to the driver.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:#018x})", self.0)
    }
}

/// Names a socket inside one driver: an index and a generation, so that an id outlived by its socket is refused
/// ([`crate::Refusal::StaleSocket`]) instead of reaching whichever socket took the place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    index: u32,
    generation: u32,
}

impl SocketId {
    /// For implementations of [`Driver`].
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// The place in the driver's table.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// How often that place had been taken before.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket {}.{}", self.index, self.generation)
    }
}

/// How [`Driver::close`] ends a stream socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// What was sent is still delivered; the peer sees the end of the stream.
    Graceful,
    /// TCP: the peer sees a reset (`SO_LINGER` with zero time, socket(7)). A Unix socket has no reset: its
    /// peer sees one only if bytes were left unread here (unix(7)), and the end of the stream otherwise.
    Reset,
}

/// Wakes a driver out of [`Driver::turn`] from any thread.
pub trait Wake: Send + Sync + fmt::Debug {
    /// The next (or current) turn returns early. Calls may coalesce; a turn may also return early without one.
    fn wake(&self);
}

/// Which implementation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DriverKind {
    /// io_uring(7).
    Uring,
    /// epoll(7) with recvmmsg(2) and sendmsg(2).
    Epoll,
    /// `adit-sim`.
    Sim,
}

impl DriverKind {
    /// The word used in flags, logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Epoll => "epoll",
            Self::Sim => "sim",
        }
    }
}

/// What the operator asked for with `--io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// io_uring where it works, else epoll, and the reason is reported (R8).
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// epoll or an error.
    Epoll,
}

/// What an implementation can do on this machine, as probed at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The implementation.
    pub kind: DriverKind,
    /// Most segments that one [`crate::Transmit`] may carry; 1 where UDP GSO is absent (udp(7), `UDP_SEGMENT`).
    pub gso_segments_max: usize,
    /// Whether received datagrams may come coalesced (`UDP_GRO`).
    pub gro: bool,
    /// Whether sends that ask for zero copy currently get it.
    pub zero_copy: bool,
}

/// How many receive slots exist and how many are held by bytes that the caller still keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotUse {
    /// All slots of the class.
    pub total: usize,
    /// Slots whose bytes have not been dropped yet.
    pub held: usize,
}

/// The seam between a shard and the kernel: stream sockets, the clock and waiting. See the crate's rules.
///
/// A driver belongs to one thread. Only the [`Wake`] it hands out and a released [`Driver::Socket`] may move.
pub trait Driver {
    /// A socket outside any driver: what control opens, and what moves between shards.
    type Socket: Send + fmt::Debug + 'static;

    /// Takes a socket in. Accepted and connected sockets are taken in by the driver itself.
    ///
    /// # Errors
    /// [`Refused`] with the socket when the table is full.
    fn adopt(&mut self, socket: Self::Socket) -> Result<SocketId, Refused<Self::Socket>>;

    /// Lets a socket go, still open (R9).
    ///
    /// # Errors
    /// [`Refused`] with the id while an operation is outstanding, or when the id is stale.
    fn release(&mut self, socket: SocketId) -> Result<Self::Socket, Refused<SocketId>>;

    /// Queues one operation. It reaches the kernel at the latest in the next [`Self::turn`].
    ///
    /// # Errors
    /// [`Refused`] hands the operation back (R7).
    fn submit(&mut self, op: Op, token: Token) -> Result<(), Refused<Op>>;

    /// Asks for the cancellation of the operation with this token; unknown tokens are ignored (R4).
    fn cancel(&mut self, token: Token);

    /// Closes a socket. The id is stale at once; outstanding operations still complete (R2), and the descriptor
    /// is closed only after the last of them. Stale ids are ignored.
    fn close(&mut self, socket: SocketId, how: Close);

    /// Hands queued operations to the kernel, waits until something completes or `deadline` passes (`None`: no
    /// deadline; one in the past: does not wait), and appends at most `max` completions to `out`. May return
    /// early with nothing.
    ///
    /// # Errors
    /// Only when the driver itself is broken (its ring or epoll descriptor fails); no peer can cause it.
    fn turn(&mut self, deadline: Option<Instant>, max: usize, out: &mut Vec<Completion>) -> io::Result<()>;

    /// The time, read once at the end of each wait.
    fn now(&self) -> Instant;

    /// A handle that wakes this driver from other threads.
    fn waker(&self) -> Arc<dyn Wake>;

    /// The socket's local address, where it has one in the internet families.
    fn local_addr(&self, socket: SocketId) -> Option<SocketAddr>;

    /// Bytes sent on a stream socket that the other end has not taken: `SIOCOUTQ`, tcp(7). On a Unix socket it
    /// counts what the reader has not read; on TCP what the peer's kernel has not acknowledged. 0 for a stale id.
    fn unsent_bytes(&self, socket: SocketId) -> usize;

    /// Use of the stream receive slots of one size. Each size is short on its own: bytes that fill every large slot
    /// leave the small ones alone.
    fn stream_slots(&self, size: SlotSize) -> SlotUse;

    /// What this implementation can do here.
    fn capabilities(&self) -> Capabilities;

    /// What was done so far, per operation.
    fn counters(&self) -> &Counters;
}

/// The UDP half. A trait of its own so that another packet path can take its place while streams stay on the ring.
/// Its completions come out of the same [`Driver::turn`].
pub trait DatagramDriver: Driver {
    /// Queues one operation on a UDP socket. More than one send may be outstanding; they may be reordered.
    ///
    /// # Errors
    /// [`Refused`] hands the operation back (R7).
    fn submit_datagrams(&mut self, op: DatagramOp, token: Token) -> Result<(), Refused<DatagramOp>>;

    /// Use of the datagram receive slots (each holds one coalesced train of up to 64 KiB).
    fn datagram_slots(&self) -> SlotUse;
}
