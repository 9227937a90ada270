//! The client's side of HTTP/2 (RFC 9113), without input and output: bytes in, events and bytes out.
//!
//! A thin layer over `shiguredo_http2`, none of whose types leave this file. It adds what that library leaves to its
//! caller: frames come one at a time ([`Frames`]), the connection's window is given back in large steps (a step per
//! frame collapses into tiny windows), and who sends next is decided by us. What is sent, and the windows for it, go
//! past the library: it puts out a byte at a time, and a generator that slow measures itself.
//!
//! Deliberately absent: the server's side, push, priorities, and giving back the windows of streams (only who reads
//! them knows when).

use std::collections::HashMap;

use shiguredo_http2::frame::StreamId;
use shiguredo_http2::{Connection, ErrorCode, Event as Raw, HeaderField, Limits, WindowSize};

use super::failure::Failure;
use super::frames::{FRAME_BYTES_MAX, Frames, HEADER_BYTES, TooLong};

/// What a peer may send on one stream before its reader took anything.
pub(super) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// What a peer may send on all streams together before this end looked at it. It is given back on receipt, so that
/// streams that nobody reads do not stop others.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Windows are given back in steps of at least this.
pub(super) const CREDIT_BYTES_MIN: usize = 32 * 1024;
/// Longest list of header fields that is taken (SETTINGS_MAX_HEADER_LIST_SIZE).
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Both windows before anybody said anything (RFC 9113 §6.9.2).
const INITIAL_WINDOW_BYTES: i64 = 65_535;
/// The largest window (RFC 9113 §6.9.1).
const WINDOW_BYTES_MAX: i64 = (1 << 31) - 1;
/// The types of DATA and WINDOW_UPDATE (RFC 9113 §6.1, §6.9).
const TYPE_DATA: u8 = 0;
const TYPE_WINDOW_UPDATE: u8 = 8;

const LIMITS: Limits = Limits::builder()
    .initial_window_size(WindowSize::from_static(STREAM_WINDOW_BYTES))
    .connection_window_size(WindowSize::from_static(CONNECTION_WINDOW_BYTES))
    .max_header_list_size(Some(HEADER_LIST_BYTES_MAX))
    .build_static();

/// A field's name and value.
pub(super) type Field = (Vec<u8>, Vec<u8>);

/// What the peer did.
#[derive(Debug)]
pub(super) enum Event {
    /// Header fields of a response, or its trailers.
    Fields { stream: u32, fields: Vec<Field>, end: bool },
    /// Part of the response; it took `window_bytes` from the stream's window.
    Data { stream: u32, bytes: Vec<u8>, window_bytes: usize, end: bool },
    /// RST_STREAM, with the name of its code.
    Reset { stream: u32, code: String },
    /// Streams above `last` are not and will not be served; there can be no new ones.
    Goaway { last: u32, code: String, debug: String },
    /// There may be more room to send: on this stream, or on all.
    Window { stream: Option<u32> },
}

/// One connection.
#[derive(Debug)]
pub(super) struct Http2 {
    connection: Connection,
    frames: Frames,
    output: Vec<u8>,
    /// What may still be sent, together and on each open stream. Negative where the peer made its windows smaller.
    send_window_bytes: i64,
    stream_windows: HashMap<u32, i64>,
    initial_window_bytes: i64,
    /// Received and not yet given back to the connection's window.
    uncredited_bytes: usize,
}

impl Http2 {
    /// Begins: the preface and our settings are the first output.
    ///
    /// # Errors
    /// None that was seen; the library's signature allows some.
    pub(super) fn new() -> Result<Self, Failure> {
        let mut connection = Connection::client(LIMITS);
        connection.initiate().map_err(|error| internal(&error))?;
        Ok(Self {
            connection,
            frames: Frames::default(),
            output: Vec::new(),
            send_window_bytes: INITIAL_WINDOW_BYTES,
            stream_windows: HashMap::new(),
            initial_window_bytes: INITIAL_WINDOW_BYTES,
            uncredited_bytes: 0,
        })
    }

    /// Sends a request's header fields, and returns the new stream.
    ///
    /// # Errors
    /// The peer does not allow another stream, or went away, or a field is none.
    pub(super) fn open(&mut self, fields: &[(&str, &str)]) -> Result<u32, Failure> {
        let fields: Result<Vec<_>, _> =
            fields.iter().map(|(name, value)| HeaderField::new(name, value)).collect();
        let fields = fields.map_err(|error| Failure::malformed(format!("request: {error:?}")))?;
        let most = self.connection.remote_settings().max_concurrent_streams();
        let stream = self.connection.start_stream(fields, false).map_err(|error| {
            let allowed = most.map_or_else(String::new, |most| format!(" (the proxy allows {most} at once)"));
            Failure::refused(format!("no new stream{allowed}: {}", error.reason()))
        })?;
        let stream = stream.as_u32();
        self.stream_windows.insert(stream, self.initial_window_bytes);
        Ok(stream)
    }

