//! An old server's dials, bytes and ends, as the shard sees them.

use std::time::Duration;

use super::{Joined, close_req, close_rsp, data, dial_req, dial_rsp, ok};
use crate::carrier::{Carrier, CarrierEvent};
use crate::konnectivity::Packet;
use crate::limits::STOPPED_AFTER;
use crate::quic::{Gone, ReadState, WriteState};
use crate::wire::{DialError, DialResponse, ErrorClass, ResetCode};

#[test]
fn a_dial_and_bytes_both_ways_and_the_targets_end() {
    let mut joined = Joined::ready();
    let (stream, request) = joined.dialed(7, "10.0.0.1:443");
    assert_eq!((request.address.as_str(), request.dial_id, request.deadline_ms), ("10.0.0.1:443", 7, 0));
    // The answer and the first bytes in one write, the answer in two.
    let said = [&ok()[..], b"hello"].concat();
    assert_eq!(joined.write(stream, &said[..3]), (WriteState::Took, 0));
    assert_eq!(joined.hears(), []);
    assert_eq!(joined.write(stream, &said[3..]), (WriteState::Took, 0));
    assert_eq!(joined.hears(), [dial_rsp(7, 1, ""), data(1, b"hello")]);
    joined.says(&[data(1, b"ping")]);
    assert_eq!(joined.events(), [CarrierEvent::Readable(stream)]);
    assert_eq!(joined.read(stream), (b"ping".to_vec(), ReadState::Blocked));
    assert_eq!(joined.write(stream, b"last words"), (WriteState::Took, 0));
    joined.carrier.finish(stream).unwrap();
    assert_eq!(joined.hears(), [data(1, b"last words"), close_rsp(1, "")]);
    assert_eq!(joined.events(), [CarrierEvent::Readable(stream), CarrierEvent::Finished(stream)]);
    assert_eq!(joined.read(stream), (vec![], ReadState::Finished));
    assert_eq!(joined.carrier.stop(stream, ResetCode::Cancelled), Err(Gone));
    assert_eq!(joined.carrier.streams.len(), 0);
}

#[test]
fn a_close_of_the_servers_comes_behind_its_bytes_and_is_answered_once() {
    let mut joined = Joined::ready();
    let stream = joined.connected(7);
    joined.says(&[data(1, b"the rest"), close_req(1)]);
    assert_eq!((joined.hears(), joined.events()), (vec![], vec![CarrierEvent::Readable(stream)]));
    assert_eq!(joined.read(stream), (b"the rest".to_vec(), ReadState::Finished));
    assert_eq!(joined.hears(), [close_rsp(1, "")]);
    assert_eq!(joined.events(), [CarrierEvent::Stopped(stream, ResetCode::Cancelled)]);
    assert_eq!(joined.carrier.streams.len(), 0);
    joined.says(&[close_req(1), data(1, b"?")]);
    assert_eq!(joined.hears(), [close_rsp(1, "Unknown connectID"), close_rsp(1, "unrecognized connectID")]);
}

#[test]
fn a_dial_that_fails_is_answered_in_the_shards_words() {
    let mut joined = Joined::ready();
    let text = "dial tcp 10.0.0.1:443: connect: connection refused";
    let (stream, _) = joined.dialed(7, "10.0.0.1:443");
    let refused = DialResponse::error(DialError::new(ErrorClass::Refused, text)).to_frame().unwrap();
    assert_eq!(joined.write(stream, &refused), (WriteState::Took, 0));
    joined.carrier.finish(stream).unwrap();
    assert_eq!(joined.hears(), [dial_rsp(7, 0, text)]);
    assert_eq!(joined.events(), [CarrierEvent::Readable(stream), CarrierEvent::Finished(stream)]);
    // As a shard takes a stream off a tunnel.
    joined.carrier.stop(stream, ResetCode::Cancelled).unwrap();
    assert_eq!((joined.carrier.streams.len(), joined.carrier.agent.in_use()), (0, 0));

    // What the shard cannot even begin.
    let (stream, _) = joined.dialed(8, "10.0.0.1:443");
    joined.carrier.reset(stream, ResetCode::Full).unwrap();
    joined.carrier.stop(stream, ResetCode::Full).unwrap();
    assert_eq!(joined.hears(), [dial_rsp(8, 0, "dial tcp: too many tunnels")]);
    assert_eq!((joined.carrier.streams.len(), joined.carrier.agent.in_use()), (0, 0));

    // And what only this end can have done wrong.
    assert_eq!(joined.events(), [CarrierEvent::Readable(stream)]);
    let (stream, _) = joined.dialed(9, "10.0.0.1:443");
    joined.write(stream, &[0xff; 8]);
    let [Packet::DialRsp { random: 9, connect_id: 0, error }] = &joined.hears()[..] else {
        panic!("no answer")
    };
    assert!(error.contains("longer than"), "{error}");
}

