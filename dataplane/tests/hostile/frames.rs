//! Frames that are unknown, out of place, malformed, or far too many.

use std::net::SocketAddr;
use std::time::Duration;

use adit_dataplane::quic::{ConnId, LostKind};

use crate::peer::{APPLICATION, HANDSHAKE, INITIAL, Peer, generous, id};
use crate::pki::Pki;
use crate::victim::{Victim, address};
use crate::wire::{self, Frame};

/// RFC 9000 section 20.1.
const FLOW_CONTROL_ERROR: u64 = 0x03;
const STREAM_LIMIT_ERROR: u64 = 0x04;
const STREAM_STATE_ERROR: u64 = 0x05;
const FRAME_ENCODING_ERROR: u64 = 0x07;
const PROTOCOL_VIOLATION: u64 = 0x0a;
const CRYPTO_BUFFER_EXCEEDED: u64 = 0x0d;

/// What a connection that only sends control frames may grow by: queues of the endpoint, tables that doubled.
const CONTROL_BYTES_MAX: isize = 256 * 1024;

/// An agent in the eyes of TLS, connected to a production server.
pub(crate) struct Attack {
    pub(crate) victim: Victim,
    pub(crate) peer: Peer,
    pub(crate) from: SocketAddr,
    pub(crate) conn: ConnId,
    /// What the server held when the attack began.
    pub(crate) before: isize,
}

impl Attack {
    pub(crate) fn new(pki: &Pki) -> Self {
        Self::with_parameters(pki, &[])
    }

    /// By a peer that says these transport parameters, too.
    pub(crate) fn with_parameters(pki: &Pki, more: &[(u64, Vec<u8>)]) -> Self {
        let mut victim = Victim::server(&pki.server);
        let mut peer = Peer::client(&pki.agent, 7, generous(&id(7), more));
        let from = address(1);
        victim.talk(&mut peer, from);
        assert!(peer.is_connected() && !peer.failed, "{:?} {:?}", victim.events, peer.heard);
        let conn = victim.connected().expect("the handshake ends");
        let before = victim.held;
        victim.peak = before;
        Self { victim, peer, from, conn, before }
    }

    /// Sends one 1-RTT packet and hears the answer.
    pub(crate) fn send(&mut self, payload: &[u8]) {
        let packet = self.peer.packet(APPLICATION, payload);
        self.victim.hear(self.from, &packet);
        self.victim.talk(&mut self.peer, self.from);
    }

    /// Sends one 1-RTT packet and hears nothing.
    pub(crate) fn shout(&mut self, payload: &[u8]) {
        let packet = self.peer.packet(APPLICATION, payload);
        self.victim.hear(self.from, &packet);
        self.victim.sent.clear();
    }

    pub(crate) fn growth(&self) -> isize {
        self.victim.peak - self.before
    }

    /// The connection goes on, and it is alive: it answers a challenge.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        assert_eq!(self.victim.lost(), None, "{:?}", self.victim.lost());
        self.peer.acknowledges = true;
        self.send(&wire::path_challenge(0x11fe));
        self.victim.wait(Duration::from_secs(2));
        self.victim.talk(&mut self.peer, self.from);
        assert!(self.peer.heard.contains(&Frame::PathResponse(0x11fe)));
    }

    /// The connection ended by a typed refusal with this code, and nothing of it is left.
    #[track_caller]
    pub(crate) fn assert_refused(mut self, code: u64) {
        let reason = self.victim.lost().expect("the connection ends");
        assert_eq!(reason.kind, LostKind::Protocol, "{reason}");
        assert!(!reason.text.is_empty());
        self.victim.talk(&mut self.peer, self.from);
        assert_eq!(self.peer.closed().expect("the peer is told").0, code, "{:?}", self.peer.closed());
        // Frames after the close bring it neither back nor down.
        self.shout(&wire::stream(0, 0, b"still here"));
        self.shout(&[0x01]);
        self.victim.assert_nothing_is_left();
    }
}

/// RUSTSEC-2023-0063: a frame of an unknown type was a panic.
#[test]
fn unknown_frames_are_refused() {
    let pki = Pki::new();
    for kind in [0x20, 0x2f, 0x32, 0x40, 0x3fff, 0xface, 0x3fff_ffff, (1 << 62) - 1] {
        let mut attack = Attack::new(&pki);
        attack.send(&wire::frame(kind, &[1, 2, 3]));
        assert!(attack.victim.lost().is_some(), "{kind:#x} was taken");
        attack.assert_refused(FRAME_ENCODING_ERROR);
    }
}

