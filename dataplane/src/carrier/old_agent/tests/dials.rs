//! Dials, bytes and ends, as the shard sees them.

use super::{Joined, close_req, close_rsp, data, dial_rsp};
use crate::carrier::{Carrier, CarrierEvent, stream_id};
use crate::frontend::Answer;
use crate::konnectivity::Packet;
use crate::limits::LEGACY_CONNECTIONS_MAX;
use crate::quic::{Gone, ReadState, WriteState};
use crate::wire::{ErrorClass, ResetCode, StreamHeader};

#[test]
fn a_dial_and_bytes_both_ways_and_the_targets_end() {
    let mut joined = Joined::ready();
    let (stream, random) = joined.asks("10.0.0.1:443");
    assert_eq!(joined.read(stream), (vec![], ReadState::Blocked));
    assert_eq!(joined.write(stream, b"too early"), (WriteState::Blocked, 9));
    joined.says(&[dial_rsp(random, 40, ""), data(40, b"first")]);
    assert_eq!(joined.events(), [CarrierEvent::Readable(stream), CarrierEvent::Writable(stream)]);
    let (answer, rest, state) = joined.answer(stream);
    assert_eq!((answer.into_result(), &rest[..], state), (Ok(()), &b"first"[..], ReadState::Blocked));
    assert_eq!(joined.write(stream, b"ping"), (WriteState::Took, 0));
    assert_eq!(joined.hears(), [data(40, b"ping")]);
    joined.says(&[data(40, b"last words"), close_rsp(40, "")]);
    assert_eq!(joined.events(), [CarrierEvent::Readable(stream)]);
    assert_eq!(joined.read(stream), (b"last words".to_vec(), ReadState::Finished));
    assert_eq!(joined.events(), [CarrierEvent::Stopped(stream, ResetCode::ResetByPeer)]);
    assert_eq!(joined.carrier.finish(stream), Err(Gone), "both halves are over");
    assert_eq!(joined.hears(), []);
}

#[test]
fn a_write_that_was_blocked_by_a_dial_goes_on_behind_it() {
    let mut joined = Joined::ready();
    let stream = joined.carrier.open().unwrap().unwrap();
    let header = StreamHeader::dial(crate::wire::DialRequest {
        address: "10.0.0.1:443".to_owned(),
        ..Default::default()
    });
    let early = [&header.to_frame().unwrap()[..], b"early"].concat();
    // In pieces of any size; what stands behind the header stays.
    assert_eq!(joined.write(stream, &early[..3]), (WriteState::Took, 0));
    assert_eq!(joined.write(stream, &early[3..]), (WriteState::Blocked, 5));
    let [Packet::DialReq { random, .. }] = joined.hears()[..] else { panic!("no dial") };
    joined.says(&[dial_rsp(random, 1, "")]);
    assert!(joined.events().contains(&CarrierEvent::Writable(stream)));
    assert_eq!(joined.write(stream, b"early"), (WriteState::Took, 0));
    assert_eq!(joined.hears(), [data(1, b"early")]);
}

#[test]
fn failed_dials_keep_the_agents_words_and_their_status() {
    for (text, class, status) in [
        ("dial tcp 10.0.0.1:443: connect: connection refused", ErrorClass::Refused, 502),
        ("dial tcp 10.0.0.1:443: i/o timeout", ErrorClass::Timeout, 504),
        ("dial tcp: lookup a.b on 10.96.0.10:53: no such host", ErrorClass::NoSuchHost, 502),
        ("dial tcp 10.0.0.1:443: connect: no route to host", ErrorClass::Unreachable, 502),
        ("dial tcp 10.0.0.1:443: socket: too many open files", ErrorClass::TooManyOpenFiles, 503),
        ("tls: something else", ErrorClass::Other, 502),
    ] {
        let mut joined = Joined::ready();
        let (stream, random) = joined.asks("10.0.0.1:443");
        assert_eq!(joined.read(stream).1, ReadState::Blocked);
        joined.says(&[dial_rsp(random, 0, text)]);
        let stopped = CarrierEvent::Stopped(stream, ResetCode::Cancelled);
        let mut events = joined.events();
        assert!(events.contains(&stopped) && events.contains(&CarrierEvent::Readable(stream)), "{events:?}");
        let (answer, rest, state) = joined.answer(stream);
        assert_eq!((rest.len(), state), (0, ReadState::Finished));
        let error = answer.into_result().unwrap_err();
        assert_eq!((error.class, error.text.as_str()), (class, text));
        assert_eq!(Answer::dial_error(&error.text).status(), status);
        assert_eq!(joined.carrier.reset(stream, ResetCode::Cancelled), Err(Gone));
        events.clear();
    }
    let mut joined = Joined::ready();
    let (stream, random) = joined.asks("10.0.0.1:443");
    joined.says(&[Packet::DialCls { random }]);
    let error = joined.answer(stream).0.into_result().unwrap_err();
    assert!(error.class.is_the_agents_own(), "another may be asked: {error}");
}

