//! Stream headers, dial requests and answers.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use crate::limits;
use crate::wire::{DialError, DialRequest, DialResponse, ErrorClass, Kind, Network, StreamHeader, WireError};

use super::message_of;

fn request(address: &str) -> DialRequest {
    DialRequest {
        network: Network::Tcp,
        address: address.to_owned(),
        dial_id: 7,
        deadline_ms: 5000,
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
    }
}

/// A header as a newer peer could write it.
#[derive(Clone, PartialEq, Message)]
struct NewerHeader {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "2")]
    realm: String,
    #[prost(message, optional, tag = "3")]
    dial: Option<NewerDial>,
    #[prost(string, tag = "99")]
    novelty: String,
}

#[derive(Clone, PartialEq, Message)]
struct NewerDial {
    #[prost(uint32, tag = "1")]
    network: u32,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(string, tag = "98")]
    novelty: String,
}

fn newer(kind: u32, realm: &str, network: u32, address: &str) -> Result<StreamHeader, WireError> {
    let dial = NewerDial { network, address: address.to_owned(), novelty: "new".to_owned() };
    let header = NewerHeader { kind, realm: realm.to_owned(), dial: Some(dial), novelty: "new".to_owned() };
    StreamHeader::decode(header.encode_to_vec().into())
}

#[test]
fn headers_survive_the_wire() {
    let dial = StreamHeader::dial(request("10.0.0.1:10250"));
    let other_realm = StreamHeader { realm: "tenant-1".to_owned(), ..dial.clone() };
    for header in [StreamHeader::control(), dial, other_realm] {
        assert_eq!(StreamHeader::decode(message_of(header.to_frame().unwrap())), Ok(header));
    }
}

#[test]
fn the_bytes_of_a_header_are_what_the_specification_shows() {
    // The example of PROTOCOL.md section 6.1.
    let mut plain = request("10.0.0.1:80");
    plain.traceparent.clear();
    let expected: &[u8] = &[
        0, 0, 0, 29, // length
        0x08, 2, // kind = dial
        0x1a, 25, // dial
        0x12, 11, b'1', b'0', b'.', b'0', b'.', b'0', b'.', b'1', b':', b'8', b'0', // address
        0x19, 7, 0, 0, 0, 0, 0, 0, 0, // dial_id
        0x20, 0x88, 0x27, // deadline_ms
    ];
    assert_eq!(StreamHeader::dial(plain).to_frame().unwrap(), expected);
}

#[test]
fn fields_of_a_newer_peer_are_skipped() {
    let header = newer(2, "", 0, "[fd00::1]:443").unwrap();
    assert_eq!((header.kind, header.realm.as_str()), (Kind::Dial, "default"));
    assert_eq!(header.dial.unwrap().address, "[fd00::1]:443");
}

#[test]
fn unknown_kinds_and_networks_are_refusals_of_their_own() {
    for kind in [0, 4, 5, u32::MAX] {
        // The kind comes first: whatever else is in the header may mean anything.
        assert_eq!(newer(kind, "NOT A REALM", 9, ""), Err(WireError::UnknownKind(kind)));
    }
    let error = newer(2, "", 1, "10.0.0.1:80").unwrap_err();
    assert_eq!(error, WireError::UnknownNetwork(1));
    let refusal = error.dial_refusal().unwrap();
    assert_eq!(refusal.class, ErrorClass::Unsupported);
    assert_eq!(refusal.text, "dial network 1: unknown network");
    assert_eq!(WireError::Truncated.dial_refusal(), None);
}

