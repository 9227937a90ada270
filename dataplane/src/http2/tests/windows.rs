//! Windows in both directions, and what may wait to be written.

use crate::limits::{
    HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_CREDIT_BYTES_MIN, HTTP2_OUTPUT_BYTES_TARGET,
    HTTP2_STREAM_WINDOW_BYTES,
};

use super::super::{ErrorCode, Event, Gone, StreamId};
use super::{END_HEADERS, END_STREAM, Server, call, frame, open, text};

const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 8;
const ONE: StreamId = StreamId(1);

fn settings(setting: u16, value: u32) -> Vec<u8> {
    frame(4, 0, 0, &[&setting.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// The bytes of DATA in frames.
fn payload(frames: &[(u8, u8, u32, Vec<u8>)]) -> usize {
    frames.iter().filter(|frame| frame.0 == DATA).map(|frame| frame.3.len()).sum()
}

/// The window given back: to the connection, and to stream 1.
fn given_back(frames: &[(u8, u8, u32, Vec<u8>)]) -> (u32, u32) {
    let of = |wanted: u32| {
        let updates = frames.iter().filter(|frame| frame.0 == WINDOW_UPDATE && frame.2 == wanted);
        updates.map(|frame| u32::from_be_bytes(frame.3[..].try_into().unwrap())).sum()
    };
    (of(0), of(1))
}

#[test]
fn no_more_is_taken_than_both_windows_allow() {
    let mut server = Server::greeted();
    server.hear(&[open(1), open(3)].concat());
    assert_eq!(server.connection.sendable_bytes(ONE), 65_535);
    assert_eq!(server.connection.send(ONE, vec![1; 100_000]), Ok(65_535));
    assert_eq!(server.connection.send(ONE, vec![1; 100_000]), Ok(0));
    assert_eq!(server.connection.send(StreamId(3), vec![1; 10]), Ok(0));
    assert_eq!(payload(&server.sent()), 65_535);
    assert_eq!(server.hear(&window_update(0, 100)), [Event::Window { stream: None }]);
    assert_eq!(server.connection.send(ONE, vec![1; 10]), Ok(0));
    assert_eq!(server.connection.send(StreamId(3), vec![1; 10]), Ok(10));
    assert_eq!(server.hear(&window_update(1, 20)), [Event::Window { stream: Some(ONE) }]);
    assert_eq!(server.connection.send(ONE, vec![1; 100]), Ok(20));
    assert_eq!(payload(&server.sent()), 30);
}

#[test]
fn a_smaller_window_holds_for_open_streams_and_may_be_negative() {
    let mut server = Server::greeted();
    server.hear(&open(1));
    assert_eq!(server.connection.send(ONE, vec![1; 1000]), Ok(1000));
    assert_eq!(server.hear(&settings(4, 400)), []);
    assert_eq!(server.connection.send(ONE, vec![1; 1000]), Ok(0));
    assert_eq!(server.hear(&window_update(1, 600)), [Event::Window { stream: Some(ONE) }]);
    assert_eq!(server.connection.send(ONE, vec![1; 1000]), Ok(0));
    assert_eq!(server.hear(&settings(4, 450)), [Event::Window { stream: None }]);
    assert_eq!(server.connection.send(ONE, vec![1; 1000]), Ok(50));
}

#[test]
fn output_that_nobody_writes_stops_what_is_sent_and_what_is_heard() {
    let mut server = Server::greeted();
    server.hear(&[settings(4, 1 << 24), window_update(0, 1 << 24), open(1)].concat());
    server.connection.take_output();
    let mut taken = 0;
    loop {
        match server.connection.send(ONE, vec![1; 50_000]).unwrap() {
            0 => break,
            count => taken += count,
        }
    }
    assert!(taken >= HTTP2_OUTPUT_BYTES_TARGET - 1000, "{taken}");
    assert!(server.connection.output_bytes() < HTTP2_OUTPUT_BYTES_TARGET + 1000);
    assert!(!server.connection.wants_input());
    server.connection.receive(frame(6, 0, 0, &[0; 8]).into());
    assert_eq!(server.connection.poll_event(server.now), None);
    assert!(server.sent().iter().all(|frame| frame.0 != 6), "not heard yet");
    assert!(server.connection.wants_input());
    assert_eq!(server.connection.poll_event(server.now), None);
    assert_eq!(server.sent(), [(6, 1, 0, vec![0; 8])]);
}

#[test]
fn a_frame_is_no_longer_than_the_peer_takes_and_may_be_longer_where_it_does() {
    let mut server = Server::greeted();
    server.hear(&open(1));
    assert_eq!(server.connection.send(ONE, vec![1; 40_000]), Ok(40_000));
    let longest = |server: &mut Server| server.sent().iter().map(|frame| frame.3.len()).max();
    assert_eq!(longest(&mut server), Some(16_384));
    server.hear(&[settings(5, 1 << 20), window_update(1, 100_000), window_update(0, 100_000)].concat());
    server.sent();
    assert_eq!(server.connection.send(ONE, vec![1; 65_535]), Ok(65_535));
    assert_eq!(longest(&mut server), Some(65_535));
}

#[test]
fn the_connections_window_is_given_back_on_receipt_and_a_streams_when_it_was_passed_on() {
    let mut server = Server::greeted();
    server.hear(&open(1));
    let mut received = 0;
    let rounds = HTTP2_STREAM_WINDOW_BYTES as usize / 16_384;
    for _ in 0..rounds {
        for event in server.hear(&frame(DATA, 0, 1, &[7; 16_384])) {
            let Event::Data { bytes, .. } = event else { panic!("{event:?}") };
            received += bytes.len();
        }
    }
    assert_eq!(given_back(&server.sent()), (HTTP2_STREAM_WINDOW_BYTES, 0));
    server.connection.credit(ONE, HTTP2_CREDIT_BYTES_MIN - 1);
    assert_eq!(server.sent(), []);
    server.connection.credit(ONE, 1);
    assert_eq!(given_back(&server.sent()), (0, 32 * 1024));
    server.connection.credit(ONE, received - HTTP2_CREDIT_BYTES_MIN);
    assert_eq!(given_back(&server.sent()), (0, HTTP2_STREAM_WINDOW_BYTES - 32 * 1024));
}

#[test]
fn whoever_ignores_a_streams_window_loses_that_stream() {
    let mut server = Server::greeted();
    server.hear(&[open(1), open(3)].concat());
    for _ in 0..HTTP2_STREAM_WINDOW_BYTES / 16_384 {
        server.hear(&frame(DATA, 0, 1, &[7; 16_384]));
    }
    let code = ErrorCode::FLOW_CONTROL_ERROR;
    let events = server.hear(&frame(DATA, 0, 1, b"x"));
    assert_eq!(events, [Event::Reset { stream: ONE, code, by_peer: false }]);
    assert_eq!(server.connection.send(ONE, "x"), Err(Gone));
    assert_eq!(server.connection.send(StreamId(3), "x"), Ok(1));
}

#[test]
fn streams_that_nobody_reads_stop_nobody_else() {
    let mut server = Server::greeted();
    let streams = 4 * HTTP2_CONNECTION_WINDOW_BYTES / HTTP2_STREAM_WINDOW_BYTES;
    for number in 0..streams {
        let stream = 2 * number + 1;
        server.hear(&open(stream));
        for _ in 0..HTTP2_STREAM_WINDOW_BYTES / 16_384 {
            let events = server.hear(&frame(DATA, 0, stream, &[7; 16_384]));
            assert!(matches!(events[..], [Event::Data { .. }]), "stream {stream}: {events:?}");
        }
    }
}

#[test]
fn padding_and_payload_of_streams_that_are_over_use_up_no_window_for_good() {
    let mut server = Server::greeted();
    server.hear(&[open(1), open(3)].concat());
    server.connection.reset(StreamId(3), ErrorCode::CANCEL);
    let padded = [&[255][..], &[1; 10], &[0; 255]].concat();
    let wire = [frame(DATA, 0x8, 1, &padded), frame(DATA, 0, 3, &[7; 1000])].concat();
    let rounds = 5 * HTTP2_CONNECTION_WINDOW_BYTES as usize / 1266;
    for _ in 0..rounds {
        let events = server.hear(&wire);
        assert_eq!(events, [Event::Data { stream: ONE, bytes: vec![1; 10].into() }]);
        server.connection.credit(ONE, 10);
    }
}

#[test]
fn a_command_for_a_stream_that_is_over_does_nothing() {
    let mut server = Server::greeted();
    server.hear(&[open(1), frame(DATA, END_STREAM, 1, b"x")].concat());
    server.connection.finish(ONE, 0, "").unwrap();
    server.sent();
    for stream in [ONE, StreamId(3), StreamId(0)] {
        assert_eq!(server.connection.send(stream, "x"), Err(Gone));
        assert_eq!(server.connection.respond(stream, &[]), Err(Gone));
        assert_eq!(server.connection.finish(stream, 0, ""), Err(Gone));
        assert_eq!(server.connection.sendable_bytes(stream), 0);
        server.connection.credit(stream, 1 << 20);
        server.connection.reset(stream, ErrorCode::CANCEL);
        assert_eq!(server.sent(), []);
    }
}

/// RFC 9113 section 8.1.1. Nobody who speaks gRPC says so beforehand.
#[test]
fn whoever_says_how_long_its_payload_is_is_held_to_it_and_gets_its_windows_back() {
    let length = |value: &str| [&b"\0"[..], &text("content-length"), &text(value)].concat();
    let request = |stream, value| {
        frame(1, END_HEADERS, stream, &[call("/ProxyService/Proxy", "x"), length(value)].concat())
    };
    let mut server = Server::greeted();
    let payload = vec![0; 16_384];
    server.hear(&request(1, "32768"));
    server.sent();
    let events = server.hear(&[frame(0, 0, 1, &payload), frame(0, END_STREAM, 1, &payload)].concat());
    assert!(
        matches!(events[..], [Event::Data { .. }, Event::Data { .. }, Event::HalfClosed { .. }]),
        "{events:?}"
    );
    assert_eq!(given_back(&server.sent()), (32_768, 0), "a stream that ended needs none");
    let events = server.hear(&[request(3, "5"), frame(0, END_STREAM, 3, b"four")].concat());
    assert!(
        matches!(events[..], [Event::Opened { .. }, Event::Reset { code: ErrorCode::PROTOCOL_ERROR, .. }]),
        "{events:?}"
    );
}
