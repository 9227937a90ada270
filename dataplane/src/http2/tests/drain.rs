//! Draining: nothing that runs is lost, nothing that crosses is an error, nothing new begins.

use crate::limits::HTTP2_GOAWAY_TIME_MAX;

use super::super::{End, ErrorCode, Event, StreamId};
use super::{ACK, Server, frame, open};

const GOAWAY: u8 = 7;
const PING: u8 = 6;

fn goaway(last: u32) -> (u8, u8, u32, Vec<u8>) {
    (GOAWAY, 0, 0, [last.to_be_bytes(), [0; 4]].concat())
}

/// A server with stream 1, which has announced that it drains; and the payload of its PING.
fn announced() -> (Server, Vec<u8>) {
    let mut server = Server::greeted();
    server.hear(&open(1));
    server.connection.drain(server.now);
    server.connection.drain(server.now);
    let mut sent = server.sent();
    let (kind, flags, stream, payload) = sent.remove(1);
    assert_eq!((kind, flags, stream), (PING, 0, 0));
    assert_eq!(sent, [goaway(0x7fff_ffff)]);
    (server, payload)
}

#[test]
fn a_stream_that_crosses_the_announcement_is_served_and_one_behind_it_is_refused() {
    let (mut server, ping) = announced();
    assert!(matches!(server.hear(&open(3))[..], [Event::Opened { stream: StreamId(3), .. }]));
    assert_eq!(server.hear(&frame(PING, ACK, 0, b"not this")), []);
    assert_eq!(server.sent(), []);
    assert_eq!(server.hear(&frame(PING, ACK, 0, &ping)), []);
    assert_eq!(server.sent(), [goaway(3)]);
    assert_eq!(server.hear(&open(5)), []);
    assert_eq!(server.sent(), [(3, 0, 5, ErrorCode::REFUSED_STREAM.0.to_be_bytes().to_vec())]);
    server.connection.finish(StreamId(1), 0, "").unwrap();
    assert_eq!(server.events(), []);
    server.connection.finish(StreamId(3), 0, "").unwrap();
    assert_eq!(server.events(), [Event::Ended(End::Drained)]);
    assert!(!server.connection.wants_input());
}

#[test]
fn a_peer_that_does_not_answer_holds_up_no_drain() {
    let (mut server, _) = announced();
    let deadline = server.connection.deadline().unwrap();
    assert_eq!(deadline, server.now + HTTP2_GOAWAY_TIME_MAX);
    server.connection.on_time(deadline);
    assert_eq!(server.sent(), [goaway(1)]);
    assert_eq!(server.connection.deadline(), None);
    server.connection.reset(StreamId(1), ErrorCode::CANCEL);
    assert_eq!(server.events(), [Event::Ended(End::Drained)]);
}

#[test]
fn a_connection_without_streams_ends_with_the_answer() {
    let mut server = Server::greeted();
    server.connection.drain(server.now);
    let ping = server.sent().remove(1).3;
    assert_eq!(server.hear(&frame(PING, ACK, 0, &ping)), [Event::Ended(End::Drained)]);
    assert_eq!(server.sent(), [goaway(0)]);
}

#[test]
fn a_peer_that_goes_away_is_reported_and_its_streams_go_on() {
    let mut server = Server::greeted();
    server.hear(&open(1));
    let payload = [&[0; 4][..], &ErrorCode::NO_ERROR.0.to_be_bytes(), b"client\ntransport shutdown"].concat();
    let text = "client\\ntransport shutdown".to_owned();
    let events = server.hear(&frame(GOAWAY, 0, 0, &payload));
    assert_eq!(events, [Event::Goaway { code: ErrorCode::NO_ERROR, text }]);
    assert_eq!(server.connection.send(StreamId(1), "still"), Ok(5));
    let events = server.hear(&frame(0, 0, 1, b"there"));
    assert!(matches!(events[..], [Event::Data { .. }]), "{events:?}");
}
