//! Where bytes are cut on their way changes nothing.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::Event;
use super::{ACK, END_HEADERS, END_STREAM, Server, call, frame, greeting, open};

/// One frame of a conversation that is mostly right.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![Just(1_u32), Just(3), Just(5), Just(7)];
    prop_oneof![
        4 => stream.clone().prop_map(open),
        4 => (stream.clone(), prop::collection::vec(any::<u8>(), 0..2000), any::<bool>()).prop_map(
            |(stream, payload, end)| frame(0, if end { END_STREAM } else { 0 }, stream, &payload)
        ),
        1 => stream.clone().prop_map(|stream| {
            let block = call("/x", "x");
            [frame(1, 0, stream, &block[..7]), frame(9, END_HEADERS, stream, &block[7..])].concat()
        }),
        1 => stream.clone().prop_map(|stream| frame(3, 0, stream, &[0, 0, 0, 8])),
        1 => stream.prop_map(|stream| frame(8, 0, stream, &[0, 0, 1, 0])),
        1 => any::<[u8; 8]>().prop_map(|payload| frame(6, 0, 0, &payload)),
        1 => any::<u16>().prop_map(|window| frame(4, 0, 0, &[&[0, 4, 0, 0], &window.to_be_bytes()[..]].concat())),
        1 => (any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(kind, flags, payload)| frame(kind, flags, 1, &payload)),
        1 => Just(frame(4, ACK, 0, b"")),
    ]
}

/// Events, and what was said.
fn hear<'a>(pieces: impl Iterator<Item = &'a [u8]>, poll_each: bool) -> (Vec<Event>, Vec<u8>) {
    let mut server = Server::new();
    let mut events = Vec::new();
    for piece in pieces {
        server.connection.receive(Bytes::copy_from_slice(piece));
        if poll_each {
            events.extend(server.events());
        }
    }
    events.extend(server.events());
    (joined(events), server.output)
}

/// Payload may come in any parts.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for event in events {
        match (all.last_mut(), event) {
            (Some(Event::Data { stream, bytes }), Event::Data { stream: of, bytes: more })
                if *stream == of =>
            {
                *bytes = [&bytes[..], &more[..]].concat().into();
            }
            (_, event) => all.push(event),
        }
    }
    all
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_events_and_the_same_answers(
        frames in prop::collection::vec(any_frame(), 1..30),
        cuts in prop::collection::vec(1_usize..300, 1..20),
    ) {
        let wire = [greeting(), frames.concat()].concat();
        let whole = hear(std::iter::once(&wire[..]), true);
        let mut rest = &wire[..];
        let mut cuts = cuts.iter().cycle();
        let pieces: Vec<&[u8]> = std::iter::from_fn(|| {
            let (piece, left) = rest.split_at(rest.len().min(*cuts.next()?));
            rest = left;
            (!piece.is_empty()).then_some(piece)
        }).collect();
        prop_assert_eq!(&hear(pieces.iter().copied(), true), &whole);
        prop_assert_eq!(&hear(pieces.iter().copied(), false), &whole);
        prop_assert_eq!(&hear(wire.chunks(1), true), &whole);
    }
}
