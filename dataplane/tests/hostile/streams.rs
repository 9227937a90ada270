//! Memory by gaps (RUSTSEC-2026-0185 and its bypass, RUSTSEC-2026-0341): bytes that cannot be read yet, each holding
//! the packet it came in. Before Welcome, after it, and by a hostile server against an agent.

use std::time::Duration;

use adit_dataplane::limits;
use adit_dataplane::quic::{LostKind, QuicEvent};

use crate::frames::Attack;
use crate::peer::{APPLICATION, Peer};
use crate::pki::{Pki, SERVER_NAME};
use crate::victim::{Victim, address};
use crate::wire::{self, Frame};

/// What quinn-proto keeps beside a stream's bytes: at most 2048 pieces between two compactions, each of which may hold
/// a whole packet of the size that the peer chose to send.
const fn gaps_bytes_max(packet_bytes: usize) -> isize {
    (2 * 1024 * (packet_bytes + 256)).cast_signed()
}

fn window_bytes() -> isize {
    isize::try_from(limits::UNWELCOME_WINDOW_BYTES).unwrap()
}

/// Single bytes with gaps between them, each in a packet of 1200 bytes, on the control stream, which nobody reads.
fn gaps(attack: &mut Attack, offsets: impl Iterator<Item = u64>, packet_bytes: usize) {
    attack.peer.acknowledges = false;
    for offset in offsets {
        let mut payload = vec![0; packet_bytes];
        payload.extend(wire::stream(0, offset, b"g"));
        attack.shout(&payload);
        if attack.victim.lost().is_some() {
            return;
        }
    }
}

#[test]
fn gaps_before_welcome_hold_no_more_than_the_window_and_are_refused() {
    let pki = Pki::new();
    for packet_bytes in [0, 1150] {
        let mut attack = Attack::new(&pki);
        gaps(&mut attack, (1..).step_by(2).take(30_000), packet_bytes);
        let bound = gaps_bytes_max(packet_bytes + 128) + 4 * window_bytes();
        assert!(attack.growth() < bound, "{} bytes, {bound} are allowed", attack.growth());
        let reason = attack.victim.lost().expect("thousands of gaps are no honest peer's");
        assert_eq!(reason.kind, LostKind::Protocol);
        attack.victim.assert_nothing_is_left();
        assert!(attack.victim.held < attack.before + 64 * 1024, "{} bytes stay", attack.victim.held);
    }
}

/// The same by an agent that is welcome, against the server: its window is a stream's then, and the pieces are bounded
/// all the same.
#[test]
fn gaps_after_welcome_hold_no_more_than_a_stream_window_and_are_refused() {
    let pki = Pki::new();
    let mut attack = Attack::new(&pki);
    let conn = attack.conn;
    attack.victim.counted(|quic, _| quic.welcome(conn, 0));
    gaps(&mut attack, (1..1 << 20).step_by(31), 1150);
    let bound = gaps_bytes_max(1150 + 128) + 4 * isize::try_from(limits::STREAM_WINDOW_BYTES).unwrap();
    assert!(attack.growth() < bound, "{} bytes, {bound} are allowed", attack.growth());
    assert_eq!(attack.victim.lost().expect("it is refused").kind, LostKind::Protocol);
    attack.victim.assert_nothing_is_left();
}

/// The bypasses: pieces that overlap, come backwards, or come again, so that what was merged is not counted.
#[test]
fn overlaps_and_repetitions_hold_no_more_than_gaps() {
    let pki = Pki::new();
    let backwards = (1..60_000u64).rev().step_by(2);
    let again = (0..30_000u64).map(|n| 1 + n % 1000 * 2);
    let alternating = (0..30_000u64).map(|n| if n % 2 == 0 { 1 + n } else { 60_000 - n });
    for offsets in [backwards.collect::<Vec<_>>(), again.collect(), alternating.collect()] {
        let mut attack = Attack::new(&pki);
        gaps(&mut attack, offsets.into_iter(), 1150);
        let bound = gaps_bytes_max(1150 + 128) + 4 * window_bytes();
        assert!(attack.growth() < bound, "{} bytes, {bound} are allowed", attack.growth());
        attack.victim.assert_nothing_is_left();
    }
}

/// Long overlapping pieces, each shifted by one byte: 60 windows are sent, one may be held.
#[test]
fn overlapping_pieces_are_counted_once() {
    let mut attack = Attack::new(&Pki::new());
    attack.peer.acknowledges = false;
    for offset in 1..4000 {
        attack.shout(&wire::stream(0, offset, &[b'o'; 1000]));
        if attack.victim.lost().is_some() {
            break;
        }
    }
    let bound = gaps_bytes_max(1200) + 4 * window_bytes();
    assert!(attack.growth() < bound, "{} bytes, {bound} are allowed", attack.growth());
    attack.victim.assert_nothing_is_left();
}

