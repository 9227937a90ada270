//! Clients that break rules: each ends with a reason, bounded and without harm.

use bytes::Bytes;

use crate::konnectivity::{DialKey, Event, FramingError, Frontend, Ignored, Packet, Status};
use crate::limits::{GRPC_DIALS_PER_STREAM_MAX, GRPC_MESSAGE_BYTES_MAX, GRPC_REPLIES_MAX};

use super::{Stream, close_req, close_rsp, data, dial_req, dial_rsp, wire};

#[test]
fn packets_of_nobody_are_passed_over_and_told() {
    let mut stream = Stream::established();
    let pending = stream.dials(8);
    for (packet, ignored) in [
        (dial_rsp(8, 3, ""), Ignored::NotForServers("DIAL_RSP")),
        (close_rsp(1, ""), Ignored::NotForServers("CLOSE_RSP")),
        (Packet::Drain, Ignored::NotForServers("DRAIN")),
        (Packet::Unknown(99), Ignored::NotForServers("Unknown")),
        (dial_req(8, "10.0.0.2:443"), Ignored::DuplicateDial(8)),
        (Packet::DialCls { random: 7 }, Ignored::UnknownDial(7)),
        (Packet::DialCls { random: 99 }, Ignored::UnknownDial(99)),
        (data(0, "for nobody"), Ignored::NoConnection),
    ] {
        stream.says(&packet);
        assert_eq!(stream.0.take_ignored(), Some((ignored, 1)));
        assert_eq!((stream.hears(), stream.events()), (vec![], vec![]), "{packet:?}");
    }
    // The connection and the dial did not notice.
    stream.says(&data(1, "ping"));
    assert_eq!(stream.taken(1), "ping");
    assert_eq!(stream.0.on_established(pending), Some(2));
}

#[test]
fn packets_for_connections_that_never_were_are_answered_as_an_agent_would_and_end_the_reading() {
    for (packet, error) in [(data(9, "?"), "unrecognized connectID"), (close_req(9), "Unknown connectID")] {
        let mut stream = Stream::established();
        stream.says(&packet).says(&packet).says(&data(1, "not read"));
        assert_eq!((stream.hears(), stream.taken(1)), (vec![close_rsp(9, error)], String::new()));
        // What the target says still comes.
        stream.gets(1, "pong");
        assert_eq!(stream.hears(), [data(1, "pong")]);
        stream.ends_well();
    }
}

#[test]
fn bytes_that_are_no_packets_end_the_call_with_grpcs_status() {
    let too_long = u32::try_from(GRPC_MESSAGE_BYTES_MAX + 1).unwrap().to_be_bytes();
    for (bytes, code, text) in [
        (&b"\x01\0\0\0\x05"[..], 13, "grpc: a message with flags 0x01: compression was not offered"),
        (&[&[0][..], &too_long].concat(), 8, "grpc: received message larger than max (4194305 vs. 4194304)"),
        (&b"\0\0\0\0\x02\x22\xff"[..], 13, "grpc: not a valid packet: "),
    ] {
        let mut stream = Stream::established();
        let pending = stream.dials(8);
        stream.0.on_bytes(Bytes::copy_from_slice(bytes));
        let events = stream.events();
        let [Event::Cancel { key }, Event::Abort { connect_id: 1 }, Event::End(status)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(*key, pending);
        assert_eq!(status.code(), code);
        assert!(status.message().starts_with(text), "{}", status.message());
        assert!(stream.0.is_done());
        // Whatever follows means nothing.
        stream.says(&dial_req(9, "10.0.0.1:443"));
        assert_eq!((stream.hears(), stream.events()), (vec![], vec![]));
        assert!(stream.0.is_done());
    }
}

#[test]
fn a_stream_that_ends_inside_a_message_ends_with_an_error() {
    let mut stream = Stream::new();
    stream.0.on_bytes(wire(&dial_req(7, "10.0.0.1:443")).slice(..9));
    stream.0.on_client_end();
    let end = Status::Violation(FramingError::Truncated.into());
    assert_eq!(stream.events(), [Event::End(end.clone())]);
    assert_eq!((end.code(), end.message().as_str()), (13, "grpc: the stream ended inside a message"));
}

#[test]
fn a_dial_too_long_to_read_is_answered_and_the_stream_goes_on() {
    let address = "a".repeat(300);
    let inner = [&b"\x0a\x03tcp\x12\xac\x02"[..], address.as_bytes(), b"\x18\x05"].concat();
    let message = [&b"\x12\xb6\x02"[..], &inner].concat();
    let prefix = u32::try_from(message.len()).unwrap().to_be_bytes();
    let mut stream = Stream::new();
    stream.0.on_bytes([&[0][..], &prefix, &message].concat().into());
    assert_eq!(stream.hears(), [dial_rsp(5, 0, "dial tcp: address of 300 bytes: longer than 260")]);
    stream.dials(6);
}

#[test]
fn dials_and_connections_of_one_stream_are_bounded() {
    let mut stream = Stream::new();
    let keys: Vec<DialKey> =
        (0..GRPC_DIALS_PER_STREAM_MAX).map(|random| stream.dials(i64::try_from(random).unwrap())).collect();
    let full = "dial tcp 10.0.0.1:443: too many tunnels on one stream";
    stream.says(&dial_req(99, "10.0.0.1:443"));
    assert_eq!(stream.hears(), [dial_rsp(99, 0, full)]);
    // A connection takes its dial's place, and a dial that is over gives it up.
    assert_eq!(stream.0.on_established(keys[0]), Some(1));
    stream.says(&dial_req(99, "10.0.0.1:443"));
    assert_eq!(stream.hears(), [dial_rsp(0, 1, ""), dial_rsp(99, 0, full)]);
    stream.says(&Packet::DialCls { random: 1 });
    assert_eq!(stream.events(), [Event::Cancel { key: keys[1] }]);
    stream.dials(100);
}

/// What can be made to wait by a client that dials for ever and reads nothing.
#[test]
fn a_client_that_reads_none_of_its_answers_is_read_no_further() {
    let refused = wire(&Packet::DialReq { protocol: "udp".into(), address: "a:1".into(), random: 1 });
    let mut frontend = Frontend::new();
    let packets = 1000;
    for _ in 0..packets {
        frontend.on_bytes(refused.clone());
    }
    assert_eq!(frontend.take_credit(), 0);
    let answers = std::iter::from_fn(|| frontend.next_message()).count();
    assert_eq!(answers, packets, "they are answered as they are read");
    assert_eq!(frontend.take_credit(), packets * refused.len());

    // And by one that dials and takes it back, where nobody takes the events.
    let pair = [wire(&dial_req(1, "a:1")), wire(&Packet::DialCls { random: 1 })].concat();
    let mut frontend = Frontend::new();
    for _ in 0..packets {
        frontend.on_bytes(pair.clone().into());
    }
    assert_eq!(frontend.take_credit(), 0);
    let mut events = 0;
    while frontend.poll_event().is_some() {
        events += 1;
    }
    assert_eq!(events, 2 * packets);
    assert!(packets > GRPC_REPLIES_MAX);
}
