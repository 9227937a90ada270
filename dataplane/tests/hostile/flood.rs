//! First packets by the thousand from addresses that are not the sender's, and handshakes that never end: half-open
//! connections are bounded, nobody is sent more than three times what they sent, and honest agents still get in.

use std::time::Duration;

use adit_dataplane::limits;
use adit_dataplane::quic::LostKind;

use crate::peer::{INITIAL, Peer, generous, id};
use crate::pki::Pki;
use crate::victim::{Victim, address};
use crate::wire;

/// The first flight of a stranger.
fn flight(pki: &Pki, number: u64) -> (Peer, Vec<Vec<u8>>) {
    let mut peer = Peer::client(&pki.stranger, number, generous(&id(number), &[]));
    let datagrams = peer.pending();
    (peer, datagrams)
}

/// RFC 9000 section 8.1: before an address is proved, at most three times of what came from it goes to it.
fn assert_no_amplification(victim: &Victim, honest: &[std::net::SocketAddr]) {
    for (peer, (bytes_in, bytes_out)) in victim.traffic.iter().filter(|(peer, _)| !honest.contains(peer)) {
        assert!(bytes_out <= &(3 * bytes_in), "{bytes_out} bytes went to {peer} for {bytes_in}");
    }
}

/// What a half-open connection may hold: its state, TLS's, and the server's flight with its certificates.
const HALF_OPEN_BYTES_MAX: isize = 64 * 1024;

/// CVE-2025-54939, QFAM, GHSA-vr26-jcq5-fjj8: a flood that is accepted, asked to prove its address, and ignored.
#[test]
fn a_flood_with_forged_addresses_is_bounded_and_amplifies_nothing() {
    let pki = Pki::new();
    let mut victim = Victim::server(&pki.server);
    let rounds = 3000;
    for number in 0..rounds {
        let (_, datagrams) = flight(&pki, 1000 + number);
        for datagram in datagrams {
            victim.hear(address(1000 + number), &datagram);
        }
        victim.sent.clear();
    }
    let bound = isize::try_from(limits::HANDSHAKES_BEFORE_RETRY).unwrap() * HALF_OPEN_BYTES_MAX;
    assert_eq!(victim.quic.half_open(), limits::HANDSHAKES_BEFORE_RETRY);
    assert_eq!(victim.quic.endpoint_counts().accepted, limits::HANDSHAKES_BEFORE_RETRY as u64);
    assert!(victim.quic.endpoint_counts().retried >= rounds - limits::HANDSHAKES_BEFORE_RETRY as u64);
    assert!(victim.peak < bound, "{} bytes, {bound} are allowed", victim.peak);

    // Who proves its address gets in while the flood lasts.
    let honest = address(1);
    let mut agent = Peer::client(&pki.agent, 7, generous(&id(7), &[]));
    for datagram in agent.pending() {
        victim.hear(honest, &datagram);
    }
    let (_, retry) = victim.sent.pop_front().expect("a Retry");
    assert!(retry.len() < 200);
    agent.receive(&retry);
    assert!(agent.has_token());
    // rustls has given its first flight away: a client keeps it, as RFC 9000 section 17.2.5.3 wants.
    let mut agent = agent.again(&pki.agent, generous(&id(7), &[]));
    victim.talk(&mut agent, honest);
    assert!(agent.is_connected() && victim.connected().is_some(), "an honest agent gets in");
    assert_no_amplification(&victim, &[honest]);

    // Also with what is sent again by timers, until the handshakes end by their deadline.
    victim.sent.clear();
    victim.wait(limits::HANDSHAKE_TIME_MAX + Duration::from_secs(1));
    assert_eq!(victim.quic.half_open(), 0);
    assert_no_amplification(&victim, &[honest]);
    victim.assert_nothing_is_left();
    // Tables stay as large as they were.
    assert!(victim.held < 512 * 1024, "{} bytes stay", victim.held);
}

/// GHSA-vr26-jcq5-fjj8: Retry and then refusal, ignoring, or nothing at all.
#[test]
fn tokens_that_are_forged_stale_or_anothers_bring_nothing_down() {
    let pki = Pki::new();
    let mut victim = Victim::server(&pki.server);
    for number in 0..limits::HANDSHAKES_BEFORE_RETRY as u64 {
        for datagram in flight(&pki, 1000 + number).1 {
            victim.hear(address(1000 + number), &datagram);
        }
    }
    victim.sent.clear();
    let (mut peer, datagrams) = flight(&pki, 5);
    victim.hear(address(1), &datagrams[0]);
    let (_, retry) = victim.sent.pop_front().expect("a Retry");
    peer.receive(&retry);
    let before = *victim.quic.endpoint_counts();
    // The token of one address, used from another; and cut, and changed.
    for change in 0..40 {
        let mut thief = Peer::client(&pki.stranger, 5, generous(&id(5), &[]));
        thief.receive(&retry);
        thief.change_token(change);
        for datagram in thief.pending() {
            victim.hear(address(2 + change), &datagram);
        }
    }
    let after = victim.quic.endpoint_counts();
    assert_eq!(after.accepted, before.accepted, "a token that is not the sender's proved its address");
    assert_no_amplification(&victim, &[]);
    victim.wait(limits::HANDSHAKE_TIME_MAX);
    victim.assert_nothing_is_left();
}

/// GHSA-vr26-jcq5-fjj8: a Retry that finds no room is ignored instead, and what waits to be sent is bounded.
#[test]
fn answers_that_nobody_takes_are_bounded() {
    let pki = Pki::new();
    let mut victim = Victim::server(&pki.server);
    let arrivals = limits::HANDSHAKES_BEFORE_RETRY + limits::RESPONSES_MAX + 100;
    for number in 0..arrivals as u64 {
        let (_, datagrams) = flight(&pki, 1000 + number);
        victim.only_hear(address(1000 + number), &datagrams[0]);
    }
    assert_eq!(victim.quic.endpoint_counts().retried, limits::RESPONSES_MAX as u64);
    assert_eq!(victim.quic.endpoint_counts().ignored, 100);
    victim.speak();
    assert_no_amplification(&victim, &[]);
    victim.wait(limits::HANDSHAKE_TIME_MAX);
    victim.assert_nothing_is_left();
}

/// A peer that keeps its handshake busy and never ends it does not outlive the deadline.
#[test]
fn a_slow_handshake_ends_by_its_deadline() {
    let pki = Pki::new();
    let mut victim = Victim::server(&pki.server);
    let (mut peer, datagrams) = flight(&pki, 5);
    for datagram in datagrams {
        victim.hear(address(1), &datagram);
    }
    let begun = victim.now;
    while victim.lost().is_none() && victim.now - begun < 2 * limits::HANDSHAKE_TIME_MAX {
        victim.wait(Duration::from_millis(500));
        let ping = peer.packet(INITIAL, &wire::frame(0x01, &[]));
        victim.hear(address(1), &ping);
    }
    assert_eq!(victim.lost().expect("it ends").kind, LostKind::HandshakeTimeout);
    assert!(victim.now - begun <= limits::HANDSHAKE_TIME_MAX + Duration::from_millis(500));
    assert_no_amplification(&victim, &[]);
    victim.assert_nothing_is_left();
}
