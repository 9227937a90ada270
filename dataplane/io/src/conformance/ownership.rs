//! R1, R2, R5, R6: who owns what, and how often an operation completes.

use bytes::Bytes;

use super::rig::patterned;
use super::{Harness, Rig, pattern};
use crate::driver::{Close, Driver, Token};
use crate::error::OpError;
use crate::op::{DatagramOp, Op, Outcome, Shots, SlotSize, Transmit};

/// A send's pieces come back as they went in.
pub fn r1_send_gives_its_pieces_back_untouched<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, _b) = rig.stream_pair();
    let pieces = vec![patterned(1, 0, 100), patterned(2, 0, 1), patterned(3, 0, 5000)];
    let token = rig.submit(Op::Send { socket: a, data: pieces.clone(), zero_copy: false });
    let (result, data) = rig.sent(token);
    assert!(result.expect("sent") > 0);
    assert_eq!(data, pieces);
    let same: Vec<_> = data.iter().map(|piece| piece.as_ptr()).collect();
    assert_eq!(same, pieces.iter().map(|piece| piece.as_ptr()).collect::<Vec<_>>(), "the same memory");
    rig.finish();
}

/// Closing a socket under a send does not free the send's buffer before its final completion.
pub fn r1_closed_socket_keeps_its_buffers_until_the_last_completion<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, _b) = rig.stream_pair();
    let (blocked, went) = rig.fill(a, 2);
    assert!(went > 0);
    rig.driver.close(a, Close::Graceful);
    let (result, data) = rig.sent(blocked);
    assert!(matches!(result, Ok(_) | Err(OpError::Cancelled)), "{result:?}");
    assert_eq!(data[0], patterned(2, went, data[0].len()));
    rig.finish();
}

/// A train comes back as it went in.
pub fn r1_datagram_send_gives_its_train_back_untouched<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let ((a, _), (_b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let train = Transmit {
        buffer: patterned(1, 0, 900).to_vec(),
        segment_bytes: 900,
        peer: b_addr,
        local_ip: None,
        ecn: None,
        zero_copy: false,
    };
    let token = rig.send_datagrams(a, train.clone());
    let (result, back) = rig.datagrams_sent(token);
    assert_eq!(result, Ok(()));
    assert_eq!(back, train);
    rig.finish();
}

/// A one-shot receive takes what is there, completes once, and takes no more.
pub fn r2_one_shot_receive_completes_once<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let token = rig.recv(b, SlotSize::Small, Shots::One);
    rig.send_all(a, &b"first"[..]);
    let (result, last) = rig.received(token);
    assert!(last);
    assert_eq!(result.expect("bytes"), b"first"[..]);
    rig.send_all(a, &b"second"[..]);
    rig.expect_nothing(token);
    assert_eq!(rig.recv_exact(b, 6), b"second");
    rig.finish();
}

/// Closing a socket ends whatever is outstanding on it, each operation once.
pub fn r2_close_ends_every_operation_once<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, _b) = rig.stream_pair();
    let recv = rig.recv(a, SlotSize::Small, Shots::Many);
    let watch = rig.submit(Op::Watch { socket: a });
    let (send, _) = rig.fill(a, 1);
    let (listener, _) = harness.listener(&mut rig.driver);
    let accept = rig.submit(Op::Accept { listener });
    let ((udp, _), _) = harness.udp_pair(&mut rig.driver);
    let datagrams = rig.recv_datagrams(udp);
    rig.expect_nothing(recv);
    for socket in [a, listener, udp] {
        rig.close(socket);
    }
    let (result, last) = rig.received(recv);
    // A driver may end the stream on its way to closing it.
    assert!(last && matches!(result, Ok(ref data) if data.is_empty()) || result == Err(OpError::Cancelled));
    assert!(matches!(rig.next(watch).outcome, Outcome::Gone(_)));
    assert_eq!(rig.sent(send).1.len(), 1);
    assert!(matches!(rig.next(accept).outcome, Outcome::Accepted(Err(_))));
    assert!(matches!(rig.next(datagrams).outcome, Outcome::Datagrams(Err(_))));
    for token in [recv, watch, send, accept, datagrams] {
        assert!(!rig.is_outstanding(token), "{token:?} was final");
    }
    rig.finish();
}

/// Close is no operation: it completes nothing by itself.
pub fn r2_close_completes_nothing_itself<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    rig.close(a);
    // The rig fails at any completion that belongs to no operation.
    rig.pass(super::rig::SHORT);
    assert_eq!(rig.recv_to_end(b), b"");
    rig.finish();
}

/// After the end of the stream each further receive completes, again with the end.
pub fn r2_receive_after_the_end_of_the_stream_still_completes<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    rig.close(a);
    for shots in [Shots::One, Shots::Many, Shots::One] {
        let token = rig.recv(b, SlotSize::Small, shots);
        let (result, last) = rig.received(token);
        assert!(last && result.expect("the end").is_empty());
    }
    rig.finish();
}

/// A token is free for another operation once its final completion has been delivered.
pub fn r5_token_may_be_used_again_after_its_final_completion<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let token = Token(u64::MAX - 7);
    for round in 0..20 {
        rig.submit_as(Op::Recv { socket: b, slot: SlotSize::Small, shots: Shots::One }, token).expect("room");
        rig.send_all(a, vec![pattern(1, round)]);
        assert_eq!(rig.received(token).0.expect("a byte"), [pattern(1, round)][..]);
    }
    rig.finish();
}

/// Dropping the driver with one of everything in flight frees every buffer and touches none afterwards.
pub fn r6_drop_with_everything_in_flight<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    rig.fill(a, 1);
    rig.recv(a, SlotSize::Large, Shots::Many);
    rig.submit(Op::Watch { socket: b });
    let (c, _d) = rig.tcp_pair();
    rig.recv(c, SlotSize::Small, Shots::One);
    let (listener, addr) = harness.listener(&mut rig.driver);
    rig.submit(Op::Accept { listener });
    rig.submit(Op::Connect { addr });
    let ((udp, _), (_other, other_addr)) = harness.udp_pair(&mut rig.driver);
    rig.recv_datagrams(udp);
    let watched = Bytes::from(vec![7; 512 * 1024]);
    let (e, _f) = rig.stream_pair();
    rig.fill(e, 2);
    let (g, _h) = rig.stream_pair();
    let data = vec![watched.clone(), watched.slice(1..), watched.slice(2..)];
    rig.submit(Op::Send { socket: g, data, zero_copy: true });
    let train = Transmit {
        buffer: vec![9; 1200],
        segment_bytes: 1200,
        peer: other_addr,
        local_ip: None,
        ecn: None,
        zero_copy: true,
    };
    rig.try_submit_datagrams(DatagramOp::Send { socket: udp, transmit: train }).expect("room");
    rig.pump(Some(rig.driver.now()), 4);
    drop(rig);
    assert!(watched.is_unique(), "the driver still holds a buffer");
    assert!(watched.iter().all(|byte| *byte == 7));
}

/// Received bytes stay what they are when the socket is closed and the driver dropped.
pub fn r6_received_bytes_outlive_the_driver<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    rig.send_all(a, patterned(1, 0, 3000));
    let token = rig.recv(b, SlotSize::Small, Shots::One);
    let data = rig.received(token).0.expect("bytes");
    rig.close(b);
    rig.finish();
    assert_eq!(data, patterned(1, 0, 3000));
}
