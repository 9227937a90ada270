//! Go's words, and the statuses that follow from them.

use adit_io::OpError;

use crate::route::{DestinationPolicy, Target};
use crate::wire::{DialError, ErrorClass, status_for_text};

#[test]
fn connect_errors_read_as_go_writes_them() {
    let v4 = "10.0.0.1:80";
    let v6 = "[fd00::1]:443";
    // errno(3): the numbers of x86-64 and arm64
    let table = [
        (v4, 111, ErrorClass::Refused, "dial tcp 10.0.0.1:80: connect: connection refused"),
        (v6, 111, ErrorClass::Refused, "dial tcp [fd00::1]:443: connect: connection refused"),
        (v4, 104, ErrorClass::Reset, "dial tcp 10.0.0.1:80: connect: connection reset by peer"),
        (v4, 32, ErrorClass::Reset, "dial tcp 10.0.0.1:80: connect: broken pipe"),
        (v4, 113, ErrorClass::Unreachable, "dial tcp 10.0.0.1:80: connect: no route to host"),
        (v4, 101, ErrorClass::Unreachable, "dial tcp 10.0.0.1:80: connect: network is unreachable"),
        (v4, 100, ErrorClass::Unreachable, "dial tcp 10.0.0.1:80: connect: network is down"),
        (v4, 110, ErrorClass::Timeout, "dial tcp 10.0.0.1:80: connect: connection timed out"),
        (v4, 24, ErrorClass::TooManyOpenFiles, "dial tcp 10.0.0.1:80: socket: too many open files"),
        (v4, 13, ErrorClass::Other, "dial tcp 10.0.0.1:80: connect: permission denied"),
        (v4, 22, ErrorClass::Other, "dial tcp 10.0.0.1:80: connect: invalid argument"),
    ];
    for (addr, errno, class, text) in table {
        let error = DialError::connect(addr.parse().unwrap(), OpError::Os(errno));
        assert_eq!((error.class, error.text.as_str()), (class, text));
    }
    let addr = v4.parse().unwrap();
    assert_eq!(DialError::connect(addr, OpError::Cancelled).class, ErrorClass::Canceled);
    assert_eq!(DialError::connect(addr, OpError::NoBuffers).class, ErrorClass::Full);
}

#[test]
fn other_errors_read_as_go_writes_them() {
    let timeout = DialError::timeout("10.0.0.1:80");
    assert_eq!(timeout.to_string(), "dial tcp 10.0.0.1:80: i/o timeout");
    let table = [
        ("lookup nowhere.invalid: no such host", ErrorClass::NoSuchHost),
        ("lookup slow.example: i/o timeout", ErrorClass::Timeout),
        ("lookup odd.example: server misbehaving", ErrorClass::Other),
    ];
    for (error, class) in table {
        let lookup = DialError::lookup(error);
        assert_eq!((lookup.class, lookup.text), (class, format!("dial tcp: {error}")));
    }
    let denied = DestinationPolicy::Compat.check("169.254.169.254".parse().unwrap(), 80).unwrap_err();
    let denied = DialError::denied(&denied);
    assert_eq!(denied.class, ErrorClass::PolicyDenied);
    assert_eq!(
        denied.text,
        "dial tcp 169.254.169.254:80: connect: destination not allowed: metadata address"
    );
    let address = DialError::address("10.0.0.1", &Target::parse("10.0.0.1").unwrap_err());
    assert_eq!(address.text, "dial tcp: address 10.0.0.1: missing port in address");
    assert_eq!(DialError::new(ErrorClass::Other, "a\nb").text, "a\\nb");
}

#[test]
fn statuses_follow_the_text() {
    let table = [
        ("dial tcp 10.0.0.1:80: i/o timeout", 504),
        ("context deadline exceeded", 504),
        ("TLS handshake Timeout", 504),
        ("dial tcp 10.0.0.1:80: socket: Too Many Open Files", 503),
        ("timeout after too many open files", 504),
        ("dial tcp 10.0.0.1:80: connect: connection refused", 502),
        ("read: connection reset by peer", 502),
        ("write: broken pipe", 502),
        ("network is unreachable", 502),
        ("no route to host", 502),
        ("dial tcp: lookup a.b: no such host", 502),
        ("tls: bad certificate", 502),
        ("something that nobody listed", 502),
        ("", 502),
    ];
    for (text, status) in table {
        assert_eq!(status_for_text(text), status, "{text}");
    }
}

#[test]
fn classes_follow_the_text_and_agree_with_the_status() {
    for class in ErrorClass::ALL {
        let known = !matches!(class, ErrorClass::Ok | ErrorClass::PolicyDenied | ErrorClass::Full);
        let expected = if known { class } else { ErrorClass::Other };
        assert_eq!(ErrorClass::from_text(class.text()), expected, "{}", class.text());
    }
    for (text, class) in [
        ("dial tcp: lookup a.b on 10.96.0.10:53: read udp: i/o timeout", ErrorClass::Timeout),
        ("Too Many Open Files, connection refused", ErrorClass::TooManyOpenFiles),
        ("temporary failure in name resolution", ErrorClass::NoSuchHost),
        ("connect: network is down", ErrorClass::Unreachable),
        ("write: broken pipe", ErrorClass::Reset),
        ("", ErrorClass::Other),
    ] {
        assert_eq!(ErrorClass::from_text(text), class, "{text}");
        assert_eq!(class == ErrorClass::Timeout, status_for_text(text) == 504);
    }
}

#[test]
fn classes_keep_their_numbers_and_their_texts_map_to_a_status() {
    for class in ErrorClass::ALL {
        assert_eq!(ErrorClass::from_number(class.number()), class);
        assert!(class.label().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    }
    assert_eq!(ErrorClass::from_number(14), ErrorClass::Other);
    assert_eq!(status_for_text(ErrorClass::Timeout.text()), 504);
    assert_eq!(status_for_text(ErrorClass::TooManyOpenFiles.text()), 503);
    assert_eq!(status_for_text(ErrorClass::Refused.text()), 502);
}
