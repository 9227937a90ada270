//! Streams that are no gRPC calls but pipes: two directions that end each for itself.
//!
//! Of a call the server decides when it is over, by its status. Of a pipe nobody does: END_STREAM of either side ends
//! that direction and leaves the other alone ([`Connection::half_close`]), RST_STREAM ends both, and when both
//! directions have ended the stream is over. Header fields say what is wanted, and that it is taken (status 200);
//! trailers are an END_STREAM like any other. Windows are larger, and receiving goes on for longer while output waits:
//! the peer is adit as well, and would stop receiving for the same reason at the same time.

use std::time::Instant;

use super::client::NotOpened;
use super::connection::Connection;
use super::error::{ConnectionError, ErrorCode};
use super::event::{Event, Metadata, StreamId};

/// What the streams of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// gRPC calls.
    Calls,
    /// See the module.
    Pipes,
}

impl Connection {
    /// Begins as a server of pipes. Our SETTINGS are output already.
    ///
    /// # Errors
    /// As [`Self::server`].
    pub fn server_of_pipes(now: Instant) -> Result<Self, ConnectionError> {
        Self::new(false, Use::Pipes, now)
    }

    /// Begins as a client of pipes. The preface and our SETTINGS are output already, and pipes can be opened.
    ///
    /// # Errors
    /// As [`Self::server`].
    pub fn client_of_pipes(now: Instant) -> Result<Self, ConnectionError> {
        Self::new(true, Use::Pipes, now)
    }

    /// A client's: opens a pipe; `path` says what for. There may be payload for it at once.
    ///
    /// # Errors
    /// See [`NotOpened`].
    pub fn open_pipe(&mut self, authority: &str, path: &str) -> Result<StreamId, NotOpened> {
        debug_assert!(self.usage == Use::Pipes, "a connection of calls opens none");
        self.open_with(&[
            (":method", "POST"),
            (":scheme", "https"),
            (":path", path),
            (":authority", authority),
        ])
    }

    /// A client's: whether the server takes another stream now.
    #[must_use]
    pub fn has_stream_room(&self) -> bool {
        !self.is_leaving() && self.streams.len() < self.streams_max() as usize
    }

    /// Ends the connection at once, and tells the peer why: a GOAWAY of NO_ERROR with this text, of which at most
    /// [`crate::limits::PEER_TEXT_BYTES_MAX`] bytes are sent. What was output before is still to be written. No event
    /// follows.
    pub fn leave(&mut self, text: &str) {
        if self.ended {
            return;
        }
        self.engine.output(&mut self.output);
        self.put_goaway(self.last_opened, ErrorCode::NO_ERROR, text);
        self.events.clear();
        self.stop();
    }

    /// A response to a pipe: taken, or not.
    pub(super) fn pipe_answered(&mut self, stream: u32, mut fields: Metadata, end: bool) {
        let status = fields.text(":status");
        if status.starts_with('1') {
            return;
        }
        let stream_id = StreamId(stream);
        if status != "200" {
            self.engine.reset(stream, ErrorCode::CANCEL);
            self.guard.reset_stream();
            self.close(stream_id);
            let code = ErrorCode::REFUSED_STREAM;
            return self.events.push_back(Event::Reset { stream: stream_id, code, by_peer: true });
        }
        self.payload_follows(stream, &fields.0);
        fields.0.retain(|(name, _)| !name.starts_with(b":"));
        self.events.push_back(Event::Answered { stream: stream_id, metadata: fields });
        if end {
            self.half_closed(stream);
        }
    }
}
