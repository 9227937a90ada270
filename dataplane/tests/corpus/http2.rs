//! One HTTP/2 connection from its first byte: of a server whose consumer answers everything, and of a client with two
//! calls.

use std::collections::BTreeMap;
use std::time::Instant;

use adit_dataplane::http2::{Call, Connection, End, Event};
use adit_dataplane::limits;
use adit_fuzz::Fate;
use bytes::Bytes;

/// The preface, headers of frames of each type, with flags and streams, fields of HPACK, and settings.
pub(crate) const FRAMES: &[&str] = &[
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\0\0\0\x04\0\0\0\0\0",
    "\0\0\0\x04\x01\0\0\0\0",
    "\0\0\x05\0\0\0\0\0\x01",
    "\0\0\0\0\x01\0\0\0\x01",
    "\0\0\x06\x01\x04\0\0\0\x03",
    "\0\0\x05\x02\0\0\0\0\x01",
    "\0\0\x04\x03\0\0\0\0\x01",
    "\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\x01",
    "\0\0\x08\x06\0\0\0\0\0",
    "\0\0\x08\x07\0\0\0\0\0",
    "\0\0\x04\x08\0\0\0\0\x01",
    "\0\0\0\x09\x04\0\0\0\x01",
    "\x0f\x10\x10application/grpc",
    "\x04\x02/x",
    "\x01\x01@",
    "\x40\x01a\x01b",
    "\x7f\x7f\x7f\x7f\x7f",
    "\x20",
];

/// Longest input that is also given byte by byte.
const SINGLES_BYTES_MAX: usize = 4096;

/// What a client says.
pub(crate) fn requests(input: &[u8]) -> Fate {
    hear(input, || Connection::server(Instant::now()).expect("a connection"))
}

/// What a server says.
pub(crate) fn responses(input: &[u8]) -> Fate {
    hear(input, || {
        let mut connection = Connection::client(Instant::now()).expect("a connection");
        let call = Call { scheme: "http", authority: "a", path: "/x", user_agent: "adit", metadata: &[] };
        for _ in 0..2 {
            let stream = connection.open(call).expect("a stream");
            assert_eq!(connection.send(stream, "question"), Ok(8));
        }
        connection
    })
}

/// Taken where something came of it and nothing was wrong; and that does not depend on how the bytes arrive.
fn hear(input: &[u8], begin: impl Fn() -> Connection) -> Fate {
    let whole = converse(begin(), [input]);
    let (start, end) = input.split_at(input.len() / 2);
    assert_eq!(converse(begin(), [start, end]), whole, "in halves");
    if input.len() <= SINGLES_BYTES_MAX {
        assert_eq!(converse(begin(), input.chunks(1)), whole, "byte by byte");
    }
    match whole.0.last() {
        Some(Event::Ended(End::Failed(error))) => {
            let text = error.to_string();
            assert!(error.is_peers_fault() && (1..=1000).contains(&text.len()), "{text}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
            Fate::Refused
        }
        Some(_) => Fate::Taken,
        None => Fate::Partial,
    }
}

/// What came of it, and what was said.
fn converse<'a>(
    mut connection: Connection,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Event>, Said) {
    let now = Instant::now();
    let (mut events, mut output) = (Vec::new(), connection.take_output().to_vec());
    for piece in pieces {
        connection.receive(Bytes::copy_from_slice(piece));
        loop {
            let event = connection.poll_event(now);
            let bytes = connection.take_output();
            output.extend_from_slice(&bytes);
            match event {
                Some(event) => {
                    answer(&mut connection, &event);
                    match (events.last_mut(), event) {
                        // Payload may come in any parts.
                        (Some(Event::Data { stream, bytes }), Event::Data { stream: of, bytes: more })
                            if *stream == of =>
                        {
                            *bytes = [&bytes[..], &more[..]].concat().into();
                        }
                        (_, event) => events.push(event),
                    }
                }
                None if bytes.is_empty() => break,
                None => {}
            }
        }
        assert!(connection.streams() <= limits::HTTP2_STREAMS_MAX as usize);
    }
    (events, said(&output))
}

/// What a connection said: all frames but DATA with payload, and the payload of each stream, whatever frames it was cut
/// into.
pub(crate) type Said = (Vec<Vec<u8>>, BTreeMap<u32, Vec<u8>>);

/// Takes output apart.
pub(crate) fn said(output: &[u8]) -> Said {
    let (mut frames, mut payload) = (Vec::new(), BTreeMap::<u32, Vec<u8>>::new());
    let mut rest = output.strip_prefix(FRAMES[0].as_bytes()).unwrap_or(output);
    while !rest.is_empty() {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        let (frame, behind) = rest.split_at(9 + length);
        rest = behind;
        if frame[3] == 0 && length > 0 {
            let stream = u32::from_be_bytes([frame[5], frame[6], frame[7], frame[8]]);
            payload.entry(stream).or_default().extend_from_slice(&frame[9..]);
        } else {
            frames.push(frame.to_vec());
        }
    }
    (frames, payload)
}

/// A consumer that echoes, ends with its peer, and knows of streams that may be over. What it says fits the windows or
/// is left out.
fn answer(connection: &mut Connection, event: &Event) {
    match event {
        Event::Opened { stream, request } => {
            assert!(request.user_agent.len() <= limits::PEER_TEXT_BYTES_MAX);
            // It is reset where the peer takes no fields of that size.
            let open = connection.streams();
            let responded = connection.respond(*stream, &[("serverid", "a")]);
            assert_eq!(responded.is_ok(), connection.streams() == open);
        }
        Event::Data { stream, bytes } => {
            assert!((1..=limits::HTTP2_FRAME_BYTES_MAX).contains(&bytes.len()));
            let sendable_bytes = connection.sendable_bytes(*stream);
            if let Ok(count) = connection.send(*stream, bytes.clone()) {
                assert_eq!(count, bytes.len().min(sendable_bytes));
            }
            connection.credit(*stream, bytes.len());
        }
        Event::HalfClosed { stream } => {
            let open = connection.streams();
            let finished = connection.finish(*stream, 0, "é");
            assert!(finished.is_err() || connection.streams() + 1 == open);
        }
        Event::Reset { stream, .. } => assert!(connection.send(*stream, "x").is_err()),
        Event::Answered { stream, .. } => {
            // It is over where the same frame ended it.
            let _ = connection.half_close(*stream);
        }
        Event::Finished { stream, status } => {
            assert!(status.message.len() <= limits::PEER_TEXT_BYTES_MAX);
            assert!(!status.message.chars().any(char::is_control));
            assert!(connection.half_close(*stream).is_err());
        }
        Event::Window { .. } | Event::Goaway { .. } | Event::Ended(_) => {}
    }
}
