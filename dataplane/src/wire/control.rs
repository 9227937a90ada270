//! Messages on the control stream (PROTOCOL.md section 7).

use std::fmt;

use bytes::Bytes;
use prost::Message;

use crate::limits;

use super::clean_text::clean_text;
use super::error::WireError;
use super::frame::encode_frame;

/// An agent's first message on the control stream.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Hello {
    /// `--agent-id`: stable over restarts. 1 to [`limits::AGENT_ID_BYTES_MAX`] bytes, no control characters.
    #[prost(string, tag = "1")]
    pub agent_id: String,
    /// New per process start. 1 to [`limits::INSTANCE_ID_BYTES_MAX`] bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub instance_id: Vec<u8>,
    /// Which of the agent's connections this is.
    #[prost(uint32, tag = "3")]
    pub connection_index: u32,
    /// `--agent-identifiers`, as the URL query that Konnectivity's agents send. At most
    /// [`limits::IDENTIFIERS_BYTES_MAX`] bytes.
    #[prost(string, tag = "4")]
    pub identifiers: String,
    /// A bearer token, empty if none. Never logged.
    #[prost(string, tag = "5")]
    pub token: String,
    /// The agent's version, for people. Clean once decoded.
    #[prost(string, tag = "6")]
    pub version: String,
    /// Optional abilities offered.
    #[prost(uint64, tag = "7")]
    pub features: u64,
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("agent_id", &self.agent_id)
            .field("instance_id", &self.instance_id)
            .field("connection_index", &self.connection_index)
            .field("identifiers", &self.identifiers)
            .field("token", &redacted(&self.token))
            .field("version", &self.version)
            .field("features", &self.features)
            .finish()
    }
}

/// The server's answer to [`Hello`].
#[derive(Clone, PartialEq, Message)]
pub struct Welcome {
    /// `--server-id`. 1 to [`limits::AGENT_ID_BYTES_MAX`] bytes, no control characters.
    #[prost(string, tag = "1")]
    pub server_id: String,
    /// New per process start of the server. 1 to [`limits::INSTANCE_ID_BYTES_MAX`] bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub instance_id: Vec<u8>,
    /// `--server-count`: servers that the agent should hold connections to.
    #[prost(uint32, tag = "3")]
    pub server_count: u32,
    /// Shards of this server: how many connections spread evenly.
    #[prost(uint32, tag = "4")]
    pub shards: u32,
    /// Abilities taken from those offered.
    #[prost(uint64, tag = "5")]
    pub features: u64,
    /// The server's version, for people. Clean once decoded.
    #[prost(string, tag = "6")]
    pub version: String,
}

/// Agent → server: a newer bearer token in place of the one in [`Hello`].
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Token {
    /// The token. Never logged.
    #[prost(string, tag = "1")]
    pub token: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("token", &redacted(&self.token)).finish()
    }
}

fn redacted(token: &str) -> &'static str {
    if token.is_empty() { "none" } else { "redacted" }
}

/// Either way: the sender takes nothing new and ends when what runs is finished, at the deadline at the latest.
#[derive(Clone, PartialEq, Message)]
pub struct Drain {
    /// Milliseconds from now until what still runs is cut; 0 if the sender does not say.
    #[prost(uint32, tag = "1")]
    pub deadline_ms: u32,
    /// Why, for the log. Clean once decoded.
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// Server → agent: a new value of [`Welcome::server_count`].
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ServerCount {
    /// Servers that the agent should hold connections to.
    #[prost(uint32, tag = "1")]
    pub server_count: u32,
}

/// One message on the control stream.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ControlMessage {
    /// The agent's first.
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// The server's first.
    #[prost(message, tag = "2")]
    Welcome(Welcome),
    /// Agent → server.
    #[prost(message, tag = "3")]
    Token(Token),
    /// Either way.
    #[prost(message, tag = "4")]
    Drain(Drain),
    /// Server → agent.
    #[prost(message, tag = "5")]
    ServerCount(ServerCount),
}

#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(oneof = "ControlMessage", tags = "1, 2, 3, 4, 5")]
    message: Option<ControlMessage>,
}

impl ControlMessage {
    /// As a frame.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`], e.g. for a token that does not fit.
    pub fn to_frame(&self) -> Result<Bytes, WireError> {
        encode_frame(&Envelope { message: Some(self.clone()) })
    }

    /// From a frame's message. `None` is a message that this end does not know: it is ignored, unless it is the
    /// first, which must be Hello or Welcome (PROTOCOL.md section 10).
    ///
    /// # Errors
    ///
    /// [`WireError`] for messages that are not valid.
    pub fn decode(message: Bytes) -> Result<Option<Self>, WireError> {
        let mut message = Envelope::decode(message)?.message;
        match &mut message {
            Some(Self::Hello(hello)) => {
                check_id("agent_id", &hello.agent_id)?;
                check_instance(&hello.instance_id)?;
                check_text("identifiers", &hello.identifiers, limits::IDENTIFIERS_BYTES_MAX)?;
                check_text("token", &hello.token, limits::MESSAGE_BYTES_MAX)?;
                hello.version = clean_text(&hello.version, limits::PEER_TEXT_BYTES_MAX);
            }
            Some(Self::Welcome(welcome)) => {
                check_id("server_id", &welcome.server_id)?;
                check_instance(&welcome.instance_id)?;
                welcome.version = clean_text(&welcome.version, limits::PEER_TEXT_BYTES_MAX);
            }
            Some(Self::Token(token)) => check_text("token", &token.token, limits::MESSAGE_BYTES_MAX)?,
            Some(Self::Drain(drain)) => {
                drain.reason = clean_text(&drain.reason, limits::PEER_TEXT_BYTES_MAX);
            }
            Some(Self::ServerCount(_)) | None => {}
        }
        Ok(message)
    }

    /// What it is, for errors and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Welcome(_) => "welcome",
            Self::Token(_) => "token",
            Self::Drain(_) => "drain",
            Self::ServerCount(_) => "server_count",
        }
    }
}

fn check_id(field: &'static str, id: &str) -> Result<(), WireError> {
    if id.is_empty() {
        return Err(WireError::Field(field));
    }
    check_text(field, id, limits::AGENT_ID_BYTES_MAX)
}

fn check_text(field: &'static str, text: &str, max_bytes: usize) -> Result<(), WireError> {
    if text.len() > max_bytes {
        return Err(WireError::Invalid { field, why: "too long" });
    }
    if text.len() != clean_text(text, max_bytes).len() {
        return Err(WireError::Invalid { field, why: "control characters" });
    }
    Ok(())
}

fn check_instance(instance_id: &[u8]) -> Result<(), WireError> {
    if instance_id.is_empty() {
        return Err(WireError::Field("instance_id"));
    }
    if instance_id.len() > limits::INSTANCE_ID_BYTES_MAX {
        return Err(WireError::Invalid { field: "instance_id", why: "too long" });
    }
    Ok(())
}
