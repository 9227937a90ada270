//! Packets as bytes.

use bytes::Bytes;
use proptest::prelude::*;

use crate::konnectivity::proto::{Data, PacketProto, Payload};
use crate::konnectivity::{Packet, PacketError};
use crate::limits::{DIAL_PROTOCOL_BYTES_MAX, GRPC_DATA_BYTES_MAX, PEER_TEXT_BYTES_MAX, TARGET_BYTES_MAX};

use super::{close_req, close_rsp, data, dial_req, dial_rsp, packet_of, wire};

/// Tags and lengths by hand: `field << 3 | wire type`, from the numbers of `client.proto`.
#[test]
fn packets_have_the_bytes_of_client_proto() {
    // A type of 0 is left out; field 2 holds protocol, address, random.
    assert_eq!(wire(&dial_req(5, "a:1")), &b"\0\0\0\0\x0e\x12\x0c\x0a\x03tcp\x12\x03a:1\x18\x05"[..]);
    assert_eq!(wire(&dial_rsp(5, 9, "")), &b"\0\0\0\0\x08\x08\x01\x1a\x04\x10\x09\x18\x05"[..]);
    assert_eq!(wire(&dial_rsp(5, 0, "no")), &b"\0\0\0\0\x0a\x08\x01\x1a\x06\x0a\x02no\x18\x05"[..]);
    assert_eq!(wire(&close_req(7)), &b"\0\0\0\0\x06\x08\x02\x2a\x02\x08\x07"[..]);
    assert_eq!(wire(&close_rsp(7, "")), &b"\0\0\0\0\x06\x08\x03\x32\x02\x10\x07"[..]);
    assert_eq!(wire(&close_rsp(7, "x")), &b"\0\0\0\0\x09\x08\x03\x32\x05\x0a\x01x\x10\x07"[..]);
    assert_eq!(wire(&data(7, "xy")), &b"\0\0\0\0\x0a\x08\x04\x22\x06\x08\x07\x1a\x02xy"[..]);
    assert_eq!(wire(&data(0, "")), &b"\0\0\0\0\x04\x08\x04\x22\x00"[..]);
    assert_eq!(wire(&Packet::DialCls { random: 5 }), &b"\0\0\0\0\x06\x08\x05\x3a\x02\x08\x05"[..]);
    assert_eq!(wire(&Packet::Drain), &b"\0\0\0\0\x04\x08\x06\x42\x00"[..]);
    // Numbers are 64 bits wide, negative ones ten bytes.
    let largest = b"\0\0\0\0\x0e\x08\x05\x3a\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f";
    assert_eq!(wire(&Packet::DialCls { random: i64::MAX }), &largest[..]);
}

#[test]
fn the_type_decides_and_a_missing_or_foreign_payload_is_empty() {
    for (kind, empty) in [
        (0, Packet::DialReq { protocol: String::new(), address: String::new(), random: 0 }),
        (1, dial_rsp(0, 0, "")),
        (2, close_req(0)),
        (3, close_rsp(0, "")),
        (4, data(0, "")),
        (5, Packet::DialCls { random: 0 }),
        (6, Packet::Drain),
        (7, Packet::Unknown(7)),
        (-1, Packet::Unknown(-1)),
    ] {
        let none = PacketProto { kind, payload: None };
        assert_eq!(Packet::decode(prost::Message::encode_to_vec(&none).into()), Ok(empty.clone()));
        if kind != 4 {
            let payload = Payload::Data(Data { connect_id: 3, ..Data::default() });
            let foreign = PacketProto { kind, payload: Some(payload) };
            assert_eq!(Packet::decode(prost::Message::encode_to_vec(&foreign).into()), Ok(empty));
        }
    }
}

#[test]
fn unknown_fields_and_the_unused_error_of_data_are_passed_over() {
    // DATA with an error, a field 9 of each wire type inside, and field 15 outside.
    let inside = b"\x08\x07\x12\x03bad\x48\x01\x4a\x01?\x4d\0\0\0\0\x49\0\0\0\0\0\0\0\0\x1a\x02xy";
    let mut message = vec![0x08, 0x04, 0x22, u8::try_from(inside.len()).unwrap()];
    message.extend_from_slice(inside);
    message.extend_from_slice(b"\x7a\x01?");
    assert_eq!(Packet::decode(message.into()), Ok(data(7, "xy")));
}