/// RUSTSEC-2026-0340: the acknowledgement-frequency extension is off, and quinn-proto takes its ACK_FREQUENCY frame all
/// the same, if it makes sense. That is left so: whoever sends it delays the acknowledgements of its own packets and
/// nothing else, for as long as it likes, and its connection goes on.
#[test]
fn unwanted_acknowledgement_frequencies_harm_nobody() {
    let pki = Pki::new();
    let most = (1 << 62) - 1;
    for (threshold, delay_us, reordering) in [(2, 25_000, 1), (most, most, most), (0, most, 0)] {
        let mut attack = Attack::new(&pki);
        for sequence in 0..1000 {
            attack.send(&wire::frame(0xaf, &[sequence, threshold, delay_us, reordering]));
        }
        attack.victim.wait(Duration::from_secs(5));
        attack.victim.talk(&mut attack.peer, attack.from);
        assert!(attack.growth() < CONTROL_BYTES_MAX, "{} bytes", attack.growth());
        attack.assert_alive();
        attack.victim.assert_nothing_is_left();
    }
    let mut attack = Attack::new(&pki);
    attack.send(&wire::frame(0xaf, &[most, 0, 0, 0]));
    attack.assert_refused(PROTOCOL_VIOLATION);
}

/// The extension's other frame, IMMEDIATE_ACK, quinn-proto takes all the same. It is as good as a PING: an
/// acknowledgement for each packet at most, no larger than the packet, and nothing stays.
#[test]
fn asking_for_acknowledgements_at_once_costs_no_more_than_pings() {
    let mut attack = Attack::new(&Pki::new());
    attack.peer.acknowledges = false;
    let (bytes_in, bytes_out) = attack.victim.traffic[&attack.from];
    let packets = 5000;
    let mut answers = 0;
    for _ in 0..packets {
        let packet = attack.peer.packet(APPLICATION, &wire::frame(0x1f, &[]).repeat(1000));
        attack.victim.hear(attack.from, &packet);
        answers += attack.victim.sent.len();
        attack.victim.sent.clear();
    }
    let (all_in, all_out) = attack.victim.traffic[&attack.from];
    assert!(answers <= packets, "{answers} answers to {packets} packets");
    assert!(all_out - bytes_out <= all_in - bytes_in);
    assert!(attack.growth() < CONTROL_BYTES_MAX, "{} bytes", attack.growth());
    attack.assert_alive();
    attack.victim.assert_nothing_is_left();
}

/// GHSA-2hv7-gw8g-gpq5, GHSA-hmxj-32vh-65vr: datagram buffers. There are none, so a datagram is a violation.
#[test]
fn datagrams_are_refused() {
    let pki = Pki::new();
    for mut frame in [wire::frame(0x30, &[]), wire::frame(0x31, &[1000])] {
        frame.resize(1003, 5);
        let mut attack = Attack::new(&pki);
        attack.send(&frame);
        assert!(attack.growth() < CONTROL_BYTES_MAX);
        attack.assert_refused(PROTOCOL_VIOLATION);
    }
}

#[test]
fn frames_out_of_their_packet_space_are_refused() {
    let pki = Pki::new();
    let misplaced = [
        wire::stream(0, 0, b"early"),
        wire::frame(0x10, &[1 << 40]),
        wire::frame(0x12, &[1 << 20]),
        wire::new_connection_id(1, 0),
        wire::path_challenge(1),
        wire::frame(0x1e, &[]),
        wire::frame(0x31, &[0]),
        wire::frame(0x1d, &[0, 0]),
    ];
    for space in [INITIAL, HANDSHAKE] {
        for frame in &misplaced {
            let mut victim = Victim::server(&pki.server);
            let mut peer = Peer::client(&pki.agent, 7, generous(&id(7), &[]));
            let from = address(1);
            for datagram in peer.pending() {
                victim.hear(from, &datagram);
            }
            while let Some((_, datagram)) = victim.sent.pop_front() {
                peer.receive(&datagram);
            }
            // The client's flight stays behind: the server is in the middle of the handshake.
            drop(peer.pending());
            let packet = peer.packet(space, frame);
            victim.hear(from, &packet);
            let reason = victim.lost().unwrap_or_else(|| panic!("{frame:x?} in space {space} was taken"));
            assert!(matches!(reason.kind, LostKind::Protocol | LostKind::ClosedByPeer(_)), "{reason}");
            victim.assert_nothing_is_left();
        }
    }
}

