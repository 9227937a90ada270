//! R4: a cancelled operation still completes, once, and never lies about what it did.

use super::rig::{check_pattern, patterned};
use super::{Harness, Rig};
use crate::driver::{Driver, Token};
use crate::error::OpError;
use crate::op::{Op, Outcome, Shots, SlotSize, Transmit};

/// An accept that nobody connects to.
pub fn r4_cancelled_accept<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (listener, _) = harness.listener(&mut rig.driver);
    let token = rig.submit(Op::Accept { listener });
    rig.expect_nothing(token);
    let completion = rig.cancel(token);
    assert!(matches!(completion.outcome, Outcome::Accepted(Err(OpError::Cancelled))), "{completion:?}");
    rig.finish();
}

/// A one-shot receive without bytes.
pub fn r4_cancelled_receive_one_shot<H: Harness>(harness: &H) {
    cancelled_receive(harness, Shots::One);
}

/// A many-shot receive without bytes.
pub fn r4_cancelled_receive_many_shots<H: Harness>(harness: &H) {
    cancelled_receive(harness, Shots::Many);
}

fn cancelled_receive<H: Harness>(harness: &H, shots: Shots) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    for at_once in [false, true] {
        let token = rig.recv(b, SlotSize::Small, shots);
        if !at_once {
            rig.expect_nothing(token);
        }
        let completion = rig.cancel(token);
        assert!(matches!(completion.outcome, Outcome::Received(Err(OpError::Cancelled))), "{completion:?}");
    }
    // The socket is as good as before.
    rig.send_all(a, patterned(1, 0, 10));
    check_pattern(1, 0, &rig.recv_exact(b, 10));
    rig.finish();
}

/// A watch of a connection that is well.
pub fn r4_cancelled_watch<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, _b) = rig.tcp_pair();
    let token = rig.submit(Op::Watch { socket: a });
    rig.expect_nothing(token);
    let completion = rig.cancel(token);
    assert!(matches!(completion.outcome, Outcome::Gone(Err(OpError::Cancelled))), "{completion:?}");
    rig.finish();
}

/// A datagram receive to which nothing comes.
pub fn r4_cancelled_datagram_receive<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let ((a, _), _) = harness.udp_pair(&mut rig.driver);
    let token = rig.recv_datagrams(a);
    rig.expect_nothing(token);
    let completion = rig.cancel(token);
    assert!(matches!(completion.outcome, Outcome::Datagrams(Err(OpError::Cancelled))), "{completion:?}");
    rig.finish();
}

/// A blocked send: what it reports is what the peer gets, no byte more or less.
pub fn r4_cancelled_send_reports_exactly_what_went<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let (blocked, before) = rig.fill(a, 1);
    rig.driver.cancel(blocked);
    let (result, data) = rig.sent(blocked);
    let went = match result {
        Ok(bytes) => before + bytes,
        Err(error) => {
            assert_eq!(error, OpError::Cancelled);
            before
        }
    };
    assert_eq!(data[0], patterned(1, before, data[0].len()));
    rig.close(a);
    let all = rig.recv_to_end(b);
    assert_eq!(all.len(), went);
    check_pattern(1, 0, &all);
    rig.finish();
}

/// A connect may have succeeded by the time it is cancelled; it ends once, and a success is a working connection.
pub fn r4_cancelled_connect_ends_once<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (_listener, addr) = harness.listener(&mut rig.driver);
    for wait in [false, true] {
        let token = rig.submit(Op::Connect { addr });
        if wait {
            rig.pump(Some(rig.driver.now()), 1);
        }
        rig.driver.cancel(token);
        match rig.next(token).outcome {
            Outcome::Connected(Ok(socket)) => rig.send_all(socket, &b"it works"[..]),
            Outcome::Connected(Err(error)) => assert_eq!(error, OpError::Cancelled),
            other => panic!("not a connect: {other:?}"),
        }
    }
    rig.finish();
}

