//! What breaks RFC 9113: each rule with the code that the peer is told.

use super::super::error::ErrorCode;
use super::super::{Event, StreamId};
use super::{END_HEADERS, END_STREAM, Server, call, failure, frame, greeting, open, text};

/// What the peer says after it has greeted, the section that it breaks, and the code of the GOAWAY.
fn connection_errors() -> Vec<(&'static str, Vec<u8>, ErrorCode)> {
    let protocol = ErrorCode::PROTOCOL_ERROR;
    let size = ErrorCode::FRAME_SIZE_ERROR;
    let unfinished = frame(1, 0, 1, &call("/x", "x")[..3]);
    vec![
        ("4.2 a frame that is too long", frame(0, 0, 1, &[0; 16_385]), size),
        (
            "4.3 a header block that is none",
            frame(1, END_HEADERS, 1, b"\xff\xff"),
            ErrorCode::COMPRESSION_ERROR,
        ),
        ("4.3 PING within a header block", [&unfinished[..], &frame(6, 0, 0, &[0; 8])].concat(), protocol),
        ("4.3 another's CONTINUATION", [&unfinished[..], &frame(9, END_HEADERS, 3, b"")].concat(), protocol),
        ("5.1 DATA on an idle stream", frame(0, 0, 1, b"x"), protocol),
        ("5.1 RST_STREAM of an idle stream", frame(3, 0, 1, &[0; 4]), protocol),
        ("5.1 WINDOW_UPDATE of an idle stream", frame(8, 0, 1, &[0, 0, 0, 1]), protocol),
        ("5.1.1 a stream of an even number", open(2), protocol),
        ("5.1.1 a stream below the last", [open(5), open(3)].concat(), protocol),
        ("6.1 DATA on stream 0", frame(0, 0, 0, b"x"), protocol),
        ("6.1 more padding than payload", [open(1), frame(0, 0x8, 1, b"\x09x")].concat(), protocol),
        ("6.2 HEADERS on stream 0", frame(1, END_HEADERS, 0, &call("/x", "x")), protocol),
        ("6.4 RST_STREAM of three bytes", [open(1), frame(3, 0, 1, &[0; 3])].concat(), size),
        ("6.5 SETTINGS on a stream", frame(4, 0, 1, b""), protocol),
        ("6.5 SETTINGS of seven bytes", frame(4, 0, 0, &[0; 7]), size),
        ("6.5 an acknowledgement with payload", frame(4, 1, 0, &[0; 6]), size),
        ("6.5.2 ENABLE_PUSH of 2", frame(4, 0, 0, &[0, 2, 0, 0, 0, 2]), protocol),
        ("6.5.2 a window of 2^31", frame(4, 0, 0, &[0, 4, 128, 0, 0, 0]), ErrorCode::FLOW_CONTROL_ERROR),
        ("6.5.2 a frame size of 1", frame(4, 0, 0, &[0, 5, 0, 0, 0, 1]), protocol),
        ("6.5.3 an acknowledgement of nothing", frame(4, 1, 0, b""), protocol),
        ("6.6 PUSH_PROMISE", [open(1), frame(5, END_HEADERS, 1, &[0, 0, 0, 2])].concat(), protocol),
        ("6.7 PING on a stream", frame(6, 0, 1, &[0; 8]), protocol),
        ("6.7 PING of seven bytes", frame(6, 0, 0, &[0; 7]), size),
        ("6.8 GOAWAY on a stream", frame(7, 0, 1, &[0; 8]), protocol),
        ("6.9 WINDOW_UPDATE of nothing", frame(8, 0, 0, &[0; 4]), protocol),
        ("6.9.1 a window above 2^31-1", frame(8, 0, 0, &[127, 255, 255, 255]), ErrorCode::FLOW_CONTROL_ERROR),
        (
            "6.9.2 a stream's window above 2^31-1 by SETTINGS",
            [open(1), frame(8, 0, 1, &[127, 255, 0, 0]), frame(4, 0, 0, &[0, 4, 0, 1, 0, 0])].concat(),
            ErrorCode::FLOW_CONTROL_ERROR,
        ),
        ("6.10 CONTINUATION of nothing", frame(9, END_HEADERS, 1, b""), protocol),
    ]
}

