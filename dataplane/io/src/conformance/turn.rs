//! R8 and the turn itself: waiting, waking, its bounds and its counters.

use std::time::Duration;

use super::order::{Reader, Writer};
use super::rig::{SHORT, patterned};
use super::{Harness, Rig};
use crate::counters::OpKind;
use crate::driver::Driver;
use crate::op::{Op, Shots, SlotSize, Transmit};

/// Whoever asked for one driver did not get another.
pub fn r8_driver_says_what_it_is<H: Harness>(harness: &H) {
    let rig = Rig::new(harness);
    let capabilities = rig.driver.capabilities();
    assert_eq!(capabilities.kind, H::KIND);
    assert!(capabilities.gso_segments_max >= 1);
    rig.finish();
}

/// A turn without events ends at its deadline, not before it by much nor long after.
pub fn deadline_passes<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (_a, b) = rig.stream_pair();
    let recv = rig.recv(b, SlotSize::Small, Shots::One);
    let until = rig.driver.now() + SHORT;
    let mut turns = 0;
    while rig.driver.now() < until {
        rig.pump(Some(until), 16);
        turns += 1;
        assert!(turns < 1000, "the turns spin instead of waiting");
    }
    assert!(rig.driver.now() < until + Duration::from_secs(10));
    assert!(rig.take(recv).is_none());
    rig.finish();
}

/// A deadline in the past means: do not wait.
pub fn past_deadline_does_not_wait<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (_a, b) = rig.stream_pair();
    rig.recv(b, SlotSize::Small, Shots::Many);
    let before = rig.driver.now();
    for _ in 0..100 {
        rig.pump(Some(before), 16);
    }
    assert!(rig.driver.now() < before + Duration::from_secs(5));
    rig.finish();
}

/// The clock goes forward only.
pub fn now_never_goes_back<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let mut last = rig.driver.now();
    for step in 0..50 {
        rig.pump(Some(last + Duration::from_micros(step * 10)), 16);
        let now = rig.driver.now();
        assert!(now >= last);
        last = now;
    }
    rig.finish();
}

/// At most `max` completions come out of a turn, and the others are not lost.
pub fn max_is_respected<H: Harness>(harness: &H) {
    const PAIRS: usize = 12;
    let mut rig = Rig::new(harness);
    let mut pairs = Vec::new();
    let mut receives = Vec::new();
    for _ in 0..PAIRS {
        let (a, b) = rig.stream_pair();
        receives.push(rig.recv(b, SlotSize::Small, Shots::One));
        pairs.push(a);
    }
    let sends: Vec<_> = pairs.into_iter().map(|a| rig.send(a, &b"ready"[..])).collect();
    let limit = rig.driver.now() + Duration::from_secs(20);
    let mut out = 0;
    while out < 2 * PAIRS {
        // The rig fails at a turn that gives more than it was asked for.
        out += rig.pump(Some(limit), 1 + out % 3);
        assert!(rig.driver.now() < limit, "{out} of {} completions came", 2 * PAIRS);
    }
    assert!(sends.into_iter().all(|token| rig.sent(token).0 == Ok(5)));
    assert!(receives.into_iter().all(|token| rig.received(token).0.expect("bytes") == b"ready"[..]));

    // And when many end at the same moment.
    let mut receives = Vec::new();
    for _ in 0..PAIRS {
        let (_a, b) = rig.stream_pair();
        receives.push(rig.recv(b, SlotSize::Small, Shots::Many));
    }
    rig.pump(Some(rig.driver.now()), 1);
    for token in &receives {
        rig.driver.cancel(*token);
    }
    let mut out = 0;
    while out < PAIRS {
        out += rig.pump(Some(limit), 2);
        assert!(rig.driver.now() < limit, "{out} of {PAIRS} completions came");
    }
    assert!(receives.into_iter().all(|token| rig.received(token).1));
    rig.finish();
}

/// Bytes that nobody wants end no wait: a driver under backpressure must not spin.
pub fn unread_bytes_end_no_wait<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let ((udp, _), (_other, other_addr)) = harness.udp_pair(&mut rig.driver);
    rig.send_all(a, patterned(1, 0, 5000));
    let train = Transmit {
        buffer: vec![1; 100],
        segment_bytes: 100,
        peer: other_addr,
        local_ip: None,
        ecn: None,
        zero_copy: false,
    };
    let token = rig.send_datagrams(udp, train);
    assert_eq!(rig.datagrams_sent(token).0, Ok(()));
    let watch = rig.submit(Op::Watch { socket: b });
    rig.pass(SHORT);
    let until = rig.driver.now() + SHORT;
    let mut turns = 0;
    while rig.driver.now() < until {
        rig.pump(Some(until), 16);
        turns += 1;
    }
    assert!(turns < 20, "{turns} turns while nothing happened");
    assert!(rig.take(watch).is_none());
    rig.finish();
}

