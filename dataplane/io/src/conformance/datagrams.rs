//! R10: what comes with datagrams and what goes with them; and peers that cannot be reached.

use std::net::SocketAddr;

use super::rig::{check_pattern, patterned};
use super::{Harness, Rig};
use crate::driver::{Driver, SocketId, Token};
use crate::error::OpError;
use crate::op::{Completion, Datagrams, Ecn, Outcome, Transmit};

fn train(seed: u8, len: usize, segment_bytes: usize, peer: SocketAddr) -> Transmit {
    Transmit {
        buffer: patterned(seed, 0, len).to_vec(),
        segment_bytes,
        peer,
        local_ip: None,
        ecn: None,
        zero_copy: false,
    }
}

/// Sends a train as the driver can: at once, or datagram by datagram.
#[track_caller]
fn send_train<H: Harness>(rig: &mut Rig<'_, H>, socket: SocketId, transmit: &Transmit) {
    if transmit.segments() <= rig.driver.capabilities().gso_segments_max {
        let token = rig.send_datagrams(socket, transmit.clone());
        assert_eq!(rig.datagrams_sent(token).0, Ok(()));
        return;
    }
    for datagram in transmit.buffer.chunks(transmit.segment_bytes) {
        let one = Transmit { buffer: datagram.to_vec(), segment_bytes: datagram.len(), ..transmit.clone() };
        let token = rig.send_datagrams(socket, one);
        assert_eq!(rig.datagrams_sent(token).0, Ok(()));
    }
}

/// Receives until `count` datagrams have come, and splits them.
#[track_caller]
fn receive<H: Harness>(rig: &mut Rig<'_, H>, recv: Token, count: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while all.len() < count {
        let Datagrams { data, stride, .. } = rig.datagrams(recv);
        assert!(stride > 0);
        all.extend(data.chunks(stride).map(<[u8]>::to_vec));
    }
    assert_eq!(all.len(), count, "more datagrams than were sent");
    all
}

