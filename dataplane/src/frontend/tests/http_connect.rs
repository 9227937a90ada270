//! CONNECT heads: what is taken, what is refused with which status, wherever the bytes are split.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::frontend::{HeadReader, HeadState};
use crate::limits::{CONNECT_HEAD_BYTES_MAX, CONNECT_HEADERS_MAX};

/// What was decided, in a form to compare: the raw target and the rest, or the status.
#[derive(Debug, PartialEq)]
enum Decision {
    Incomplete,
    Connect(String, Vec<u8>),
    Http2(Vec<u8>),
    Refuse(u16),
}

/// Decides over pieces. After the head no more is pushed, as in a shard: what is left is part of the rest.
fn decide(pieces: &[Bytes]) -> Decision {
    let mut reader = HeadReader::new();
    for (index, piece) in pieces.iter().enumerate() {
        reader.push(piece.clone());
        match reader.poll() {
            HeadState::Incomplete => {}
            HeadState::Connect { target, raw_target, rest } => {
                assert_eq!(crate::route::Target::parse(&raw_target), Ok(target));
                assert!(rest.iter().all(|piece| !piece.is_empty()));
                let rest = rest.iter().chain(&pieces[index + 1..]).flat_map(|piece| piece.to_vec()).collect();
                return Decision::Connect(raw_target, rest);
            }
            HeadState::Http2 { bytes } => {
                assert!(bytes.iter().all(|piece| !piece.is_empty()));
                let pieces = bytes.iter().chain(&pieces[index + 1..]);
                return Decision::Http2(pieces.flat_map(|piece| piece.to_vec()).collect());
            }
            HeadState::Refuse(answer) => {
                assert_eq!(reader.poll(), HeadState::Refuse(answer.clone()), "for ever");
                return Decision::Refuse(answer.status());
            }
        }
    }
    Decision::Incomplete
}

fn decide_whole(bytes: impl AsRef<[u8]>) -> Decision {
    decide(&[Bytes::copy_from_slice(bytes.as_ref())])
}

fn connect(target: &str, rest: &str) -> Decision {
    Decision::Connect(target.to_owned(), rest.as_bytes().to_vec())
}

#[test]
fn heads_that_are_taken() {
    let table = [
        // kube-apiserver's, all versions
        ("CONNECT 10.0.0.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "10.0.0.1:10250", ""),
        // curl's
        (
            "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nUser-Agent: curl/8.5.0\r\n\
             Proxy-Connection: Keep-Alive\r\n\r\n",
            "example.com:443",
            "",
        ),
        ("CONNECT [fd00::1]:443 HTTP/1.0\r\n\r\n", "[fd00::1]:443", ""),
        ("CONNECT Node-1.:443 HTTP/1.1\r\nHost: other.example\r\n\r\n", "Node-1.:443", ""),
        (
            "CONNECT a:1 HTTP/1.1\r\nContent-Length: 0\r\n\r\nearly bytes\r\n\r\n",
            "a:1",
            "early bytes\r\n\r\n",
        ),
        ("CONNECT a:1 HTTP/1.1\r\n\r\n\r\n\r\n", "a:1", "\r\n\r\n"),
    ];
    for (head, target, rest) in table {
        assert_eq!(decide_whole(head), connect(target, rest), "{head:?}");
    }
    // obs-text in a field that nobody looks at
    assert_eq!(decide_whole(b"CONNECT a:1 HTTP/1.1\r\nX: \xe4\r\n\r\n"), connect("a:1", ""));
}

#[test]
fn what_follows_the_head_is_not_copied() {
    let bytes = BytesMut::from("CONNECT a:1 HTTP/1.1\r\n\r\npayload").freeze();
    let mut reader = HeadReader::new();
    reader.push(bytes.slice(..3));
    reader.push(bytes.slice(3..));
    reader.push(Bytes::from_static(b"more"));
    let HeadState::Connect { rest, .. } = reader.poll() else { panic!("it is a CONNECT") };
    assert_eq!(rest, ["payload", "more"]);
    assert_eq!(rest[0].as_ptr(), bytes[bytes.len() - 7..].as_ptr());
}

#[test]
fn an_unfinished_head_holds_none_of_the_pieces_it_came_in() {
    let piece = Bytes::copy_from_slice(b"CONNECT a:1 HT");
    let mut reader = HeadReader::new();
    reader.push(piece.clone());
    assert_eq!(reader.poll(), HeadState::Incomplete);
    assert!(piece.is_unique(), "the reader keeps a receive slot");
    assert_eq!(reader.timed_out().status(), 408);
}

#[test]
fn other_methods_are_not_allowed() {
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST http://a/ HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "connect a:1 HTTP/1.1\r\n\r\n",
        "CONNECTX a:1 HTTP/1.1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n\r\n",
        "PRI * HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(decide_whole(head), Decision::Refuse(405), "{head:?}");
    }
}

#[test]
fn the_start_of_http2_is_handed_on_whole() {
    let start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for at in 0..start.len() {
        let pieces = [Bytes::copy_from_slice(&start[..at]), Bytes::copy_from_slice(&start[at..])];
        assert_eq!(decide(&pieces), Decision::Http2(start.to_vec()), "split at {at}");
    }
    assert_eq!(decide_whole("PRI * HTTP/2.0\r\nHost: a\r\n\r\n"), Decision::Refuse(505));
}

#[test]
fn other_versions_are_not_supported() {
    for head in
        ["CONNECT a:1 HTTP/2.0\r\n\r\n", "CONNECT a:1 HTTP/1.2\r\n\r\n", "CONNECT a:1 HTTP/0.9\r\n\r\n"]
    {
        assert_eq!(decide_whole(head), Decision::Refuse(505), "{head:?}");
    }
}