#[test]
fn whoever_breaks_the_connections_rules_is_told_how_and_heard_no_more() {
    for (rule, bytes, code) in connection_errors() {
        let mut server = Server::greeted();
        let events = server.hear(&bytes);
        let error = failure(&events);
        assert_eq!(error.code(), code, "{rule}: {error}");
        assert!(error.is_peers_fault(), "{rule}: {error}");
        let (kind, _, stream, payload) = server.sent().pop().unwrap();
        assert_eq!((kind, stream), (7, 0), "{rule}");
        assert_eq!(payload[4..8], code.0.to_be_bytes(), "{rule}");
        assert!(!server.connection.wants_input() && server.connection.deadline().is_none(), "{rule}");
        assert_eq!(server.connection.streams(), 0, "{rule}");
        assert_eq!(server.hear(&frame(6, 0, 0, &[0; 8])), [], "{rule}");
        assert_eq!(server.sent(), [], "{rule}");
    }
}

/// What breaks a request, which its stream alone pays for (RFC 9113 section 8.1.1).
fn stream_errors() -> Vec<(&'static str, Vec<u8>)> {
    let literal = |name: &str, value: &str| [&b"\0"[..], &text(name), &text(value)].concat();
    let with = |field: Vec<u8>| [call("/x", "x"), field].concat();
    vec![
        ("8.2.1 a name in upper case", with(literal("Upper", "x"))),
        ("8.2.1 a line break in a value", with(literal("a", "x\ny"))),
        ("8.2.2 connection", with(literal("connection", "close"))),
        ("8.2.2 te that is not trailers", with(literal("te", "gzip"))),
        ("8.3 a pseudo-header field behind another", with(literal(":path", "/y"))),
        ("8.3.1 no method", call("/x", "x")[1..].to_vec()),
        ("8.3.1 no path", b"\x83\x86\x01\x01x".to_vec()),
        ("8.3.1 a status in a request", b"\x83\x86\x88\x04\x02/x\x01\x01x".to_vec()),
        ("8.3.1 user information in the authority", call("/x", "@x")),
        ("8.1.1 a length that is none", with(literal("content-length", "x"))),
    ]
}

#[test]
fn a_request_that_is_none_is_reset_and_the_connection_goes_on() {
    for (rule, block) in stream_errors() {
        let mut server = Server::greeted();
        let events = server.hear(&frame(1, END_HEADERS, 1, &block));
        assert_eq!(events, [], "{rule}");
        assert_eq!(server.sent(), [(3, 0, 1, vec![0, 0, 0, 1])], "{rule}");
        let events = server.hear(&open(3));
        assert!(matches!(events[..], [Event::Opened { stream: StreamId(3), .. }]), "{rule}: {events:?}");
    }
}

#[test]
fn a_stream_that_breaks_its_rules_is_reset_alone() {
    for (rule, bytes, code) in [
        ("5.1 DATA behind END_STREAM", frame(0, 0, 1, b"x"), ErrorCode::STREAM_CLOSED),
        (
            "8.1 HEADERS behind END_STREAM",
            frame(1, END_HEADERS | END_STREAM, 1, b""),
            ErrorCode::STREAM_CLOSED,
        ),
        ("6.9.1 a window above 2^31-1", frame(8, 0, 1, &[127, 255, 255, 255]), ErrorCode::FLOW_CONTROL_ERROR),
        ("6.9 WINDOW_UPDATE of nothing", frame(8, 0, 1, &[0; 4]), ErrorCode::PROTOCOL_ERROR),
    ] {
        let mut server = Server::greeted();
        server.hear(&[open(1), frame(0, END_STREAM, 1, b""), open(3)].concat());
        let events = server.hear(&bytes);
        assert_eq!(events, [Event::Reset { stream: StreamId(1), code, by_peer: false }], "{rule}");
        assert_eq!(server.sent(), [(3, 0, 1, code.0.to_be_bytes().to_vec())], "{rule}");
        assert_eq!(server.connection.streams(), 1, "{rule}");
    }
}

#[test]
fn whoever_speaks_something_else_is_found_out_at_its_first_bytes() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"PRI * HTTP/2.0\r\n\r\nxx",
    ] {
        let error = failure(&Server::new().hear(bytes));
        assert_eq!(error.code(), ErrorCode::PROTOCOL_ERROR);
        assert!(error.to_string().contains("did not begin with the HTTP/2 preface"), "{error}");
    }
    let first = &greeting()[..24];
    let error = failure(&Server::new().hear(&[first, &frame(6, 0, 0, &[0; 8])].concat()));
    assert!(error.to_string().contains("first frame must be SETTINGS"), "{error}");
}
