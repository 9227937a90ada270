//! A whole connection: against frames written by hand, and against the library's client. Floods, with what they hold,
//! are `dataplane/tests/hostile`'s.

mod client;
mod conversation;
mod deadlines;
mod drain;
mod ping;
mod pipes;
mod requests;
mod splits;
mod violations;
mod windows;

use std::time::Instant;

use bytes::Bytes;

use super::frames::PREFACE;
use super::{Connection, End, Event};

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The preface, SETTINGS without any, and the acknowledgement of ours.
pub(super) fn greeting() -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, b""), &frame(4, ACK, 0, b"")].concat()
}

/// A string of HPACK, not compressed (RFC 7541 section 5.2).
pub(super) fn text(value: &str) -> Vec<u8> {
    [&[u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
}

/// The header block of a call: POST, http, path, authority, content type.
pub(super) fn call(path: &str, authority: &str) -> Vec<u8> {
    let block: [&[u8]; 5] = [
        b"\x83\x86",
        &[&b"\x04"[..], &text(path)].concat(),
        &[&b"\x01"[..], &text(authority)].concat(),
        &[&b"\x0f\x10"[..], &text("application/grpc")].concat(),
        &[&b"\x0f\x2b"[..], &text("grpc-go/1.82.1")].concat(),
    ];
    block.concat()
}

/// HEADERS that open a stream.
pub(super) fn open(stream: u32) -> Vec<u8> {
    frame(1, END_HEADERS, stream, &call("/ProxyService/Proxy", "%2Frun%2Fx.sock"))
}

/// A connection and what it said and did.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) connection: Connection,
    pub(super) now: Instant,
    pub(super) output: Vec<u8>,
}

impl Server {
    /// One that nobody has spoken to.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { connection: Connection::server(now).unwrap(), now, output: Vec::new() }
    }

    /// One whose peer has greeted it.
    pub(super) fn greeted() -> Self {
        let mut server = Self::new();
        assert_eq!(server.hear(&greeting()), []);
        server.output.clear();
        server
    }

    /// Gives it bytes; what came of them.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.connection.receive(Bytes::copy_from_slice(bytes));
        self.events()
    }

    /// All events, its output taken as often as it needs it.
    pub(super) fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.connection.poll_event(self.now) {
                Some(event) => events.push(event),
                None if self.connection.output_bytes() == 0 => return events,
                None => self.output.extend_from_slice(&self.connection.take_output()),
            }
        }
    }

    /// The frames that it sent: type, flags, stream, payload.
    pub(super) fn sent(&mut self) -> Vec<(u8, u8, u32, Vec<u8>)> {
        self.output.extend_from_slice(&self.connection.take_output());
        let mut rest = std::mem::take(&mut self.output);
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
            let stream = u32::from_be_bytes(rest[5..9].try_into().unwrap());
            frames.push((rest[3], rest[4], stream, rest[9..9 + length].to_vec()));
            rest.drain(..9 + length);
        }
        frames
    }
}

/// The error that ended the connection, which is the last event.
pub(super) fn failure(events: &[Event]) -> super::ConnectionError {
    match events.last() {
        Some(Event::Ended(End::Failed(error))) => error.clone(),
        other => panic!("{other:?} is no failure"),
    }
}
