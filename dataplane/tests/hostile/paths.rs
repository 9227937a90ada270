//! Peers that claim other addresses: what goes there without proof, and what stays in memory; and peers that listen to
//! nothing. Decision 8 says why one datagram beyond RFC 9000's limit stays.

use std::time::Duration;

use adit_dataplane::limits;
use adit_dataplane::quic::{Fault, LostKind};
use adit_dataplane::wire::CloseCode;

use crate::frames::Attack;
use crate::peer::APPLICATION;
use crate::pki::Pki;
use crate::victim::address;
use crate::wire::{self, Frame};

/// A challenge, padded; larger ones would be of an MTU that was found before, which none of these peers let happen.
const CHALLENGE_BYTES: u64 = 1200;

/// What stays of one move in quinn-proto.
const MOVE_BYTES_MAX: isize = 512;

/// At most three times what came from each address that was not proved, and one challenge.
#[track_caller]
fn assert_little_without_proof(attack: &Attack) {
    for (from, (bytes_in, bytes_out)) in &attack.victim.traffic {
        let bound = 3 * bytes_in + CHALLENGE_BYTES;
        assert!(
            *from == address(1) || *bytes_out <= bound,
            "{bytes_out} bytes to {from} for {bytes_in} without proof"
        );
    }
}

/// A path for every packet, and no acknowledgement: the peer moves a few times and is then told to go.
#[test]
fn a_flood_of_migrations_ends_the_connection() {
    let mut attack = Attack::new(&Pki::new());
    attack.peer.acknowledges = false;
    for number in 2..5000 {
        attack.from = address(number);
        attack.shout(&[0x01]);
    }
    let moves_max = isize::try_from(limits::MIGRATIONS_UNANSWERED_MAX).unwrap();
    assert!(attack.growth() < (moves_max + 1) * MOVE_BYTES_MAX, "{} bytes", attack.growth());
    assert_little_without_proof(&attack);
    let lost = attack.victim.lost().expect("it moved too often");
    assert!(lost.text.contains("acknowledged nothing"), "{lost}");
    assert_eq!((lost.kind, lost.fault), (LostKind::ClosedLocally(CloseCode::Protocol), Fault::Peer));
    attack.victim.assert_nothing_is_left();
}

/// As often as a minute allows, for ever, and no acknowledgement: it used to grow by 25 KB each minute.
#[test]
fn migrations_that_keep_to_the_rate_and_acknowledge_nothing_do_not_add_up() {
    let mut attack = Attack::new(&Pki::new());
    attack.peer.acknowledges = false;
    for number in 2..600 {
        attack.from = address(number);
        attack.shout(&[0x01]);
        attack.victim.wait(Duration::from_secs(1));
        attack.victim.sent.clear();
    }
    let moves_max = isize::try_from(limits::MIGRATIONS_UNANSWERED_MAX).unwrap();
    assert!(attack.growth() < (moves_max + 1) * 2 * MOVE_BYTES_MAX, "{} bytes", attack.growth());
    assert!(attack.victim.lost().is_some());
    assert_little_without_proof(&attack);
    attack.victim.assert_nothing_is_left();
}

/// Acknowledging the first packet again and again is no way around the limit of a minute.
#[test]
fn migrations_with_empty_acknowledgements_are_bounded_by_the_minute() {
    let mut attack = Attack::new(&Pki::new());
    attack.peer.acknowledges = false;
    let mut payload = wire::frame(0x02, &[0, 0, 0, 0]);
    payload.push(0x01);
    for number in 2..5000 {
        attack.from = address(number);
        attack.shout(&payload);
    }
    let moves_max = isize::try_from(limits::MIGRATIONS_MAX).unwrap();
    assert!(attack.growth() < (moves_max + 1) * MOVE_BYTES_MAX, "{} bytes", attack.growth());
    let lost = attack.victim.lost().expect("it moved too often");
    assert!(lost.text.contains("within 60 s"), "{lost}");
    assert_little_without_proof(&attack);
    attack.victim.assert_nothing_is_left();
}

/// It stays where it is, says something now and then, and acknowledges nothing: each probe that it was sent stayed, 24
/// KB a minute.
#[test]
fn a_peer_that_speaks_and_acknowledges_nothing_is_given_up() {
    for pause in [Duration::from_millis(500), Duration::from_secs(2)] {
        let mut attack = Attack::new(&Pki::new());
        attack.peer.acknowledges = false;
        attack.shout(&wire::path_challenge(1));
        let begun = attack.victim.now;
        while attack.victim.lost().is_none() && attack.victim.now - begun < Duration::from_secs(600) {
            attack.shout(&[0x01]);
            attack.victim.wait(pause);
            attack.victim.sent.clear();
        }
        let lost = attack.victim.lost().expect("it is given up");
        assert_eq!((lost.kind, lost.fault), (LostKind::Unanswered, Fault::Peer));
        assert!(lost.text.contains("acknowledged nothing"), "{lost}");
        assert!(attack.victim.now - begun <= limits::UNACKNOWLEDGED_TIME_MAX + pause);
        assert!(attack.growth() < 32 * 1024, "{} bytes", attack.growth());
        attack.victim.assert_nothing_is_left();
    }
}

