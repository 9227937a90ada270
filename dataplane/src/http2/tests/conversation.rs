//! Whole conversations with the library's client, which shares nothing with our server but the library.

use shiguredo_http2::frame::StreamId as LibraryId;
use shiguredo_http2::{
    Connection as Client, ErrorCode as Code, Event as Seen, HeaderField, Limits, WindowSize,
};

use super::super::{ErrorCode, Event, StreamId};
use super::Server;

/// A client beside a server.
struct Pair {
    client: Client,
    server: Server,
}

fn fields(fields: &[(&str, &str)]) -> Vec<HeaderField> {
    fields.iter().map(|(name, value)| HeaderField::new(name, value).unwrap()).collect()
}

impl Pair {
    fn new(limits: Limits) -> Self {
        let mut client = Client::client(limits);
        client.initiate().unwrap();
        let mut pair = Self { client, server: Server::new() };
        assert_eq!(pair.exchange(), []);
        assert!(pair.server.connection.deadline().is_none(), "both have greeted");
        pair
    }

    fn call(&mut self) -> LibraryId {
        let request = fields(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/ProxyService/Proxy"),
            (":authority", "%2Frun%2Fx.sock"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]);
        self.client.start_stream(request, false).unwrap()
    }

    /// Moves everything both ways until nothing moves; what the server saw.
    fn exchange(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let said = self.client.poll_output().unwrap_or_default();
            events.extend(self.server.hear(&said));
            let answer = std::mem::take(&mut self.server.output);
            if said.is_empty() && answer.is_empty() {
                return events;
            }
            self.client.feed(&answer).unwrap();
            self.client.process().unwrap();
        }
    }

    /// What the client saw of responses.
    fn seen(&mut self) -> Vec<String> {
        let show = |fields: &[HeaderField]| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let fields = fields.iter().map(|field| format!("{}={}", text(field.name()), text(field.value())));
            fields.collect::<Vec<_>>().join(" ")
        };
        let mut seen = Vec::new();
        while let Some(event) = self.client.poll_event() {
            seen.push(match event {
                Seen::HeadersReceived { headers, end_stream, .. } => {
                    format!("{} end={end_stream}", show(&headers))
                }
                Seen::TrailersReceived { trailers, .. } => format!("trailers {}", show(&trailers)),
                Seen::DataReceived { data, .. } => format!("data {}", String::from_utf8_lossy(&data)),
                Seen::StreamReset { error_code, .. } => format!("reset {error_code}"),
                _ => continue,
            });
        }
        seen
    }
}

const OK: &str = ":status=200 content-type=application/grpc";

#[test]
fn a_call_is_answered_with_metadata_payload_and_a_status() {
    let mut pair = Pair::new(Limits::default());
    let id = pair.call();
    pair.client.send_data(id, b"question".to_vec(), false).unwrap();
    let events = pair.exchange();
    let [Event::Opened { stream, request }, Event::Data { bytes, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(request.is_grpc());
    assert_eq!(&bytes[..], b"question");
    let (stream, connection) = (*stream, &mut pair.server.connection);
    connection.respond(stream, &[("serverid", "a"), ("servercount", "1")]).unwrap();
    connection.respond(stream, &[("serverid", "ignored")]).unwrap();
    assert_eq!(connection.send(stream, "answer"), Ok(6));
    pair.exchange();
    assert_eq!(pair.seen(), [&format!("{OK} serverid=a servercount=1 end=false"), "data answer"]);
    pair.client.send_data(id, Vec::new(), true).unwrap();
    assert_eq!(pair.exchange(), [Event::HalfClosed { stream }]);
    pair.server.connection.finish(stream, 0, "").unwrap();
    pair.exchange();
    assert_eq!(pair.seen(), ["trailers grpc-status=0"]);
    assert_eq!(pair.server.connection.streams(), 0);
}

#[test]
fn a_call_that_is_refused_gets_its_status_alone_and_the_stream_is_closed() {
    let mut pair = Pair::new(Limits::default());
    pair.call();
    pair.exchange();
    pair.server.connection.finish(StreamId(1), 12, "unknown method: /x\n").unwrap();
    pair.exchange();
    let status = format!("{OK} grpc-status=12 grpc-message=unknown method: /x%0A end=true");
    assert_eq!(pair.seen(), [status.as_str(), "reset NO_ERROR"]);
}

#[test]
fn payload_without_a_response_is_preceded_by_one() {
    let mut pair = Pair::new(Limits::default());
    pair.call();
    pair.exchange();
    assert_eq!(pair.server.connection.send(StreamId(1), "x"), Ok(1));
    pair.server.connection.finish(StreamId(1), 0, "").unwrap();
    pair.exchange();
    assert_eq!(
        pair.seen(),
        [&format!("{OK} end=false"), "data x", "trailers grpc-status=0", "reset NO_ERROR"]
    );
}

#[test]
fn resets_reach_the_other_end_with_their_code() {
    let mut pair = Pair::new(Limits::default());
    let (one, _) = (pair.call(), pair.call());
    pair.exchange();
    pair.client.reset_stream(one, Code::Cancel).unwrap();
    let reset = Event::Reset { stream: StreamId(1), code: ErrorCode::CANCEL, by_peer: true };
    assert_eq!(pair.exchange(), [reset]);
    pair.seen();
    pair.server.connection.reset(StreamId(3), ErrorCode::INTERNAL_ERROR);
    pair.exchange();
    assert_eq!(pair.seen(), ["reset INTERNAL_ERROR"]);
}

#[test]
fn megabytes_go_both_ways_through_windows_that_are_given_back() {
    const BYTES: usize = 4 * 1024 * 1024;
    let small = WindowSize::from_static(100_000);
    let mut pair = Pair::new(Limits::builder().initial_window_size(small).build().unwrap());
    let id = pair.call();
    pair.exchange();
    let (mut sent, mut received, mut back_sent, mut back_received) = (0, 0, 0, 0);
    for _ in 0..10_000 {
        if sent < BYTES && !pair.client.has_pending_send_data(id) {
            pair.client.send_data(id, vec![1; 50_000.min(BYTES - sent)], false).unwrap();
            sent += 50_000.min(BYTES - sent);
        }
        back_sent +=
            pair.server.connection.send(StreamId(1), vec![2; 50_000.min(BYTES - back_sent)]).unwrap();
        for event in pair.exchange() {
            if let Event::Data { stream, bytes } = event {
                received += bytes.len();
                pair.server.connection.credit(stream, bytes.len());
            }
        }
        while let Some(event) = pair.client.poll_event() {
            if let Seen::DataReceived { data, .. } = event {
                back_received += data.len();
                let bytes = u32::try_from(data.len()).unwrap();
                pair.client.send_window_update(id, bytes).unwrap();
                pair.client.send_window_update(LibraryId::Connection, bytes).unwrap();
            }
        }
        if received == BYTES && back_received == BYTES {
            return;
        }
    }
    panic!("{received} and {back_received} of {BYTES} bytes arrived");
}

#[test]
fn a_peer_that_takes_no_fields_loses_its_stream_and_nothing_else() {
    let mut pair = Pair::new(Limits::builder().max_header_list_size(Some(60)).build().unwrap());
    pair.call();
    pair.exchange();
    assert!(pair.server.connection.respond(StreamId(1), &[("serverid", "a")]).is_err());
    pair.exchange();
    assert_eq!(pair.seen(), ["reset INTERNAL_ERROR"]);
    pair.call();
    assert!(matches!(pair.exchange()[..], [Event::Opened { stream: StreamId(3), .. }]));
}
