//! What a stream socket's operations mean: ends, resets, half-closes.

use super::rig::{check_pattern, patterned};
use super::{Harness, Rig};
use crate::driver::{Close, Driver, SocketId};
use crate::error::OpError;
use crate::op::{Op, Outcome, Shots, SlotSize};

/// An armed receive is idle until bytes come.
pub fn receive_waits_for_bytes<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let many = rig.recv(b, SlotSize::Small, Shots::Many);
    rig.expect_nothing(many);
    for round in 0..3 {
        rig.send_all(a, patterned(1, round, 1));
        let (result, last) = rig.received(many);
        assert!(!last);
        check_pattern(1, round, &result.expect("a byte"));
        rig.expect_nothing(many);
    }
    rig.finish();
}

/// The end of the stream is an empty receive, and final.
pub fn end_of_stream_is_an_empty_final_receive<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    for (a, b) in [rig.stream_pair(), rig.tcp_pair()] {
        let recv = rig.recv(b, SlotSize::Small, Shots::Many);
        rig.send_all(a, &b"last words"[..]);
        let (result, last) = rig.received(recv);
        assert!(!last);
        assert_eq!(result.expect("bytes"), b"last words"[..]);
        rig.close(a);
        let (result, last) = rig.received(recv);
        assert!(last && result.expect("the end").is_empty());
    }
    rig.finish();
}

/// After a shutdown the other direction goes on.
pub fn half_close_leaves_the_other_direction_open<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let pair = rig.stream_pair();
    half_close(rig, pair);
}

/// The same over TCP.
pub fn half_close_over_tcp<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let pair = rig.tcp_pair();
    half_close(rig, pair);
}

fn half_close<H: Harness>(mut rig: Rig<'_, H>, (a, b): (SocketId, SocketId)) {
    rig.send_all(a, &b"question"[..]);
    let shutdown = rig.submit(Op::ShutdownWrite { socket: a });
    assert!(matches!(rig.next(shutdown).outcome, Outcome::ShutdownWrite(Ok(()))));
    assert_eq!(rig.recv_to_end(b), b"question");
    let recv = rig.recv(a, SlotSize::Small, Shots::Many);
    rig.expect_nothing(recv);
    rig.send_all(b, &b"answer"[..]);
    assert_eq!(rig.received(recv).0.expect("bytes"), b"answer"[..]);
    let shutdown = rig.submit(Op::ShutdownWrite { socket: b });
    assert!(matches!(rig.next(shutdown).outcome, Outcome::ShutdownWrite(Ok(()))));
    let (result, last) = rig.received(recv);
    assert!(last && result.expect("the end").is_empty());
    rig.finish();
}

/// A send to a peer that is gone fails, at the latest the second; the pieces come back.
pub fn send_to_a_closed_peer_fails<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    rig.close(b);
    rig.pump(Some(rig.driver.now()), 1);
    let token = rig.send(a, patterned(1, 0, 100));
    let (result, data) = rig.sent(token);
    assert!(matches!(result, Err(OpError::Os(libc::EPIPE | libc::ECONNRESET))), "{result:?}");
    assert_eq!(data, [patterned(1, 0, 100)]);
    rig.finish();
}

/// Over TCP likewise once the reset has come.
pub fn send_to_a_reset_peer_fails<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.tcp_pair();
    rig.driver.close(b, Close::Reset);
    let failed = rig.wait_for("the failure", |rig| {
        let token = rig.send(a, patterned(1, 0, 100));
        rig.sent(token).0.err()
    });
    assert!(matches!(failed, OpError::Os(libc::EPIPE | libc::ECONNRESET)), "{failed:?}");
    rig.finish();
}

/// A send after the own shutdown fails.
pub fn send_after_shutdown_fails<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.tcp_pair();
    let shutdown = rig.submit(Op::ShutdownWrite { socket: a });
    assert!(matches!(rig.next(shutdown).outcome, Outcome::ShutdownWrite(Ok(()))));
    let token = rig.send(a, &b"too late"[..]);
    assert_eq!(rig.sent(token).0, Err(OpError::Os(libc::EPIPE)));
    assert_eq!(rig.recv_to_end(b), b"");
    rig.finish();
}

/// What the peer gets of a stream that is reset is a prefix of it, then the reset, never an orderly end.
pub fn bytes_before_a_reset_or_the_reset_but_nothing_else<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.tcp_pair();
    rig.send_all(a, patterned(1, 0, 10_000));
    rig.driver.close(a, Close::Reset);
    let mut received = 0;
    loop {
        let token = rig.recv(b, SlotSize::Small, Shots::One);
        match rig.received(token).0 {
            Ok(data) => {
                assert!(!data.is_empty(), "a reset is not an orderly end");
                check_pattern(1, received, &data);
                received += data.len();
            }
            Err(error) => {
                assert_eq!(error, OpError::Os(libc::ECONNRESET));
                break;
            }
        }
    }
    assert!(received <= 10_000);
    rig.finish();
}

/// On a pair without a network between, bytes count as unsent until the peer has read them.
pub fn unsent_bytes_count_what_the_peer_has_not_read<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    assert_eq!(rig.driver.unsent_bytes(a), 0);
    rig.send_all(a, patterned(1, 0, 1000));
    assert!(rig.driver.unsent_bytes(a) >= 1000);
    assert_eq!(rig.driver.unsent_bytes(b), 0);
    check_pattern(1, 0, &rig.recv_exact(b, 1000));
    assert_eq!(rig.driver.unsent_bytes(a), 0);
    rig.finish();
}

/// A receive takes at most what its slot holds, and the large slot more at once.
pub fn large_and_small_slots<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    rig.send_all(a, patterned(1, 0, 60_000));
    let small = rig.recv(b, SlotSize::Small, Shots::One);
    let first = rig.received(small).0.expect("bytes");
    assert!(!first.is_empty() && first.len() <= SlotSize::Small.bytes());
    check_pattern(1, 0, &first);
    let large = rig.recv(b, SlotSize::Large, Shots::One);
    let second = rig.received(large).0.expect("bytes");
    assert!(!second.is_empty() && second.len() <= SlotSize::Large.bytes());
    check_pattern(1, first.len(), &second);
    let rest = rig.recv_exact(b, 60_000 - first.len() - second.len());
    check_pattern(1, first.len() + second.len(), &rest);
    rig.finish();
}
