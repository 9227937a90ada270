//! What can be wrong with bytes from a peer. Every variant is the peer's fault, except [`WireError::TooLong`] on
//! the way out.

use crate::limits;

use super::codes::{CloseCode, ResetCode};
use super::dial::DialResponse;
use super::error_text::{DialError, ErrorClass};

/// Why bytes are not a valid message of `adit/1`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length prefix, or a message of our own, above [`limits::MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes is longer than {max}", max = limits::MESSAGE_BYTES_MAX)]
    TooLong(usize),
    /// The stream ended inside a message.
    #[error("the stream ended inside a message")]
    Truncated,
    /// The bytes are not the protobuf message that belongs here.
    #[error("not a valid message: {0}")]
    NotProtobuf(String),
    /// A field that must be there is missing, or must not be there and is.
    #[error("field {0} is missing or out of place")]
    Field(&'static str),
    /// A text or byte field is longer than its limit, or holds what it must not.
    #[error("field {field} is not valid: {why}")]
    Invalid {
        /// The field's name in PROTOCOL.md.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A stream of a kind that this end does not know. The stream is reset, the connection goes on.
    #[error("stream kind {0} is not known")]
    UnknownKind(u32),
    /// A dial over a network that this end does not know. Answered, see [`WireError::dial_refusal`].
    #[error("network {0} is not known")]
    UnknownNetwork(u32),
    /// A valid message at the wrong time, e.g. a second Hello.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
}

impl WireError {
    /// The code with which a stream that carries this is reset.
    #[must_use]
    pub const fn reset_code(&self) -> ResetCode {
        match self {
            Self::UnknownKind(_) => ResetCode::UnknownKind,
            _ => ResetCode::Protocol,
        }
    }

    /// The code with which the connection is closed when this is on its control stream.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        CloseCode::Protocol
    }

    /// The answer to a dial that failed this way, where the request was understood well enough to answer it.
    #[must_use]
    pub fn dial_refusal(&self) -> Option<DialResponse> {
        match self {
            Self::UnknownNetwork(number) => Some(DialResponse::error(DialError::new(
                ErrorClass::Unsupported,
                &format!("dial network {number}: unknown network"),
            ))),
            _ => None,
        }
    }
}

impl From<prost::DecodeError> for WireError {
    fn from(error: prost::DecodeError) -> Self {
        Self::NotProtobuf(error.to_string())
    }
}
