//! R7: everything is bounded, a full driver refuses and hands back, and a caller that keeps every slot stops only
//! itself.

use bytes::BytesMut;

use super::rig::{check_pattern, patterned};
use super::{Harness, Rig};
use crate::driver::{DatagramDriver, Driver, SocketId};
use crate::error::{OpError, Refusal};
use crate::op::{Completion, DatagramOp, Datagrams, Op, Outcome, Shots, SlotSize, Transmit};

fn single(seed: u8, len: usize, peer: std::net::SocketAddr) -> Transmit {
    Transmit {
        buffer: patterned(seed, 0, len).to_vec(),
        segment_bytes: len,
        peer,
        local_ip: None,
        ecn: None,
        zero_copy: false,
    }
}

/// Operations are taken until the driver is full; the one too many comes back as it was; after a turn there is room.
pub fn r7_full_driver_hands_the_operation_back<H: Harness>(harness: &H) {
    let mut rig = Rig::small(harness);
    let ((a, _), (_b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let (c, _d) = rig.stream_pair();
    let train = single(1, 64, b_addr);
    let mut tokens = Vec::new();
    let refused = loop {
        match rig.try_submit_datagrams(DatagramOp::Send { socket: a, transmit: train.clone() }) {
            Ok(token) => tokens.push(token),
            Err(refused) => break refused,
        }
        assert!(tokens.len() <= 1000, "the driver takes operations without end");
    };
    assert!(tokens.len() >= 100);
    assert_eq!(refused.reason, Refusal::Full);
    let DatagramOp::Send { socket, transmit } = refused.value else { panic!("another operation came back") };
    assert_eq!((socket, transmit), (a, train.clone()));
    let data = vec![patterned(2, 0, 99)];
    let refused = rig.try_submit(Op::Send { socket: c, data: data.clone(), zero_copy: false }).unwrap_err();
    assert_eq!(refused.reason, Refusal::Full);
    let Op::Send { socket, data: back, .. } = refused.value else { panic!("another operation came back") };
    assert_eq!((socket, back), (c, data));
    assert!(rig.driver.counters().refused_full >= 2);
    // Nothing was lost: each completes.
    for token in tokens {
        assert_eq!(rig.datagrams_sent(token).1, train);
    }
    rig.send_all(c, patterned(2, 0, 99));
    rig.finish();
}

/// The table is bounded too, and the socket that does not fit comes back open.
pub fn r7_full_table_hands_the_socket_back<H: Harness>(harness: &H) {
    let mut rig = Rig::small(harness);
    let (a, b) = rig.stream_pair();
    let spare = rig.driver.release(b).expect("nothing is outstanding");
    let mut sockets: Vec<SocketId> = Vec::new();
    let mut spare = Some(spare);
    // Put the spare one in last: first fill the table with sockets that stay open.
    let before = rig.driver.counters().sockets_open;
    let mut accepted = 0;
    let (listener, addr) = harness.listener(&mut rig.driver);
    let accept = rig.submit(Op::Accept { listener });
    let full = loop {
        assert!(sockets.len() < 70_000, "the table takes sockets without end");
        let connect = rig.submit(Op::Connect { addr });
        match rig.next(connect).outcome {
            Outcome::Connected(Ok(socket)) => sockets.push(socket),
            Outcome::Connected(Err(error)) => break error,
            other => panic!("not a connect: {other:?}"),
        }
        // Accepted connections take places as well; when there is none left the accept ends with an error.
        while let Some(Completion { outcome: Outcome::Accepted(result), more, .. }) = rig.take(accept) {
            accepted += usize::from(result.is_ok());
            if !more {
                break;
            }
        }
        if sockets.len() + accepted >= 16 {
            match rig.driver.adopt(spare.take().expect("still here")) {
                Ok(socket) => spare = Some(rig.driver.release(socket).expect("nothing is outstanding")),
                Err(refused) => {
                    assert_eq!(refused.reason, Refusal::Full);
                    spare = Some(refused.value);
                    break OpError::Os(0);
                }
            }
        }
    };
    assert!(rig.driver.counters().sockets_open > before, "{full}");
    // One place is enough for it, and it still works.
    rig.close(sockets.pop().expect("some connected"));
    rig.pass(super::rig::SHORT);
    rig.driver.cancel(accept);
    let b = rig.wait_for("a place", |rig| match rig.driver.adopt(spare.take()?) {
        Ok(socket) => Some(socket),
        Err(refused) => {
            spare = Some(refused.value);
            rig.close(sockets.pop()?);
            None
        }
    });
    rig.send_all(a, &b"still open"[..]);
    assert_eq!(rig.recv_exact(b, 10), b"still open");
    rig.finish();
}

/// A caller that keeps every slot gets [`OpError::NoBuffers`]; once it drops them, the receive is submitted again
/// and goes on at the byte where it stopped.
pub fn r7_receive_ends_when_every_slot_is_held_and_resumes<H: Harness>(harness: &H) {
    const CHUNK: usize = 500;
    let mut rig = Rig::small(harness);
    let (a, b) = rig.stream_pair();
    let slots = rig.driver.stream_slots(SlotSize::Small).total;
    let recv = rig.recv(b, SlotSize::Small, Shots::Many);
    let mut held: Vec<BytesMut> = Vec::new();
    let mut received = 0;
    let mut sent = 0;
    loop {
        assert!(held.len() <= slots, "more is held than there are slots");
        rig.send_all(a, patterned(1, sent, CHUNK));
        sent += CHUNK;
        match rig.received(recv) {
            (Ok(data), last) => {
                assert!(!last, "it ends only when no slot is left");
                check_pattern(1, received, &data);
                received += data.len();
                held.push(data);
            }
            (Err(error), last) => {
                assert_eq!((error, last), (OpError::NoBuffers, true));
                break;
            }
        }
    }
    assert!(held.len() >= 4);
    assert!(rig.driver.stream_slots(SlotSize::Small).held >= held.len());
    assert!(rig.driver.counters().no_buffers >= 1);
    // Held bytes were not overwritten meanwhile.
    let mut at = 0;
    for data in held.drain(..) {
        check_pattern(1, at, &data);
        at += data.len();
    }
    resume(&mut rig, b, 1, received, sent);
    rig.finish();
}

/// Receives the rest of a stream after [`OpError::NoBuffers`].
fn resume<H: Harness>(rig: &mut Rig<'_, H>, socket: SocketId, seed: u8, mut received: usize, sent: usize) {
    let mut attempts = 0;
    while received < sent {
        attempts += 1;
        assert!(attempts < 100, "it does not resume");
        let token = rig.recv(socket, SlotSize::Small, Shots::One);
        match rig.received(token).0 {
            Ok(data) => {
                check_pattern(seed, received, &data);
                received += data.len();
            }
            Err(error) => {
                // A driver may notice dropped bytes only in a turn.
                assert_eq!(error, OpError::NoBuffers);
                rig.pump(Some(rig.driver.now()), 1);
            }
        }
    }
}

/// A one-shot receive without a slot ends, too.
pub fn r7_one_shot_receive_without_a_slot_ends<H: Harness>(harness: &H) {
    let mut rig = Rig::small(harness);
    let (a, b) = rig.stream_pair();
    let slots = rig.driver.stream_slots(SlotSize::Small).total;
    let mut held = Vec::new();
    let mut received = 0;
    rig.send_all(a, patterned(1, 0, slots * 5000));
    let error = loop {
        assert!(held.len() <= slots, "more is held than there are slots");
        let token = rig.recv(b, SlotSize::Small, Shots::One);
        match rig.received(token).0 {
            Ok(data) => {
                received += data.len();
                held.push(data);
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error, OpError::NoBuffers);
    drop(held);
    resume(&mut rig, b, 1, received, slots * 5000);
    rig.finish();
}

/// Datagrams behave likewise: what no slot is free for stays in the socket's buffer.
pub fn r7_datagram_receive_ends_when_every_slot_is_held_and_resumes<H: Harness>(harness: &H) {
    let mut rig = Rig::small(harness);
    let ((a, _), (b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let slots = rig.driver.datagram_slots().total;
    let recv = rig.recv_datagrams(b);
    let mut held: Vec<Datagrams> = Vec::new();
    loop {
        assert!(held.len() <= slots, "more is held than there are slots");
        let token = rig.send_datagrams(a, single(7, 300, b_addr));
        assert_eq!(rig.datagrams_sent(token).0, Ok(()));
        match rig.next(recv) {
            Completion { outcome: Outcome::Datagrams(Ok(datagrams)), more: true, .. } => held.push(datagrams),
            Completion { outcome: Outcome::Datagrams(Err(error)), more: false, .. } => {
                assert_eq!(error, OpError::NoBuffers);
                break;
            }
            other => panic!("neither datagrams nor their end: {other:?}"),
        }
    }
    assert!(held.len() >= 4);
    assert!(rig.driver.datagram_slots().held >= held.len());
    for datagrams in held.drain(..) {
        check_pattern(7, 0, &datagrams.data);
    }
    let mut attempts = 0;
    let datagrams = loop {
        attempts += 1;
        assert!(attempts < 100, "it does not resume");
        let recv = rig.recv_datagrams(b);
        match rig.next(recv).outcome {
            Outcome::Datagrams(Ok(datagrams)) => break datagrams,
            Outcome::Datagrams(Err(OpError::NoBuffers)) => rig.pump(Some(rig.driver.now()), 1),
            other => panic!("neither datagrams nor their end: {other:?}"),
        };
    };
    check_pattern(7, 0, &datagrams.data);
    rig.finish();
}

/// What is held is counted, and dropping it counts down, at the latest after a few turns.
pub fn slots_are_counted<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let ((c, _), (d, d_addr)) = harness.udp_pair(&mut rig.driver);
    assert_eq!(rig.driver.stream_slots(SlotSize::Large).held, 0);
    assert_eq!(rig.driver.datagram_slots().held, 0);
    rig.send_all(a, patterned(1, 0, 10));
    let token = rig.recv(b, SlotSize::Large, Shots::One);
    let bytes = rig.received(token).0.expect("bytes");
    let recv = rig.recv_datagrams(d);
    rig.send_datagrams(c, single(2, 20, d_addr));
    let datagrams = rig.datagrams(recv);
    assert_eq!(rig.driver.stream_slots(SlotSize::Large).held, 1);
    assert_eq!(rig.driver.datagram_slots().held, 1);
    assert_eq!(rig.driver.stream_slots(SlotSize::Small).held, 0, "each size is counted on its own");
    let mut front = bytes;
    let back = front.split_off(5);
    drop((front, datagrams));
    rig.wait_for("the datagrams' slot", |rig| {
        rig.pump(Some(rig.driver.now()), 1);
        (rig.driver.datagram_slots().held == 0).then_some(())
    });
    assert_eq!(rig.driver.stream_slots(SlotSize::Large).held, 1, "a part is still held");
    drop(back);
    rig.wait_for("the bytes' slot", |rig| {
        rig.pump(Some(rig.driver.now()), 1);
        (rig.driver.stream_slots(SlotSize::Large).held == 0).then_some(())
    });
    rig.finish();
}