#[test]
fn truncated_frames_are_refused() {
    let pki = Pki::new();
    let whole = [
        wire::frame(0x04, &[0, 1, 70_000]),
        wire::frame(0x05, &[0, 70_000]),
        wire::crypto(70_000, b"data"),
        wire::stream(0, 70_000, b"data"),
        wire::frame(0x11, &[0, 70_000]),
        wire::new_connection_id(1, 0),
        wire::path_challenge(1),
        wire::frame(0x02, &[0, 70_000, 1, 0, 0, 0]),
    ];
    let mut refused = 0;
    for frame in whole {
        for cut in 1..frame.len() {
            let mut attack = Attack::new(&pki);
            // Padding would complete it: the packet is made long enough in front.
            let mut payload = vec![0; 8];
            payload.extend_from_slice(&frame[..cut]);
            attack.send(&payload);
            assert!(attack.growth() < CONTROL_BYTES_MAX);
            let reason = attack.victim.lost().unwrap_or_else(|| panic!("{:x?} was taken", &frame[..cut]));
            assert_eq!(reason.kind, LostKind::Protocol);
            refused += 1;
        }
    }
    assert!(refused > 50);
}

/// CVE-2023-49295: the answers to challenges were queued without limit while nothing could be sent.
#[test]
fn a_flood_of_challenges_is_not_queued() {
    let mut attack = Attack::new(&Pki::new());
    attack.peer.acknowledges = false;
    for round in 0..2000 {
        let challenges: Vec<u8> = (0..100).flat_map(|n| wire::path_challenge(round * 100 + n)).collect();
        attack.shout(&challenges);
    }
    assert!(attack.growth() < CONTROL_BYTES_MAX, "{} bytes", attack.growth());
    attack.assert_alive();
    attack.victim.assert_nothing_is_left();
}

/// CVE-2024-22189, CVE-2024-1410: each new connection ID retires an older one, and the retirements pile up.
#[test]
fn a_flood_of_connection_ids_is_not_queued() {
    let mut attack = Attack::new(&Pki::new());
    attack.peer.acknowledges = false;
    let mut sequence = 1;
    while attack.victim.lost().is_none() && sequence < 100_000 {
        let mut payload = Vec::new();
        for _ in 0..20 {
            payload.extend(wire::new_connection_id(sequence, sequence));
            sequence += 1;
        }
        attack.shout(&payload);
    }
    assert!(attack.growth() < 2 * CONTROL_BYTES_MAX, "{} bytes after {sequence} IDs", attack.growth());
    let lost = attack.victim.lost().map(|reason| reason.kind);
    assert!(lost.is_none() || lost == Some(LostKind::Protocol), "{lost:?}");
    attack.victim.assert_nothing_is_left();
}

#[test]
fn retiring_ids_that_were_never_issued_is_refused() {
    let mut attack = Attack::new(&Pki::new());
    attack.send(&wire::frame(0x19, &[1 << 30]));
    attack.assert_refused(PROTOCOL_VIOLATION);
}

/// Each retirement is answered with a new ID, which may be retired in its turn: with acknowledgements for ever, without
/// them until the congestion window is full and the peer is given up. It adds up to nothing either way, and another
/// connection of the same shard is served meanwhile.
#[test]
fn a_flood_of_retirements_adds_up_to_nothing_and_disturbs_nobody() {
    let pki = Pki::new();
    for acknowledges in [true, false] {
        let mut attack = Attack::new(&pki);
        let mut honest = Peer::client(&pki.agent, 8, generous(&id(8), &[]));
        let from = address(2);
        attack.victim.talk(&mut honest, from);
        let other = attack.victim.connected().expect("another connection");
        attack.before = attack.victim.held;
        attack.victim.peak = attack.before;
        attack.peer.acknowledges = acknowledges;
        attack.send(&wire::path_challenge(0));
        let (mut ids, mut retired) = (vec![attack.peer.remote_id.clone()], 0u64);
        for round in 0..5000u64 {
            for frame in std::mem::take(&mut attack.peer.heard) {
                if let Frame::NewConnectionId(id) = frame
                    && !ids.contains(&id)
                {
                    ids.push(id);
                }
            }
            // Only the newest one stays, and it is the one in use.
            attack.peer.remote_id.clone_from(ids.last().unwrap());
            let newest = ids.len() as u64 - 1;
            let payload: Vec<u8> =
                (retired..newest).flat_map(|sequence| wire::frame(0x19, &[sequence])).collect();
            retired = newest;
            attack.send(if payload.is_empty() { &[0x01] } else { &payload });
            attack.victim.wait(Duration::from_millis(20));
            attack.victim.talk(&mut attack.peer, attack.from);
            if round % 50 == 0 {
                let challenge = honest.packet(APPLICATION, &wire::path_challenge(round));
                attack.victim.hear(from, &challenge);
                attack.victim.talk(&mut honest, from);
                assert!(honest.heard.contains(&Frame::PathResponse(round)), "round {round}");
                assert!(!attack.victim.quic.is_suspect(other));
            }
        }
        let bound = if acknowledges { 5000 } else { 100 };
        assert!(retired >= bound, "{acknowledges}: only {retired} were retired");
        assert_eq!(attack.victim.lost().is_some(), !acknowledges, "{:?}", attack.victim.lost());
        assert!(attack.growth() < CONTROL_BYTES_MAX, "{} bytes", attack.growth());
        assert!(attack.victim.quic.path(other).is_some(), "the other connection goes on");
        attack.victim.assert_nothing_is_left();
    }
}

