//! Asking for a tunnel and answering (PROTOCOL.md section 6).

use std::net::SocketAddr;

use bytes::Bytes;
use prost::Message;

use crate::limits;

use super::clean_text::clean_text;
use super::error::WireError;
use super::error_text::{DialError, ErrorClass};
use super::frame::encode_frame;

/// What carries a tunnel's bytes behind the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Network {
    /// A TCP connection.
    #[default]
    Tcp = 0,
}

/// What the server wants dialed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialRequest {
    /// Over what.
    pub network: Network,
    /// `host:port`, as the frontend wrote it. At most [`limits::TARGET_BYTES_MAX`] bytes of printable ASCII; the
    /// agent parses it for itself ([`crate::route::Target::parse`]).
    pub address: String,
    /// Chosen by the server, the same in both ends' logs. Means nothing else.
    pub dial_id: u64,
    /// Time left for the dial, in milliseconds from the arrival of the request; 0 if the server sets no limit.
    pub deadline_ms: u32,
    /// W3C `traceparent`, empty if there is none.
    pub traceparent: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DialRequestProto {
    #[prost(uint32, tag = "1")]
    network: u32,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(fixed64, tag = "3")]
    dial_id: u64,
    #[prost(uint32, tag = "4")]
    deadline_ms: u32,
    #[prost(string, tag = "5")]
    traceparent: String,
}

impl From<&DialRequest> for DialRequestProto {
    fn from(request: &DialRequest) -> Self {
        Self {
            network: request.network as u32,
            address: request.address.clone(),
            dial_id: request.dial_id,
            deadline_ms: request.deadline_ms,
            traceparent: request.traceparent.clone(),
        }
    }
}

impl TryFrom<DialRequestProto> for DialRequest {
    type Error = WireError;

    fn try_from(proto: DialRequestProto) -> Result<Self, WireError> {
        let network = match proto.network {
            0 => Network::Tcp,
            unknown => return Err(WireError::UnknownNetwork(unknown)),
        };
        printable("address", &proto.address, limits::TARGET_BYTES_MAX)?;
        printable("traceparent", &proto.traceparent, limits::TRACEPARENT_BYTES_MAX)?;
        if proto.address.is_empty() {
            return Err(WireError::Field("address"));
        }
        Ok(Self {
            network,
            address: proto.address,
            dial_id: proto.dial_id,
            deadline_ms: proto.deadline_ms,
            traceparent: proto.traceparent,
        })
    }
}

fn printable(field: &'static str, text: &str, max_bytes: usize) -> Result<(), WireError> {
    if text.len() > max_bytes {
        return Err(WireError::Invalid { field, why: "too long" });
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(WireError::Invalid { field, why: "not printable ASCII" });
    }
    Ok(())
}

/// The agent's answer. Raw bytes follow it on the stream if it is positive; nothing follows it otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialResponse {
    /// How it went.
    pub class: ErrorClass,
    /// The error, Go-shaped (`dial tcp 10.0.0.1:80: connect: connection refused`); empty if it went well. Clean
    /// ([`clean_text`]) once decoded, and at most [`limits::PEER_TEXT_BYTES_MAX`] bytes.
    pub text: String,
    /// The address that was connected to, as `ip:port`; empty if it did not go well. Clean, too.
    pub remote: String,
}

#[derive(Clone, PartialEq, Message)]
struct DialResponseProto {
    #[prost(uint32, tag = "1")]
    class: u32,
    #[prost(string, tag = "2")]
    text: String,
    #[prost(string, tag = "3")]
    remote: String,
}

impl DialResponse {
    /// The tunnel stands.
    #[must_use]
    pub fn ok(remote: SocketAddr) -> Self {
        Self { class: ErrorClass::Ok, text: String::new(), remote: remote.to_string() }
    }

    /// It does not.
    #[must_use]
    pub fn error(error: DialError) -> Self {
        Self { class: error.class, text: error.text, remote: String::new() }
    }

    /// The error, unless the tunnel stands.
    ///
    /// # Errors
    ///
    /// What the agent says is wrong.
    pub fn into_result(self) -> Result<(), DialError> {
        if self.class == ErrorClass::Ok {
            Ok(())
        } else {
            Err(DialError { class: self.class, text: self.text })
        }
    }

    /// As a frame.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`]; cannot happen to what this module's constructors made.
    pub fn to_frame(&self) -> Result<Bytes, WireError> {
        encode_frame(&DialResponseProto {
            class: self.class.number(),
            text: self.text.clone(),
            remote: self.remote.clone(),
        })
    }

    /// From a frame's message. An error class of a newer agent becomes [`ErrorClass::Other`], an error without a
    /// text gets one.
    ///
    /// # Errors
    ///
    /// [`WireError::NotProtobuf`].
    pub fn decode(message: Bytes) -> Result<Self, WireError> {
        let proto = DialResponseProto::decode(message)?;
        let class = ErrorClass::from_number(proto.class);
        let mut text = clean_text(&proto.text, limits::PEER_TEXT_BYTES_MAX);
        if text.is_empty() && class != ErrorClass::Ok {
            class.text().clone_into(&mut text);
        }
        Ok(Self { class, text, remote: clean_text(&proto.remote, limits::TARGET_BYTES_MAX) })
    }
}
