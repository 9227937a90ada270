//! Peers that keep to the letter of the protocol and wear the server out, and those that speak something else: each is
//! ended with a reason, after little work, and with nothing held.

use rustls::AlertDescription;

use super::forge::{ALERT, APPLICATION_DATA, Forge, HANDSHAKE};
use super::pair::{Authority, Pair, TLS12, TLS13, records, server};
use crate::limits::{TLS_EMPTY_RECORDS_MAX, TLS_HANDSHAKE_BYTES_MAX};
use crate::stream::tls::{TlsFailure, TlsMinVersion, TlsSession};

/// What a session may hold, whatever the peer does that is established.
const HELD_BYTES_MAX: usize = 1024;
/// A ClientHello (RFC 8446 section 4.1.2) that is cut off behind its version; and a HelloRequest (RFC 5246).
const CLIENT_HELLO: &[u8] = &[1, 0, 0, 2, 3, 3];
const HELLO_REQUEST: &[u8] = &[0, 0, 0, 0];

/// Sends records until the session ends: after how many, and why. What it holds is watched, and its answers are taken.
fn flood(pair: &mut Pair, mut next: impl FnMut() -> Vec<u8>) -> (usize, TlsFailure) {
    let mut answered = 0;
    for count in 0..10_000 {
        if let Err(failure) = pair.hear(&next()) {
            assert!(pair.session.has_failed() && !pair.session.may_seal());
            return (count, failure);
        }
        assert!(pair.session.held_bytes() <= HELD_BYTES_MAX, "{} after {count}", pair.session.held_bytes());
        answered += pair.session_says().len();
        assert!(answered <= HELD_BYTES_MAX, "{answered} bytes of answers after {count}");
    }
    panic!("it never ends")
}

fn alert(level: u8, description: AlertDescription) -> [u8; 2] {
    [level, u8::from(description)]
}

#[test]
fn renegotiation_is_declined_and_asking_again_ends_the_session() {
    // The whole ClientHello that a client begins with, without its record's header.
    let authority = Authority::new();
    let config = server(&authority, TlsMinVersion::Tls12);
    let hello = Pair::new(&config, super::pair::client(&authority, None, TLS12)).client_says();
    let (mut pair, mut forge) = Forge::established(TLS12);
    pair.hear(&forge.record(HANDSHAKE, &hello[5..])).unwrap();
    let declined = pair.session_says();
    assert_eq!(
        records(&declined).first().map(|(content_type, _)| *content_type),
        Some(ALERT),
        "no_renegotiation"
    );
    // The tunnel goes on.
    pair.hear(&forge.record(APPLICATION_DATA, b"still here")).unwrap();
    assert_eq!(pair.heard, b"still here");
    let failure = pair.hear(&forge.record(HANDSHAKE, &hello[5..])).unwrap_err();
    assert!(failure.to_string().contains("TooManyRenegotiationRequests"), "{failure}");
}

#[test]
fn a_handshake_message_in_a_session_ends_it() {
    for (versions, message) in [(TLS13, CLIENT_HELLO), (TLS13, HELLO_REQUEST), (TLS12, HELLO_REQUEST)] {
        let (mut pair, mut forge) = Forge::established(versions);
        let failure = pair.hear(&forge.record(HANDSHAKE, message)).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("received unexpected") || text.contains("corrupt message"), "{text}");
        assert_eq!(pair.session.held_bytes(), pair.session_says().len(), "an alert and nothing else");
    }
}

#[test]
fn a_flood_of_empty_records_ends_the_session() {
    for versions in [TLS13, TLS12] {
        let (mut pair, mut forge) = Forge::established(versions);
        let (count, failure) = flood(&mut pair, || forge.record(APPLICATION_DATA, b""));
        assert!(count <= TLS_EMPTY_RECORDS_MAX, "{count}");
        assert!(failure.to_string().contains("TooManyEmptyFragments"), "{failure}");
    }
}

/// rustls counts both, and each starts the other's count anew.
#[test]
fn renewals_of_keys_between_empty_records_end_the_session() {
    let (mut pair, mut forge) = Forge::established(TLS13);
    let mut odd = false;
    let (count, failure) = flood(&mut pair, || {
        odd = !odd;
        if odd { forge.key_update() } else { forge.record(APPLICATION_DATA, b"") }
    });
    assert_eq!(count, TLS_EMPTY_RECORDS_MAX);
    assert_eq!(
        failure.to_string(),
        "more than 64 records without payload (empty, renewals of keys, warnings)"
    );
}