#[test]
fn headers_that_break_the_rules_are_refused() {
    let long_address = "x".repeat(limits::TARGET_BYTES_MAX + 1);
    let table = [
        (newer(1, "", 0, "a:1"), WireError::Field("dial")),
        (newer(2, "", 0, ""), WireError::Field("address")),
        (newer(2, "", 0, "a b:1"), WireError::Invalid { field: "address", why: "not printable ASCII" }),
        (newer(2, "", 0, "a\r\n:1"), WireError::Invalid { field: "address", why: "not printable ASCII" }),
        (newer(2, "", 0, "ä:1"), WireError::Invalid { field: "address", why: "not printable ASCII" }),
        (newer(2, "", 0, &long_address), WireError::Invalid { field: "address", why: "too long" }),
        (newer(2, "A", 0, "a:1"), WireError::Invalid { field: "realm", why: "not of a-z, 0-9 and -" }),
        (newer(2, &"a".repeat(64), 0, "a:1"), WireError::Invalid { field: "realm", why: "too long" }),
    ];
    for (result, error) in table {
        assert_eq!(result, Err(error));
    }
    let no_dial = NewerHeader { kind: 2, ..NewerHeader::default() };
    assert_eq!(StreamHeader::decode(no_dial.encode_to_vec().into()), Err(WireError::Field("dial")));
    assert!(matches!(StreamHeader::decode(Bytes::from_static(b"\xff")), Err(WireError::NotProtobuf(_))));
}

#[test]
fn a_reverse_stream_is_known_by_name() {
    assert_eq!(newer(3, "", 0, "a:1").unwrap().kind, Kind::Reverse);
}

#[test]
fn answers_survive_the_wire() {
    let ok = DialResponse::ok("[fd00::1]:443".parse().unwrap());
    assert_eq!(ok.remote, "[fd00::1]:443");
    assert_eq!(ok.clone().into_result(), Ok(()));
    let error = DialError::timeout("10.0.0.1:80");
    let refused = DialResponse::error(error.clone());
    assert_eq!(refused.clone().into_result(), Err(error));
    for answer in [ok, refused] {
        assert_eq!(DialResponse::decode(message_of(answer.to_frame().unwrap())), Ok(answer));
    }
}

#[test]
fn what_an_agent_says_is_cleaned_cut_and_never_silent() {
    let long = format!("{}: connection refused", "x".repeat(5000));
    let evil = DialResponse { class: ErrorClass::Refused, text: long, remote: "a\r\nb".to_owned() };
    let decoded = DialResponse::decode(message_of(evil.to_frame().unwrap())).unwrap();
    assert!(decoded.text.len() <= limits::PEER_TEXT_BYTES_MAX);
    assert!(decoded.text.ends_with(": connection refused"), "the cause is kept: {}", decoded.text);
    assert_eq!(decoded.remote, "a\\r\\nb");

    let silent = DialResponse { class: ErrorClass::Refused, text: String::new(), remote: String::new() };
    let decoded = DialResponse::decode(message_of(silent.to_frame().unwrap())).unwrap();
    assert_eq!(decoded.text, "connection refused");

    // class 1000, which nobody knows yet
    let decoded = DialResponse::decode(Bytes::from_static(&[0x08, 0xe8, 0x07])).unwrap();
    assert_eq!((decoded.class, decoded.text.as_str()), (ErrorClass::Other, "dial failed"));
}

proptest! {
    #[test]
    fn any_valid_request_survives_the_wire(
        address in "[!-~]{1,260}", dial_id: u64, deadline_ms: u32, traceparent in "[!-~]{0,128}",
    ) {
        let request = DialRequest { network: Network::Tcp, address, dial_id, deadline_ms, traceparent };
        let header = StreamHeader::dial(request);
        prop_assert_eq!(StreamHeader::decode(message_of(header.to_frame().unwrap())), Ok(header));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_pass_a_limit(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(bytes);
        if let Ok(header) = StreamHeader::decode(bytes.clone()) {
            prop_assert_eq!(header.kind == Kind::Dial, header.dial.is_some());
            prop_assert!(!header.realm.is_empty() && header.realm.len() <= limits::REALM_BYTES_MAX);
        }
        if let Ok(answer) = DialResponse::decode(bytes) {
            prop_assert!(answer.text.len() <= limits::PEER_TEXT_BYTES_MAX);
            prop_assert!(!answer.text.chars().any(char::is_control));
            prop_assert!(answer.class == ErrorClass::Ok || !answer.text.is_empty());
        }
    }
}
