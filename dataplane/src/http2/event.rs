//! What a connection tells its consumer.

use std::fmt;

use bytes::Bytes;

use crate::limits::PEER_TEXT_BYTES_MAX;
use crate::wire::clean_text;

use super::error::{ConnectionError, ErrorCode};

/// A stream's number (RFC 9113 section 5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The header fields of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `:method`: POST for gRPC.
    pub method: String,
    /// `:path`: the name of the gRPC method, such as `/ProxyService/Proxy`.
    pub path: String,
    /// `content-type`, or nothing.
    pub content_type: String,
    /// `user-agent`, made fit for a log and at most [`PEER_TEXT_BYTES_MAX`] long.
    pub user_agent: String,
    /// All fields but the pseudo-header fields.
    pub metadata: Metadata,
}

impl Request {
    /// From decoded fields, which the library has validated (RFC 9113 section 8.3.1).
    pub(super) fn new(fields: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let mut metadata = Metadata(fields);
        let (method, path) = (metadata.text(":method"), metadata.text(":path"));
        let (content_type, user_agent) = (metadata.text("content-type"), metadata.text("user-agent"));
        let user_agent = clean_text(&user_agent, PEER_TEXT_BYTES_MAX);
        metadata.0.retain(|(name, _)| !name.starts_with(b":"));
        Self { method, path, content_type, user_agent, metadata }
    }

    /// Whether it is a call of gRPC (its HTTP/2 protocol's "Requests"): POST, and the content type.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        let rest = self.content_type.strip_prefix("application/grpc");
        self.method == "POST" && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
    }
}

/// Header fields that are not pseudo-header fields, names in lower case. Together no longer than
/// [`crate::limits::HTTP2_HEADER_LIST_BYTES_MAX`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata(pub(super) Vec<(Vec<u8>, Vec<u8>)>);

impl Metadata {
    /// The values of a field, in order. The name is in lower case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let wanted = self.0.iter().filter(move |(field, _)| field == name.as_bytes());
        wanted.map(|(_, value)| value.as_slice())
    }

    /// A field's first value as text, or nothing.
    pub(super) fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(self.values(name).next().unwrap_or_default()).into_owned()
    }
}

/// How many there are, and none of them: there are bearer tokens among them.
impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metadata({} fields)", self.0.len())
    }
}

/// How a call ended, as the server says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallStatus {
    /// `grpc-status`: 0 is OK. `None`: there was none, so it is no gRPC that answered.
    pub code: Option<u32>,
    /// `grpc-message`, decoded, or what there was instead; made fit for a log and at most [`PEER_TEXT_BYTES_MAX`] long.
    pub message: String,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was drained, and its last stream is over.
    Drained,
    /// It cannot go on.
    Failed(ConnectionError),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To a server: a request, on a stream that is new.
    Opened {
        /// The new stream.
        stream: StreamId,
        /// Its header fields.
        request: Request,
    },
    /// To a client: the response has begun.
    Answered {
        /// The stream.
        stream: StreamId,
        /// Its header fields.
        metadata: Metadata,
    },
    /// To a client: the call has ended, and its stream is over.
    Finished {
        /// The stream.
        stream: StreamId,
        /// How.
        status: CallStatus,
    },
    /// Part of what the peer sends, never empty, at most [`crate::limits::HTTP2_FRAME_BYTES_MAX`]. Whoever has passed
    /// it on says so to [`super::Connection::credit`].
    Data {
        /// The stream.
        stream: StreamId,
        /// The payload, without padding.
        bytes: Bytes,
    },
    /// To a server, and to either side of a pipe: the peer ended its side of a stream. Where ours has ended, the stream
    /// is over.
    HalfClosed {
        /// The stream.
        stream: StreamId,
    },
    /// A stream is over.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: ErrorCode,
        /// The peer reset it; otherwise it was reset because the peer broke a rule on it.
        by_peer: bool,
    },
    /// There may be more room to send: on this stream, or on all.
    Window {
        /// The stream, or all.
        stream: Option<StreamId>,
    },
    /// The peer goes away: a client opens no more streams, a server takes no more. Those that there are go on, but for
    /// those that a server has not looked at: they are reset with REFUSED_STREAM, in events before this.
    Goaway {
        /// Why.
        code: ErrorCode,
        /// What it says for people, made fit for a log.
        text: String,
    },
    /// The connection is over, and with it all streams. What [`super::Connection::take_output`] still gives is to be
    /// written; then the transport can be closed. Nothing follows.
    Ended(End),
}