    /// How many bytes the windows let a stream send.
    pub(super) fn sendable_bytes(&self, stream: u32) -> usize {
        let of_stream = self.stream_windows.get(&stream).copied().unwrap_or(0);
        usize::try_from(of_stream.min(self.send_window_bytes)).unwrap_or(0)
    }

    /// Sends bytes, [`Self::sendable_bytes`] at most.
    ///
    /// # Errors
    /// The stream is no longer one, or the windows do not allow it.
    pub(super) fn send(&mut self, stream: u32, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.len() > self.sendable_bytes(stream) {
            return Err(Failure::malformed("more is sent than the HTTP/2 stream's windows allow"));
        }
        self.collect_output();
        for payload in bytes.chunks(FRAME_BYTES_MAX) {
            let length = u32::try_from(payload.len()).expect("it is a frame's").to_be_bytes();
            self.output.extend_from_slice(&[length[1], length[2], length[3], TYPE_DATA, 0]);
            self.output.extend_from_slice(&stream.to_be_bytes());
            self.output.extend_from_slice(payload);
        }
        let sent = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        self.send_window_bytes -= sent;
        if let Some(window) = self.stream_windows.get_mut(&stream) {
            *window -= sent;
        }
        Ok(())
    }

    /// Gives window back to an open stream.
    ///
    /// # Errors
    /// More was given back than taken.
    pub(super) fn credit(&mut self, stream: u32, bytes: usize) -> Result<(), Failure> {
        self.update(StreamId::from_wire(stream), bytes)
    }

    /// Ends a stream with CANCEL, as grpc-go does when a call's context ends.
    pub(super) fn cancel(&mut self, stream: u32) {
        self.stream_windows.remove(&stream);
        // A stream that ended both ways already needs none.
        let _ = self.connection.reset_stream(StreamId::from_wire(stream), ErrorCode::Cancel);
    }

    /// Says goodbye.
    pub(super) fn goaway(&mut self) {
        let _ = self.connection.send_goaway(ErrorCode::NoError, Vec::new());
    }

