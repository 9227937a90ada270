//! What a consumer has a connection do for one stream.
//!
//! Every command is refused with [`Gone`] where the stream is over, which a consumer may not know yet: the event that
//! says so is on its way.

use bytes::Bytes;

use crate::limits::{HTTP2_EARNING_BYTES_MIN, HTTP2_OUTPUT_BYTES_TARGET};

use super::connection::Connection;
use super::error::{ConnectionError, ErrorCode, Gone};
use super::event::StreamId;
use super::pipes::Use;
use super::status::encode_message;

/// What every response begins with.
const RESPONSE: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];

impl Connection {
    /// A server's: sends the response's header fields: status 200, a call's content type, and `metadata`. A second
    /// time it does nothing. [`Self::send`] does it without metadata where it was not done.
    ///
    /// # Errors
    /// [`Gone`]: the stream is over; it is reset here if the peer does not take fields of that size.
    pub fn respond(&mut self, stream: StreamId, metadata: &[(&str, &str)]) -> Result<(), Gone> {
        let open = self.streams.get_mut(&stream.0).ok_or(Gone)?;
        if std::mem::replace(&mut open.responded, true) {
            return Ok(());
        }
        let response = match self.usage {
            Use::Calls => &RESPONSE[..],
            Use::Pipes => &RESPONSE[..1],
        };
        let sent = self.engine.respond(stream.0, &[response, metadata].concat(), false);
        self.settle(stream, sent)
    }

    /// How much [`Self::send`] would take now: what both windows allow and output has room for.
    #[must_use]
    pub fn sendable_bytes(&self, stream: StreamId) -> usize {
        self.window_bytes(stream).min(self.room_bytes())
    }

    /// How much both windows allow to be sent on a stream, whatever output has room for.
    #[must_use]
    pub fn window_bytes(&self, stream: StreamId) -> usize {
        let Some(open) = self.streams.get(&stream.0) else { return 0 };
        usize::try_from(open.send_window_bytes.min(self.send_window_bytes)).unwrap_or(0)
    }

    /// How much output may still be made for payload, whatever the windows allow. None of it is left where
    /// [`crate::limits::HTTP2_OUTPUT_BYTES_TARGET`] wait to be written.
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        HTTP2_OUTPUT_BYTES_TARGET.saturating_sub(self.output.len())
    }

    /// Sends payload, which is shared, and returns how much was taken, from its start. The rest is for later: after
    /// [`super::Event::Window`], or after [`Self::take_output`].
    ///
    /// # Errors
    /// [`Gone`]: the stream is over, or our side of it.
    pub fn send(&mut self, stream: StreamId, bytes: impl Into<Bytes>) -> Result<usize, Gone> {
        let mut bytes = bytes.into();
        self.respond(stream, &[])?;
        if self.streams.get(&stream.0).is_none_or(|open| open.ended) {
            return Err(Gone);
        }
        let wanted = bytes.len();
        bytes.truncate(self.sendable_bytes(stream));
        let count = bytes.len();
        if count == 0 {
            return Ok(0);
        }
        self.put_data(stream.0, bytes);
        let taken = i64::try_from(count).expect("it is short");
        self.send_window_bytes -= taken;
        if let Some(open) = self.streams.get_mut(&stream.0) {
            open.send_window_bytes -= taken;
            open.served = true;
        }
        if count == wanted || count >= HTTP2_EARNING_BYTES_MIN {
            let frames = count.div_ceil(self.engine.frame_bytes_max() as usize);
            self.guard.sent_data(u32::try_from(frames).unwrap_or(u32::MAX));
        }
        Ok(count)
    }

    /// A server's: ends a call with its status: `code` is gRPC's (0 is OK), `message` is for people, cut at
    /// [`crate::limits::HTTP2_STATUS_MESSAGE_BYTES_MAX`]. What the peer still sends is thrown away: where it has not
    /// ended its side, the stream is reset with NO_ERROR behind the status (RFC 9113 section 8.1).
    ///
    /// # Errors
    /// [`Gone`]: the stream is over already.
    pub fn finish(&mut self, stream: StreamId, code: u32, message: &str) -> Result<(), Gone> {
        debug_assert!(!self.is_client && self.usage == Use::Calls, "only a call's server has a status");
        let open = self.streams.get(&stream.0).ok_or(Gone)?;
        let (responded, peer_ended) = (open.responded, open.peer_ended);
        let (code, message) = (code.to_string(), encode_message(message));
        let mut fields = vec![("grpc-status", code.as_str())];
        if !message.is_empty() {
            fields.push(("grpc-message", message.as_str()));
        }
        let sent = if responded {
            self.engine.trailers(stream.0, &fields)
        } else {
            self.engine.respond(stream.0, &[&RESPONSE[..], &fields].concat(), true)
        };
        self.settle(stream, sent)?;
        if !peer_ended {
            self.engine.reset(stream.0, ErrorCode::NO_ERROR);
        }
        self.close(stream);
        Ok(())
    }

    /// Resets a stream. One that is over is left alone.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        if self.streams.contains_key(&stream.0) {
            self.engine.reset(stream.0, code);
            self.guard.reset_stream();
            self.close(stream);
        }
    }

    /// Gives a stream's window back for payload that was passed on, not what merely arrived. The peer is told in large
    /// steps. A stream that is over is left alone.
    pub fn credit(&mut self, stream: StreamId, bytes: usize) {
        let Some(open) = self.streams.get_mut(&stream.0) else { return };
        open.credit(bytes);
        if let Some(credit) = open.take_credit() {
            let sent = self.give_back(stream.0, credit);
            // A stream without its window is a stream that hangs: better it breaks.
            let _ = self.settle(stream, sent);
        }
    }

    pub(super) fn close(&mut self, stream: StreamId) {
        self.engine.forget_events();
        self.streams.remove(&stream.0);
        self.engine.output(&mut self.output);
    }

    /// Takes the output of a command, or resets the stream of one that failed.
    pub(super) fn settle(&mut self, stream: StreamId, sent: Result<(), ConnectionError>) -> Result<(), Gone> {
        if sent.is_err() {
            self.reset(stream, ErrorCode::INTERNAL_ERROR);
            return Err(Gone);
        }
        self.engine.output(&mut self.output);
        Ok(())
    }
}
