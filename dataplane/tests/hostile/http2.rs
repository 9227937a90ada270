//! Floods of HTTP/2 frames, as attacks on one connection of the server's side: each is refused within its budget, and
//! nothing grows meanwhile. What is legal at the same rate is not refused.
//!
//! CVE-2023-44487 (rapid reset), CVE-2024-27316 and its relatives (CONTINUATION), CVE-2025-8671 (resets provoked),
//! CVE-2019-9511 to 9518 (data dribble, ping, resource loop, reset, settings, zero-length headers, empty frames).

use std::time::Instant;

use adit_dataplane::http2::{Budget, Connection, ConnectionError, End, ErrorCode, Event, StreamId};
use adit_dataplane::limits;
use adit_io::conformance::allocations::held_bytes;
use bytes::Bytes;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_HEADERS: u8 = 0x4;
/// POST, http, `/`, an authority.
const BLOCK: &[u8] = b"\x83\x86\x84\x01\x01x";
/// What a connection may hold: the library's memory of 10,000 closed streams is the largest part.
const HELD_BYTES_MAX: isize = 512 * 1024;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn headers(stream: u32) -> Vec<u8> {
    frame(1, END_HEADERS, stream, BLOCK)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &[0, 0, 0, 8])
}

/// A connection under attack.
struct Target {
    connection: Connection,
    now: Instant,
    before: isize,
    peak: isize,
    /// Events, but for the end.
    events: u64,
    output_bytes: u64,
    end: Option<End>,
}

impl Target {
    fn new() -> Self {
        let (before, now) = (held_bytes(), Instant::now());
        let connection = Connection::server(now).expect("a connection");
        let mut target = Self { connection, now, before, peak: 0, events: 0, output_bytes: 0, end: None };
        target.hear(PREFACE);
        target.hear(&frame(4, 0, 0, b""));
        target.hear(&frame(4, 1, 0, b""));
        assert!(target.end.is_none());
        target
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.connection.receive(Bytes::copy_from_slice(bytes));
        loop {
            match self.connection.poll_event(self.now) {
                Some(Event::Ended(end)) => self.end = Some(end),
                Some(_) => self.events += 1,
                None if self.connection.output_bytes() == 0 => break,
                None => self.output_bytes += self.connection.take_output().len() as u64,
            }
            self.peak = self.peak.max(held_bytes() - self.before);
        }
    }

    /// Repeats what `attack` says until it is refused or was said so often; how often it was said.
    fn flood(&mut self, times: u32, mut attack: impl FnMut(u32) -> Vec<u8>) -> u32 {
        for number in 0..times {
            if self.end.is_some() {
                return number;
            }
            self.hear(&attack(number));
        }
        times
    }

    /// It was refused for exceeding this, after exactly so many, and nothing grew.
    fn assert_refused(&self, said: u32, expected: u32, budget: Budget) {
        let error = ConnectionError::Flood(budget);
        assert_eq!(said, expected, "{budget}");
        assert_eq!(self.end, Some(End::Failed(error.clone())), "{budget}");
        assert_eq!(error.code(), ErrorCode::ENHANCE_YOUR_CALM);
        assert!(error.is_peers_fault());
        assert!(self.peak < HELD_BYTES_MAX, "{budget}: {} bytes", self.peak);
    }
}

#[test]
fn rapid_reset_is_refused_within_its_budget() {
    let mut target = Target::new();
    let said = target.flood(1_000_000, |number| [headers(2 * number + 1), reset(2 * number + 1)].concat());
    target.assert_refused(said, limits::HTTP2_RESETS_MAX + 1, Budget::Resets);
    assert!(target.events <= 2 * u64::from(said));
    assert_eq!(target.connection.streams(), 0);
}

#[test]
fn resets_of_closed_streams_are_refused_within_their_budget() {
    let mut target = Target::new();
    target.hear(&[headers(1), reset(1)].concat());
    let said = target.flood(1_000_000, |_| reset(1));
    target.assert_refused(said, limits::HTTP2_RESETS_MAX, Budget::Resets);
}