    /// Whether there is something to write.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty() || self.connection.has_output()
    }

    /// What is to be written, all of it.
    pub(super) fn output(&mut self) -> Vec<u8> {
        self.collect_output();
        std::mem::take(&mut self.output)
    }

    /// What the library has put out so far comes before what is put out next.
    fn collect_output(&mut self) {
        if let Some(bytes) = self.connection.poll_output() {
            self.output.extend_from_slice(&bytes);
        }
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// The peer broke the protocol; it is told so with a GOAWAY, and nothing more can be received.
    pub(super) fn receive(&mut self, mut input: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        while !input.is_empty() {
            let is_between = self.frames.is_between();
            let piece = match self.frames.next(input) {
                Ok(piece) => piece,
                Err(TooLong(_)) if self.frames.speaks_http1() => {
                    return Err(Failure::malformed("the proxy answers in HTTP/1.1: it is not in GRPC mode"));
                }
                Err(TooLong(bytes)) => {
                    let text = format!("a frame of {bytes} bytes; {FRAME_BYTES_MAX} are allowed");
                    return Err(self.broken(ErrorCode::FrameSizeError, &text));
                }
            };
            let (bytes, rest) = input.split_at(piece.bytes);
            input = rest;
            if is_between && piece.ends.is_some() && self.take_window_update(bytes, events)? {
                continue;
            }
            let fed = self.connection.feed(bytes).and_then(|_| match piece.ends {
                Some(_) => self.connection.process(),
                None => Ok(()),
            });
            if let Err(error) = fed {
                let code = error.error_code().unwrap_or(ErrorCode::ProtocolError);
                let text = error.reason().to_owned();
                return Err(self.broken(code, &text));
            }
            if let Some(window_bytes) = piece.ends {
                self.uncredited_bytes += window_bytes;
                self.events(window_bytes, events)?;
            }
        }
        if self.uncredited_bytes >= CREDIT_BYTES_MIN {
            let bytes = std::mem::take(&mut self.uncredited_bytes);
            self.update(StreamId::Connection, bytes)?;
        }
        Ok(())
    }

    /// Collects what one frame meant.
    fn events(&mut self, window_bytes: usize, events: &mut Vec<Event>) -> Result<(), Failure> {
        while let Some(raw) = self.connection.poll_event() {
            match raw {
                Raw::HeadersReceived { stream_id, headers, end_stream, .. } => {
                    let fields = headers.iter().map(field).collect();
                    events.push(Event::Fields { stream: stream_id.as_u32(), fields, end: end_stream });
                }
                Raw::TrailersReceived { stream_id, trailers } => {
                    let fields = trailers.iter().map(field).collect();
                    events.push(Event::Fields { stream: stream_id.as_u32(), fields, end: true });
                }
                Raw::DataReceived { stream_id, data, end_stream } => {
                    let stream = stream_id.as_u32();
                    events.push(Event::Data { stream, bytes: data, window_bytes, end: end_stream });
                }
                Raw::StreamReset { stream_id, error_code, .. } => {
                    let code = format!("{error_code:?}");
                    events.push(Event::Reset { stream: stream_id.as_u32(), code });
                }
                Raw::GoawayReceived { last_stream_id, error_code, debug_data } => {
                    let debug = String::from_utf8_lossy(&debug_data).into_owned();
                    let code = format!("{error_code:?}");
                    events.push(Event::Goaway { last: last_stream_id.as_u32(), code, debug });
                }
                Raw::WindowUpdateReceived { stream_id, increment } => {
                    self.grow_window(stream_id.as_u32(), increment, events)?;
                }
                Raw::SettingsReceived { ack: false } => {
                    self.resize_windows();
                    events.push(Event::Window { stream: None });
                }
                Raw::ConnectionError { error_code, reason } => return Err(self.broken(error_code, &reason)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes a whole WINDOW_UPDATE (RFC 9113 §6.9) of an open stream or the connection: the library, which does not
    /// know what was sent, would find the window too large one day. False for every other frame, and for one that is
    /// not right.
    fn take_window_update(&mut self, frame: &[u8], events: &mut Vec<Event>) -> Result<bool, Failure> {
        if frame[3] != TYPE_WINDOW_UPDATE || frame.len() != HEADER_BYTES + 4 {
            return Ok(false);
        }
        let number = |at: usize| {
            u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]) & !(1 << 31)
        };
        let (stream, increment) = (number(5), number(9));
        if increment == 0 || stream != 0 && !self.stream_windows.contains_key(&stream) {
            return Ok(false);
        }
        self.grow_window(stream, increment, events)?;
        Ok(true)
    }

    fn grow_window(&mut self, stream: u32, increment: u32, events: &mut Vec<Event>) -> Result<(), Failure> {
        let (window, stream) = match stream {
            0 => (&mut self.send_window_bytes, None),
            _ => match self.stream_windows.get_mut(&stream) {
                Some(window) => (window, Some(stream)),
                None => return Ok(()),
            },
        };
        *window += i64::from(increment);
        if *window > WINDOW_BYTES_MAX {
            return Err(self.broken(ErrorCode::FlowControlError, "a window larger than 2^31-1"));
        }
        events.push(Event::Window { stream });
        Ok(())
    }

    /// SETTINGS_INITIAL_WINDOW_SIZE changes what open streams may send, too (RFC 9113 §6.9.2).
    fn resize_windows(&mut self) {
        let new = i64::from(self.connection.remote_settings().initial_window_size().get());
        let change = new - self.initial_window_bytes;
        self.initial_window_bytes = new;
        self.stream_windows.values_mut().for_each(|window| *window += change);
    }

    fn update(&mut self, id: StreamId, bytes: usize) -> Result<(), Failure> {
        let increment = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.connection.send_window_update(id, increment).map_err(|error| internal(&error))
    }

    fn broken(&mut self, code: ErrorCode, text: &str) -> Failure {
        let _ = self.connection.send_goaway(code, text.as_bytes().to_vec());
        Failure::malformed(format!("HTTP/2: {code:?}: {text}"))
    }
}

fn field(raw: &HeaderField) -> Field {
    (raw.name().to_vec(), raw.value().to_vec())
}

fn internal(error: &shiguredo_http2::Error) -> Failure {
    Failure::malformed(format!("HTTP/2: {}", error.reason()))
}

#[cfg(test)]
mod tests {
    use shiguredo_http2::frame::StreamId;
    use shiguredo_http2::{Connection, Event as Raw, Limits};

    use super::{CONNECTION_WINDOW_BYTES, Event, Http2, STREAM_WINDOW_BYTES};

    const FIELDS: &[(&str, &str)] =
        &[(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "%2Frun%2Fx")];

    /// Moves everything both ways until nothing moves.
    fn exchange(client: &mut Http2, server: &mut Connection) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let out = client.output();
            server.feed(&out).unwrap();
            server.process().unwrap();
            let Some(back) = server.poll_output() else { return events };
            client.receive(&back, &mut events).unwrap();
        }
    }

    fn connected() -> (Http2, Connection) {
        let mut client = Http2::new().unwrap();
        let mut server = Connection::server(Limits::default());
        server.initiate().unwrap();
        exchange(&mut client, &mut server);
        (client, server)
    }

    fn response() -> Vec<shiguredo_http2::HeaderField> {
        vec![shiguredo_http2::HeaderField::new(":status", "200").unwrap()]
    }

    #[test]
    fn what_is_sent_keeps_to_both_windows() {
        let (mut client, mut server) = connected();
        let (one, two) = (client.open(FIELDS).unwrap(), client.open(FIELDS).unwrap());
        assert_eq!(client.sendable_bytes(one), 65_535);
        client.send(one, &[1; 65_535]).unwrap();
        assert_eq!((client.sendable_bytes(one), client.sendable_bytes(two)), (0, 0));
        assert!(client.send(one, &[1]).is_err());
        exchange(&mut client, &mut server);
        server.send_window_update(StreamId::Connection, 100_000).unwrap();
        server.send_window_update(StreamId::from_wire(one), 10).unwrap();
        let events = exchange(&mut client, &mut server);
        assert!(events.iter().any(|event| matches!(event, Event::Window { stream: Some(1) })));
        assert_eq!((client.sendable_bytes(one), client.sendable_bytes(two)), (10, 65_535));
        client.send(one, &[2; 10]).unwrap();
        assert_eq!(client.sendable_bytes(one), 0);
        exchange(&mut client, &mut server);
        let more = client.receive(b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff", &mut Vec::new());
        assert!(more.unwrap_err().to_string().contains("larger than 2^31-1"));
    }

    #[test]
    fn the_connections_window_is_given_back_on_receipt_and_a_streams_is_not() {
        let (mut client, mut server) = connected();
        let stream = client.open(FIELDS).unwrap();
        exchange(&mut client, &mut server);
        let id = StreamId::from_wire(stream);
        server.send_response(id, response(), false).unwrap();
        let mut received = 0;
        // Nobody reads this stream: it stops at its own window.
        for _ in 0..2 * STREAM_WINDOW_BYTES / 16_384 {
            if !server.has_pending_send_data(id) {
                server.send_data(id, vec![0; 16_384], false).unwrap();
            }
            for event in exchange(&mut client, &mut server) {
                if let Event::Data { window_bytes, .. } = event {
                    received += window_bytes;
                }
            }
        }
        assert_eq!(received, STREAM_WINDOW_BYTES as usize);
        assert!(server.has_pending_send_data(id));
        // All windows of streams together are more than the connection's, which is whole again.
        for _ in 0..2 * CONNECTION_WINDOW_BYTES / STREAM_WINDOW_BYTES {
            let other = client.open(FIELDS).unwrap();
            exchange(&mut client, &mut server);
            let other = StreamId::from_wire(other);
            server.send_response(other, response(), false).unwrap();
            let mut received = 0;
            for _ in 0..STREAM_WINDOW_BYTES / 16_384 {
                server.send_data(other, vec![0; 16_384], false).unwrap();
                for event in exchange(&mut client, &mut server) {
                    if let Event::Data { window_bytes, .. } = event {
                        received += window_bytes;
                    }
                }
            }
            assert_eq!(received, STREAM_WINDOW_BYTES as usize);
        }
        client.credit(stream, 40_000).unwrap();
        exchange(&mut client, &mut server);
        assert!(!server.has_pending_send_data(id));
    }

    #[test]
    fn what_breaks_the_protocol_is_named_and_answered_with_goaway() {
        let (mut client, mut server) = connected();
        let error = client.receive(b"\0\0\0\0\0\0\0\0\x09", &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("idle stream"), "{error}");
        server.feed(&client.output()).unwrap();
        server.process().unwrap();
        let mut events = std::iter::from_fn(|| server.poll_event());
        assert!(events.any(|event| matches!(event, Raw::GoawayReceived { .. })));
        let mut client = Http2::new().unwrap();
        let error = client.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n", &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("not in GRPC mode"), "{error}");
        let error = connected().0.receive(b"\xff\0\0\0\0\0\0\0\x01", &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("a frame of 16711680 bytes"), "{error}");
    }
}
