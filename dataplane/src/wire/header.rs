//! The first frame of every stream (PROTOCOL.md section 5).

use bytes::Bytes;
use prost::Message;

use crate::limits;

use super::dial::{DialRequest, DialRequestProto};
use super::error::WireError;
use super::frame::encode_frame;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// Control messages; the agent's first stream and no other.
    Control = 1,
    /// A tunnel towards the agent, opened by the server.
    Dial = 2,
    /// A tunnel towards the server, opened by the agent. Reserved: a receiver that does not serve it resets the
    /// stream with [`super::ResetCode::UnknownKind`].
    Reverse = 3,
}

impl Kind {
    fn from_number(number: u32) -> Result<Self, WireError> {
        match number {
            1 => Ok(Self::Control),
            2 => Ok(Self::Dial),
            3 => Ok(Self::Reverse),
            unknown => Err(WireError::UnknownKind(unknown)),
        }
    }
}

/// What a stream begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHeader {
    /// What the stream is for.
    pub kind: Kind,
    /// The realm it belongs to. Never empty once decoded: `default` where the peer left it out.
    pub realm: String,
    /// What to dial: there exactly for [`Kind::Dial`].
    pub dial: Option<DialRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct StreamHeaderProto {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "2")]
    realm: String,
    #[prost(message, optional, tag = "3")]
    dial: Option<DialRequestProto>,
}

impl StreamHeader {
    /// The realm of everything that names none.
    pub const REALM_DEFAULT: &str = "default";

    /// The header of the control stream in the default realm.
    #[must_use]
    pub fn control() -> Self {
        Self { kind: Kind::Control, realm: Self::REALM_DEFAULT.to_owned(), dial: None }
    }

    /// The header of a dial in the default realm.
    #[must_use]
    pub fn dial(request: DialRequest) -> Self {
        Self { kind: Kind::Dial, realm: Self::REALM_DEFAULT.to_owned(), dial: Some(request) }
    }

    /// As a frame.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`]; cannot happen if the address was parsed by [`crate::route::Target::parse`].
    pub fn to_frame(&self) -> Result<Bytes, WireError> {
        // The default realm is left out: every dial would pay for it.
        let realm = if self.realm == Self::REALM_DEFAULT { String::new() } else { self.realm.clone() };
        encode_frame(&StreamHeaderProto {
            kind: self.kind as u32,
            realm,
            dial: self.dial.as_ref().map(DialRequestProto::from),
        })
    }

    /// From a frame's message.
    ///
    /// # Errors
    ///
    /// [`WireError::UnknownKind`] for a kind of a newer peer, [`WireError::UnknownNetwork`] for such a network,
    /// others for messages that are not valid.
    pub fn decode(message: Bytes) -> Result<Self, WireError> {
        let proto = StreamHeaderProto::decode(message)?;
        // Before anything else: of a kind that is not known, no field's meaning is.
        let kind = Kind::from_number(proto.kind)?;
        let dial = match (kind, proto.dial) {
            (Kind::Dial, Some(dial)) => Some(DialRequest::try_from(dial)?),
            (Kind::Dial, None) | (Kind::Control, Some(_)) => return Err(WireError::Field("dial")),
            (Kind::Control | Kind::Reverse, _) => None,
        };
        let realm = if proto.realm.is_empty() { Self::REALM_DEFAULT.to_owned() } else { proto.realm };
        if realm.len() > limits::REALM_BYTES_MAX {
            return Err(WireError::Invalid { field: "realm", why: "too long" });
        }
        if !realm.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err(WireError::Invalid { field: "realm", why: "not of a-z, 0-9 and -" });
        }
        Ok(Self { kind, realm, dial })
    }
}