/// A connection that carries bulk leaves others their turn: a small exchange that begins later ends earlier.
pub fn bulk_leaves_others_their_turn<H: Harness>(harness: &H) {
    const BULK: usize = 4 * 1024 * 1024;
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let mut writer = Writer::new(a, 1, BULK);
    let mut reader = Reader::new(b, 1, SlotSize::Small);
    let (c, d) = rig.stream_pair();
    let mut small = None;
    let mut exchanges = 0;
    rig.wait_for("the bulk", |rig| {
        writer.poll(rig);
        reader.poll(rig);
        if reader.received < BULK / 8 {
            // The bulk is under way before the first exchange begins.
        } else if let Some(token) = small {
            if let Some(completion) = rig.take(token) {
                assert!(!completion.more);
                exchanges += 1;
                small = None;
            }
        } else {
            rig.send(c, patterned(2, exchanges, 1));
            small = Some(rig.recv(d, SlotSize::Small, Shots::One));
        }
        rig.pump(Some(rig.driver.now()), 4);
        (reader.received == BULK).then_some(())
    });
    assert!(exchanges >= 3, "{exchanges} exchanges beside {BULK} bytes of bulk");
    rig.finish();
}

/// A wake from elsewhere ends a wait that has nothing else to end it.
pub fn wake_ends_the_wait<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (_a, b) = rig.stream_pair();
    rig.recv(b, SlotSize::Small, Shots::Many);
    let start = rig.driver.now();
    let long = Duration::from_secs(60);
    for _ in 0..20 {
        harness.wake_from_elsewhere(rig.driver.waker());
        rig.pump(Some(start + long), 16);
    }
    assert!(rig.driver.now() < start + long, "no wake came through");
    rig.finish();
}

/// Many wakes may count as one, but a wake before the turn is not lost.
pub fn wakes_coalesce_and_none_is_lost<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let start = rig.driver.now();
    let waker = rig.driver.waker();
    let long = Duration::from_secs(60);
    for _ in 0..10 {
        for _ in 0..1000 {
            waker.wake();
        }
        rig.pump(Some(start + long), 16);
    }
    assert!(rig.driver.now() < start + long, "a wake was lost");
    // And they do not echo for ever: a wait lasts again.
    let until = rig.driver.now() + SHORT;
    let mut turns = 0;
    while rig.driver.now() < until {
        rig.pump(Some(until), 16);
        turns += 1;
        assert!(turns < 1000, "the turns spin instead of waiting");
    }
    drop(rig);
    // The handle outlives the driver.
    waker.wake();
}

/// The counters say what was done. Over TCP: on a Unix socket a driver may arm a receive of many shots each time.
pub fn counters_add_up<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.tcp_pair();
    assert_eq!(rig.driver.counters().sockets_open, 2);
    let before = rig.driver.counters().clone();
    let recv = rig.recv(b, SlotSize::Small, Shots::Many);
    for _ in 0..5 {
        let token = rig.send(a, patterned(1, 0, 100));
        assert_eq!(rig.sent(token).0, Ok(100));
        assert_eq!(rig.received(recv).0.expect("bytes").len(), 100);
    }
    let one = rig.recv(a, SlotSize::Small, Shots::One);
    rig.cancel(one);
    let shutdown = rig.submit(Op::ShutdownWrite { socket: a });
    rig.next(shutdown);
    assert!(rig.received(recv).1);
    rig.close(a);
    rig.pass(SHORT);
    let after = rig.driver.counters().clone();
    let submitted = |kind| after.submitted(kind) - before.submitted(kind);
    let completed = |kind| after.completed(kind) - before.completed(kind);
    assert_eq!((submitted(OpKind::Send), completed(OpKind::Send)), (5, 5));
    assert_eq!((submitted(OpKind::RecvMultishot), completed(OpKind::RecvMultishot)), (1, 6));
    assert_eq!((submitted(OpKind::RecvSingle), completed(OpKind::RecvSingle)), (1, 1));
    assert_eq!((submitted(OpKind::ShutdownWrite), completed(OpKind::ShutdownWrite)), (1, 1));
    assert_eq!((submitted(OpKind::Cancel), submitted(OpKind::Close)), (1, 1));
    assert_eq!(after.stream_bytes_sent - before.stream_bytes_sent, 500);
    assert_eq!(after.stream_bytes_received - before.stream_bytes_received, 500);
    assert_eq!(after.sockets_open, 1);
    assert!(after.turns > before.turns);
    rig.finish();
}

/// Many sockets in both directions with tiny turns: nothing starves, nothing is mixed up.
pub fn everything_at_once<H: Harness>(harness: &H) {
    const PAIRS: u8 = 10;
    const BYTES: usize = 60_000;
    let mut rig = Rig::new(harness);
    let mut sends = Vec::new();
    let mut readers = Vec::new();
    for seed in 0..PAIRS {
        let (a, b) = if seed % 2 == 0 { rig.stream_pair() } else { rig.tcp_pair() };
        let slot = if seed % 3 == 0 { SlotSize::Large } else { SlotSize::Small };
        readers.push(Reader::new(b, seed, slot));
        sends.push((a, seed, 0, rig.send(a, patterned(seed, 0, BYTES))));
    }
    rig.wait_for("every byte of every stream", |rig| {
        for (socket, seed, went, token) in &mut sends {
            if *went < BYTES && !rig.is_outstanding(*token) {
                *went += rig.sent(*token).0.expect("the peer is there");
                if *went < BYTES {
                    *token = rig.send(*socket, patterned(*seed, *went, BYTES - *went));
                }
            }
        }
        let mut all = true;
        for reader in &mut readers {
            reader.poll(rig);
            all &= reader.received == BYTES;
        }
        rig.pump(Some(rig.driver.now()), 3);
        all.then_some(())
    });
    rig.finish();
}