/// CVE-2025-8671: the server is made to reset streams, by requests that are none and by windows that burst.
#[test]
fn resets_that_the_peer_provokes_are_refused_within_their_budget() {
    let mut target = Target::new();
    let said = target.flood(1_000_000, |number| frame(1, END_HEADERS, 2 * number + 1, b"\x83"));
    target.assert_refused(said, limits::HTTP2_RESETS_MAX + 1, Budget::Resets);
    let mut target = Target::new();
    let burst = |stream| frame(8, 0, stream, &[127, 255, 255, 255]);
    let said = target.flood(1_000_000, |number| [headers(2 * number + 1), burst(2 * number + 1)].concat());
    let expected = limits::HTTP2_RESETS_MAX.min(limits::HTTP2_WINDOW_UPDATES_MAX) + 1;
    assert_eq!(said, expected);
    assert!(matches!(target.end, Some(End::Failed(ConnectionError::Flood(_)))), "{:?}", target.end);
}

#[test]
fn streams_above_those_allowed_are_refused_and_then_so_is_their_peer() {
    let mut target = Target::new();
    let said = target.flood(1_000_000, |number| headers(2 * number + 1));
    let error = ConnectionError::Flood(Budget::Resets);
    assert_eq!(said, limits::HTTP2_STREAMS_MAX + limits::HTTP2_RESETS_MAX + 1);
    assert_eq!(target.end, Some(End::Failed(error)));
    assert_eq!(target.events, u64::from(limits::HTTP2_STREAMS_MAX));
    // What so many requests are worth, each with its fields.
    assert!(target.peak < 4096 * 2048, "{} bytes", target.peak);
}

#[test]
fn streams_behind_a_drain_are_refused_and_then_so_is_their_peer() {
    let mut target = Target::new();
    target.hear(&headers(1));
    target.connection.drain(target.now);
    target.now += limits::HTTP2_GOAWAY_TIME_MAX;
    target.connection.on_time(target.now);
    let said = target.flood(1_000_000, |number| headers(2 * number + 3));
    target.assert_refused(said, limits::HTTP2_RESETS_MAX + 1, Budget::Resets);
    assert_eq!(target.events, 1);
}

#[test]
fn pings_are_answered_within_their_budget_only() {
    let mut target = Target::new();
    target.output_bytes = 0;
    let said = target.flood(100_000, |_| frame(6, 0, 0, &[0; 8]));
    target.assert_refused(said, limits::HTTP2_PINGS_MAX + 1, Budget::Pings);
    assert!(target.output_bytes <= u64::from(limits::HTTP2_PINGS_MAX) * 17 + 200, "{}", target.output_bytes);
}

#[test]
fn settings_are_answered_within_their_budget_only() {
    for payload in [&b""[..], &[0, 1, 0, 0, 0, 1], &[0, 4, 0, 0, 1, 0]] {
        let mut target = Target::new();
        target.output_bytes = 0;
        let said = target.flood(100_000, |_| frame(4, 0, 0, payload));
        // Two went into the greeting.
        target.assert_refused(said, limits::HTTP2_SETTINGS_FRAMES_MAX - 1, Budget::Settings);
        assert!(target.output_bytes <= u64::from(limits::HTTP2_SETTINGS_FRAMES_MAX) * 9 + 200);
    }
}

#[test]
fn frames_that_come_to_nothing_are_refused_within_their_budgets() {
    let window = [0, 0, 0, 1];
    let floods: [(Budget, Vec<u8>); 8] = [
        (Budget::EmptyData, frame(0, 0, 1, b"")),
        (Budget::EmptyData, frame(0, 0x8, 1, &[3, 0, 0, 0])),
        (Budget::WindowUpdates, frame(8, 0, 0, &window)),
        (Budget::WindowUpdates, frame(8, 0, 1, &window)),
        (Budget::Priorities, frame(2, 0, 1, &[0, 0, 0, 0, 9])),
        (Budget::Priorities, frame(16, 0, 0, &[0, 0, 0, 1, b'u', b'=', b'1'])),
        (Budget::UnknownFrames, frame(99, 0, 1, &[7; 16_000])),
        (Budget::Goaways, frame(7, 0, 0, &[0; 8])),
    ];
    for (budget, attack) in floods {
        let mut target = Target::new();
        target.hear(&headers(1));
        let said = target.flood(1_000_000, |_| attack.clone());
        target.assert_refused(said, budget.max() + 1, budget);
    }
}

#[test]
fn header_blocks_of_closed_streams_are_refused_within_their_budget() {
    let mut target = Target::new();
    target.hear(&[headers(1), reset(1)].concat());
    let said = target.flood(1_000_000, |_| headers(1));
    target.assert_refused(said, limits::HTTP2_STRAY_HEADERS_MAX + 1, Budget::StrayHeaders);
}

