//! Application error codes: of a closed connection (PROTOCOL.md section 9) and of a reset stream (section 8).

/// Why a connection was closed (CONNECTION_CLOSE of type 0x1d, RFC 9000 section 19.19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum CloseCode {
    /// Nothing is wrong; the connection is not needed any more.
    NoError = 0,
    /// The server does not want this agent; the reason phrase says why.
    Refused = 1,
    /// The end that closes is draining and has nothing left to finish.
    Draining = 2,
    /// The agent holds a connection of this number to this server already.
    Duplicate = 3,
    /// The peer broke the protocol.
    Protocol = 4,
    /// No complete Hello, or no Welcome, in time.
    HelloTimeout = 5,
    /// The agent could not prove who it is.
    Unauthenticated = 6,
    /// The process ends.
    Shutdown = 7,
    /// The end that closes has a defect or is out of memory.
    Internal = 8,
    /// The end that closes has no room for another connection.
    Full = 9,
    /// Data went unanswered for too long; the peer is taken for dead.
    Unanswered = 10,
}

impl CloseCode {
    /// Every code, in order.
    pub const ALL: [Self; 11] = [
        Self::NoError,
        Self::Refused,
        Self::Draining,
        Self::Duplicate,
        Self::Protocol,
        Self::HelloTimeout,
        Self::Unauthenticated,
        Self::Shutdown,
        Self::Internal,
        Self::Full,
        Self::Unanswered,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The code of a number on the wire; `None` if a newer peer invented it.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|known| u64::from(known.code()) == code)
    }

    /// What to say in the reason phrase when there is nothing more exact, and in logs.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoError => "not needed any more",
            Self::Refused => "refused",
            Self::Draining => "draining",
            Self::Duplicate => "duplicate connection",
            Self::Protocol => "protocol violation",
            Self::HelloTimeout => "no hello in time",
            Self::Unauthenticated => "not authenticated",
            Self::Shutdown => "shutting down",
            Self::Internal => "internal error",
            Self::Full => "too many connections",
            Self::Unanswered => "no answer in time",
        }
    }
}

/// Why a stream was reset or stopped (RESET_STREAM and STOP_SENDING, RFC 9000 sections 19.4 and 19.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum ResetCode {
    /// The TCP connection at the sender's end was reset or failed; the receiver resets its own.
    ResetByPeer = 0x10,
    /// The tunnel was stopped for longest when a memory budget was used up.
    OverBudget = 0x11,
    /// Whoever wanted the stream does not want it any more.
    Cancelled = 0x12,
    /// The stream's kind is not known to the receiver.
    UnknownKind = 0x13,
    /// The dial's deadline passed.
    Deadline = 0x14,
    /// A drain reached its deadline.
    DrainCut = 0x15,
    /// The stream's header or answer was not valid.
    Protocol = 0x16,
    /// The receiver has no room for another tunnel.
    Full = 0x17,
    /// The sender has a defect.
    Internal = 0x18,
}

impl ResetCode {
    /// Every code, in order.
    pub const ALL: [Self; 9] = [
        Self::ResetByPeer,
        Self::OverBudget,
        Self::Cancelled,
        Self::UnknownKind,
        Self::Deadline,
        Self::DrainCut,
        Self::Protocol,
        Self::Full,
        Self::Internal,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The code of a number on the wire; `None` if a newer peer invented it, which means as much as
    /// [`ResetCode::ResetByPeer`].
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|known| u64::from(known.code()) == code)
    }

    /// For logs and error texts.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::ResetByPeer => "connection reset by peer",
            Self::OverBudget => "stopped for too long while memory was short",
            Self::Cancelled => "cancelled",
            Self::UnknownKind => "unknown kind of stream",
            Self::Deadline => "deadline exceeded",
            Self::DrainCut => "cut off at the end of a drain",
            Self::Protocol => "protocol violation",
            Self::Full => "too many tunnels",
            Self::Internal => "internal error",
        }
    }
}