#[test]
fn garbage_is_refused_at_once() {
    // None of these is a complete head: they are refused because they can never become one.
    let tls: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for bytes in [
        tls,
        b"\r\n",
        b" CONNECT",
        b"\n",
        b"\0",
        b"CONNECT a:1\n",
        b"CONNECT a:1\rX",
        b"CONN\xc3\xa4",
        b"CONNECT a\x7f",
        b"CONNECT a:1 HTTP/1.1\r\nX: \0",
    ] {
        assert_eq!(decide_whole(bytes), Decision::Refuse(400), "{bytes:?}");
    }
}

#[test]
fn heads_that_could_be_read_in_two_ways_are_refused() {
    let lines = [
        "CONNECT HTTP/1.1",
        "CONNECT  HTTP/1.1",
        "CONNECT a:1",
        "CONNECT a:1 HTTP/1.1 x",
        "CONNECT a:1  HTTP/1.1",
        "CONNECT  a:1 HTTP/1.1",
        "CONNECT a:1 b:2 HTTP/1.1",
        "CONNECT a:1\tHTTP/1.1",
        "CONNECT a:1 http/1.1",
        "CONNECT a:1 HTTP/1.1\r\n folded: 1",
        "CONNECT a:1 HTTP/1.1\r\nX: 1\r\n folded",
        "CONNECT a:1 HTTP/1.1\r\nX : 1",
        "CONNECT a:1 HTTP/1.1\r\n: 1",
        "CONNECT a:1 HTTP/1.1\r\nno colon",
        "CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked",
        "CONNECT a:1 HTTP/1.1\r\ntransfer-encoding: identity",
        "CONNECT a:1 HTTP/1.1\r\nContent-Length: 5",
        "CONNECT a:1 HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5",
        "CONNECT a:1 HTTP/1.1\r\nContent-Length: +0",
    ];
    for line in lines {
        assert_eq!(decide_whole(format!("{line}\r\n\r\n")), Decision::Refuse(400), "{line:?}");
    }
}

#[test]
fn targets_in_any_other_form_are_refused() {
    for target in [
        "/",
        "*",
        "http://a:1/",
        "https://a:1",
        "a",
        "a:",
        ":1",
        "a:0",
        "a:65536",
        "user@a:1",
        "user:pw@a:1",
        "a:1/",
        "a:1?q",
        "a:1#f",
        "a%00:1",
        "[::1]",
        "[fe80::1%25eth0]:1",
        "0x7f.1:1",
        "2130706433:1",
    ] {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: fine.example:1\r\n\r\n");
        assert_eq!(decide_whole(head), Decision::Refuse(400), "{target}");
    }
}

#[test]
fn size_and_number_of_fields_are_bounded() {
    let head_of = |bytes: usize| {
        let (start, end) = ("CONNECT a:1 HTTP/1.1\r\nX: ", "\r\n\r\n");
        format!("{start}{}{end}", "x".repeat(bytes - start.len() - end.len()))
    };
    assert_eq!(decide_whole(head_of(CONNECT_HEAD_BYTES_MAX)), connect("a:1", ""));
    assert_eq!(decide_whole(head_of(CONNECT_HEAD_BYTES_MAX + 1)), Decision::Refuse(431));
    assert_eq!(decide_whole("A".repeat(CONNECT_HEAD_BYTES_MAX)), Decision::Incomplete);
    assert_eq!(decide_whole("A".repeat(CONNECT_HEAD_BYTES_MAX + 1)), Decision::Refuse(431));

    let fields = |count: usize| format!("CONNECT a:1 HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(count));
    assert_eq!(decide_whole(fields(CONNECT_HEADERS_MAX)), connect("a:1", ""));
    assert_eq!(decide_whole(fields(CONNECT_HEADERS_MAX + 1)), Decision::Refuse(431));
}

/// Bytes that are often nearly a head.
fn nearly_a_head() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => prop::sample::select(vec![
            "CONNECT ", "GET ", "PRI * HTTP/2.0", "a:1", "10.0.0.1:80", "[::1]:443", " HTTP/1.1", " HTTP/1.0",
            "\r\n", "\r\n\r\n", "\r", "\n", "Host: a", "Content-Length: 0", "Transfer-Encoding: x", " ", "\t", ":",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    let valid = Just(b"CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec());
    (prop_oneof![valid, Just(Vec::new())], prop::collection::vec(part, 0..12)).prop_map(
        |(mut start, parts)| {
            start.extend(parts.concat());
            start
        },
    )
}

proptest! {
    #[test]
    fn the_decision_does_not_depend_on_where_the_bytes_are_split(
        bytes in nearly_a_head(),
        cuts in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let bytes = Bytes::from(bytes);
        let whole = decide(std::slice::from_ref(&bytes));
        prop_assert_eq!(decide(&crate::wire::tests::split_at(&bytes, &cuts)), whole);
        let single: Vec<_> = (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect();
        prop_assert_eq!(decide(&single), decide(&[bytes]));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decide(&[bytes.into()]);
    }

    #[test]
    fn any_target_that_can_be_read_can_be_connected_to(
        host in "[a-z][a-z0-9]{0,20}", port in 1u16.., rest in any::<Vec<u8>>(),
    ) {
        let mut bytes = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes();
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(decide(&[bytes.into()]), Decision::Connect(format!("{host}:{port}"), rest));
    }
}
