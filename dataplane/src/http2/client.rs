//! What only a client does: opens streams, and hears how calls begin and end.

use crate::limits::{HTTP2_STREAMS_MAX, PEER_TEXT_BYTES_MAX};
use crate::wire::clean_text;

use super::connection::{Connection, names_length};
use super::engine::Field;
use super::error::{ConnectionError, ErrorCode, Gone};
use super::event::{CallStatus, Event, Metadata, StreamId};
use super::pipes::Use;
use super::status::decode_message;
use super::stream::Stream;

/// A call to open a stream for (gRPC's "PROTOCOL-HTTP2.md", Requests).
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// `http`, or `https` behind TLS.
    pub scheme: &'a str,
    /// The name of the server, without user information.
    pub authority: &'a str,
    /// The gRPC method, such as `/AgentService/Connect`.
    pub path: &'a str,
    /// Who calls.
    pub user_agent: &'a str,
    /// Fields beside these, names in lower case. They are never put into HPACK's table, for there are secrets among
    /// them (RFC 7541 section 7.1).
    pub metadata: &'a [(&'a str, &'a str)],
}

/// Without the metadata, which may contain a token.
impl std::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({}://{}{})", self.scheme, self.authority, self.path)
    }
}

/// Why a call has no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// The server takes no more streams at once, or [`HTTP2_STREAMS_MAX`] are open; one that ends makes room.
    #[error("{0} streams may be open at once on the HTTP/2 connection, and they are")]
    Full(u32),
    /// Either end goes away, or the connection is over: another is needed.
    #[error("the HTTP/2 connection takes no new streams")]
    Leaving,
    /// A field is none, the server does not take so many, or the numbers of streams are used up.
    #[error("the HTTP/2 request cannot be sent: {0}")]
    Invalid(String),
}

impl Connection {
    /// A client's: opens a stream with a call. There may be payload for it at once.
    ///
    /// # Errors
    /// See [`NotOpened`].
    pub fn open(&mut self, call: Call<'_>) -> Result<StreamId, NotOpened> {
        let mut fields = vec![
            (":method", "POST"),
            (":scheme", call.scheme),
            (":path", call.path),
            (":authority", call.authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", call.user_agent),
        ];
        fields.extend_from_slice(call.metadata);
        self.open_with(&fields)
    }

    /// How many streams may be open at once.
    pub(super) fn streams_max(&self) -> u32 {
        self.engine.streams_max().min(HTTP2_STREAMS_MAX)
    }

    /// Opens a stream with these header fields.
    ///
    /// # Errors
    /// See [`NotOpened`].
    pub(super) fn open_with(&mut self, fields: &[(&str, &str)]) -> Result<StreamId, NotOpened> {
        debug_assert!(self.is_client, "a server opens no streams");
        if self.is_leaving() {
            return Err(NotOpened::Leaving);
        }
        let most = self.streams_max();
        if self.streams.len() >= most as usize {
            return Err(NotOpened::Full(most));
        }
        let opened = self.engine.open(fields).map_err(|error| match error {
            ConnectionError::Internal(text) => NotOpened::Invalid(text),
            other => NotOpened::Invalid(other.to_string()),
        });
        let stream = opened?;
        let mut open = Stream::new(self.initial_window_bytes, self.usage, false);
        // There is nothing to respond to.
        open.responded = true;
        self.streams.insert(stream, open);
        self.engine.output(&mut self.output);
        Ok(StreamId(stream))
    }

    /// A client's, or either side's of a pipe: ends its side of a stream; the peer's end is still awaited, and where it
    /// has come, the stream is over. A second time it does nothing.
    ///
    /// # Errors
    /// [`Gone`]: the stream is over.
    pub fn half_close(&mut self, stream: StreamId) -> Result<(), Gone> {
        debug_assert!(self.is_client || self.usage == Use::Pipes, "a server ends a call with its status");
        self.respond(stream, &[])?;
        let open = self.streams.get_mut(&stream.0).ok_or(Gone)?;
        let is_over = open.peer_ended;
        if std::mem::replace(&mut open.ended, true) {
            return Ok(());
        }
        let sent = self.engine.half_close(stream.0);
        self.settle(stream, sent)?;
        if is_over {
            self.close(stream);
        }
        Ok(())
    }

    /// A response's header fields came, or all of one.
    pub(super) fn answered(
        &mut self,
        stream: u32,
        fields: Vec<Field>,
        end: bool,
    ) -> Result<(), ConnectionError> {
        if !self.streams.contains_key(&stream) {
            // The library forgets those that we reset, and takes any other for new.
            let text = format!("a response on stream {stream}, which nobody opened");
            return Err(ConnectionError::Protocol { code: ErrorCode::PROTOCOL_ERROR, text });
        }
        if self.usage == Use::Pipes {
            self.pipe_answered(stream, Metadata(fields), end);
            return Ok(());
        }
        if end {
            self.finished(stream, fields, true);
            return Ok(());
        }
        let mut metadata = Metadata(fields);
        let status = metadata.text(":status");
        if status.starts_with('1') {
            return Ok(());
        }
        if status != "200" {
            // What follows is a page for people.
            self.finished(stream, metadata.0, false);
            return Ok(());
        }
        self.payload_follows(stream, &metadata.0);
        metadata.0.retain(|(name, _)| !name.starts_with(b":"));
        self.events.push_back(Event::Answered { stream: StreamId(stream), metadata });
        Ok(())
    }

    /// What comes behind these fields of a response is payload.
    pub(super) fn payload_follows(&mut self, stream: u32, fields: &[Field]) {
        if let Some(open) = self.streams.get_mut(&stream) {
            open.goes_past_library = !names_length(fields);
        }
    }

    /// A call ended: by its trailers, by a response that is nothing else, or without either. Where that is not the end
    /// of the stream for both, it is reset.
    pub(super) fn finished(&mut self, stream: u32, fields: Vec<Field>, peer_ended: bool) {
        let Some(open) = self.streams.get(&stream) else { return };
        let is_over = open.ended && peer_ended;
        let metadata = Metadata(fields);
        let code = metadata.text("grpc-status").parse().ok();
        let message = match (code, metadata.text(":status")) {
            (None, status) if !status.is_empty() => format!("no gRPC status, HTTP status {status}"),
            (None, _) => "the stream ended without a gRPC status".to_owned(),
            _ => decode_message(metadata.values("grpc-message").next().unwrap_or_default()),
        };
        let status = CallStatus { code, message: clean_text(&message, PEER_TEXT_BYTES_MAX) };
        if !is_over {
            self.engine.reset(stream, ErrorCode::NO_ERROR);
            self.guard.reset_stream();
        }
        self.close(StreamId(stream));
        self.events.push_back(Event::Finished { stream: StreamId(stream), status });
    }

    /// The peer goes away. A server says which streams it has not looked at (RFC 9113 section 6.8).
    pub(super) fn peer_goes(&mut self, last: u32) {
        if !self.is_client {
            return;
        }
        self.peer_leaves = true;
        if self.usage == Use::Pipes {
            // There it is the end of everything, and why is told with it.
            return;
        }
        while let Some((&stream, _)) = self.streams.last_key_value()
            && stream > last
        {
            let code = ErrorCode::REFUSED_STREAM;
            self.engine.reset(stream, ErrorCode::CANCEL);
            self.close(StreamId(stream));
            self.events.push_back(Event::Reset { stream: StreamId(stream), code, by_peer: true });
        }
    }
}
