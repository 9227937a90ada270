//! Who gets in, who does not, and what they are told. Payload is `records`' matter.

use rcgen::ExtendedKeyUsagePurpose;
use rustls::{AlertDescription, CipherSuite, Error, ProtocolVersion};

use super::pair::{Authority, Chosen, Listed, Pair, TLS12, TLS13, client, server};
use crate::limits::TLS_HANDSHAKE_BYTES_MAX;
use crate::stream::tls::{TlsFailure, TlsMinVersion, TlsSession, frontend_config, tls12_suites};

#[test]
fn a_handshake_may_arrive_in_pieces_of_any_size() {
    let authority = Authority::new();
    let config = server(&authority, TlsMinVersion::Tls12);
    for versions in [TLS13, TLS12] {
        for fragment in (1..8).chain([13, 100, 1000, 5000]) {
            let mut pair = Pair::new(&config, client(&authority, Some(authority.client()), versions));
            pair.run(fragment).unwrap();
            assert_eq!((pair.established, pair.ended), (1, 0));
            assert_eq!(pair.session.client().unwrap().to_string(), "kube-apiserver (localhost)");
            assert!(pair.heard.is_empty());
            assert_eq!(pair.session.held_bytes(), 0);
        }
    }
}

#[test]
fn aes_128_is_chosen_whatever_the_client_prefers() {
    let suites = [
        (TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
        (TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ];
    for (versions, suite) in suites {
        let pair = Pair::established(versions);
        assert_eq!(pair.client.negotiated_cipher_suite().unwrap().suite(), suite);
    }
}

#[test]
fn nothing_can_be_resumed() {
    let authority = Authority::new();
    let config = server(&authority, TlsMinVersion::Tls12);
    for versions in [TLS13, TLS12] {
        let client = client(&authority, Some(authority.client()), versions);
        for _ in 0..2 {
            let mut pair = Pair::new(&config, client.clone());
            pair.run(usize::MAX).unwrap();
            assert_eq!(pair.client.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert_eq!(pair.client.tls13_tickets_received(), 0);
        }
    }
}

#[test]
fn the_oldest_version_is_the_operators_choice() {
    let authority = Authority::new();
    let mut pair = Pair::new(
        &server(&authority, TlsMinVersion::Tls13),
        client(&authority, Some(authority.client()), TLS12),
    );
    let failure = pair.run(usize::MAX).unwrap_err();
    assert!(failure.to_string().contains("incompatible"), "{failure}");
    let alert = pair.session_says();
    let told = pair.tell_client(&alert).unwrap_err();
    assert_eq!(told, Error::AlertReceived(AlertDescription::ProtocolVersion));
}

#[test]
fn the_suites_are_the_operators_choice() {
    let authority = Authority::new();
    let (chain, key) = authority.sign("adit-server", ExtendedKeyUsagePurpose::ServerAuth, 86_400);
    let only = [CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256];
    let make = |suites: &[CipherSuite]| {
        frontend_config(chain.clone(), key.clone_key(), authority.roots(), TlsMinVersion::Tls12, Some(suites))
            .unwrap()
    };
    let mut pair = Pair::new(&make(&only), client(&authority, Some(authority.client()), TLS12));
    pair.run(usize::MAX).unwrap();
    assert_eq!(pair.client.negotiated_cipher_suite().unwrap().suite(), only[0]);
    let mut pair = Pair::new(&make(&[]), client(&authority, Some(authority.client()), TLS12));
    pair.run(usize::MAX).unwrap_err();
    let mut pair = Pair::new(&make(&[]), client(&authority, Some(authority.client()), TLS13));
    pair.run(usize::MAX).unwrap();
    assert_eq!(tls12_suites().len(), 6);
}

/// How an attempt with these client settings ends: the failure here, the alert there.
fn refused(authority: &Authority, client: rustls::ClientConfig) -> (TlsFailure, AlertDescription) {
    let mut pair = Pair::new(&server(authority, TlsMinVersion::Tls12), client);
    let failure = pair.run(usize::MAX).unwrap_err();
    assert!(!pair.session.was_established() && pair.session.client().is_none());
    let alert = pair.session_says();
    match pair.tell_client(&alert).unwrap_err() {
        Error::AlertReceived(alert) => (failure, alert),
        other => panic!("no alert but {other}"),
    }
}

#[test]
fn whoever_has_no_good_certificate_is_told_so_by_an_alert() {
    let authority = Authority::new();
    let foreign = Authority::called("another CA").client();
    let expired = authority.sign("kube-apiserver", ExtendedKeyUsagePurpose::ClientAuth, 1800);
    let for_servers = authority.sign("kube-apiserver", ExtendedKeyUsagePurpose::ServerAuth, 86_400);
    let table = [
        (None, "peer sent no certificates", AlertDescription::CertificateRequired),
        (Some(foreign), "UnknownIssuer", AlertDescription::UnknownCA),
        (Some(expired), "expired", AlertDescription::CertificateExpired),
        (Some(for_servers), "extended key usage", AlertDescription::UnsupportedCertificate),
    ];
    for (identity, word, alert) in table {
        let (failure, told) = refused(&authority, client(&authority, identity, TLS13));
        assert!(failure.to_string().contains(word), "{failure}");
        assert_eq!(told, alert);
    }
}

#[test]
fn http_1_1_is_preferred_to_h2_and_nothing_else_is_spoken() {
    let authority = Authority::new();
    let offer = |protocols: &[&[u8]]| {
        let mut config = client(&authority, Some(authority.client()), TLS13);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config
    };
    for strange in [&b"h3"[..], b"adit-h2/1"] {
        let (_, alert) = refused(&authority, offer(&[strange]));
        assert_eq!(alert, AlertDescription::NoApplicationProtocol);
    }
    let table: [(Listed, Chosen); 4] = [
        (&[b"h2", b"http/1.1"], Some(b"http/1.1")),
        (&[b"h2"], Some(b"h2")),
        (&[b"h3", b"h2"], Some(b"h2")),
        (&[], None),
    ];
    for (protocols, chosen) in table {
        let mut pair = Pair::new(&server(&authority, TlsMinVersion::Tls12), offer(protocols));
        assert_eq!(pair.session.alpn(), None);
        pair.run(usize::MAX).unwrap();
        assert_eq!((pair.client.alpn_protocol(), pair.session.alpn()), (chosen, chosen));
        assert_eq!(pair.client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    }
}

#[test]
fn a_client_that_does_not_believe_the_server_is_heard() {
    let authority = Authority::new();
    let config = client(&Authority::called("another CA"), Some(authority.client()), TLS13);
    let mut pair = Pair::new(&server(&authority, TlsMinVersion::Tls12), config);
    let hello = pair.client_says();
    pair.hear(&hello).unwrap();
    let flight = pair.session_says();
    pair.tell_client(&flight).unwrap_err();
    let alert = pair.client_says();
    let failure = pair.hear(&alert).unwrap_err();
    assert_eq!(failure.to_string(), "received fatal alert: UnknownCA");
}

#[test]
fn what_is_no_tls_is_refused_at_once() {
    let authority = Authority::new();
    let config = server(&authority, TlsMinVersion::Tls12);
    for garbage in
        [&b"CONNECT 10.0.0.1:10250 HTTP/1.1\r\n\r\n"[..], &[0; 100], &[0x16, 0x03, 0x01, 0xff, 0xff, 0x01]]
    {
        let mut session = TlsSession::accept(config.clone(), None).unwrap();
        let failure = session.on_ciphertext(garbage.into()).unwrap_err();
        assert!(failure.to_string().contains("corrupt message"), "{failure}");
        // What comes late is for nobody.
        assert!(session.on_ciphertext(garbage.into()).unwrap().payload.is_empty());
    }
}

#[test]
fn a_handshake_is_bounded_in_bytes() {
    let authority = Authority::new();
    let mut session = TlsSession::accept(server(&authority, TlsMinVersion::Tls12), None).unwrap();
    // A ClientHello that claims 60,000 bytes, in records of 1,000: nothing of it can be dealt with before the last.
    let mut first = vec![0x16, 0x03, 0x01, 0x03, 0xe8, 0x01, 0x00, 0xea, 0x60];
    first.resize(5 + 1000, 0);
    let mut next = vec![0x16, 0x03, 0x01, 0x03, 0xe8];
    next.resize(5 + 1000, 0);
    let mut sent = 0;
    let failure = loop {
        let record = if sent == 0 { &first } else { &next };
        sent += record.len();
        match session.on_ciphertext(record[..].into()) {
            Ok(_) => assert!(session.held_bytes() <= 2 * TLS_HANDSHAKE_BYTES_MAX),
            Err(failure) => break failure,
        }
    };
    assert!(sent <= TLS_HANDSHAKE_BYTES_MAX + next.len(), "{sent}: {failure}");
    assert!(session.held_bytes() < 100, "nothing but an alert is left");
}