#[test]
fn what_is_no_packet_is_refused_with_a_reason() {
    for (why, message) in [
        ("a length past the end", &b"\x08\x04\x22\xff"[..]),
        ("a number without an end", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("a text that is not UTF-8", b"\x08\x03\x32\x03\x0a\x01\xff"),
        ("field 0", b"\x00\x01"),
        ("a group without an end", b"\x7b"),
        ("a message as a number", b"\x22\x02\x08\x01\x20\x05"),
    ] {
        let error = Packet::decode(Bytes::copy_from_slice(message)).expect_err(why);
        assert!(matches!(error, PacketError::NotProtobuf(_)), "{why}: {error:?}");
        assert!(error.to_string().starts_with("not a valid packet: "), "{error}");
        assert_eq!(error.refusal(), None);
    }
}

#[test]
fn a_dial_that_is_too_long_is_refused_by_its_number() {
    let request = |protocol: &str, address: &str| {
        let inner = [
            &[0x0a, u8::try_from(protocol.len()).unwrap()][..],
            protocol.as_bytes(),
            &[0x12, 0x85, 0x02],
            address.as_bytes(),
            &[0x18, 5],
        ]
        .concat();
        assert_eq!(address.len(), TARGET_BYTES_MAX + 1);
        let mut message = vec![0x12];
        prost::encoding::encode_varint(inner.len() as u64, &mut message);
        Packet::decode([message, inner].concat().into())
    };
    let error = request("tcp", &"a".repeat(TARGET_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(error.to_string(), "the address of DIAL_REQ 5 has 261 bytes; 260 are the most");
    let text = "dial tcp: address of 261 bytes: longer than 260";
    assert_eq!(error.refusal(), Some(dial_rsp(5, 0, text)));
    let long = "t".repeat(DIAL_PROTOCOL_BYTES_MAX + 1);
    let error = request(&long, &"a".repeat(TARGET_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(error.refusal(), Some(dial_rsp(5, 0, "dial tcp: protocol of 33 bytes: longer than 32")));
}

#[test]
fn our_own_packets_are_held_to_the_limits() {
    let longest = Bytes::from(vec![1; GRPC_DATA_BYTES_MAX + 1]);
    let packet = Packet::Data { connect_id: 1, data: longest.clone() };
    assert_eq!(packet.to_message(), Err(PacketError::DataTooLong(GRPC_DATA_BYTES_MAX + 1)));
    let packet = Packet::Data { connect_id: 1, data: longest.slice(1..) };
    let message = packet.to_message().unwrap();
    assert_eq!(message.payload.as_ptr(), longest[1..].as_ptr(), "the payload is not copied");
    assert!(dial_req(1, &"a".repeat(TARGET_BYTES_MAX + 1)).to_message().is_err());
}

#[test]
fn error_texts_are_cleaned_and_cut_both_ways() {
    let text = format!("dial tcp: \u{1b}[31m{}: connection refused", "x".repeat(5000));
    for packet in [dial_rsp(1, 0, &text), close_rsp(1, &text)] {
        let (Packet::DialRsp { error, .. } | Packet::CloseRsp { error, .. }) =
            packet_of(&packet.to_message().unwrap())
        else {
            unreachable!("it stays what it is")
        };
        assert!(error.len() <= PEER_TEXT_BYTES_MAX && !error.chars().any(char::is_control));
        assert!(error.starts_with("dial tcp: ") && error.ends_with(": connection refused"), "{error}");
    }
}

fn packets() -> impl Strategy<Value = Packet> {
    let text = "[ -~äß€]{0,60}";
    prop_oneof![
        ("[a-z]{0,8}", text, any::<i64>()).prop_map(|(protocol, address, random)| Packet::DialReq {
            protocol,
            address,
            random
        }),
        (any::<i64>(), any::<i64>(), text).prop_map(|(random, id, error)| dial_rsp(random, id, &error)),
        any::<i64>().prop_map(close_req),
        (any::<i64>(), text).prop_map(|(id, error)| close_rsp(id, &error)),
        (any::<i64>(), prop::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(connect_id, data)| Packet::Data { connect_id, data: data.into() }),
        any::<i64>().prop_map(|random| Packet::DialCls { random }),
        Just(Packet::Drain),
        (7..i32::MAX).prop_map(Packet::Unknown),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(packet in packets()) {
        prop_assert_eq!(packet_of(&packet.to_message().unwrap()), packet);
    }

    #[test]
    fn data_written_by_hand_is_what_prost_writes(
        connect_id in prop_oneof![Just(0), any::<i64>()],
        data in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let data = Bytes::from(data);
        let payload = Payload::Data(Data { connect_id, error: String::new(), data: data.clone() });
        let proto = PacketProto { kind: 4, payload: Some(payload) };
        let ours = Packet::Data { connect_id, data }.to_message().unwrap().to_bytes();
        prop_assert_eq!(&ours[5..], prost::Message::encode_to_vec(&proto));
    }

    #[test]
    fn arbitrary_bytes_are_a_packet_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Err(error) = Packet::decode(bytes.into()) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
    }
}