/// CVE-2025-4820: acknowledging what was never sent would open the congestion window.
#[test]
fn acknowledging_what_was_never_sent_is_refused() {
    let mut attack = Attack::new(&Pki::new());
    let ahead = attack.peer.largest_received() + 1000;
    attack.send(&wire::frame(0x02, &[ahead, 0, 0, ahead]));
    attack.assert_refused(PROTOCOL_VIOLATION);
}

/// The server grants the control stream and no other.
#[test]
fn streams_beyond_the_control_stream_are_refused() {
    let pki = Pki::new();
    for (frame, code) in [
        (wire::stream(4, 0, b"second"), STREAM_LIMIT_ERROR),
        (wire::stream(4_000_000, 0, b"the millionth"), STREAM_LIMIT_ERROR),
        (wire::stream(2, 0, b"unidirectional"), STREAM_LIMIT_ERROR),
        (wire::stream(1, 0, b"the server's own, never opened"), STREAM_STATE_ERROR),
        (wire::stream(0, 1 << 24, b"beyond the window"), FLOW_CONTROL_ERROR),
        (wire::stream(0, (1 << 62) - 2, b"beyond the largest offset"), FRAME_ENCODING_ERROR),
        (wire::frame(0x12, &[(1 << 60) + 1]), FRAME_ENCODING_ERROR),
        (wire::frame(0x04, &[4, 0, 0]), STREAM_LIMIT_ERROR),
        (wire::frame(0x05, &[5, 0]), STREAM_STATE_ERROR),
    ] {
        let mut attack = Attack::new(&pki);
        attack.send(&frame);
        let shown = format!("{frame:x?}: {:?} {:?}", attack.victim.lost(), attack.peer.closed());
        let told = attack.peer.closed().unwrap_or_else(|| panic!("{shown}")).0;
        assert!(told == code || told == FLOW_CONTROL_ERROR, "{shown}");
        attack.assert_refused(told);
    }
}

/// CVE-2023-44487 in QUIC's clothes: the one stream that there is, reset and stopped over and over.
#[test]
fn a_storm_of_resets_costs_nothing() {
    let mut attack = Attack::new(&Pki::new());
    attack.send(&wire::stream(0, 0, b"x"));
    for _ in 0..20_000 {
        let mut payload = wire::frame(0x05, &[0, 1]);
        payload.extend(wire::frame(0x04, &[0, 1, 1]));
        attack.shout(&payload);
        if attack.victim.lost().is_some() {
            break;
        }
    }
    assert!(attack.victim.events.len() < 100, "a report for every repetition");
    assert!(attack.growth() < CONTROL_BYTES_MAX, "{} bytes", attack.growth());
    attack.victim.assert_nothing_is_left();
}

/// CVE-2025-54939 and kin: what a peer without a name may pin before its handshake ends.
#[test]
fn crypto_data_with_gaps_is_bounded_before_the_handshake_ends() {
    let pki = Pki::new();
    let mut victim = Victim::server(&pki.server);
    let mut peer = Peer::client(&pki.stranger, 7, generous(&id(7), &[]));
    for offset in (2000..16_000).step_by(2) {
        let packet = peer.packet(INITIAL, &wire::crypto(offset, b"x"));
        victim.hear(address(1), &packet);
        victim.sent.clear();
    }
    // Every byte held its datagram until they were copied together.
    assert!(victim.peak < 4 * 1024 * 1024, "{} bytes", victim.peak);
    let packet = peer.packet(INITIAL, &wire::crypto(1 << 20, b"x"));
    victim.hear(address(1), &packet);
    if let Some((_, datagram)) = victim.sent.pop_back() {
        peer.receive(&datagram);
    }
    assert_eq!(victim.lost().expect("it ends").kind, LostKind::Protocol);
    assert!(peer.closed().is_none_or(|(code, _)| [CRYPTO_BUFFER_EXCEEDED, 0x01].contains(&code)));
    victim.assert_nothing_is_left();
    assert!(victim.held < CONTROL_BYTES_MAX, "{} bytes stay", victim.held);
}
