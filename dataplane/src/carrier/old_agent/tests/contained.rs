//! What one connection may cost the others: an agent's protocol has no flow control for one alone.

use std::time::Duration;

use super::{Joined, close_req, close_rsp, data};
use crate::carrier::{Carrier, CarrierEvent};
use crate::konnectivity::Packet;
use crate::limits::{GRPC_SEND_PENDING_BYTES_TARGET, HTTP2_STREAM_WINDOW_BYTES, STOPPED_AFTER};
use crate::quic::{Fault, ReadState, StreamId, WriteState};
use crate::wire::{DialRequest, ResetCode, StreamHeader};

#[test]
fn a_frontend_that_stops_reading_is_closed_and_counted_and_the_others_go_on() {
    let mut joined = Joined::ready();
    let (stopped, other) = (joined.connected(1), joined.connected(2));
    let chunk = vec![b'x'; 16 * 1024];
    let flood: Vec<Packet> = (0..64).map(|_| data(1, &chunk)).collect();
    joined.says(&flood);
    assert_eq!(joined.events(), [CarrierEvent::Readable(stopped)]);
    assert!(!joined.agent.unsent.is_empty(), "the agent has to wait");
    joined.says(&[data(2, b"behind it")]);
    assert_eq!(joined.read(other).0, b"");
    joined.time_passes(STOPPED_AFTER - Duration::from_millis(1));
    assert_eq!(joined.events(), []);
    joined.time_passes(Duration::from_millis(1));
    let events = joined.events();
    let code = ResetCode::OverBudget;
    assert_eq!(
        events,
        [
            CarrierEvent::ReaderStopped(stopped),
            CarrierEvent::Stopped(stopped, code),
            CarrierEvent::Readable(other)
        ]
    );
    assert!(joined.agent.unsent.is_empty(), "the others do not wait any more");
    assert_eq!(joined.read(other).0, b"behind it");
    assert_eq!(joined.hears(), [close_req(1)]);
    assert!(joined.carrier.received_reset(stopped));
    joined.says(&[close_rsp(1, ""), data(2, b"untouched")]);
    assert_eq!(joined.read(other).0, b"untouched");
    assert_eq!(joined.carrier.streams.len(), 1);
}

#[test]
fn a_frontend_that_reads_slowly_slows_its_agent_and_loses_nothing() {
    let mut joined = Joined::ready();
    let slow = joined.connected(1);
    let said: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
    let packets: Vec<Packet> = said.chunks(30_000).map(|chunk| data(1, chunk)).collect();
    joined.says(&packets);
    let mut taken = Vec::new();
    while taken.len() < said.len() {
        let mut out = Vec::new();
        joined.carrier.read(joined.now, slow, 40_000, &mut out).unwrap();
        taken.extend(out.into_iter().flatten());
        joined.time_passes(STOPPED_AFTER * 9 / 10);
    }
    assert!(taken == said);
    assert!(!joined.events().contains(&CarrierEvent::ReaderStopped(slow)));
}

#[test]
fn an_agent_that_stops_reading_blocks_its_writers_and_each_has_its_turn_later() {
    let mut joined = Joined::ready();
    let streams: Vec<_> = (1..=40).map(|id| joined.connected(id)).collect();
    joined.agent.reads = false;
    let payload = vec![7; 300_000];
    let mut left = vec![payload.len(); streams.len()];
    let mut write = |joined: &mut Joined, at: usize| {
        let (state, unsent) = joined.write(streams[at], &payload[payload.len() - left[at]..]);
        left[at] = unsent;
        (state, left.iter().filter(|left| **left > 0).count())
    };
    for at in 0..streams.len() {
        assert_eq!(write(&mut joined, at).0, WriteState::Blocked);
    }
    joined.run();
    let held_bytes = joined.agent.unread_bytes;
    assert!(held_bytes <= HTTP2_STREAM_WINDOW_BYTES as usize, "{held_bytes}");
    assert!(GRPC_SEND_PENDING_BYTES_TARGET * 40 > held_bytes);
    joined.agent.reads_on();
    let mut turns = 0;
    loop {
        turns += 1;
        assert!(turns < 10_000, "somebody is starved");
        let mut unfinished = 1;
        for event in joined.events() {
            let CarrierEvent::Writable(stream) = event else { continue };
            let at = streams.iter().position(|known| *known == stream).unwrap();
            unfinished = write(&mut joined, at).1;
        }
        if unfinished == 0 {
            break;
        }
    }
    joined.run();
    let mut heard = vec![0; streams.len()];
    for packet in joined.hears() {
        let Packet::Data { connect_id, data } = packet else { panic!("{packet:?}") };
        heard[usize::try_from(connect_id).unwrap() - 1] += data.len();
    }
    assert_eq!(heard, vec![payload.len(); streams.len()]);
}

