//! Konnectivity's protocol on a stream: messages, packets, and the server's end of a client's and of an old agent's
//! stream that say anything at all.

use std::time::Instant;

use adit_dataplane::konnectivity::{
    Backend, BackendEvent, DialFailure, Event, Frontend, MessageReader, Packet, TunnelEnd,
};
use adit_dataplane::limits;
use adit_fuzz::Fate;
use bytes::Bytes;

/// Packets without their prefix: tags and lengths of each type, and what nobody sends.
pub(crate) const PACKETS: &[&str] = &[
    "\x08\x01",
    "\x08\x02\x2a\x02\x08\x01",
    "\x08\x03\x32\x02\x10\x01",
    "\x08\x04\x22\x05\x08\x01\x1a\x01x",
    "\x08\x05\x3a\x02\x08\x05",
    "\x08\x06\x42\0",
    "\x12\x0c\x0a\x03tcp\x12\x03a:1\x18\x05",
    "\x7f",
    "\x7b\x7c",
];

/// The same with their prefix.
pub(crate) const MESSAGES: &[&str] = &[
    "\0\0\0\0\0",
    "\0\0\0\0\x0e\x12\x0c\x0a\x03tcp\x12\x03a:1\x18\x05",
    "\0\0\0\0\x06\x08\x02\x2a\x02\x08\x01",
    "\0\0\0\0\x09\x08\x04\x22\x05\x08\x01\x1a\x01x",
    "\0\0\0\0\x09\x08\x04\x22\x05\x08\x02\x1a\x01x",
    "\0\0\0\0\x06\x08\x05\x3a\x02\x08\x05",
    "\0\0\0\0\x08\x08\x01\x1a\x04\x10\x01\x18\x01",
    "\0\0\0\0\x06\x08\x03\x32\x02\x10\x01",
    "\x01\0\0\0\x01",
    "\0\0\x40\0\0",
];

/// Taken where it is a packet; writing that gives the same packet again.
pub(crate) fn packet(input: &[u8]) -> Fate {
    match Packet::decode(Bytes::copy_from_slice(input)) {
        Ok(packet) => {
            if let Packet::DialRsp { error, .. } | Packet::CloseRsp { error, .. } = &packet {
                assert!(error.len() <= limits::PEER_TEXT_BYTES_MAX && !error.chars().any(char::is_control));
            }
            if let Ok(message) = packet.to_message() {
                assert_eq!(Packet::decode(message.to_bytes().slice(5..)), Ok(packet));
            }
            Fate::Taken
        }
        Err(error) => {
            let text = error.to_string();
            assert!((1..=1000).contains(&text.len()) && !text.chars().any(char::is_control), "{text:?}");
            Fate::Refused
        }
    }
}

/// Taken where at least one message came, wherever it is cut; and a stream that says so comes to its end.
pub(crate) fn messages(input: &[u8]) -> Fate {
    let whole = read([input]);
    assert_eq!(read(input.chunks(1)), whole, "byte by byte");
    serve([input]);
    serve(input.chunks(7));
    hear_agent([input]);
    hear_agent(input.chunks(7));
    match whole {
        (0, true) => Fate::Refused,
        (0, false) => Fate::Partial,
        _ => Fate::Taken,
    }
}

/// How many messages, and whether an error follows them.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (usize, bool) {
    let mut reader = MessageReader::new();
    let mut count = 0;
    for piece in pieces {
        if reader.push(Bytes::copy_from_slice(piece)).is_err() {
            return (count, true);
        }
        loop {
            match reader.poll() {
                Ok(Some(message)) => {
                    assert!(message.len() <= limits::GRPC_MESSAGE_BYTES_MAX);
                    count += 1;
                }
                Ok(None) => break,
                Err(_) => return (count, true),
            }
        }
    }
    (count, false)
}

/// A stream where every other dial goes well and what the client says is taken: it comes to its end and leaves
/// nothing.
fn serve<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) {
    let mut frontend = Frontend::new();
    let mut dials = 0;
    for piece in pieces {
        frontend.on_bytes(Bytes::copy_from_slice(piece));
        while settle(&mut frontend, &mut dials) {}
    }
    frontend.on_client_end();
    while settle(&mut frontend, &mut dials) {}
    assert!(frontend.is_done(), "{frontend:?}");
}

/// Does what there is to do; whether there was anything.
fn settle(frontend: &mut Frontend, dials: &mut i64) -> bool {
    let mut worked = false;
    while let Some(event) = frontend.poll_event() {
        worked = true;
        match event {
            Event::Dial { key, .. } => {
                *dials += 1;
                if *dials % 2 == 0 {
                    frontend.on_dial_failed(key, DialFailure::TimedOut);
                } else if let Some(connect_id) = frontend.on_established(key) {
                    frontend.on_tunnel_bytes(connect_id, &mut Bytes::from_static(b"hello"));
                }
            }
            Event::Close { connect_id } => frontend.on_tunnel_ended(connect_id, TunnelEnd::Closed),
            Event::Cancel { .. } | Event::Abort { .. } | Event::End(_) => {}
        }
    }
    while let Some(message) = frontend.next_message() {
        worked = true;
        assert!(message.wire_bytes() <= limits::GRPC_DATA_BYTES_MAX + 64);
    }
    // Connections are numbered from 1, and are no more than dials.
    for connect_id in 1..=*dials {
        while frontend.take_for_tunnel(connect_id).is_some() {
            worked = true;
        }
    }
    worked
}

/// An agent that was asked to dial twice, and says this: every dial has one answer, and nothing is left of it.
fn hear_agent<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) {
    let now = Instant::now();
    let mut backend = Backend::new();
    let asked = [(); 2].map(|()| backend.dial("10.0.0.1:443").expect("few"));
    let (mut answered, mut open) = (Vec::new(), Vec::new());
    for piece in pieces {
        backend.on_bytes(now, Bytes::copy_from_slice(piece));
        while backend.next_message().is_some() {}
        note(&mut backend, &mut answered, &mut open);
    }
    backend.on_agent_gone();
    note(&mut backend, &mut answered, &mut open);
    for connect_id in open.clone() {
        while backend.take(now, connect_id).is_some() {}
    }
    note(&mut backend, &mut answered, &mut open);
    answered.sort_unstable();
    assert!(answered == asked && open.is_empty() && backend.is_done(), "{backend:?}");
}

fn note(backend: &mut Backend, answered: &mut Vec<i64>, open: &mut Vec<i64>) {
    while let Some(event) = backend.poll_event() {
        match event {
            BackendEvent::Established { random, connect_id } => {
                answered.push(random);
                open.push(connect_id);
            }
            BackendEvent::Failed { random, .. } => answered.push(random),
            BackendEvent::Ended { connect_id, .. } => open.retain(|known| *known != connect_id),
            BackendEvent::Draining | BackendEvent::Over(_) => {}
        }
    }
}