#[test]
fn a_protocol_that_is_not_tcp_is_refused_as_go_does() {
    let mut joined = Joined::ready();
    let mut packet = dial_req(7, "/run/docker.sock");
    if let Packet::DialReq { protocol, .. } = &mut packet {
        "unix".clone_into(protocol);
    }
    joined.says(&[packet]);
    assert_eq!(joined.hears(), [dial_rsp(7, 0, "dial unix: unknown network unix")]);
    assert_eq!(joined.events(), []);
}

#[test]
fn a_dial_that_is_taken_back_ends_its_stream() {
    let mut joined = Joined::ready();
    let (stream, _) = joined.dialed(7, "10.0.0.1:443");
    joined.says(&[Packet::DialCls { random: 7 }]);
    let cancelled = ResetCode::Cancelled;
    assert_eq!(joined.events(), [CarrierEvent::Stopped(stream, cancelled), CarrierEvent::Readable(stream)]);
    assert_eq!(joined.write(stream, &ok()).0, WriteState::Stopped(cancelled));
    assert!(joined.carrier.received_reset(stream));
    assert_eq!((joined.hears(), joined.carrier.streams.len()), (vec![], 0));
}

#[test]
fn a_reset_of_the_shards_closes_the_connection() {
    let mut joined = Joined::ready();
    let stream = joined.connected(7);
    joined.write(stream, b"partly");
    joined.carrier.reset(stream, ResetCode::ResetByPeer).unwrap();
    joined.carrier.stop(stream, ResetCode::ResetByPeer).unwrap();
    assert_eq!(joined.hears(), [data(1, b"partly"), close_rsp(1, "")]);
    assert_eq!(joined.carrier.streams.len(), 0);
}

#[test]
fn a_target_that_stops_reading_is_closed_and_counted_and_the_others_go_on() {
    let mut joined = Joined::ready();
    let (stopped, other) = (joined.connected(7), joined.connected(8));
    let chunk = vec![b'x'; 16 * 1024];
    let flood: Vec<Packet> = (0..64).map(|_| data(1, &chunk)).collect();
    joined.says(&flood);
    assert_eq!(joined.events(), [CarrierEvent::Readable(stopped)]);
    assert!(!joined.server.unsent.is_empty(), "the server has to wait");
    joined.says(&[data(2, b"behind it")]);
    joined.time_passes(STOPPED_AFTER - Duration::from_millis(1));
    assert_eq!(joined.events(), []);
    joined.time_passes(Duration::from_millis(1));
    assert_eq!(
        joined.events(),
        [
            CarrierEvent::ReaderStopped(stopped),
            CarrierEvent::Stopped(stopped, ResetCode::OverBudget),
            CarrierEvent::Readable(other)
        ]
    );
    assert_eq!(joined.read(other).0, b"behind it");
    let heard = joined.hears();
    let told = |error: &str| error.starts_with("the target stopped reading");
    assert!(matches!(&heard[0], Packet::CloseRsp { connect_id: 1, error } if told(error)), "{heard:?}");
    assert!(joined.carrier.received_reset(stopped));
    assert_eq!(joined.carrier.streams.len(), 1);
}

#[test]
fn floods_of_packets_of_nobody_are_answered_and_harm_nobody() {
    let mut joined = Joined::ready();
    let stream = joined.connected(7);
    for connect_id in 100..10_000 {
        joined.server.says(&data(connect_id, b"?"));
        joined.server.says(&close_rsp(connect_id, ""));
    }
    joined.says(&[data(1, b"fine")]);
    assert_eq!(joined.read(stream), (b"fine".to_vec(), ReadState::Blocked));
    assert_eq!(joined.hears().len(), 9_900);
    assert_eq!(joined.carrier.take_ignored(), 2 * 9_900);
}
