//! Servers that keep to the letter of the protocol and wear an agent out, and what is no TLS server at all: the agent's
//! end is ended with a reason, after little work, and with nothing held.

use rustls::AlertDescription;

use super::agents::agent;
use super::forge::{ALERT, APPLICATION_DATA, Forge, HANDSHAKE};
use super::pair::{Authority, TLS12, TLS13, says};
use crate::limits::{TLS_EMPTY_RECORDS_MAX, TLS_HANDSHAKE_BYTES_MAX};
use crate::stream::tls::TlsSession;

/// What a session may hold, whatever the peer does that is established.
const HELD_BYTES_MAX: usize = 1024;

/// Sends records until the session ends: after how many, and why.
fn flood(session: &mut TlsSession, mut next: impl FnMut() -> Vec<u8>) -> (usize, String) {
    let mut answered = 0;
    for count in 0..10_000 {
        if let Err(failure) = session.on_ciphertext(next()[..].into()) {
            assert!(session.has_failed() && !session.may_seal());
            return (count, failure.to_string());
        }
        assert!(session.held_bytes() <= HELD_BYTES_MAX, "{} after {count}", session.held_bytes());
        answered += says(session).len();
        assert!(answered <= HELD_BYTES_MAX, "{answered} bytes of answers after {count}");
    }
    panic!("it never ends")
}

#[test]
fn a_flood_of_empty_records_ends_the_session() {
    for versions in [TLS13, TLS12] {
        let (mut session, mut forge) = Forge::of_server(versions);
        let (count, failure) = flood(&mut session, || forge.record(APPLICATION_DATA, b""));
        assert!(count <= TLS_EMPTY_RECORDS_MAX, "{count}");
        assert!(failure.contains("TooManyEmptyFragments"), "{failure}");
    }
}

#[test]
fn renewals_of_keys_between_empty_records_end_the_session() {
    let (mut session, mut forge) = Forge::of_server(TLS13);
    let mut odd = false;
    let (count, failure) = flood(&mut session, || {
        odd = !odd;
        if odd { forge.key_update() } else { forge.record(APPLICATION_DATA, b"") }
    });
    assert_eq!(count, TLS_EMPTY_RECORDS_MAX);
    assert!(failure.starts_with("more than 64 records without payload"), "{failure}");
}

/// Tickets are a server's to give (RFC 8446 section 4.6.1), and of no use to an agent.
#[test]
fn a_few_tickets_are_harmless_and_a_flood_ends_the_session() {
    // Lifetime, age, nonce, ticket, extensions.
    let ticket = [4, 0, 0, 14, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 1, 9, 0, 0];
    let (mut session, mut forge) = Forge::of_server(TLS13);
    for _ in 0..4 {
        session.on_ciphertext(forge.record(HANDSHAKE, &ticket)[..].into()).unwrap();
    }
    let received = session.on_ciphertext(forge.record(APPLICATION_DATA, b"hello")[..].into()).unwrap();
    assert_eq!(&received.payload[..], b"hello");
    let (count, failure) = flood(&mut session, || forge.record(HANDSHAKE, &ticket));
    assert!(count <= TLS_EMPTY_RECORDS_MAX, "{count}");
    assert!(failure.starts_with("more than 64 records without payload"), "{failure}");
}

#[test]
fn requests_to_renegotiate_and_warnings_end_the_session() {
    let (mut session, mut forge) = Forge::of_server(TLS12);
    let (count, failure) = flood(&mut session, || forge.record(HANDSHAKE, &[0, 0, 0, 0]));
    assert!(count <= 1, "{count}");
    assert!(failure.contains("TooManyRenegotiationRequests"), "{failure}");
    for versions in [TLS13, TLS12] {
        let (mut session, mut forge) = Forge::of_server(versions);
        let warning = [1, u8::from(AlertDescription::UserCanceled)];
        let (count, failure) = flood(&mut session, || forge.record(ALERT, &warning));
        assert_eq!(count, 4);
        assert!(failure.contains("TooManyWarningAlertsReceived"), "{failure}");
    }
}

#[test]
fn what_is_no_server_is_refused_with_a_reason() {
    let strangers: [(&str, &[u8]); 7] = [
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        (
            "HTTP/2",
            &[0, 0, 18, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 128, 0, 4, 0, 1, 0, 0, 0, 5, 0, 255, 255, 255],
        ),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("SMTP", b"220 mail.example ESMTP\r\n"),
        ("another client", &[0x16, 0x03, 0x01, 0x00, 0x06, 0x01, 0x00, 0x00, 0x02, 0x03, 0x03]),
        ("payload before a handshake", &[0x17, 0x03, 0x03, 0x00, 0x01, 0x00]),
        ("a message that says 16 MiB", &[0x16, 0x03, 0x03, 0x00, 0x06, 0x02, 0xff, 0xff, 0xff, 3, 3]),
    ];
    let authority = Authority::new();
    for (name, bytes) in strangers {
        let mut session = agent(&authority);
        says(&mut session);
        let failure = session.on_ciphertext(bytes.into()).and_then(|_| session.on_ciphertext(bytes.into()));
        let failure = failure.err().unwrap_or_else(|| panic!("{name} is taken"));
        assert!(failure.to_string().len() < 300, "{name}: {failure}");
        assert!(session.held_bytes() < 100, "{name}: nothing but an alert is left");
        assert!(!session.was_established() && session.has_failed(), "{name}");
    }
}

#[test]
fn a_handshake_is_bounded_in_bytes() {
    // A ServerHello that claims 60,000 bytes, in records of 1,000; and records that may precede one, for ever.
    let mut hello = vec![0x16, 0x03, 0x03, 0x03, 0xe8, 0x02, 0x00, 0xea, 0x60];
    hello.resize(5 + 1000, 0);
    let mut more = vec![0x16, 0x03, 0x03, 0x03, 0xe8];
    more.resize(5 + 1000, 0);
    let floods: [(&[u8], &[u8]); 4] = [
        (&hello, &more),
        (&[0x14, 0x03, 0x03, 0x00, 0x01, 0x01], &[0x14, 0x03, 0x03, 0x00, 0x01, 0x01]),
        (&[0x15, 0x03, 0x03, 0x00, 0x02, 0x01, 0x5a], &[0x15, 0x03, 0x03, 0x00, 0x02, 0x01, 0x5a]),
        (&[0x16, 0x03, 0x03, 0x00, 0x00], &[0x16, 0x03, 0x03, 0x00, 0x00]),
    ];
    let authority = Authority::new();
    for (first, next) in floods {
        let mut session = agent(&authority);
        says(&mut session);
        let mut sent = first.len();
        let mut heard = session.on_ciphertext(first.into());
        while heard.is_ok() {
            assert!(session.held_bytes() <= 2 * TLS_HANDSHAKE_BYTES_MAX);
            sent += next.len();
            assert!(sent <= TLS_HANDSHAKE_BYTES_MAX + next.len(), "{next:?} goes on");
            heard = session.on_ciphertext(next.into());
        }
        assert!(session.has_failed());
        assert!(session.held_bytes() < 100, "nothing but an alert is left");
    }
}
