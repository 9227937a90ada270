//! How a call ends: the `grpc-status` and `grpc-message` of its trailers (gRPC over HTTP/2, "Responses").

use super::framing::FramingError;
use super::packet::PacketError;

/// The end of a call, as the server says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// OK.
    Ok,
    /// The client broke the protocol.
    Violation(Violation),
}

/// What a peer did that ends its stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Its bytes are no messages.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// A message is no packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
}

impl Status {
    /// The number for `grpc-status`, as grpc-go's server chooses it for the same mistake (`recv` in rpc_util.go).
    #[must_use]
    pub const fn code(&self) -> u32 {
        const RESOURCE_EXHAUSTED: u32 = 8;
        const INTERNAL: u32 = 13;
        match self {
            Self::Ok => 0,
            Self::Violation(Violation::Framing(FramingError::TooLong(_) | FramingError::Overflow(_))) => {
                RESOURCE_EXHAUSTED
            }
            Self::Violation(_) => INTERNAL,
        }
    }

    /// The text for `grpc-message`, not encoded; empty for OK.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Ok => String::new(),
            Self::Violation(violation) => format!("grpc: {violation}"),
        }
    }
}