/// A train arrives as the datagrams that it is made of, the short last one included.
pub fn r10_train_arrives_with_its_stride<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let ((a, a_addr), (b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let recv = rig.recv_datagrams(b);
    for (len, segment) in [(9 * 1200 + 500, 1200), (40 * 1452, 1452), (2 * 600, 600), (3 * 100 + 1, 100)] {
        let transmit = train(1, len, segment, b_addr);
        send_train(&mut rig, a, &transmit);
        let mut at = 0;
        while at < len {
            let Datagrams { data, stride, peer, .. } = rig.datagrams(recv);
            assert_eq!(peer, a_addr);
            for datagram in data.chunks(stride) {
                let expected = segment.min(len - at);
                assert_eq!(datagram.len(), expected, "at {at} of {len} in {segment}s, stride {stride}");
                check_pattern(1, at, datagram);
                at += datagram.len();
            }
        }
        assert_eq!(at, len);
    }
    let counters = rig.driver.counters();
    assert_eq!(counters.datagrams_received, counters.datagrams_sent);
    assert_eq!(counters.datagrams_received, 10 + 40 + 2 + 4);
    rig.finish();
}

/// Each codepoint arrives as it was sent, and none as none.
pub fn r10_ecn_is_carried<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let ((a, _), (b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let recv = rig.recv_datagrams(b);
    for ecn in [Some(Ecn::Ect0), None, Some(Ecn::Ce), Some(Ecn::Ect1), None] {
        let token = rig.send_datagrams(a, Transmit { ecn, ..train(1, 100, 100, b_addr) });
        assert_eq!(rig.datagrams_sent(token).0, Ok(()));
        assert_eq!(rig.datagrams(recv).ecn, ecn);
    }
    rig.finish();
}

/// A datagram says to which local address it was sent.
pub fn r10_local_address_is_reported<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let ((a, a_addr), (b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let recv = rig.recv_datagrams(b);
    rig.send_datagrams(a, train(1, 100, 100, b_addr));
    let datagrams = rig.datagrams(recv);
    assert_eq!(datagrams.local_ip, Some(b_addr.ip()));
    assert_eq!(datagrams.peer, a_addr);
    rig.finish();
}

/// A send that names its local address uses it.
pub fn r10_sends_from_the_given_address<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let ((a, a_addr), (b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let recv = rig.recv_datagrams(b);
    let transmit =
        Transmit { local_ip: Some(a_addr.ip()), ecn: Some(Ecn::Ect0), ..train(1, 100, 50, b_addr) };
    send_train(&mut rig, a, &transmit);
    let first = rig.datagrams(recv);
    assert_eq!((first.peer, first.ecn), (a_addr, Some(Ecn::Ect0)));
    check_pattern(1, 0, &first.data);
    rig.finish();
}

/// Datagrams of different lengths stay apart, in order on one path.
pub fn r10_single_datagrams_arrive_apart<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let ((a, _), (b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let recv = rig.recv_datagrams(b);
    let lengths = [1, 1200, 1199, 1200, 1200, 7, 60_000, 2];
    for len in lengths {
        let token = rig.send_datagrams(a, train(2, len, len, b_addr));
        assert_eq!(rig.datagrams_sent(token).0, Ok(()));
    }
    let all = receive(&mut rig, recv, lengths.len());
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
    for datagram in all {
        check_pattern(2, 0, &datagram);
    }
    rig.finish();
}

/// A datagram without payload is legal (RFC 768) and ends nothing; whether it is reported is the driver's choice.
pub fn r10_empty_datagram_ends_nothing<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let ((a, _), (b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let recv = rig.recv_datagrams(b);
    let token = rig.send_datagrams(a, train(1, 0, 1, b_addr));
    assert_eq!(rig.datagrams_sent(token).0, Ok(()));
    let token = rig.send_datagrams(a, train(1, 10, 10, b_addr));
    assert_eq!(rig.datagrams_sent(token).0, Ok(()));
    let mut datagrams = rig.datagrams(recv);
    if datagrams.data.is_empty() {
        datagrams = rig.datagrams(recv);
    }
    check_pattern(1, 0, &datagrams.data);
    assert_eq!(datagrams.data.len(), 10);
    rig.finish();
}

/// Both ends send and receive at the same time, many trains outstanding.
pub fn r10_trains_in_both_directions<H: Harness>(harness: &H) {
    const TRAINS: usize = 10;
    const LEN: usize = 1000;
    let mut rig = Rig::new(harness);
    let ((a, a_addr), (b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let (recv_a, recv_b) = (rig.recv_datagrams(a), rig.recv_datagrams(b));
    let mut sends = Vec::new();
    for _ in 0..TRAINS {
        sends.push(rig.send_datagrams(a, train(1, LEN, LEN, b_addr)));
        sends.push(rig.send_datagrams(b, train(2, LEN, LEN, a_addr)));
    }
    for token in sends {
        assert_eq!(rig.datagrams_sent(token).0, Ok(()));
    }
    for (recv, seed) in [(recv_b, 1), (recv_a, 2)] {
        for datagram in receive(&mut rig, recv, TRAINS) {
            assert_eq!(datagram.len(), LEN);
            check_pattern(seed, 0, &datagram);
        }
    }
    rig.finish();
}

/// The largest UDP payload over IPv4 fits into a slot.
pub fn largest_datagram_arrives<H: Harness>(harness: &H) {
    const LARGEST: usize = 65_507;
    let mut rig = Rig::new(harness);
    let ((a, _), (b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let recv = rig.recv_datagrams(b);
    let token = rig.send_datagrams(a, train(1, LARGEST, LARGEST, b_addr));
    assert_eq!(rig.datagrams_sent(token).0, Ok(()));
    let datagrams = rig.datagrams(recv);
    assert_eq!(datagrams.data.len(), LARGEST);
    check_pattern(1, 0, &datagrams.data);
    rig.finish();
}

/// A closed port is reported by the receive, with the peer's address, and the receive goes on.
pub fn unreachable_peer_is_reported<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let ((a, a_addr), (b, _)) = harness.udp_pair(&mut rig.driver);
    let nobody = harness.unreachable_udp_addr(&mut rig.driver);
    let recv = rig.recv_datagrams(a);
    let token = rig.send_datagrams(a, train(1, 100, 100, nobody));
    assert_eq!(rig.datagrams_sent(token).0, Ok(()));
    match rig.next(recv) {
        Completion { outcome: Outcome::PeerUnreachable { peer, error }, more: true, .. } => {
            assert_eq!((peer, error), (nobody, OpError::Os(libc::ECONNREFUSED)));
        }
        other => panic!("not the report: {other:?}"),
    }
    rig.send_datagrams(b, train(2, 50, 50, a_addr));
    check_pattern(2, 0, &rig.datagrams(recv).data);
    rig.finish();
}

/// The report of one peer fails no send to another: those go out, all of them.
pub fn next_send_after_an_unreachable_peer_goes_out<H: Harness>(harness: &H) {
    const ROUNDS: usize = 5;
    let mut rig = Rig::new(harness);
    let ((a, _), (b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let nobody = harness.unreachable_udp_addr(&mut rig.driver);
    let recv_b = rig.recv_datagrams(b);
    // Whether or not a receive is armed that could take the report off first.
    for armed in [false, true] {
        if armed {
            rig.recv_datagrams(a);
        }
        for wait in [false, true] {
            for _ in 0..ROUNDS {
                let lost = rig.send_datagrams(a, train(1, 100, 100, nobody));
                if wait {
                    assert_eq!(rig.datagrams_sent(lost).0, Ok(()));
                }
                let kept = rig.send_datagrams(a, train(2, 80, 80, b_addr));
                assert_eq!(rig.datagrams_sent(kept).0, Ok(()));
                if !wait {
                    assert_eq!(rig.datagrams_sent(lost).0, Ok(()));
                }
            }
            for datagram in receive(&mut rig, recv_b, ROUNDS) {
                assert_eq!(datagram.len(), 80);
                check_pattern(2, 0, &datagram);
            }
        }
    }
    rig.finish();
}