/// An agent connected to a hostile server that its authority has certified.
fn hostile_server() -> (Victim, Peer) {
    let pki = Pki::new();
    let mut victim = Victim::agent(&pki.agent);
    let server = address(1);
    victim.counted(|quic, now| quic.connect(now, server, SERVER_NAME, None)).unwrap();
    victim.speak();
    let (_, initial) = victim.sent.front().unwrap().clone();
    let mut peer = Peer::server(&pki.server, &initial);
    victim.talk(&mut peer, server);
    assert!(peer.is_connected() && !peer.failed);
    assert!(victim.connected().is_some());
    (victim, peer)
}

#[test]
fn a_server_gets_no_stream_before_it_has_said_welcome() {
    let (mut victim, mut peer) = hostile_server();
    let packet = peer.packet(APPLICATION, &wire::stream(1, 0, b"too early"));
    victim.hear(address(1), &packet);
    assert_eq!(victim.lost().expect("it is refused").kind, LostKind::Protocol);
    victim.assert_nothing_is_left();
}

/// A million streams: the grant doubles as it is used and ends at its limit; what is beyond is a violation.
#[test]
fn a_server_that_opens_a_million_streams_gets_the_limit_and_is_refused() {
    let (mut victim, mut peer) = hostile_server();
    let conn = victim.connected().unwrap();
    victim.counted(|quic, _| quic.welcome(conn, limits::AGENT_STREAMS_INITIAL));
    let before = victim.held;
    let server = address(1);
    victim.speak();
    victim.talk(&mut peer, server);
    let mut granted = u64::from(limits::AGENT_STREAMS_INITIAL);
    let mut opened = 0;
    while opened < 1_000_000 && victim.lost().is_none() {
        // As many as are granted, 200 to a packet; once nothing more is granted, one too many.
        let end = if opened < granted { granted.min(opened + 200) } else { opened + 1 };
        let payload: Vec<u8> = (opened..end).flat_map(|n| wire::stream(4 * n + 1, 0, b"m")).collect();
        opened = end;
        let packet = peer.packet(APPLICATION, &payload);
        victim.hear(server, &packet);
        victim.talk(&mut peer, server);
        for frame in peer.heard.drain(..) {
            if let Frame::MaxStreams(most) = frame {
                granted = granted.max(most);
            }
        }
    }
    let streams = victim.events.iter().filter(|event| matches!(event, QuicEvent::Opened { .. })).count();
    assert_eq!(streams, limits::AGENT_STREAMS_MAX as usize);
    assert_eq!(granted, u64::from(limits::AGENT_STREAMS_MAX));
    assert_eq!(victim.lost().expect("one too many").kind, LostKind::Protocol);
    // A stream's state, what it received, and the entries of the grant: under 2 KiB each.
    let bound = isize::try_from(limits::AGENT_STREAMS_MAX).unwrap() * 2048;
    assert!(victim.peak - before < bound, "{} bytes, {bound} are allowed", victim.peak - before);
    victim.assert_nothing_is_left();
    assert!(victim.held < before + 256 * 1024, "{} bytes stay", victim.held - before);
}

/// Streams that are opened and reset at once (CVE-2023-44487): they never add up.
#[test]
fn a_storm_of_streams_and_resets_does_not_add_up() {
    let (mut victim, mut peer) = hostile_server();
    let conn = victim.connected().unwrap();
    victim.counted(|quic, _| quic.welcome(conn, limits::AGENT_STREAMS_INITIAL));
    victim.speak();
    let server = address(1);
    victim.talk(&mut peer, server);
    let before = victim.held;
    victim.peak = before;
    for number in 0..20_000u64 {
        let id = 4 * number + 1;
        let mut payload = wire::stream(id, 0, b"r");
        payload.extend(wire::frame(0x04, &[id, 1, 1]));
        payload.extend(wire::frame(0x05, &[id, 1]));
        let packet = peer.packet(APPLICATION, &payload);
        victim.hear(server, &packet);
        // What the agent's shard does with a stream that was reset before its header.
        for event in std::mem::take(&mut victim.events) {
            if let QuicEvent::Opened { conn, stream } = event {
                victim.counted(|quic, _| {
                    assert!(quic.received_reset(conn, stream));
                    let _ = quic.reset(conn, stream, adit_dataplane::wire::ResetCode::Cancelled);
                });
            }
        }
        victim.speak();
        victim.wait(Duration::from_millis(1));
        victim.talk(&mut peer, server);
    }
    assert_eq!(victim.lost(), None);
    let conn = victim.quic.connections().next().expect("the connection goes on");
    let (_, remote) = victim.quic.open_streams(conn).unwrap();
    assert!(victim.peak - before < 2 * 1024 * 1024, "{} bytes {remote} open", victim.peak - before);
    assert!(remote <= u64::from(limits::AGENT_STREAMS_INITIAL), "{remote} streams are still open");
    victim.assert_nothing_is_left();
}
