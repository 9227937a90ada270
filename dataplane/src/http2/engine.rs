//! The only file that knows `shiguredo_http2`: one connection of it, fed frame by frame.
//!
//! It understands frames, HPACK and the states of streams. None of its types leave this file, so that it can be
//! replaced (docs/adr/0009-http2.md says by what). Payload does not come here (`payload`): the library's output is a
//! queue of single bytes.

use bytes::Bytes;
use shiguredo_http2::frame::StreamId;
use shiguredo_http2::{Connection, Error, Event, HeaderField, Limits, WindowSize};

use crate::limits::{
    HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_HEADER_LIST_BYTES_MAX, HTTP2_PIPES_CONNECTION_WINDOW_BYTES,
    HTTP2_STREAM_WINDOW_BYTES, HTTP2_STREAMS_MAX, STREAM_WINDOW_BYTES,
};

use super::error::{ConnectionError, ErrorCode};
use super::output::Output;
use super::pipes::Use;

const CALLS: Limits = limits(HTTP2_STREAM_WINDOW_BYTES, HTTP2_CONNECTION_WINDOW_BYTES);
const PIPES: Limits = limits(STREAM_WINDOW_BYTES, HTTP2_PIPES_CONNECTION_WINDOW_BYTES);

/// What a peer may do, its windows apart.
const fn limits(stream_window_bytes: u32, connection_window_bytes: u32) -> Limits {
    Limits::builder()
        .max_concurrent_streams(Some(HTTP2_STREAMS_MAX))
        .initial_window_size(WindowSize::from_static(stream_window_bytes))
        .connection_window_size(WindowSize::from_static(connection_window_bytes))
        .max_header_list_size(Some(HTTP2_HEADER_LIST_BYTES_MAX))
        .build_static()
}

const fn limits_for(usage: Use) -> Limits {
    match usage {
        Use::Calls => CALLS,
        Use::Pipes => PIPES,
    }
}

/// A header field's name and value.
pub(super) type Field = (Vec<u8>, Vec<u8>);

/// What one frame meant.
#[derive(Debug)]
pub(super) enum Meaning {
    /// A request, or a response, began.
    Headers { stream: u32, fields: Vec<Field>, end: bool },
    /// Trailers, which end it.
    Trailers { stream: u32, fields: Vec<Field> },
    /// Payload without its padding.
    Data { stream: u32, bytes: Bytes, end: bool },
    /// A stream was reset: by the peer, or by the library for something that the peer did.
    Reset { stream: u32, code: ErrorCode },
    /// The peer's SETTINGS.
    Settings,
    /// The acknowledgement of ours.
    SettingsAck,
    /// The acknowledgement of a PING.
    PingAck([u8; 8]),
    /// The peer goes away, and has not looked at streams above the last.
    Goaway { last: u32, code: ErrorCode, debug: Vec<u8> },
    /// A window grew: a stream's, or the connection's.
    Window { stream: Option<u32>, bytes: u32 },
    /// Nothing that matters above.
    Nothing,
}

/// The library's connection.
#[derive(Debug)]
pub(super) struct Engine(Connection);

impl Engine {
    /// Begins: our SETTINGS are the first output.
    ///
    /// # Errors
    /// None that was seen; the library's signature allows some.
    pub(super) fn server(usage: Use) -> Result<Self, ConnectionError> {
        let mut connection = Connection::server(limits_for(usage));
        connection.initiate().map_err(|error| internal(&error))?;
        // It is checked where frames are cut.
        connection.mark_preface_received();
        Ok(Self(connection))
    }

    /// Begins as a client: the preface and our SETTINGS are the first output.
    ///
    /// # Errors
    /// As [`Self::server`].
    pub(super) fn client(usage: Use) -> Result<Self, ConnectionError> {
        let mut connection = Connection::client(limits_for(usage));
        connection.initiate().map_err(|error| internal(&error))?;
        Ok(Self(connection))
    }

    /// Takes one whole frame.
    ///
    /// # Errors
    /// It breaks the protocol, and the connection with it.
    pub(super) fn frame(&mut self, frame: &[u8]) -> Result<(), ConnectionError> {
        let fed = self.0.feed(frame).and_then(|_| self.0.process());
        fed.map_err(|error| {
            let code = error.error_code().map_or(ErrorCode::PROTOCOL_ERROR, |code| ErrorCode(code.as_u32()));
            ConnectionError::Protocol { code, text: error.reason().to_owned() }
        })
    }

    /// What the frame meant, one thing after the other.
    ///
    /// # Errors
    /// As [`Self::frame`].
    pub(super) fn meaning(&mut self) -> Result<Option<Meaning>, ConnectionError> {
        let Some(event) = self.0.poll_event() else { return Ok(None) };
        Ok(Some(match event {
            Event::HeadersReceived { stream_id, headers, end_stream, .. } => {
                Meaning::Headers { stream: stream_id.as_u32(), fields: decoded(&headers), end: end_stream }
            }
            Event::TrailersReceived { stream_id, trailers } => {
                Meaning::Trailers { stream: stream_id.as_u32(), fields: decoded(&trailers) }
            }
            Event::DataReceived { stream_id, data, end_stream } => {
                Meaning::Data { stream: stream_id.as_u32(), bytes: data.into(), end: end_stream }
            }
            Event::StreamReset { stream_id, error_code, .. } => {
                Meaning::Reset { stream: stream_id.as_u32(), code: ErrorCode(error_code.as_u32()) }
            }
            Event::SettingsReceived { ack: false } => Meaning::Settings,
            Event::SettingsReceived { ack: true } => Meaning::SettingsAck,
            Event::PingReceived { opaque_data, ack: true } => Meaning::PingAck(opaque_data),
            Event::GoawayReceived { last_stream_id, error_code, debug_data } => {
                let code = ErrorCode(error_code.as_u32());
                Meaning::Goaway { last: last_stream_id.as_u32(), code, debug: debug_data }
            }
            Event::WindowUpdateReceived { stream_id, increment } => {
                Meaning::Window { stream: stream_id.non_zero().map(|id| id.as_u32()), bytes: increment }
            }
            Event::ConnectionError { error_code, reason } => {
                let code = ErrorCode(error_code.as_u32());
                return Err(ConnectionError::Protocol { code, text: reason });
            }
            _ => Meaning::Nothing,
        }))
    }