/// A peer that asks for an idle timeout, which it should not, ends with the first probe, and is told of like any other.
#[test]
fn an_idle_timeout_of_the_peers_ends_its_connection_alone() {
    let mut attack = Attack::with_parameters(&Pki::new(), &[wire::parameter(0x01, 60_000)]);
    attack.peer.acknowledges = false;
    attack.shout(&wire::path_challenge(1));
    attack.victim.wait(Duration::from_secs(2));
    attack.shout(&[0x01]);
    let lost = attack.victim.lost().expect("its idle time is over");
    assert_eq!((lost.kind, lost.fault), (LostKind::Idle, Fault::Network));
    attack.victim.assert_nothing_is_left();
}

/// One small packet that seems to come from somebody else: a challenge goes there, and no probe of the path's MTU, also
/// not for an answer that is made up.
#[test]
fn an_address_that_is_not_proved_gets_a_challenge_and_no_probe() {
    for made_up in [false, true] {
        let mut attack = Attack::new(&Pki::new());
        attack.from = address(2);
        let ping = attack.peer.packet(APPLICATION, &[0x01]);
        attack.victim.hear(attack.from, &ping);
        if made_up {
            let mut answer = wire::path_challenge(0xbad);
            answer[0] = 0x1b;
            let answer = attack.peer.packet(APPLICATION, &answer);
            attack.victim.hear(attack.from, &answer);
        }
        attack.victim.wait(Duration::from_secs(60));
        let (bytes_in, bytes_out) = attack.victim.traffic[&address(2)];
        assert!((CHALLENGE_BYTES..=CHALLENGE_BYTES + 3 * bytes_in).contains(&bytes_out), "{bytes_out}");
        assert_eq!(attack.victim.quic.endpoint_counts().withheld, u64::from(made_up));
        attack.victim.assert_nothing_is_left();
    }
}

/// Who answers the challenge has proved the address, and the connection goes on there.
#[test]
fn whoever_answers_the_challenge_goes_on() {
    let mut attack = Attack::new(&Pki::new());
    attack.from = address(2);
    attack.send(&[0x01]);
    let token = attack.peer.heard.iter().rev().find_map(|frame| match frame {
        Frame::PathChallenge(token) => Some(*token),
        _ => None,
    });
    let mut answer = wire::path_challenge(token.expect("a challenge"));
    answer[0] = 0x1b;
    answer.resize(1150, 0);
    attack.send(&answer);
    for number in 0..20 {
        attack.send(&wire::path_challenge(number));
        attack.victim.wait(Duration::from_millis(100));
        attack.victim.talk(&mut attack.peer, attack.from);
        assert!(attack.peer.heard.contains(&Frame::PathResponse(number)));
    }
    let (_, bytes_out) = attack.victim.traffic[&address(2)];
    assert!(bytes_out > 20 * CHALLENGE_BYTES, "{bytes_out}");
    attack.assert_alive();
    attack.victim.assert_nothing_is_left();
}

/// A challenge that seems to come from elsewhere (RFC 9000 section 8.2.2): its answer is padded, so it goes out only
/// where enough came from there. Before, 38 bytes brought 1200, as often as somebody liked.
#[test]
fn an_answer_to_elsewhere_is_at_most_three_times_the_challenge() {
    for (challenge_bytes, all_answered) in [(9, false), (300, false), (400, true), (1150, true)] {
        let mut attack = Attack::new(&Pki::new());
        for number in 0..50 {
            let mut challenge = wire::path_challenge(number);
            challenge.resize(challenge_bytes, 0);
            let packet = attack.peer.packet(APPLICATION, &challenge);
            attack.victim.hear(address(2), &packet);
            // It acknowledges, so that no congestion window ends the attack.
            while let Some((_, datagram)) = attack.victim.sent.pop_front() {
                attack.peer.receive(&datagram);
            }
            attack.victim.talk(&mut attack.peer, attack.from);
            attack.victim.wait(Duration::from_millis(30));
        }
        let (bytes_in, bytes_out) = attack.victim.traffic[&address(2)];
        assert!(bytes_out <= 3 * bytes_in, "{bytes_out} bytes for {bytes_in}");
        assert_eq!(bytes_out >= 50 * CHALLENGE_BYTES, all_answered, "{bytes_out} bytes for {bytes_in}");
        attack.assert_alive();
        attack.victim.assert_nothing_is_left();
    }
}
