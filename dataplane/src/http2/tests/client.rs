//! The client's side: against the library's server, against our own, and against answers written by hand.

use std::time::Instant;

use bytes::Bytes;
use shiguredo_http2::frame::StreamId as LibraryId;
use shiguredo_http2::{Connection as Library, Event as Seen, HeaderField, Limits};

use crate::limits::HTTP2_PREFACE_TIME_MAX;

use super::super::frames::PREFACE;
use super::super::{Call, CallStatus, Connection, End, ErrorCode, Event, Gone, NotOpened, StreamId};
use super::{ACK, END_HEADERS, END_STREAM, failure, frame, text};

const CALL: Call<'_> = Call {
    scheme: "https",
    authority: "server:8091",
    path: "/AgentService/Connect",
    user_agent: "adit",
    metadata: &[("agentid", "one"), ("authorization", "Bearer hunter2")],
};
/// The header blocks of a response, and of trailers with a status of 0.
const OK: &[u8] = b"\x88";
const STATUS_0: &[u8] = b"\0\x0bgrpc-status\x010";

struct Client {
    connection: Connection,
    now: Instant,
}

impl Client {
    /// One that a server has greeted; what it says at first is thrown away.
    fn greeted() -> Self {
        let now = Instant::now();
        let mut client = Self { connection: Connection::client(now).unwrap(), now };
        assert!(client.connection.take_output().starts_with(PREFACE));
        assert_eq!(client.hear(&[frame(4, 0, 0, b""), frame(4, ACK, 0, b"")].concat()), []);
        assert_eq!(client.connection.deadline(), None);
        client.connection.take_output();
        client
    }

    fn hear(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.connection.receive(Bytes::copy_from_slice(bytes));
        std::iter::from_fn(|| self.connection.poll_event(self.now)).collect()
    }

    /// One with a stream.
    fn open() -> Self {
        let mut client = Self::greeted();
        assert_eq!(client.connection.open(CALL), Ok(StreamId(1)));
        client.connection.take_output();
        client
    }
}

fn finished(stream: u32, code: Option<u32>, message: &str) -> Event {
    Event::Finished { stream: StreamId(stream), status: CallStatus { code, message: message.to_owned() } }
}

#[test]
fn a_call_reaches_the_librarys_server_and_its_answer_comes_back() {
    let now = Instant::now();
    let (mut client, mut server) = (Connection::client(now).unwrap(), Library::server(Limits::default()));
    server.initiate().unwrap();
    let one = client.open(CALL).unwrap();
    assert_eq!(client.send(one, "question"), Ok(8));
    let mut events = Vec::new();
    let (mut seen, mut answered) = (Vec::new(), false);
    for _ in 0..10 {
        server.feed(&client.take_output()).unwrap();
        server.process().unwrap();
        while let Some(event) = server.poll_event() {
            match event {
                Seen::HeadersReceived { headers, end_stream: false, .. } => {
                    let field = |field: &HeaderField| (field.name().to_vec(), field.value().to_vec());
                    seen.extend(headers.iter().map(field));
                }
                Seen::DataReceived { data, .. } => seen.push((b"data".to_vec(), data)),
                _ => {}
            }
        }
        if !seen.is_empty() && !answered {
            answered = true;
            let id = LibraryId::from_wire(1);
            let fields = |name: &str, value: &str| HeaderField::new(name, value).unwrap();
            server.send_response(id, vec![fields(":status", "200"), fields("serverid", "s")], false).unwrap();
            server.send_data(id, b"answer".to_vec(), false).unwrap();
            server
                .send_trailers(id, vec![fields("grpc-status", "5"), fields("grpc-message", "a%25")])
                .unwrap();
        }
        client.receive(server.poll_output().unwrap_or_default().into());
        events.extend(std::iter::from_fn(|| client.poll_event(now)));
    }
    let expected = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/AgentService/Connect"),
        (":authority", "server:8091"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "adit"),
        ("agentid", "one"),
        ("authorization", "Bearer hunter2"),
        ("data", "question"),
    ];
    let expected: Vec<_> = expected.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    assert_eq!(seen.iter().map(|(name, value)| (&name[..], &value[..])).collect::<Vec<_>>(), expected);
    let [Event::Answered { stream, metadata }, Event::Data { bytes, .. }, last] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*stream, one);
    assert_eq!(metadata.values("serverid").collect::<Vec<_>>(), [b"s"]);
    assert_eq!(&bytes[..], b"answer");
    assert_eq!(*last, finished(1, Some(5), "a%"));
    assert_eq!((client.streams(), client.send(one, "x")), (0, Err(Gone)));
}

