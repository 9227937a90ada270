//! R9 and the life of a socket: taken in, let go, closed, and never mistaken for the next one.

use super::rig::{check_pattern, patterned};
use super::{Harness, Rig};
use crate::driver::{Close, DatagramDriver, Driver, Token};
use crate::error::{OpError, Refusal};
use crate::op::{DatagramOp, Op, Outcome, Shots, SlotSize, Transmit};

/// Busy while something is outstanding; the socket is unharmed by the attempt.
pub fn r9_release_is_refused_while_an_operation_is_outstanding<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let recv = rig.recv(b, SlotSize::Small, Shots::One);
    for _ in 0..2 {
        let refused = rig.driver.release(b).expect_err("a receive is outstanding");
        assert_eq!((refused.value, refused.reason), (b, Refusal::Busy));
        rig.pump(Some(rig.driver.now()), 1);
    }
    rig.send_all(a, &b"still here"[..]);
    assert_eq!(rig.received(recv).0.expect("bytes"), b"still here"[..]);
    assert!(rig.driver.release(b).is_ok());
    rig.finish();
}

/// A connection that moves keeps the bytes that nobody has read, and those that come on the way.
pub fn r9_released_socket_keeps_its_unread_bytes<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.tcp_pair();
    rig.send_all(a, patterned(1, 0, 5000));
    check_pattern(1, 0, &{
        let token = rig.recv(b, SlotSize::Small, Shots::One);
        let mut first = rig.received(token).0.expect("bytes").to_vec();
        if first.len() < 4000 {
            let rest = rig.recv_exact(b, 4000 - first.len());
            first.extend(rest);
        }
        first.truncate(4000);
        first
    });
    let open = rig.driver.counters().sockets_open;
    let socket = rig.driver.release(b).expect("nothing is outstanding");
    assert_eq!(rig.driver.counters().sockets_open, open - 1);
    rig.send_all(a, patterned(1, 5000, 5000));
    let again = rig.driver.adopt(socket).expect("room");
    assert_ne!(b, again);
    rig.send_all(again, patterned(2, 0, 100));
    check_pattern(2, 0, &rig.recv_exact(a, 100));
    rig.close(a);
    let rest = rig.recv_to_end(again);
    assert_eq!(&rest[rest.len() - 5000..], &patterned(1, 5000, 5000)[..]);
    rig.finish();
}

/// A listener that moves keeps the connections that nobody has accepted.
pub fn r9_released_listener_keeps_its_backlog<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (listener, addr) = harness.listener(&mut rig.driver);
    let connect = rig.submit(Op::Connect { addr });
    assert!(matches!(rig.next(connect).outcome, Outcome::Connected(Ok(_))));
    let socket = rig.driver.release(listener).expect("nothing is outstanding");
    let listener = rig.driver.adopt(socket).expect("room");
    assert_eq!(rig.driver.local_addr(listener), Some(addr));
    let accept = rig.submit(Op::Accept { listener });
    assert!(matches!(rig.next(accept).outcome, Outcome::Accepted(Ok(_))));
    rig.finish();
}

/// Once the cancelled receive has completed, the socket may leave.
pub fn r9_release_after_cancel<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let recv = rig.recv(b, SlotSize::Small, Shots::Many);
    rig.pump(Some(rig.driver.now()), 1);
    rig.cancel(recv);
    let socket = rig.driver.release(b).expect("nothing is outstanding");
    rig.send_all(a, patterned(1, 0, 77));
    let b = rig.driver.adopt(socket).expect("room");
    check_pattern(1, 0, &rig.recv_exact(b, 77));
    rig.finish();
}

/// Every way to use the id of a closed socket is refused, and what was handed in comes back.
pub fn stale_socket_is_refused<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, _b) = rig.stream_pair();
    let (listener, _) = harness.listener(&mut rig.driver);
    rig.close(a);
    rig.close(listener);
    let data = vec![patterned(1, 0, 9)];
    let ops = [
        Op::Recv { socket: a, slot: SlotSize::Small, shots: Shots::One },
        Op::Recv { socket: a, slot: SlotSize::Large, shots: Shots::Many },
        Op::Send { socket: a, data: data.clone(), zero_copy: false },
        Op::ShutdownWrite { socket: a },
        Op::Watch { socket: a },
        Op::Accept { listener },
    ];
    for op in ops {
        let refused = rig.try_submit(op).expect_err("the id is stale");
        assert_eq!(refused.reason, Refusal::StaleSocket, "{:?}", refused.value);
        if let Op::Send { data: back, .. } = refused.value {
            assert_eq!(back, data);
        }
    }
    assert_eq!(rig.driver.release(a).expect_err("stale").reason, Refusal::StaleSocket);
    assert_eq!(rig.driver.local_addr(listener), None);
    assert_eq!(rig.driver.unsent_bytes(a), 0);
    rig.finish();
}

