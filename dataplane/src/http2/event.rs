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
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// `:method`: POST for gRPC.
    pub method: String,
    /// `:path`: the name of the gRPC method, such as `/ProxyService/Proxy`.
    pub path: String,
    /// `content-type`, or nothing.
    pub content_type: String,
    /// `user-agent`, made fit for a log and at most [`PEER_TEXT_BYTES_MAX`] long.
    pub user_agent: String,
    /// All fields but the pseudo-header fields, names in lower case. Together no longer than
    /// [`crate::limits::HTTP2_HEADER_LIST_BYTES_MAX`].
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Request {
    /// From decoded fields, which the library has validated (RFC 9113 section 8.3.1).
    pub(super) fn new(fields: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let text = |name: &[u8]| {
            let value = fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_slice());
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        };
        let (method, path) = (text(b":method"), text(b":path"));
        let (content_type, user_agent) = (text(b"content-type"), text(b"user-agent"));
        let user_agent = clean_text(&user_agent, PEER_TEXT_BYTES_MAX);
        let fields = fields.into_iter().filter(|(name, _)| !name.starts_with(b":")).collect();
        Self { method, path, content_type, user_agent, fields }
    }

    /// Whether it is a call of gRPC (its HTTP/2 protocol's "Requests"): POST, and the content type.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        let rest = self.content_type.strip_prefix("application/grpc");
        self.method == "POST" && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
    }

    /// The values of a field, in order. The name is in lower case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let wanted = self.fields.iter().filter(move |(field, _)| field == name.as_bytes());
        wanted.map(|(_, value)| value.as_slice())
    }
}

/// Without the other fields: there are bearer tokens among them.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("content_type", &self.content_type)
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
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
    /// A request, on a stream that is new.
    Opened {
        /// The new stream.
        stream: StreamId,
        /// Its header fields.
        request: Request,
    },
    /// Part of a request's payload, never empty, at most [`crate::limits::HTTP2_FRAME_BYTES_MAX`]. Whoever has passed
    /// it on says so to [`super::Connection::credit`].
    Data {
        /// The stream.
        stream: StreamId,
        /// The payload, without padding.
        bytes: Bytes,
    },
    /// The peer ended its side of a stream.
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
    /// The peer will open no more streams. Those that there are go on.
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
