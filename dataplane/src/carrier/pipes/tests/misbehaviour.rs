//! Peers that do not keep to it.

use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;

use crate::http2::{Connection, ErrorCode, Event, StreamId};
use crate::limits::{HTTP2_PINGS_MAX, STREAM_WINDOW_BYTES};
use crate::quic::{Fault, LostKind, ReadState};
use crate::wire::ResetCode;

use super::super::super::{Carrier, CarrierEvent, stream_id};
use super::super::{CONTROL_PATH, Pipes, STREAM_PATH};
use super::lost;

/// An end, and a peer that says what it likes.
struct Raw {
    pipes: Pipes,
    peer: Connection,
    now: Instant,
}

impl Raw {
    fn agent() -> Self {
        let now = Instant::now();
        Self { pipes: Pipes::agent(now).unwrap(), peer: Connection::client_of_pipes(now).unwrap(), now }
    }

    fn server() -> Self {
        let now = Instant::now();
        Self { pipes: Pipes::server(now).unwrap(), peer: Connection::server_of_pipes(now).unwrap(), now }
    }

    /// Moves everything; what the end and its peer were told.
    fn run(&mut self) -> (Vec<CarrierEvent>, Vec<Event>) {
        let (mut told, mut peer_told) = (Vec::new(), Vec::new());
        loop {
            let (to_end, to_peer) = (self.peer.take_output(), self.pipes.take_output());
            let quiet = to_end.is_empty() && to_peer.is_empty();
            self.pipes.receive(self.now, to_end);
            self.peer.receive(to_peer);
            told.extend(std::iter::from_fn(|| self.pipes.poll_event(self.now)));
            peer_told.extend(std::iter::from_fn(|| self.peer.poll_event(self.now)));
            if quiet {
                return (told, peer_told);
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> Vec<CarrierEvent> {
        self.pipes.receive(self.now, Bytes::copy_from_slice(bytes));
        std::iter::from_fn(|| self.pipes.poll_event(self.now)).collect()
    }
}

fn reset(stream: StreamId, code: ResetCode) -> Event {
    Event::Reset { stream, code: ErrorCode(code.code()), by_peer: true }
}

#[test]
fn a_stream_of_another_path_is_reset_and_nothing_else() {
    let mut raw = Raw::agent();
    raw.peer.open_pipe("adit", CONTROL_PATH).unwrap();
    let other = raw.peer.open_pipe("adit", "/adit/1/datagrams").unwrap();
    let again = raw.peer.open_pipe("adit", CONTROL_PATH).unwrap();
    let good = raw.peer.open_pipe("adit", STREAM_PATH).unwrap();
    let (told, mut peer_told) = raw.run();
    assert_eq!(told, [CarrierEvent::Connected, CarrierEvent::Opened(stream_id(good.0))]);
    // SETTINGS make the windows of open streams larger.
    assert_eq!(peer_told.remove(0), Event::Window { stream: None });
    assert_eq!(peer_told, [reset(other, ResetCode::UnknownKind), reset(again, ResetCode::Protocol)]);
}

#[test]
fn a_first_stream_that_is_not_the_control_stream_ends_the_connection() {
    for path in [STREAM_PATH, "/AgentService/Connect"] {
        let mut raw = Raw::agent();
        raw.peer.open_pipe("adit", path).unwrap();
        let (told, peer_told) = raw.run();
        let reason = lost(&told);
        assert_eq!((told.len(), reason.kind, reason.fault), (1, LostKind::Protocol, Fault::Peer));
        assert!(reason.text.contains(&format!("it opened {path} before")), "{reason}");
        let Some(Event::Goaway { code: ErrorCode::NO_ERROR, text }) = peer_told.last() else {
            panic!("{peer_told:?}")
        };
        assert!(text.starts_with("adit/1 close 4 it opened"), "{text}");
    }
}

#[test]
fn an_agent_that_opens_a_stream_breaks_the_protocol() {
    // A response on a stream that the server did not open: of an odd number, and of an agent's own.
    for stream in [3, 2] {
        let mut raw = Raw::server();
        raw.run();
        let headers = [0, 0, 1, 1, 4, 0, 0, 0, stream, 0x88];
        let reason = lost(&raw.hear(&headers));
        assert_eq!((reason.kind, reason.fault), (LostKind::Protocol, Fault::Peer));
    }
}

#[test]
fn an_agent_that_refuses_a_stream_has_reset_it() {
    let mut raw = Raw::server();
    raw.run();
    let stream = raw.pipes.open().unwrap().unwrap();
    let (_, peer_told) = raw.run();
    assert!(matches!(peer_told[..], [Event::Opened { .. }]), "{peer_told:?}");
    // 404, as a server of something else would say.
    let told = raw.hear(&[0, 0, 1, 1, 4, 0, 0, 0, 3, 0x8d]);
    let code = ResetCode::ResetByPeer;
    assert_eq!(told, [CarrierEvent::Readable(stream), CarrierEvent::Stopped(stream, code)]);
    let mut out = Vec::new();
    assert_eq!(raw.pipes.read(raw.now, stream, 1, &mut out), Ok(ReadState::Reset(code)));
}

#[test]
fn who_exceeds_a_window_loses_that_stream() {
    let mut raw = Raw::agent();
    raw.peer.open_pipe("adit", CONTROL_PATH).unwrap();
    let stream = raw.peer.open_pipe("adit", STREAM_PATH).unwrap();
    raw.run();
    let frame = [&[0, 64, 0, 0, 0, 0, 0, 0, 3][..], &[7; 16_384]].concat();
    for _ in 0..STREAM_WINDOW_BYTES / 16_384 {
        raw.hear(&frame);
    }
    let (stream, code) = (stream_id(stream.0), ResetCode::Protocol);
    let told = raw.hear(&frame);
    assert_eq!(told, [CarrierEvent::Readable(stream), CarrierEvent::Stopped(stream, code)]);
    assert!(raw.pipes.received_reset(stream));
}

#[test]
fn what_is_no_http2_ends_the_connection_and_says_so() {
    for mut raw in [Raw::agent(), Raw::server()] {
        let reason = lost(&raw.hear(b"GET / HTTP/1.1\r\n\r\n and something more"));
        assert_eq!((reason.kind, reason.fault), (LostKind::Protocol, Fault::Peer));
        assert!(!raw.pipes.take_output().is_empty(), "the peer is told");
    }
}

#[test]
fn a_flood_ends_the_connection() {
    let mut raw = Raw::agent();
    raw.peer.open_pipe("adit", CONTROL_PATH).unwrap();
    raw.run();
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let told = (0..=HTTP2_PINGS_MAX).flat_map(|_| raw.hear(&ping)).collect::<Vec<_>>();
    assert!(lost(&told).text.contains("PING frames"), "{told:?}");
}

#[test]
fn a_peers_error_is_reported_as_its_own() {
    let mut raw = Raw::server();
    raw.run();
    let goaway = [&[0, 0, 11, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11][..], b"why"].concat();
    let reason = lost(&raw.hear(&goaway));
    assert_eq!((reason.kind, reason.fault), (LostKind::Protocol, Fault::Local));
    assert_eq!(reason.text, "the peer reports: ENHANCE_YOUR_CALM: why");
}

proptest! {
    /// Whatever comes, nothing panics, and a connection ends once.
    #[test]
    fn garbage_ends_a_connection_once(
        garbage in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20),
        of_server: bool,
        greeted: bool,
    ) {
        let mut raw = if of_server { Raw::server() } else { Raw::agent() };
        if greeted {
            if !of_server {
                raw.peer.open_pipe("adit", CONTROL_PATH).unwrap();
            }
            raw.run();
        }
        let mut ends = 0;
        for bytes in garbage {
            let told = raw.hear(&bytes);
            prop_assert!(ends == 0 || told.is_empty(), "{:?}", told);
            ends += told.iter().filter(|event| matches!(event, CarrierEvent::Lost(_))).count();
            raw.pipes.take_output();
        }
        prop_assert!(ends <= 1);
    }
}