#[test]
fn a_receive_full_of_records_without_payload_ends_the_session() {
    let (mut pair, mut forge) = Forge::established(TLS13);
    let mut all = forge.record(APPLICATION_DATA, b"x");
    for _ in 0..TLS_EMPTY_RECORDS_MAX {
        all.extend(forge.key_update());
        all.extend(forge.record(APPLICATION_DATA, b""));
    }
    let failure = pair.hear(&all).unwrap_err();
    assert!(failure.to_string().starts_with("more than 64 records"), "{failure}");
}

#[test]
fn records_without_payload_between_others_are_harmless() {
    for versions in [TLS13, TLS12] {
        let (mut pair, mut forge) = Forge::established(versions);
        for round in 0..2000 {
            let renewal = round % 2 == 0 && versions == TLS13;
            let mut both = if renewal { forge.key_update() } else { forge.record(APPLICATION_DATA, b"") };
            both.extend(forge.record(APPLICATION_DATA, b"x"));
            pair.hear(&both).unwrap();
            // One answer to a renewal waits for the next payload; it is not made twice.
            assert!(pair.session.held_bytes() <= HELD_BYTES_MAX);
        }
        assert_eq!(pair.heard.len(), 2000);
    }
}

#[test]
fn a_flood_of_warnings_ends_the_session() {
    let table = [
        (TLS12, AlertDescription::NoRenegotiation, 4, "TooManyWarningAlertsReceived"),
        (TLS12, AlertDescription::UserCanceled, 4, "TooManyWarningAlertsReceived"),
        (TLS13, AlertDescription::UserCanceled, 4, "TooManyWarningAlertsReceived"),
        (TLS13, AlertDescription::NoRenegotiation, 0, "NoRenegotiation"),
    ];
    for (versions, description, tolerated, reason) in table {
        let (mut pair, mut forge) = Forge::established(versions);
        let (count, failure) = flood(&mut pair, || forge.record(ALERT, &alert(1, description)));
        assert_eq!(count, tolerated, "{description:?}");
        assert!(failure.to_string().contains(reason), "{failure}");
    }
}

#[test]
fn what_speaks_something_else_is_refused_with_a_reason() {
    let sslv2 = [&[0x80, 0x2e, 0x01, 0x00, 0x02, 0x00, 0x15, 0x00, 0x00, 0x00, 0x10][..], &[7; 37]].concat();
    let too_long = [&[0x16, 0x03, 0x01, 0x48, 0x01][..], &[1; 0x4801]].concat();
    let sixteen_mebibytes = [&[0x16, 0x03, 0x01, 0x00, 0x06, 0x01, 0xff, 0xff, 0xff][..], &[3, 3]].concat();
    let strangers: [(&str, &[u8]); 9] = [
        ("SSLv2", &sslv2),
        ("a record that is too long", &too_long),
        ("a ClientHello that says 16 MiB", &sixteen_mebibytes),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("the PROXY protocol", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
        ("PostgreSQL", &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]),
        ("payload before a handshake", &[0x17, 0x03, 0x03, 0x00, 0x01, 0x00]),
    ];
    let authority = Authority::new();
    let config = server(&authority, TlsMinVersion::Tls12);
    for (name, bytes) in strangers {
        let mut session = TlsSession::accept(config.clone(), None).unwrap();
        // Twice: what is a whole message in some other protocol may be the beginning of one here.
        let failure = session.on_ciphertext(bytes.into()).and_then(|_| session.on_ciphertext(bytes.into()));
        let failure = failure.err().unwrap_or_else(|| panic!("{name} is taken"));
        assert!(failure.to_string().len() < 200, "{name}: {failure}");
        assert!(session.held_bytes() < 100, "{name}: nothing but an alert is left");
        assert!(!session.was_established() && session.has_failed(), "{name}");
    }
}

/// Records that may precede a handshake, for ever.
#[test]
fn a_flood_before_the_handshake_ends_with_its_bytes() {
    let floods: [&[u8]; 4] = [
        &[0x14, 0x03, 0x03, 0x00, 0x01, 0x01],
        &[0x15, 0x03, 0x03, 0x00, 0x02, 0x01, 0x5a],
        &[0x16, 0x03, 0x03, 0x00, 0x00],
        &[0x17, 0x03, 0x03, 0x00, 0x00],
    ];
    let authority = Authority::new();
    let config = server(&authority, TlsMinVersion::Tls12);
    for record in floods {
        let mut session = TlsSession::accept(config.clone(), None).unwrap();
        let mut sent = 0;
        while session.on_ciphertext(record.into()).is_ok() {
            sent += record.len();
            assert!(session.held_bytes() <= HELD_BYTES_MAX);
            assert!(sent <= TLS_HANDSHAKE_BYTES_MAX, "{record:?} goes on");
        }
        assert!(session.has_failed());
    }
}
