//! Pipes: each direction ends for itself, whichever side ends it.

use std::time::Instant;

use bytes::Bytes;

use crate::limits::{HTTP2_OUTPUT_BYTES_TARGET, HTTP2_PIPES_OUTPUT_BYTES_MAX, STREAM_WINDOW_BYTES};

use super::super::{Connection, End, ErrorCode, Event, Gone, NotOpened, StreamId};
use super::{END_HEADERS, END_STREAM, frame};

const ONE: StreamId = StreamId(1);

/// Both ends of a connection.
struct Pair {
    client: Connection,
    server: Connection,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let client = Connection::client_of_pipes(now).unwrap();
        let server = Connection::server_of_pipes(now).unwrap();
        let mut pair = Self { client, server, now };
        assert!(!pair.client.is_greeted() && !pair.server.is_greeted());
        assert_eq!(pair.exchange(), (vec![], vec![]), "that the connection's windows grow is of no interest");
        assert!(pair.client.is_greeted() && pair.server.is_greeted());
        pair
    }

    /// One with a pipe that both ends know.
    fn open() -> Self {
        let mut pair = Self::new();
        assert_eq!(pair.client.open_pipe("adit", "/x"), Ok(ONE));
        let (_, events) = pair.exchange();
        let [Event::Opened { stream: ONE, request }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((&request.method[..], &request.path[..]), ("POST", "/x"));
        pair
    }

    /// Moves everything both ways; what the client and the server saw.
    fn exchange(&mut self) -> (Vec<Event>, Vec<Event>) {
        let (mut client, mut server) = (Vec::new(), Vec::new());
        loop {
            let (question, answer) = (self.client.take_output(), self.server.take_output());
            if question.is_empty() && answer.is_empty() {
                return (client, server);
            }
            self.server.receive(question);
            self.client.receive(answer);
            server.extend(std::iter::from_fn(|| self.server.poll_event(self.now)));
            client.extend(std::iter::from_fn(|| self.client.poll_event(self.now)));
        }
    }
}

fn data(bytes: &'static [u8]) -> Event {
    Event::Data { stream: ONE, bytes: Bytes::from_static(bytes) }
}

fn is_answer(event: &Event) -> bool {
    matches!(event, Event::Answered { stream: ONE, .. })
}

#[test]
fn a_client_that_ends_its_side_still_hears_the_server() {
    let mut pair = Pair::open();
    assert_eq!(pair.client.send(ONE, "all"), Ok(3));
    pair.client.half_close(ONE).unwrap();
    pair.client.half_close(ONE).unwrap();
    assert_eq!(pair.client.send(ONE, "x"), Err(Gone));
    assert_eq!(pair.exchange(), (vec![], vec![data(b"all"), Event::HalfClosed { stream: ONE }]));
    assert_eq!(pair.server.send(ONE, "more"), Ok(4));
    let (client, _) = pair.exchange();
    assert!(is_answer(&client[0]), "{client:?}");
    assert_eq!(client[1..], [data(b"more")]);
    pair.server.half_close(ONE).unwrap();
    assert_eq!(pair.server.streams(), 0);
    assert_eq!(pair.exchange(), (vec![Event::HalfClosed { stream: ONE }], vec![]));
    assert_eq!(pair.client.streams(), 0);
}

#[test]
fn a_server_that_ends_its_side_still_hears_the_client() {
    let mut pair = Pair::open();
    pair.server.half_close(ONE).unwrap();
    assert_eq!(pair.server.send(ONE, "x"), Err(Gone));
    let (client, _) = pair.exchange();
    assert!(is_answer(&client[0]), "{client:?}");
    assert_eq!(client[1..], [Event::HalfClosed { stream: ONE }]);
    assert_eq!(pair.client.send(ONE, "still"), Ok(5));
    assert_eq!(pair.exchange(), (vec![], vec![data(b"still")]));
    pair.server.credit(ONE, 5);
    pair.client.half_close(ONE).unwrap();
    assert_eq!(pair.exchange(), (vec![], vec![Event::HalfClosed { stream: ONE }]));
    assert_eq!((pair.client.streams(), pair.server.streams()), (0, 0));
}

#[test]
fn either_side_resets_both_directions_with_any_code() {
    for by_server in [false, true] {
        let mut pair = Pair::open();
        assert_eq!(pair.client.send(ONE, "x"), Ok(1));
        pair.exchange();
        let code = ErrorCode(0x12);
        if by_server {
            pair.server.reset(ONE, code)
        } else {
            pair.client.reset(ONE, code)
        }
        let reset = vec![Event::Reset { stream: ONE, code, by_peer: true }];
        let expected = if by_server { (reset, vec![]) } else { (vec![], reset) };
        assert_eq!(pair.exchange(), expected);
        assert_eq!((pair.client.streams(), pair.server.streams()), (0, 0));
    }
}