#[test]
fn our_client_and_our_server_carry_megabytes_for_each_other() {
    const BYTES: usize = 3_000_000;
    let now = Instant::now();
    let (mut client, mut server) = (Connection::client(now).unwrap(), Connection::server(now).unwrap());
    let stream = client.open(CALL).unwrap();
    let (mut sent, mut received, mut ends) = ([0, 0], [0, 0], 0);
    for _ in 0..1000 {
        sent[0] += client.send(stream, vec![7; (BYTES - sent[0]).min(40_000)]).unwrap_or(0);
        sent[1] += server.send(stream, vec![7; (BYTES - sent[1]).min(40_000)]).unwrap_or(0);
        if sent[0] == BYTES {
            // The server may have ended the call already.
            let _ = client.half_close(stream);
        }
        for (from, to, index) in [(true, false, 0), (false, true, 1)] {
            let bytes = if from { client.take_output() } else { server.take_output() };
            let to = if to { &mut client } else { &mut server };
            to.receive(bytes);
            while let Some(event) = to.poll_event(now) {
                match event {
                    Event::Data { bytes, .. } => {
                        received[index] += bytes.len();
                        to.credit(stream, bytes.len());
                    }
                    Event::HalfClosed { .. } | Event::Finished { .. } => ends += 1,
                    Event::Ended(end) => panic!("{end:?}"),
                    _ => {}
                }
            }
        }
        if received == [BYTES; 2] && ends == 1 {
            server.finish(stream, 0, "").unwrap();
        }
        if ends == 2 {
            assert_eq!((client.streams(), server.streams()), (0, 0));
            return;
        }
    }
    panic!("{received:?} of {BYTES} arrived, {ends} ends");
}

#[test]
fn every_end_of_a_call_is_one_event() {
    let status = |code: &str, message: &str| {
        [OK, b"\0\x0bgrpc-status", &text(code), b"\0\x0cgrpc-message", &text(message)].concat()
    };
    let ends = END_HEADERS | END_STREAM;
    for (said, event) in [
        (frame(1, ends, 1, &status("14", "no%20agent%0a")), finished(1, Some(14), "no agent\\n")),
        (frame(1, ends, 1, &status("0", "")), finished(1, Some(0), "")),
        (frame(1, ends, 1, &status("x", "y")), finished(1, None, "no gRPC status, HTTP status 200")),
        (frame(1, ends, 1, b"\x8d"), finished(1, None, "no gRPC status, HTTP status 404")),
        (frame(1, END_HEADERS, 1, b"\x8d"), finished(1, None, "no gRPC status, HTTP status 404")),
    ] {
        let mut client = Client::open();
        assert_eq!(client.hear(&said), [event]);
        // Our side was open.
        assert_eq!(client.connection.take_output(), frame(3, 0, 1, &[0; 4]));
        assert_eq!(client.connection.streams(), 0);
    }
    let mut client = Client::open();
    client.connection.half_close(StreamId(1)).unwrap();
    client.connection.half_close(StreamId(1)).unwrap();
    assert_eq!(client.connection.send(StreamId(1), "x"), Err(Gone));
    assert_eq!(client.connection.take_output(), frame(0, END_STREAM, 1, b""));
    let events = client.hear(&[frame(1, END_HEADERS, 1, OK), frame(0, END_STREAM, 1, b"x")].concat());
    assert_eq!(events[2..], [finished(1, None, "the stream ended without a gRPC status")]);
    assert_eq!(client.connection.take_output(), b""[..]);
}

#[test]
fn informational_responses_are_no_answer() {
    let mut client = Client::open();
    let informational = frame(1, END_HEADERS, 1, &[&b"\x08"[..], &text("103")].concat());
    assert_eq!(client.hear(&informational), []);
    let events = client.hear(&frame(1, END_HEADERS, 1, OK));
    assert!(matches!(events[..], [Event::Answered { stream: StreamId(1), .. }]), "{events:?}");
}

