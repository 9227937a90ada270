//! A peer that keeps us waiting, and one that does not.

use std::time::Duration;

use crate::limits::{HTTP2_HEADER_BLOCK_TIME_MAX, HTTP2_PREFACE_TIME_MAX, HTTP2_SETTINGS_ACK_TIME_MAX};

use super::super::frames::PREFACE;
use super::super::{ConnectionError, ErrorCode, Event, Late};
use super::{END_HEADERS, Server, call, failure, frame, greeting};

const MOMENT: Duration = Duration::from_millis(1);

/// Nothing happens a moment before the deadline, which is `after` the start; then the connection fails.
fn fails(mut server: Server, after: Duration, late: Late, code: ErrorCode) {
    let deadline = server.connection.deadline().unwrap();
    assert_eq!(deadline, server.now + after, "{late:?}");
    server.now = deadline - MOMENT;
    server.connection.on_time(server.now);
    assert_eq!(server.events(), [], "{late:?}");
    server.now = deadline;
    server.connection.on_time(server.now);
    let error = failure(&server.events());
    assert_eq!(error, ConnectionError::Late(late));
    assert_eq!(error.code(), code);
}

#[test]
fn the_preface_and_settings_are_not_waited_for_longer_than_their_time() {
    fails(Server::new(), HTTP2_PREFACE_TIME_MAX, Late::Preface, ErrorCode::ENHANCE_YOUR_CALM);
    let mut server = Server::new();
    server.hear(&PREFACE[..23]);
    fails(server, HTTP2_PREFACE_TIME_MAX, Late::Preface, ErrorCode::ENHANCE_YOUR_CALM);
    let mut server = Server::new();
    server.hear(&greeting()[..24 + 8]);
    fails(server, HTTP2_PREFACE_TIME_MAX, Late::Preface, ErrorCode::ENHANCE_YOUR_CALM);
}

#[test]
fn settings_must_be_acknowledged_in_time() {
    let mut server = Server::new();
    server.hear(&greeting()[..24 + 9]);
    fails(server, HTTP2_SETTINGS_ACK_TIME_MAX, Late::SettingsAck, ErrorCode::SETTINGS_TIMEOUT);
}

#[test]
fn a_header_block_must_end_in_time_however_it_is_cut() {
    let block = call("/x", "x");
    let whole = frame(1, END_HEADERS, 1, &block);
    let unfinished = frame(1, 0, 1, &block[..5]);
    let continued = [&unfinished[..], &frame(9, 0, 1, &block[5..])].concat();
    for bytes in [&whole[..9], &whole[..whole.len() - 1], &unfinished, &continued] {
        let mut server = Server::greeted();
        server.hear(bytes);
        fails(server, HTTP2_HEADER_BLOCK_TIME_MAX, Late::HeaderBlock, ErrorCode::ENHANCE_YOUR_CALM);
    }
    // More of it gives no more time.
    let mut server = Server::greeted();
    server.hear(&unfinished);
    server.now += HTTP2_HEADER_BLOCK_TIME_MAX / 2;
    server.hear(&frame(9, 0, 1, b""));
    server.now -= HTTP2_HEADER_BLOCK_TIME_MAX / 2;
    fails(server, HTTP2_HEADER_BLOCK_TIME_MAX, Late::HeaderBlock, ErrorCode::ENHANCE_YOUR_CALM);
}

#[test]
fn a_connection_whose_peer_owes_nothing_has_no_deadline() {
    let mut server = Server::greeted();
    assert_eq!(server.connection.deadline(), None);
    let events = server.hear(&frame(1, END_HEADERS, 1, &call("/x", "x")));
    assert!(matches!(events[..], [Event::Opened { .. }]));
    assert_eq!(server.connection.deadline(), None);
    server.connection.on_time(server.now + Duration::from_secs(3600));
    assert_eq!(server.events(), []);
}
