//! What the parsers of bytes from peers must hold to, whatever the bytes: one function for each, which checks the
//! properties and says how the input fared. A panic is a finding.

use adit_dataplane::frontend::{HeadReader, HeadState};
use adit_dataplane::limits;
use adit_dataplane::quic::{CONNECTION_ID_BYTES, short_header_owner};
use adit_dataplane::route::{AllowRule, Identifiers, Target};
use adit_dataplane::stream::tls::ClientName;
use adit_dataplane::wire::{ControlMessage, DialResponse, ErrorClass, FrameReader, Kind, StreamHeader};
use adit_fuzz::{Fate, Target as Fuzzed};
use bytes::Bytes;

use crate::{grpc, http2, pipes, tls};

/// Every parser, by the name of its corpus.
pub(crate) const ALL: [Fuzzed; 16] = [
    Fuzzed { name: "allow_rule", run: allow_rule, tokens: TARGETS },
    Fuzzed { name: "client_certificate", run: client_certificate, tokens: DER },
    Fuzzed { name: "client_hello", run: tls::client_hello, tokens: tls::RECORDS },
    Fuzzed { name: "connect_head", run: connect_head, tokens: HTTP },
    Fuzzed { name: "connection_id", run: connection_id, tokens: &[] },
    Fuzzed { name: "control", run: control, tokens: PROTOBUF },
    Fuzzed { name: "frames", run: frames, tokens: PROTOBUF },
    Fuzzed { name: "grpc_messages", run: grpc::messages, tokens: grpc::MESSAGES },
    Fuzzed { name: "header", run: header, tokens: PROTOBUF },
    Fuzzed { name: "http2_pipes", run: pipes::streams, tokens: http2::FRAMES },
    Fuzzed { name: "http2_requests", run: http2::requests, tokens: http2::FRAMES },
    Fuzzed { name: "http2_responses", run: http2::responses, tokens: http2::FRAMES },
    Fuzzed { name: "identifiers", run: identifiers, tokens: IDENTIFIERS },
    Fuzzed { name: "packet", run: grpc::packet, tokens: grpc::PACKETS },
    Fuzzed { name: "response", run: response, tokens: PROTOBUF },
    Fuzzed { name: "target", run: target, tokens: TARGETS },
];

const HTTP: &[&str] = &[
    "CONNECT ",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "\r\n\r\n",
    "Host: ",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "\r\n\t",
    "[::1]:",
];
/// Tags of fields one to four in each wire type, and lengths and numbers that do not end.
const PROTOBUF: &[&str] = &[
    "\x08", "\x0a", "\x0b", "\x0c", "\x0d", "\x10", "\x12", "\x18", "\x1a", "\x20", "\x22", "\x7f", "\x0a\0",
    "\0\0\0\0",
];
/// Tags and lengths of DER, and the object identifiers of a common name and of alternative names.
const DER: &[&str] = &[
    "\x30\x03",
    "\x31\x0b",
    "\x06\x03\x55\x04\x03",
    "\x06\x03\x55\x1d\x11",
    "\x0c\x01a",
    "\x13",
    "\x16",
    "\u{82}",
    "\0",
];
const IDENTIFIERS: &[&str] =
    &["ipv4=", "ipv6=", "host=", "cidr=", "default-route=", "true", "&", "&&", ";", "%26", "%", "+"];
const TARGETS: &[&str] =
    &["[", "]", "]:", "::", "::ffff:", "%25eth0", "0x7f", "127.0.0.1", ":443", ".", "@", "xn--"];

fn allow_rule(input: &[u8]) -> Fate {
    let Ok(text) = std::str::from_utf8(input) else { return Fate::Refused };
    match text.parse::<AllowRule>() {
        Ok(_) => Fate::Taken,
        Err(error) => refused(&error.to_string()),
    }
}

/// Whether a certificate names somebody. What it says is cleaned and bounded, for it ends up in the log.
fn client_certificate(input: &[u8]) -> Fate {
    let name = ClientName::of(&input.into());
    let all: Vec<_> = name.alternative_names.iter().chain([&name.common_name]).collect();
    assert!(all.len() <= 1 + limits::FRONTEND_NAMES_MAX);
    assert!(all.iter().all(|name| name.len() <= limits::FRONTEND_NAME_BYTES_MAX));
    assert!(!name.to_string().chars().any(char::is_control));
    if name == ClientName::default() { Fate::Refused } else { Fate::Taken }
}

/// An error's text is one line, and not long.
fn refused(text: &str) -> Fate {
    assert!((1..=1000).contains(&text.len()) && !text.chars().any(char::is_control), "{text:?}");
    Fate::Refused
}

fn connect_head(input: &[u8]) -> Fate {
    let whole = connect_pieces([input]);
    let (start, end) = input.split_at(input.len() / 2);
    let halves = connect_pieces([start, end]);
    let singles = connect_pieces(input.chunks(1));
    assert!(whole == halves && whole == singles, "the decision depends on where the bytes are split");
    whole.0
}

