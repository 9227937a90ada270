//! Receive slots of streams in the kernel's hands.

use std::io::Write;

use adit_io::{Driver, OpError, OpKind, Outcome, Shots, SlotSize};
use bytes::BytesMut;

use crate::{Bench, SMALL, tcp_pair};

/// Every slot is used many times over, and it is the same memory.
#[test]
fn a_few_slots_carry_any_number_of_receives() {
    const ROUNDS: u64 = 400;
    let mut bench = Bench::new();
    let (inside, mut outside) = tcp_pair(&mut bench);
    let mut addresses = std::collections::HashSet::new();
    let mut recv = bench.recv(inside, Shots::Many);
    for round in 0..ROUNDS {
        let text = round.to_be_bytes();
        outside.write_all(&text).unwrap();
        let completion = bench.next(recv);
        let Outcome::Received(Ok(data)) = completion.outcome else { panic!("{completion:?}") };
        assert_eq!(data[..], text);
        addresses.insert(data.as_ptr() as usize);
        if !completion.more {
            recv = bench.recv(inside, Shots::Many);
        }
    }
    assert!(addresses.len() <= SMALL.small_slots, "{} slots", addresses.len());
    let counters = bench.driver.counters();
    assert_eq!(counters.provided_buffer_receives, ROUNDS);
    assert_eq!(counters.stream_bytes_received, ROUNDS * 8);
    assert_eq!(counters.no_buffers, 0);
    assert_eq!(counters.submitted(OpKind::RecvMultishot), 1, "it stayed armed all the time");
}

/// With every slot held by the caller a receive ends, and the next one after a drop goes on where it stopped.
#[test]
fn a_receive_without_a_slot_ends_and_can_go_on() {
    let mut bench = Bench::new();
    let (inside, mut outside) = tcp_pair(&mut bench);
    let bytes: Vec<u8> =
        (0..=u8::MAX).cycle().take(SMALL.small_slots * SlotSize::Small.bytes() + 100).collect();
    outside.write_all(&bytes).unwrap();
    let mut held: Vec<BytesMut> = Vec::new();
    for shots in [Shots::Many, Shots::One] {
        let recv = bench.recv(inside, shots);
        loop {
            let completion = bench.next(recv);
            match completion.outcome {
                Outcome::Received(Ok(data)) => held.push(data),
                Outcome::Received(Err(OpError::NoBuffers)) => {
                    assert!(!completion.more);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(held.len(), SMALL.small_slots);
    }
    assert_eq!(bench.driver.counters().no_buffers, 2);
    let mut all = held.concat();
    held.clear();
    while all.len() < bytes.len() {
        let recv = bench.recv(inside, Shots::One);
        match bench.next(recv).outcome {
            Outcome::Received(Ok(data)) => all.extend_from_slice(&data),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(all, bytes);
}