#[test]
fn a_reset_behind_an_end_is_told_after_it() {
    let mut pair = Pair::open();
    pair.client.half_close(ONE).unwrap();
    pair.client.reset(ONE, ErrorCode(0x10));
    let reset = Event::Reset { stream: ONE, code: ErrorCode(0x10), by_peer: true };
    assert_eq!(pair.exchange(), (vec![], vec![Event::HalfClosed { stream: ONE }, reset]));
}

#[test]
fn an_answer_that_is_none_is_a_refusal_and_trailers_are_an_end() {
    let mut pair = Pair::open();
    pair.client.receive(frame(1, END_HEADERS, 1, b"\x8d").into());
    let reset = Event::Reset { stream: ONE, code: ErrorCode::REFUSED_STREAM, by_peer: true };
    assert_eq!(pair.client.poll_event(pair.now), Some(reset));
    assert_eq!(pair.client.streams(), 0);
    let mut pair = Pair::open();
    let wire = [frame(1, END_HEADERS, 1, b"\x88"), frame(1, END_HEADERS | END_STREAM, 1, b"\0\x01a\x01b")];
    pair.client.receive(wire.concat().into());
    assert!(is_answer(&pair.client.poll_event(pair.now).unwrap()));
    assert_eq!(pair.client.poll_event(pair.now), Some(Event::HalfClosed { stream: ONE }));
    assert_eq!(pair.client.send(ONE, "x"), Ok(1));
    let mut pair = Pair::open();
    pair.client.receive(frame(1, END_HEADERS | END_STREAM, 1, b"\x88").into());
    assert!(is_answer(&pair.client.poll_event(pair.now).unwrap()));
    assert_eq!(pair.client.poll_event(pair.now), Some(Event::HalfClosed { stream: ONE }));
}

#[test]
fn whoever_leaves_says_why_and_what_was_sent_before_arrives() {
    let mut pair = Pair::open();
    assert_eq!(pair.server.send(ONE, "last"), Ok(4));
    pair.server.leave("good bye");
    pair.server.leave("again");
    assert_eq!(pair.server.poll_event(pair.now), None);
    assert_eq!(pair.server.send(ONE, "x"), Err(Gone));
    let (client, _) = pair.exchange();
    let goaway = Event::Goaway { code: ErrorCode::NO_ERROR, text: "good bye".to_owned() };
    assert_eq!(client[1..], [data(b"last"), goaway]);
    assert_eq!(pair.client.open_pipe("adit", "/x"), Err(NotOpened::Leaving));
    assert!(!pair.client.has_stream_room());
}

#[test]
fn a_window_is_a_tunnels_and_the_connections_never_binds() {
    let mut pair = Pair::open();
    let mut taken = [0; 2];
    for (stream, taken) in [ONE, pair.client.open_pipe("adit", "/x").unwrap()].into_iter().zip(&mut taken) {
        loop {
            pair.exchange();
            match pair.client.send(stream, vec![7; 65_535]).unwrap() {
                0 => break,
                count => *taken += count,
            }
        }
    }
    assert_eq!(taken, [STREAM_WINDOW_BYTES as usize; 2]);
    assert!(pair.client.room_bytes() > 0);
}

#[test]
fn two_ends_that_send_at_once_still_hear_each_other() {
    let mut pair = Pair::open();
    for end in [&mut pair.client, &mut pair.server] {
        while end.send(ONE, vec![7; 65_535]).unwrap() > 0 {}
        assert!(end.room_bytes() == 0 && end.output_bytes() < HTTP2_OUTPUT_BYTES_TARGET + 1000);
        assert!(end.wants_input(), "or neither would ever hear the other");
    }
    // Until what is received makes too much output by itself.
    let ping = frame(6, 0, 0, &[0; 8]);
    let mut heard = 0;
    while pair.server.wants_input() {
        pair.server.receive(ping.clone().into());
        match pair.server.poll_event(pair.now) {
            None => heard += 1,
            Some(Event::Ended(End::Failed(_))) => break,
            other => panic!("{other:?}"),
        }
        assert!(pair.server.output_bytes() < HTTP2_PIPES_OUTPUT_BYTES_MAX + 1000);
    }
    assert!(heard > 0);
}
