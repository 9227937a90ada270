//! Operations and their completions: owned on the way in, owned on the way out.

use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};

use crate::driver::{SocketId, Token};
use crate::error::OpError;

/// Which class of receive slot a stream receive draws from: sized to the connection's habit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotSize {
    /// 4 KiB: interactive connections.
    Small,
    /// 60 KiB: bulk. What fills it fits one train of datagrams with their headers, whatever the path's MTU, so
    /// that a full receive does not become a full train and a short one.
    Large,
}

impl SlotSize {
    /// Bytes that one slot of this class holds.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Small => 4 * 1024,
            Self::Large => 60 * 1024,
        }
    }
}

/// Whether a receive stays armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shots {
    /// One completion, final. The caller's credit is exact.
    One,
    /// Stays armed until the end of the stream, an error, a cancellation, or until the kernel ends it (any time,
    /// with [`OpError::NoBuffers`] when no slot was free): then it is submitted again.
    Many,
}

/// An operation on a stream socket, a listener, or none yet.
#[derive(Debug)]
pub enum Op {
    /// Accepts connections (accept(2)), many shots. A final error (EMFILE, ENFILE, …) leaves the listener usable.
    Accept {
        /// A listening TCP or Unix socket.
        listener: SocketId,
    },
    /// Opens a TCP connection (connect(2)) with `TCP_NODELAY`.
    Connect {
        /// Where to.
        addr: SocketAddr,
    },
    /// Receives bytes into a slot chosen at the time they are there, so an idle connection holds no buffer.
    Recv {
        /// A connected stream socket.
        socket: SocketId,
        /// Which class of slot.
        slot: SlotSize,
        /// One completion or many.
        shots: Shots,
    },
    /// Sends bytes (sendmsg(2) with `MSG_NOSIGNAL`); may send fewer than given.
    Send {
        /// A connected stream socket.
        socket: SocketId,
        /// What to send, in order. At most [`Op::SEND_PIECES_MAX`] pieces, none of them empty.
        data: Vec<Bytes>,
        /// Ask for zero copy; see [`Outcome::Sent`].
        zero_copy: bool,
    },
    /// Ends the sending direction (shutdown(2), `SHUT_WR`).
    ShutdownWrite {
        /// A connected stream socket.
        socket: SocketId,
    },
    /// Completes when the connection is gone in both directions or failed (poll(2): POLLHUP, POLLERR), without
    /// consuming anything. For connections that are not being read because nobody takes their bytes.
    Watch {
        /// A connected stream socket.
        socket: SocketId,
    },
}

impl Op {
    /// Most pieces of one vectored send.
    pub const SEND_PIECES_MAX: usize = 256;
}

/// An operation on a UDP socket.
#[derive(Debug)]
pub enum DatagramOp {
    /// Receives datagrams, many shots, until cancelled or ended ([`OpError::NoBuffers`]): then submitted again.
    Recv {
        /// A bound UDP socket.
        socket: SocketId,
    },
    /// Sends one train of equally long datagrams.
    Send {
        /// A bound UDP socket.
        socket: SocketId,
        /// The train.
        transmit: Transmit,
    },
}

/// Explicit congestion notification codepoint (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// ECT(0).
    Ect0 = 0b10,
    /// ECT(1).
    Ect1 = 0b01,
    /// Congestion experienced.
    Ce = 0b11,
}

impl Ecn {
    /// From the two low bits of the traffic class; `None` for not-ECT.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits & 0b11 {
            0b10 => Some(Self::Ect0),
            0b01 => Some(Self::Ect1),
            0b11 => Some(Self::Ce),
            _ => None,
        }
    }
}

