//! First packets that become no connection: whoever runs the server is told from where and why, and a flood of them
//! fills no queue.

use std::sync::Arc;

use adit_dataplane::limits;
use adit_dataplane::quic::{Fault, LostKind, LostReason};

use crate::peer::{INITIAL, Peer, generous, id};
use crate::pki::Pki;
use crate::victim::{Victim, address};
use crate::wire;

/// What a server says about a client whose first flight is this.
fn told(victim: &mut Victim, datagrams: &[Vec<u8>]) -> LostReason {
    for datagram in datagrams {
        victim.hear(address(1), datagram);
    }
    let told = victim.rejections();
    assert_eq!((told.len(), victim.quic.endpoint_counts().rejected), (1, 1), "{told:?} {:?}", victim.events);
    assert_eq!(victim.lost(), None, "it never was a connection");
    assert_eq!(told[0].0, address(1));
    victim.assert_nothing_is_left();
    told[0].1.clone()
}

#[test]
fn malformed_parameters_are_told_with_address_and_reason() {
    let pki = Pki::new();
    let mut peer = Peer::client(&pki.stranger, 7, wire::parameters(&[(0x0f, id(8))]));
    let reason = told(&mut Victim::server(&pki.server), &peer.pending());
    assert_eq!((reason.kind, reason.fault), (LostKind::Protocol, Fault::Peer));
    assert!(reason.text.contains("transport parameters"), "{reason}");
}

#[test]
fn another_application_protocol_is_told_with_address_and_reason() {
    let pki = Pki::new();
    let mut tls = (*pki.stranger).clone();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut peer = Peer::client(&Arc::new(tls), 7, generous(&id(7), &[]));
    let reason = told(&mut Victim::server(&pki.server), &peer.pending());
    assert_eq!((reason.kind, reason.fault), (LostKind::TlsLocal, Fault::Peer));
    assert!(reason.text.contains("application protocol"), "{reason}");
}

#[test]
fn a_packet_that_was_changed_on_its_way_is_told_with_address_and_reason() {
    let pki = Pki::new();
    let mut datagrams = Peer::client(&pki.stranger, 7, generous(&id(7), &[])).pending();
    datagrams.truncate(1);
    *datagrams[0].last_mut().unwrap() ^= 1;
    let reason = told(&mut Victim::server(&pki.server), &datagrams);
    assert_eq!((reason.kind, reason.fault), (LostKind::Protocol, Fault::Peer));
    assert!(reason.text.contains("authentication failed"), "{reason}");
}

/// A version that nobody speaks gets a Version Negotiation packet (RFC 9000 section 6), and the client says what it
/// makes of that: it is no attempt of version 1 that failed.
#[test]
fn another_version_is_answered_and_not_told() {
    let pki = Pki::new();
    let mut victim = Victim::server(&pki.server);
    let mut datagrams = Peer::client(&pki.stranger, 7, generous(&id(7), &[])).pending();
    datagrams[0][1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
    victim.hear(address(1), &datagrams[0]);
    assert_eq!(victim.rejections(), []);
    assert_eq!(victim.quic.endpoint_counts().responses, 1);
    assert_eq!(victim.sent[0].1[1..5], [0; 4], "version 0 is Version Negotiation");
    victim.assert_nothing_is_left();
}

/// Refusals that nobody collects are counted and not kept.
#[test]
fn rejections_that_nobody_collects_are_bounded() {
    let pki = Pki::new();
    let mut victim = Victim::server(&pki.server);
    let attempts = 10 * limits::REJECTIONS_MAX as u64;
    let mut before = 0;
    for number in 0..attempts {
        let mut peer = Peer::client(&pki.stranger, number, generous(&id(number), &[]));
        // HANDSHAKE_DONE, which only a server sends, and which has no place in an Initial.
        let packet = peer.packet(INITIAL, &[0x1e]);
        victim.only_hear(address(1), &packet);
        if number == attempts / 2 {
            before = victim.held;
        }
    }
    assert_eq!(victim.quic.endpoint_counts().rejected, attempts);
    assert!(victim.held - before < 64 * 1024, "{} bytes", victim.held - before);
    victim.speak();
    assert_eq!(victim.rejections().len(), limits::REJECTIONS_MAX);
    victim.assert_nothing_is_left();
}