#[test]
fn a_server_that_answers_what_nobody_asked_breaks_the_protocol() {
    for (said, code) in [
        (frame(1, END_HEADERS, 3, OK), ErrorCode::PROTOCOL_ERROR),
        (frame(1, END_HEADERS, 2, OK), ErrorCode::PROTOCOL_ERROR),
        (frame(5, END_HEADERS, 1, &[&[0, 0, 0, 2], OK].concat()), ErrorCode::PROTOCOL_ERROR),
    ] {
        let mut client = Client::open();
        let error = failure(&client.hear(&said));
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(client.connection.open(CALL), Err(NotOpened::Leaving));
    }
}

#[test]
fn a_server_that_speaks_http1_is_recognised_however_its_answer_is_cut() {
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"HTTP/1.0 "] {
        for cut in [0, 3] {
            let now = Instant::now();
            let mut client = Client { connection: Connection::client(now).unwrap(), now };
            client.hear(&bytes[..cut]);
            let error = failure(&client.hear(&bytes[cut..]));
            assert!(error.to_string().contains("it answers in HTTP/1"), "{error}");
        }
    }
}

#[test]
fn answers_that_cross_a_reset_are_no_fault_however_many() {
    let mut client = Client::greeted();
    for number in 0..1000 {
        let stream = client.connection.open(CALL).unwrap();
        client.connection.reset(stream, ErrorCode::CANCEL);
        assert_eq!(stream, StreamId(2 * number + 1));
        assert_eq!(client.hear(&frame(1, END_HEADERS, stream.0, OK)), []);
        client.connection.take_output();
    }
}

#[test]
fn no_more_streams_are_opened_than_the_server_takes() {
    let mut client = Client::greeted();
    client.hear(&frame(4, 0, 0, &[0, 3, 0, 0, 0, 1]));
    let one = client.connection.open(CALL).unwrap();
    assert_eq!(client.connection.open(CALL), Err(NotOpened::Full(1)));
    client.connection.reset(one, ErrorCode::CANCEL);
    assert_eq!(client.connection.open(CALL), Ok(StreamId(3)));
    let bad = Call { authority: "user@host", ..CALL };
    client.connection.reset(StreamId(3), ErrorCode::CANCEL);
    let error = client.connection.open(bad).unwrap_err();
    assert!(matches!(error, NotOpened::Invalid(_)), "{error}");
    assert_eq!(client.connection.streams(), 0);
}

#[test]
fn a_server_that_goes_away_is_believed_about_what_it_has_not_looked_at() {
    let mut client = Client::open();
    let two = client.connection.open(CALL).unwrap();
    // The first announces, the second says which.
    let goaway = |last: u32| frame(7, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
    let event = || Event::Goaway { code: ErrorCode::NO_ERROR, text: String::new() };
    assert_eq!(client.hear(&goaway(0x7fff_ffff)), [event()]);
    assert_eq!(client.connection.open(CALL), Err(NotOpened::Leaving));
    let reset = Event::Reset { stream: two, code: ErrorCode::REFUSED_STREAM, by_peer: true };
    assert_eq!(client.hear(&goaway(1)), [reset, event()]);
    let events = client.hear(&[frame(1, END_HEADERS, 1, OK), frame(1, 5, 1, STATUS_0)].concat());
    assert_eq!(events[1..], [finished(1, Some(0), "")]);
}

#[test]
fn a_client_that_drains_says_so_once_and_ends_with_its_last_stream() {
    let mut client = Client::open();
    client.connection.drain(client.now);
    client.connection.drain(client.now);
    assert_eq!(client.connection.take_output(), frame(7, 0, 0, &[0; 8]));
    assert_eq!(client.connection.open(CALL), Err(NotOpened::Leaving));
    assert_eq!(client.hear(&frame(0, 0, 1, b"")), []);
    let events = client.hear(&[frame(1, END_HEADERS, 1, OK), frame(1, 5, 1, STATUS_0)].concat());
    assert_eq!(events[1..], [finished(1, Some(0), ""), Event::Ended(End::Drained)]);
}

#[test]
fn a_server_must_greet_in_time() {
    let now = Instant::now();
    let mut client = Client { connection: Connection::client(now).unwrap(), now };
    client.connection.on_time(now + HTTP2_PREFACE_TIME_MAX);
    let error = failure(&client.hear(b""));
    assert!(error.to_string().contains("SETTINGS"), "{error}");
}

#[test]
fn a_calls_metadata_is_never_shown() {
    assert_eq!(format!("{CALL:?}"), "Call(https://server:8091/AgentService/Connect)");
}