#[test]
fn a_dial_that_nobody_wants_any_more_is_forgotten_and_what_it_opens_is_closed() {
    let mut joined = Joined::ready();
    let (stream, random) = joined.asks("10.0.0.1:443");
    // As a shard takes a stream off a tunnel.
    joined.carrier.reset(stream, ResetCode::Cancelled).unwrap();
    joined.carrier.stop(stream, ResetCode::Cancelled).unwrap();
    assert_eq!((joined.hears(), joined.events()), (vec![], vec![CarrierEvent::Readable(stream)]));
    joined.says(&[dial_rsp(random, 9, "")]);
    assert_eq!(joined.hears(), [close_req(9)]);
    joined.says(&[close_rsp(9, "")]);
    assert_eq!((joined.hears(), joined.events()), (vec![], vec![]));
    assert!(joined.carrier.dials.is_empty() && joined.carrier.connections.is_empty());
    assert_eq!(joined.carrier.streams.len(), 0);
}

#[test]
fn a_half_that_is_finished_closes_the_connection_behind_what_was_written() {
    let mut joined = Joined::ready();
    let stream = joined.connected(5);
    assert_eq!(joined.read(stream).1, ReadState::Blocked);
    assert_eq!(joined.write(stream, b"the rest"), (WriteState::Took, 0));
    joined.carrier.finish(stream).unwrap();
    assert_eq!(joined.carrier.finish(stream), Err(Gone));
    assert_eq!(joined.hears(), [data(5, b"the rest"), close_req(5)]);
    assert_eq!(joined.events(), [CarrierEvent::Readable(stream), CarrierEvent::Finished(stream)]);
    joined.says(&[data(5, b"nobody reads this"), close_rsp(5, "")]);
    assert_eq!(joined.read(stream), (vec![], ReadState::Finished));
    assert_eq!(joined.events(), []);
    assert_eq!(joined.carrier.streams.len(), 0);
}

#[test]
fn a_half_that_is_finished_before_the_answer_closes_what_is_opened() {
    let mut joined = Joined::ready();
    let (stream, random) = joined.asks("10.0.0.1:443");
    joined.carrier.finish(stream).unwrap();
    joined.says(&[dial_rsp(random, 5, "")]);
    assert_eq!(joined.hears(), [close_req(5)]);
    let (answer, _, state) = joined.answer(stream);
    assert_eq!((answer.into_result(), state), (Ok(()), ReadState::Finished));
    assert_eq!(joined.events(), [CarrierEvent::Readable(stream), CarrierEvent::Finished(stream)]);
}

#[test]
fn a_reset_or_a_stop_closes_both_halves() {
    let reset = |joined: &mut Joined, stream| joined.carrier.reset(stream, ResetCode::ResetByPeer);
    let stop = |joined: &mut Joined, stream| joined.carrier.stop(stream, ResetCode::ResetByPeer);
    let ways: [fn(&mut Joined, _) -> _; 2] = [reset, stop];
    for way in ways {
        let mut joined = Joined::ready();
        let stream = joined.connected(5);
        way(&mut joined, stream).unwrap();
        assert_eq!(joined.hears(), [close_req(5)]);
        joined.says(&[close_rsp(5, "")]);
        if joined.carrier.streams.len() > 0 {
            assert!(joined.carrier.received_reset(stream));
        }
        assert_eq!(joined.carrier.streams.len(), 0);
        assert_eq!(joined.carrier.write(joined.now, stream, &mut Default::default()), Err(Gone));
    }
}

#[test]
fn an_error_of_the_agents_resets_the_stream_behind_what_was_said() {
    let mut joined = Joined::ready();
    let stream = joined.connected(5);
    joined.says(&[data(5, b"partly"), close_rsp(5, "read tcp: connection reset by peer")]);
    assert_eq!(joined.read(stream), (b"partly".to_vec(), ReadState::Reset(ResetCode::ResetByPeer)));
    assert_eq!(
        joined.events(),
        [CarrierEvent::Readable(stream), CarrierEvent::Stopped(stream, ResetCode::ResetByPeer)]
    );
}

#[test]
fn what_is_no_dial_is_refused_on_its_stream() {
    let mut joined = Joined::ready();
    let stream = joined.carrier.open().unwrap().unwrap();
    joined.write(stream, &StreamHeader::control().to_frame().unwrap());
    assert_eq!(joined.read(stream).1, ReadState::Reset(ResetCode::UnknownKind));
    let stream = joined.carrier.open().unwrap().unwrap();
    assert_eq!(joined.write(stream, &[0xff; 8]).0, WriteState::Stopped(ResetCode::Protocol));
    assert!(joined.carrier.received_reset(stream));
    assert_eq!((joined.hears(), joined.events().len()), (vec![], 4));
    joined.connected(1);
}

#[test]
fn streams_are_bounded_and_one_that_ends_makes_room() {
    let mut joined = Joined::ready();
    for _ in 0..LEGACY_CONNECTIONS_MAX {
        assert!(joined.carrier.open().unwrap().is_some());
    }
    assert_eq!(joined.carrier.open(), Ok(None));
    let stream = stream_id(7);
    joined.carrier.reset(stream, ResetCode::Cancelled).unwrap();
    assert_eq!(joined.events(), [CarrierEvent::Readable(stream)]);
    joined.carrier.stop(stream, ResetCode::Cancelled).unwrap();
    assert_eq!(joined.events(), [CarrierEvent::StreamsAvailable]);
    assert!(joined.carrier.open().unwrap().is_some());
}