/// One send of one or more equally long datagrams (the last may be shorter) to one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The datagrams, end to end. Comes back in the completion, for reuse.
    pub buffer: Vec<u8>,
    /// Bytes per datagram. `buffer.len()` or more: a single datagram.
    pub segment_bytes: usize,
    /// Where to.
    pub peer: SocketAddr,
    /// The local address to send from, where it matters.
    pub local_ip: Option<IpAddr>,
    /// The codepoint to mark with.
    pub ecn: Option<Ecn>,
    /// Ask for zero copy; see [`Outcome::DatagramsSent`].
    pub zero_copy: bool,
}

impl Transmit {
    /// How many datagrams this is.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.buffer.len().div_ceil(self.segment_bytes.max(1)).max(1)
    }
}

/// One or more datagrams of one peer, received together.
#[derive(Debug, PartialEq, Eq)]
pub struct Datagrams {
    /// The datagrams, end to end. Dropping every part of it returns the slot.
    pub data: BytesMut,
    /// Bytes per datagram; the last may be shorter. Never 0.
    pub stride: usize,
    /// Who sent them.
    pub peer: SocketAddr,
    /// The local address they were sent to, where the kernel says so.
    pub local_ip: Option<IpAddr>,
    /// How they were marked.
    pub ecn: Option<Ecn>,
}

/// Who connected to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddr {
    /// A TCP peer.
    Inet(SocketAddr),
    /// A Unix socket peer (they seldom have a name).
    Unix,
}

/// What happened to an operation.
#[derive(Debug)]
pub enum Outcome {
    /// [`Op::Accept`]: a connection, already adopted, `TCP_NODELAY` set where it is TCP.
    Accepted(Result<(SocketId, PeerAddr), OpError>),
    /// [`Op::Connect`]: connected and adopted.
    Connected(Result<SocketId, OpError>),
    /// [`Op::Recv`]: bytes; empty at the end of the stream (then final).
    Received(Result<BytesMut, OpError>),
    /// [`Op::Send`]: how many bytes were accepted. `data` is given back with the final completion. With zero copy
    /// this comes with [`Completion::more`] and no `data` first, and [`Outcome::SendReleased`] follows.
    Sent {
        /// Bytes accepted, from the start of `data`.
        result: Result<usize, OpError>,
        /// The pieces, untouched.
        data: Option<Vec<Bytes>>,
    },
    /// The final completion of a zero-copy send: the kernel no longer reads the pieces.
    SendReleased {
        /// The pieces.
        data: Vec<Bytes>,
    },
    /// [`Op::ShutdownWrite`].
    ShutdownWrite(Result<(), OpError>),
    /// [`Op::Watch`]: `Ok` when the connection is gone.
    Gone(Result<(), OpError>),
    /// [`DatagramOp::Recv`]: datagrams.
    Datagrams(Result<Datagrams, OpError>),
    /// [`DatagramOp::Recv`], with [`Completion::more`]: the kernel reports that datagrams sent to `peer` did not
    /// arrive (ICMP, ip(7) `IP_RECVERR`). A hint that anyone on the path can forge.
    PeerUnreachable {
        /// The peer that the failed datagram was sent to.
        peer: SocketAddr,
        /// The reported errno (`ECONNREFUSED` for port unreachable).
        error: OpError,
    },
    /// [`DatagramOp::Send`]: the train was accepted or not; the buffer is given back with the final completion.
    /// EIO and EINVAL on more than one segment mean that segmentation was refused: send them one by one. With
    /// zero copy this comes with [`Completion::more`] and no buffer first, and
    /// [`Outcome::DatagramsReleased`] follows.
    DatagramsSent {
        /// Whether the kernel took the train.
        result: Result<(), OpError>,
        /// The train, untouched.
        transmit: Option<Transmit>,
    },
    /// The final completion of a zero-copy train: the kernel no longer reads the buffer.
    DatagramsReleased {
        /// The train.
        transmit: Transmit,
    },
}

/// A result of an operation.
#[derive(Debug)]
pub struct Completion {
    /// As given to `submit`.
    pub token: Token,
    /// Whether the operation goes on: more completions follow (R2).
    pub more: bool,
    /// What happened.
    pub outcome: Outcome,
}