/// The same for UDP.
pub fn stale_socket_is_refused_for_datagrams<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let ((a, a_addr), (b, b_addr)) = harness.udp_pair(&mut rig.driver);
    assert_eq!(rig.driver.local_addr(a), Some(a_addr));
    rig.close(a);
    drop(rig.driver.release(b).expect("nothing is outstanding"));
    let transmit = Transmit {
        buffer: vec![1; 10],
        segment_bytes: 10,
        peer: b_addr,
        local_ip: None,
        ecn: None,
        zero_copy: false,
    };
    for socket in [a, b] {
        let refused = rig.driver.submit_datagrams(DatagramOp::Recv { socket }, Token(1)).expect_err("stale");
        assert_eq!(refused.reason, Refusal::StaleSocket);
        let op = DatagramOp::Send { socket, transmit: transmit.clone() };
        let refused = rig.driver.submit_datagrams(op, Token(1)).expect_err("stale");
        assert_eq!(refused.reason, Refusal::StaleSocket);
        let DatagramOp::Send { transmit: back, .. } = refused.value else { panic!("another came back") };
        assert_eq!(back, transmit);
    }
    rig.finish();
}

/// The socket that takes the place of a closed one is not reached by the old id.
pub fn stale_id_never_reaches_the_next_socket<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (old, _peer) = rig.stream_pair();
    rig.close(old);
    rig.pump(Some(rig.driver.now()), 1);
    let mut pairs = Vec::new();
    for _ in 0..4 {
        pairs.push(rig.stream_pair());
    }
    rig.driver.close(old, Close::Reset);
    let refused = rig.try_submit(Op::ShutdownWrite { socket: old }).expect_err("stale");
    assert_eq!(refused.reason, Refusal::StaleSocket);
    for (a, b) in pairs {
        assert_ne!(a, old);
        rig.send_all(a, patterned(1, 0, 30));
        check_pattern(1, 0, &rig.recv_exact(b, 30));
    }
    rig.finish();
}

/// The peer gets everything and then the end.
pub fn graceful_close_delivers_what_was_sent<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    rig.send_all(a, patterned(1, 0, 20_000));
    rig.close(a);
    let all = rig.recv_to_end(b);
    assert_eq!(all.len(), 20_000);
    check_pattern(1, 0, &all);
    rig.finish();
}

/// The same over TCP.
pub fn graceful_close_delivers_what_was_sent_over_tcp<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.tcp_pair();
    rig.send_all(a, patterned(1, 0, 20_000));
    rig.close(a);
    let all = rig.recv_to_end(b);
    assert_eq!(all.len(), 20_000);
    check_pattern(1, 0, &all);
    rig.finish();
}

/// [`Close::Reset`] of a TCP socket is a reset at the peer.
pub fn reset_is_seen_by_the_peer<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.tcp_pair();
    let recv = rig.recv(b, SlotSize::Small, Shots::Many);
    rig.expect_nothing(recv);
    rig.driver.close(a, Close::Reset);
    let (result, last) = rig.received(recv);
    assert_eq!((result, last), (Err(OpError::Os(libc::ECONNRESET)), true));
    rig.finish();
}

/// A close with a receive outstanding reaches the peer although the descriptor must wait for the completion.
pub fn close_ends_the_stream_even_with_a_receive_outstanding<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    for (how, expected) in [(Close::Graceful, Ok(0)), (Close::Reset, Err(OpError::Os(libc::ECONNRESET)))] {
        let (a, b) = rig.tcp_pair();
        let ours = rig.recv(a, SlotSize::Small, Shots::Many);
        let watch = rig.submit(Op::Watch { socket: a });
        rig.expect_nothing(ours);
        rig.driver.close(a, how);
        let theirs = rig.recv(b, SlotSize::Small, Shots::One);
        assert_eq!(rig.received(theirs).0.map(|data| data.len()), expected, "{how:?}");
        assert!(rig.received(ours).1);
        assert!(!rig.next(watch).more);
    }
    rig.finish();
}

/// The second close is of a stale id.
pub fn close_twice_is_ignored<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let recv = rig.recv(a, SlotSize::Small, Shots::One);
    let open = rig.driver.counters().sockets_open;
    rig.close(a);
    rig.driver.close(a, Close::Reset);
    assert!(rig.received(recv).1);
    rig.close(a);
    assert_eq!(rig.recv_to_end(b), b"");
    assert_eq!(rig.driver.counters().sockets_open, open - 1);
    rig.finish();
}