#[test]
fn continuations_are_bounded_in_number_and_in_bytes() {
    let mut target = Target::new();
    target.hear(&frame(1, 0, 1, BLOCK));
    let said = target.flood(1_000_000, |_| frame(9, 0, 1, b""));
    target.assert_refused(said, limits::HTTP2_CONTINUATIONS_MAX + 1, Budget::Continuations);
    let mut target = Target::new();
    target.hear(&frame(1, 0, 1, BLOCK));
    let said = target.flood(1_000_000, |_| frame(9, 0, 1, &[0; 16_000]));
    target.assert_refused(said, 2, Budget::HeaderBlockBytes);
}

/// An entry of 4 KB in HPACK's table, and a block that says nothing but its number, 15,000 times.
#[test]
fn an_hpack_bomb_is_refused_before_it_is_a_list() {
    let mut target = Target::new();
    let mut planted = [BLOCK, b"\x40\x01a\x7f\xa1\x1e"].concat();
    planted.resize(planted.len() + 4000, b'x');
    target.hear(&frame(1, END_HEADERS, 1, &planted));
    assert_eq!((target.events, &target.end), (1, &None));
    target.hear(&frame(1, END_HEADERS, 3, &[BLOCK, &[0xbe; 15_000]].concat()));
    let Some(End::Failed(error)) = &target.end else { panic!("{:?}", target.end) };
    assert_eq!(error.code(), ErrorCode::COMPRESSION_ERROR);
    assert!(target.peak < HELD_BYTES_MAX, "{} bytes", target.peak);
}

/// RFC 7541 section 4.2 lets the peer say how large the table of our encoder may be: what differs from call to call is
/// not put into it.
#[test]
fn an_hpack_table_that_the_peer_allows_to_be_large_is_not_filled() {
    let mut target = Target::new();
    target.hear(&frame(4, 0, 0, &[0, 1, 127, 255, 255, 255]));
    for number in 0..5000 {
        let stream = StreamId(2 * number + 1);
        target.hear(&headers(stream.0));
        let text = format!("{number:0>500}");
        assert_eq!(target.connection.respond(stream, &[("serverid", &text)]), Ok(()), "{:?}", target.end);
        assert_eq!(target.connection.finish(stream, 2, &text), Ok(()));
        target.hear(b"");
    }
    assert!(target.peak < HELD_BYTES_MAX, "{} bytes", target.peak);
}

#[test]
fn a_budget_is_whole_again_after_its_time() {
    let mut target = Target::new();
    for _ in 0..20 {
        let said = target.flood(limits::HTTP2_PINGS_MAX, |_| frame(6, 0, 0, &[0; 8]));
        assert_eq!((said, &target.end), (limits::HTTP2_PINGS_MAX, &None));
        target.now += limits::HTTP2_BUDGET_WINDOW;
    }
}

/// grpc-go sends a PING for a DATA frame, to measure, and gives both windows back; and kube-apiserver's client ends
/// every tunnel by resetting its stream.
#[test]
fn a_busy_client_is_not_taken_for_a_flood() {
    let mut target = Target::new();
    for number in 0..20_000 {
        let stream = 2 * number + 1;
        target.hear(&headers(stream));
        assert_eq!(target.connection.send(StreamId(stream), "answer"), Ok(6), "{:?}", target.end);
        target.hear(&frame(6, 0, 0, &[0; 8]));
        target.hear(&[frame(8, 0, 0, &[0, 0, 0, 6]), frame(8, 0, stream, &[0, 0, 0, 6])].concat());
        target.hear(&reset(stream));
        assert_eq!(target.end, None);
    }
    assert!(target.peak < HELD_BYTES_MAX, "{} bytes", target.peak);
}

/// CVE-2019-9511: a window that is opened byte by byte would make a frame of every byte, for ever.
#[test]
fn a_window_that_is_opened_byte_by_byte_earns_nothing() {
    let mut target = Target::new();
    target.hear(&[headers(1), frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])].concat());
    let mut said = 0;
    while target.end.is_none() && said < 100_000 {
        target.hear(&frame(8, 0, 1, &[0, 0, 0, 1]));
        said += 1;
        if target.end.is_none() {
            assert_eq!(target.connection.send(StreamId(1), vec![0; 50_000]), Ok(1));
        }
    }
    target.assert_refused(said, limits::HTTP2_WINDOW_UPDATES_MAX + 1, Budget::WindowUpdates);
}