/// The fate, and what identifies the decision.
fn connect_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Fate, Vec<u8>) {
    let mut reader = HeadReader::new();
    for piece in pieces {
        reader.push(Bytes::copy_from_slice(piece));
    }
    match reader.poll() {
        HeadState::Incomplete => (Fate::Partial, Vec::new()),
        HeadState::Connect { target, raw_target, rest } => {
            assert_eq!(Target::parse(&raw_target), Ok(target));
            assert!(rest.iter().all(|piece| !piece.is_empty()));
            let rest = rest.iter().flat_map(|piece| piece.to_vec());
            (Fate::Taken, raw_target.bytes().chain(rest).collect())
        }
        HeadState::Http2 { bytes } => (Fate::Taken, bytes.iter().flat_map(|piece| piece.to_vec()).collect()),
        HeadState::Refuse(answer) => {
            assert!((400..=505).contains(&answer.status()));
            let bytes = answer.into_bytes();
            assert!(bytes.len() <= limits::ANSWER_BYTES_MAX);
            (Fate::Refused, bytes.to_vec())
        }
    }
}

/// Who owns a datagram: nobody, or one of the shards, and the same one whatever follows the connection ID.
fn connection_id(input: &[u8]) -> Fate {
    let mut fate = Fate::Refused;
    for shards in 1..=u8::try_from(limits::SHARDS_MAX).expect("five bits") {
        let owner = short_header_owner(input, shards);
        assert!(owner.is_none_or(|owner| owner < shards));
        if owner.is_some() {
            assert_eq!(short_header_owner(&input[..1 + CONNECTION_ID_BYTES], shards), owner);
            assert_eq!(short_header_owner(&input[..CONNECTION_ID_BYTES], shards), None);
            fate = Fate::Taken;
        }
    }
    fate
}

fn frames(input: &[u8]) -> Fate {
    let mut whole = FrameReader::new();
    whole.push(Bytes::copy_from_slice(input));
    let mut singles = FrameReader::new();
    for byte in input.chunks(1) {
        singles.push(Bytes::copy_from_slice(byte));
    }
    let mut fate = Fate::Partial;
    loop {
        let message = whole.poll();
        assert_eq!(message, singles.poll(), "the frames depend on where the bytes are split");
        match message {
            Ok(Some(message)) => {
                assert!(message.len() <= limits::MESSAGE_BYTES_MAX);
                fate = Fate::Taken;
            }
            Ok(None) => return fate,
            // What comes behind a frame may be a tunnel's payload and no frame at all.
            Err(_) if fate == Fate::Taken => return fate,
            Err(_) => return Fate::Refused,
        }
    }
}

/// The message of a frame that our own code made.
fn message_of(frame: Bytes) -> Bytes {
    let mut reader = FrameReader::new();
    reader.push(frame);
    let message = reader.poll().ok().flatten();
    message.expect("our own frame is a frame")
}

fn header(input: &[u8]) -> Fate {
    match StreamHeader::decode(Bytes::copy_from_slice(input)) {
        Ok(header) => {
            assert_eq!(header.kind == Kind::Dial, header.dial.is_some());
            if let Some(dial) = &header.dial {
                assert!((1..=limits::TARGET_BYTES_MAX).contains(&dial.address.len()));
                assert!(dial.address.bytes().all(|byte| byte.is_ascii_graphic()));
            }
            let again = StreamHeader::decode(message_of(header.to_frame().expect("it was short enough")));
            assert_eq!(again, Ok(header));
            Fate::Taken
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Fate::Refused
        }
    }
}

fn response(input: &[u8]) -> Fate {
    let Ok(response) = DialResponse::decode(Bytes::copy_from_slice(input)) else { return Fate::Refused };
    assert!(response.text.len() <= limits::PEER_TEXT_BYTES_MAX);
    assert!(!response.text.chars().chain(response.remote.chars()).any(char::is_control));
    assert!(response.class == ErrorClass::Ok || !response.text.is_empty());
    let again = DialResponse::decode(message_of(response.to_frame().expect("it was cut")));
    assert_eq!(again, Ok(response));
    Fate::Taken
}

fn control(input: &[u8]) -> Fate {
    match ControlMessage::decode(Bytes::copy_from_slice(input)) {
        Ok(Some(message)) => {
            let again = ControlMessage::decode(message_of(message.to_frame().expect("it was short enough")));
            assert_eq!(again, Ok(Some(message)));
            Fate::Taken
        }
        Ok(None) => Fate::Taken,
        Err(_) => Fate::Refused,
    }
}

fn identifiers(input: &[u8]) -> Fate {
    let Ok(text) = std::str::from_utf8(input) else { return Fate::Refused };
    match Identifiers::parse(text) {
        Ok(lenient) => {
            if let Ok(strict) = Identifiers::parse_strict(text) {
                assert_eq!(strict, lenient);
            }
            Fate::Taken
        }
        Err(error) => {
            assert!(Identifiers::parse_strict(text).is_err());
            refused(&error.to_string())
        }
    }
}

fn target(input: &[u8]) -> Fate {
    let Ok(text) = std::str::from_utf8(input) else { return Fate::Refused };
    match Target::parse(text) {
        Ok(target) => {
            assert_ne!(target.port, 0);
            assert_eq!(Target::parse(&target.to_string()), Ok(target));
            Fate::Taken
        }
        Err(_) => Fate::Refused,
    }
}