/// A shutdown that is cancelled either happened or did not, and says which.
pub fn r4_cancelled_shutdown_ends_once<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let token = rig.submit(Op::ShutdownWrite { socket: a });
    rig.driver.cancel(token);
    match rig.next(token).outcome {
        Outcome::ShutdownWrite(Ok(())) => assert_eq!(rig.recv_to_end(b), b""),
        Outcome::ShutdownWrite(Err(OpError::Cancelled)) => {
            rig.send_all(a, &b"still open"[..]);
            assert_eq!(rig.recv_exact(b, 10), b"still open");
        }
        other => panic!("not a shutdown: {other:?}"),
    }
    rig.finish();
}

/// A datagram send that is cancelled gives its train back.
pub fn r4_cancelled_datagram_send_ends_once<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let ((a, _), (_b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let train = Transmit {
        buffer: patterned(1, 0, 700).to_vec(),
        segment_bytes: 700,
        peer: b_addr,
        local_ip: None,
        ecn: None,
        zero_copy: false,
    };
    let token = rig.send_datagrams(a, train.clone());
    rig.driver.cancel(token);
    let (result, back) = rig.datagrams_sent(token);
    assert!(matches!(result, Ok(()) | Err(OpError::Cancelled)), "{result:?}");
    assert_eq!(back, train);
    rig.finish();
}

/// Bytes that come while a receive is cancelled are in its completion or in the next receive.
pub fn r4_cancel_racing_with_bytes_loses_none<H: Harness>(harness: &H) {
    const ROUNDS: usize = 50;
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let shots = if round % 2 == 0 { Shots::One } else { Shots::Many };
        let recv = rig.recv(b, SlotSize::Small, shots);
        let send = rig.send(a, patterned(1, round * 100, 100));
        for _ in 0..round % 4 {
            rig.pump(Some(rig.driver.now()), 1);
        }
        rig.driver.cancel(recv);
        assert_eq!(rig.sent(send).0, Ok(100));
        loop {
            match rig.received(recv) {
                (Ok(data), last) => {
                    all.extend_from_slice(&data);
                    if last {
                        break;
                    }
                }
                (Err(error), last) => {
                    assert!(last && error == OpError::Cancelled, "{error}");
                    break;
                }
            }
        }
    }
    rig.close(a);
    all.extend(rig.recv_to_end(b));
    assert_eq!(all.len(), ROUNDS * 100);
    check_pattern(1, 0, &all);
    rig.finish();
}

/// Tokens that stand for nothing are ignored, whether never used or used up.
pub fn r4_unknown_token_is_ignored<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    rig.driver.cancel(Token(0xdead_beef));
    let token = rig.recv(b, SlotSize::Small, Shots::One);
    rig.send_all(a, &b"x"[..]);
    assert!(rig.received(token).0.is_ok());
    rig.driver.cancel(token);
    rig.expect_nothing(token);
    rig.finish();
}

/// Cancelling again changes nothing.
pub fn r4_cancelled_twice_ends_once<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (_a, b) = rig.stream_pair();
    let token = rig.recv(b, SlotSize::Small, Shots::Many);
    rig.pump(Some(rig.driver.now()), 1);
    rig.driver.cancel(token);
    rig.driver.cancel(token);
    assert!(rig.received(token).1);
    rig.driver.cancel(token);
    rig.expect_nothing(token);
    rig.finish();
}

/// Cancelling the receive leaves the send of the same socket alone, and the other way round.
pub fn r4_cancel_leaves_the_other_direction_alone<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let (blocked, before) = rig.fill(a, 1);
    let recv = rig.recv(a, SlotSize::Small, Shots::Many);
    rig.cancel(recv);
    assert!(rig.is_outstanding(blocked));
    let recv = rig.recv(a, SlotSize::Small, Shots::One);
    rig.driver.cancel(blocked);
    let went = before + rig.sent(blocked).0.unwrap_or(0);
    rig.expect_nothing(recv);
    rig.send_all(b, &b"heard"[..]);
    assert_eq!(rig.received(recv).0.expect("bytes"), b"heard"[..]);
    check_pattern(1, 0, &rig.recv_exact(b, went));
    rig.finish();
}