/// An agent that reads nothing, with its window full, and a dial for it.
fn stuck(retire_after: Option<Duration>) -> (Joined, StreamId) {
    let mut joined = Joined::ready_for(retire_after);
    let streams: Vec<_> = (1..=4).map(|id| joined.connected(id)).collect();
    joined.agent.reads = false;
    for stream in streams {
        joined.write(stream, &vec![7; 100_000]);
    }
    joined.run();
    joined.agent.heard.clear();
    let stream = joined.carrier.open().unwrap().unwrap();
    let request = DialRequest { address: "10.0.0.2:443".to_owned(), ..DialRequest::default() };
    joined.write(stream, &StreamHeader::dial(request).to_frame().unwrap());
    joined.run();
    joined.events.clear();
    (joined, stream)
}

const RETIRE_AFTER: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

#[test]
fn an_agent_that_takes_no_dial_in_time_is_retired() {
    let (mut joined, dial) = stuck(Some(RETIRE_AFTER));
    joined.time_passes(RETIRE_AFTER - MS);
    assert_eq!(joined.events(), []);
    // Its client does not wait any more. The agent takes nothing all the same.
    joined.carrier.reset(dial, ResetCode::Cancelled).unwrap();
    joined.time_passes(MS);
    let lost = joined.lost();
    assert!(lost.text.contains("took nothing for 10s while a dial waited for it"), "{lost:?}");
    assert_eq!(lost.fault, Fault::Peer);
    assert_eq!(joined.agent.status.as_ref().unwrap().code, Some(0), "so that it comes back");
}

#[test]
fn an_agent_that_takes_something_in_time_is_not_retired() {
    let (mut joined, _) = stuck(Some(RETIRE_AFTER));
    joined.time_passes(RETIRE_AFTER - MS);
    joined.agent.reads_on();
    let first = joined.hears().into_iter().find(|packet| !matches!(packet, Packet::Data { .. }));
    assert!(matches!(first, Some(Packet::DialReq { .. })), "{first:?}");
    joined.time_passes(RETIRE_AFTER);
    assert!(!joined.events().iter().any(|event| matches!(event, CarrierEvent::Lost(_))));
}

/// What filled the window was all there was: nothing is sent when it opens.
#[test]
fn an_agent_that_has_room_again_when_nothing_waits_any_more_is_not_retired() {
    let mut joined = Joined::ready_for(Some(RETIRE_AFTER));
    let (stream, call) = (joined.connected(1), joined.agent.call.unwrap());
    joined.agent.reads = false;
    let wire_bytes = |length| data(1, &vec![7; length]).to_message().unwrap().wire_bytes();
    loop {
        let length = match joined.carrier.http2.sendable_bytes(call) {
            0 => break,
            left @ ..16_384 => (1..left).rev().find(|length| wire_bytes(*length) == left).expect("a length"),
            _ => 8192,
        };
        assert_eq!(joined.write(stream, &vec![7; length]), (WriteState::Took, 0));
        joined.run();
    }
    let dial = joined.carrier.open().unwrap().unwrap();
    let request = DialRequest { address: "10.0.0.2:443".to_owned(), ..DialRequest::default() };
    joined.write(dial, &StreamHeader::dial(request).to_frame().unwrap());
    joined.run();
    joined.carrier.reset(dial, ResetCode::Cancelled).unwrap();
    joined.agent.reads_on();
    joined.run();
    joined.time_passes(RETIRE_AFTER);
    assert!(!joined.events().iter().any(|event| matches!(event, CarrierEvent::Lost(_))));
}

#[test]
fn an_agent_may_take_its_time_where_the_operator_does_not_say() {
    let (mut joined, _) = stuck(None);
    joined.time_passes(Duration::from_secs(600));
    assert_eq!(joined.events(), [], "it answers PING");
    joined.agent.reads_on();
    assert!(joined.hears().iter().any(|packet| matches!(packet, Packet::DialReq { .. })));
}

#[test]
fn floods_of_packets_of_nobody_harm_nobody() {
    let mut joined = Joined::ready();
    let stream = joined.connected(1);
    for id in 100..5_000 {
        joined.agent.says(&data(id, b"?"));
        joined.agent.says(&close_rsp(id, ""));
        joined.agent.says(&Packet::DialCls { random: id });
    }
    joined.says(&[data(1, b"fine")]);
    assert_eq!(joined.read(stream), (b"fine".to_vec(), ReadState::Blocked));
    assert_eq!(joined.carrier.take_ignored(), 3 * 4_900);
    assert!(joined.hears().iter().all(|packet| matches!(packet, Packet::CloseReq { connect_id: 100.. })));
}
