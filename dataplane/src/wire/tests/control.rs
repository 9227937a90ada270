//! Control messages.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use crate::limits;
use crate::wire::{ControlMessage, Drain, Hello, ServerCount, Token, Welcome, WireError};

use super::message_of;

fn hello() -> Hello {
    Hello {
        agent_id: "node-1".to_owned(),
        instance_id: vec![1; 16],
        connection_index: 3,
        identifiers: "ipv4=10.0.0.1&host=node-1".to_owned(),
        token: "secret".to_owned(),
        version: "0.1.0".to_owned(),
        features: 0,
    }
}

fn welcome() -> Welcome {
    Welcome {
        server_id: "server-1".to_owned(),
        instance_id: vec![2; 16],
        server_count: 3,
        shards: 4,
        features: 0,
        version: "0.1.0".to_owned(),
    }
}

fn over_the_wire(message: &ControlMessage) -> Result<Option<ControlMessage>, WireError> {
    ControlMessage::decode(message_of(message.to_frame().unwrap()))
}

#[test]
fn every_message_survives_the_wire_under_its_name() {
    let all = [
        ("hello", ControlMessage::Hello(hello())),
        ("welcome", ControlMessage::Welcome(welcome())),
        ("token", ControlMessage::Token(Token { token: "newer".to_owned() })),
        ("drain", ControlMessage::Drain(Drain { deadline_ms: 25_000, reason: "SIGTERM".to_owned() })),
        ("server_count", ControlMessage::ServerCount(ServerCount { server_count: 5 })),
    ];
    for (name, message) in all {
        assert_eq!(message.name(), name);
        assert_eq!(over_the_wire(&message), Ok(Some(message)));
    }
}

#[test]
fn tokens_are_not_shown() {
    let shown = format!("{:?} {:?}", ControlMessage::Hello(hello()), Token { token: "secret".to_owned() });
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("redacted"), "{shown}");
}

#[test]
fn messages_of_a_newer_peer_are_left_alone() {
    // Field 15 of the envelope, a message without fields.
    assert_eq!(ControlMessage::decode(Bytes::from_static(&[0x7a, 0])), Ok(None));
    assert_eq!(ControlMessage::decode(Bytes::new()), Ok(None));
    // A Hello with a field 100 that nobody knows yet.
    let mut body = hello().encode_to_vec();
    body.extend_from_slice(&[0xa2, 0x06, 1, b'x']);
    let mut message = vec![0x0a, u8::try_from(body.len()).unwrap()];
    message.extend_from_slice(&body);
    assert_eq!(ControlMessage::decode(message.into()), Ok(Some(ControlMessage::Hello(hello()))));
}

#[test]
fn fields_are_held_to_their_limits() {
    let invalid = |field, why| Err(WireError::Invalid { field, why });
    let table: [(Hello, Result<Option<ControlMessage>, WireError>); 6] = [
        (Hello { agent_id: String::new(), ..hello() }, Err(WireError::Field("agent_id"))),
        (Hello { agent_id: "a\nb".to_owned(), ..hello() }, invalid("agent_id", "control characters")),
        (
            Hello { agent_id: "a".repeat(limits::AGENT_ID_BYTES_MAX + 1), ..hello() },
            invalid("agent_id", "too long"),
        ),
        (Hello { instance_id: Vec::new(), ..hello() }, Err(WireError::Field("instance_id"))),
        (Hello { instance_id: vec![0; 33], ..hello() }, invalid("instance_id", "too long")),
        (Hello { identifiers: "a".repeat(8193), ..hello() }, invalid("identifiers", "too long")),
    ];
    for (hello, expected) in table {
        assert_eq!(over_the_wire(&ControlMessage::Hello(hello)), expected);
    }
    let nameless = Welcome { server_id: String::new(), ..welcome() };
    assert_eq!(over_the_wire(&ControlMessage::Welcome(nameless)), Err(WireError::Field("server_id")));
}

#[test]
fn text_for_people_is_cleaned_instead_of_refused() {
    let drain = Drain { deadline_ms: 1, reason: "a\x1b[2Jb".to_owned() };
    let Ok(Some(ControlMessage::Drain(drain))) = over_the_wire(&ControlMessage::Drain(drain)) else {
        panic!("a drain is a drain");
    };
    assert_eq!(drain.reason, "a\\u{1b}[2Jb");
}

#[test]
fn the_longest_hello_still_has_room_for_a_token() {
    let full = Hello {
        agent_id: "a".repeat(limits::AGENT_ID_BYTES_MAX),
        instance_id: vec![9; limits::INSTANCE_ID_BYTES_MAX],
        connection_index: u32::MAX,
        identifiers: "i".repeat(limits::IDENTIFIERS_BYTES_MAX),
        token: "t".repeat(6 * 1024),
        version: "v".repeat(limits::PEER_TEXT_BYTES_MAX),
        features: u64::MAX,
    };
    let message = ControlMessage::Hello(full);
    assert_eq!(over_the_wire(&message), Ok(Some(message)));
    let overfull = Hello { token: "t".repeat(16 * 1024), ..hello() };
    assert!(matches!(ControlMessage::Hello(overfull).to_frame(), Err(WireError::TooLong(_))));
}

proptest! {
    #[test]
    fn any_valid_hello_survives_the_wire(
        agent_id in "[ -~]{1,256}", instance_id in prop::collection::vec(any::<u8>(), 1..=32),
        connection_index: u32, identifiers in "[!-~]{0,300}", token in "[!-~]{0,2000}", features: u64,
    ) {
        let version = "1".to_owned();
        let hello = Hello { agent_id, instance_id, connection_index, identifiers, token, version, features };
        let message = ControlMessage::Hello(hello);
        prop_assert_eq!(over_the_wire(&message), Ok(Some(message)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(Some(message)) = ControlMessage::decode(bytes.into()) {
            // What was accepted can be said again, and means the same.
            prop_assert_eq!(over_the_wire(&message), Ok(Some(message)));
        }
    }
}