    /// Moves what is to be written.
    pub(super) fn output(&mut self, output: &mut Output) {
        if let Some(bytes) = self.0.poll_output() {
            output.put_slice(&bytes);
        }
    }

    /// What the peer lets a new stream send (SETTINGS_INITIAL_WINDOW_SIZE).
    pub(super) fn initial_window_bytes(&self) -> u32 {
        self.0.remote_settings().initial_window_size().get()
    }

    /// The longest frame that the peer takes (SETTINGS_MAX_FRAME_SIZE).
    pub(super) fn frame_bytes_max(&self) -> u32 {
        self.0.remote_settings().max_frame_size().get()
    }

    /// How many streams the peer lets be open at once (SETTINGS_MAX_CONCURRENT_STREAMS).
    pub(super) fn streams_max(&self) -> u32 {
        self.0.remote_settings().max_concurrent_streams().unwrap_or(u32::MAX)
    }

    /// Sends a request's header fields, and returns its stream.
    ///
    /// # Errors
    /// A field is none, the peer does not take so many, or there are no numbers left.
    pub(super) fn open(&mut self, fields: &[(&str, &str)]) -> Result<u32, ConnectionError> {
        let fields = encodable(fields)?;
        let stream = self.0.start_stream(fields, false).map_err(|error| internal(&error))?;
        Ok(stream.as_u32())
    }

    /// Ends our side of a stream.
    ///
    /// # Errors
    /// The stream is over.
    pub(super) fn half_close(&mut self, stream: u32) -> Result<(), ConnectionError> {
        let ended = self.0.send_data(StreamId::from_wire(stream), Vec::new(), true);
        ended.map_err(|error| internal(&error))
    }

    /// Sends a response's header fields, or all of it.
    ///
    /// # Errors
    /// The stream is over, a field is none, or the peer does not take so many.
    pub(super) fn respond(
        &mut self,
        stream: u32,
        fields: &[(&str, &str)],
        end: bool,
    ) -> Result<(), ConnectionError> {
        let fields = encodable(fields)?;
        let sent = self.0.send_response(StreamId::from_wire(stream), fields, end);
        sent.map_err(|error| internal(&error))
    }

    /// Sends trailers, which end our side.
    ///
    /// # Errors
    /// As [`Self::respond`].
    pub(super) fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) -> Result<(), ConnectionError> {
        let fields = encodable(fields)?;
        self.0.send_trailers(StreamId::from_wire(stream), fields).map_err(|error| internal(&error))
    }

    /// Takes note that the peer ended its side of a stream, with payload that was kept from the library.
    ///
    /// # Errors
    /// As [`Self::frame`].
    pub(super) fn peer_ended(&mut self, stream: u32) -> Result<(), ConnectionError> {
        let mut frame = [0, 0, 0, 0x0, 0x1, 0, 0, 0, 0];
        frame[5..].copy_from_slice(&stream.to_be_bytes());
        self.frame(&frame)?;
        self.forget_events();
        Ok(())
    }

    /// Resets a stream. One that is over already needs none.
    pub(super) fn reset(&mut self, stream: u32, code: ErrorCode) {
        let code = shiguredo_http2::ErrorCode::from_u32(code.0);
        let _ = self.0.reset_stream(StreamId::from_wire(stream), code);
    }

    /// Gives window back, to a stream or the connection.
    ///
    /// # Errors
    /// More is given back than was taken.
    pub(super) fn window_update(&mut self, stream: Option<u32>, bytes: usize) -> Result<(), ConnectionError> {
        let stream = stream.map_or(StreamId::Connection, StreamId::from_wire);
        let increment = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.0.send_window_update(stream, increment).map_err(|error| internal(&error))
    }

    /// Drops the events of commands, which tell their caller what he knows.
    pub(super) fn forget_events(&mut self) {
        while self.0.poll_event().is_some() {}
    }
}

fn decoded(fields: &[HeaderField]) -> Vec<Field> {
    fields.iter().map(|field| (field.name().to_vec(), field.value().to_vec())).collect()
}

/// Fields as the library wants them. Values that differ from call to call are never put into HPACK's table, whose size
/// the peer decides (RFC 7541 section 4.2).
fn encodable(fields: &[(&str, &str)]) -> Result<Vec<HeaderField>, ConnectionError> {
    let encodable = fields.iter().map(|(name, value)| {
        let constant =
            name.starts_with(':') || matches!(*name, "content-type" | "te" | "user-agent" | "grpc-status");
        HeaderField::new_with_sensitive(name, value, !constant)
            .map_err(|error| ConnectionError::Internal(format!("header field {name}: {error:?}")))
    });
    encodable.collect()
}

fn internal(error: &Error) -> ConnectionError {
    ConnectionError::Internal(error.reason().to_owned())
}
