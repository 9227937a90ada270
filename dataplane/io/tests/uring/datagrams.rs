//! Trains over loopback, and the errors that come back for datagrams.

use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use adit_io::net::{UdpOptions, bind_udp};
use adit_io::{
    DatagramDriver, DatagramOp, Driver, DriverConfig, OpError, OpKind, Outcome, SocketId, Token, Transmit,
};

use crate::{Bench, SMALL};

const SEGMENT: usize = 1200;

fn udp(bench: &mut Bench) -> (SocketId, SocketAddr) {
    let options = UdpOptions { gro: true, receive_buffer_bytes: Some(4 << 20), ..UdpOptions::default() };
    let (socket, addr) = bind_udp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    (bench.adopt(socket), addr)
}

fn send(bench: &mut Bench, socket: SocketId, peer: SocketAddr, segments: usize) -> Token {
    let transmit = Transmit {
        buffer: vec![5; segments * SEGMENT],
        segment_bytes: SEGMENT,
        peer,
        local_ip: None,
        ecn: None,
        zero_copy: false,
    };
    let token = bench.token();
    bench.driver.submit_datagrams(DatagramOp::Send { socket, transmit }, token).unwrap();
    token
}

fn receive(bench: &mut Bench, socket: SocketId) -> Token {
    let token = bench.token();
    bench.driver.submit_datagrams(DatagramOp::Recv { socket }, token).unwrap();
    token
}

#[test]
fn a_train_of_fifty_segments_arrives_as_one() {
    const TRAINS: u64 = 20;
    const SEGMENTS: usize = 50;
    let mut bench = Bench::new();
    let ((a, _), (b, b_addr)) = (udp(&mut bench), udp(&mut bench));
    let recv = receive(&mut bench, b);
    for _ in 0..TRAINS {
        let token = send(&mut bench, a, b_addr, SEGMENTS);
        assert!(matches!(bench.next(token).outcome, Outcome::DatagramsSent { result: Ok(()), .. }));
        let mut segments = 0;
        while segments < SEGMENTS {
            let completion = bench.next(recv);
            let Outcome::Datagrams(Ok(datagrams)) = completion.outcome else { panic!("{completion:?}") };
            assert!(completion.more);
            assert_eq!(datagrams.stride, SEGMENT);
            segments += datagrams.data.len() / SEGMENT;
        }
        assert_eq!(segments, SEGMENTS);
    }
    let counters = bench.driver.counters();
    assert_eq!(counters.datagrams_sent, TRAINS * SEGMENTS as u64);
    assert_eq!(counters.datagrams_received, TRAINS * SEGMENTS as u64);
    assert_eq!(counters.datagram_trains_sent, TRAINS);
    // Loopback hands a train over whole; leave room for one that was cut.
    assert!(counters.datagram_trains_received <= 2 * TRAINS, "{counters:?}");
    assert_eq!(counters.submitted(OpKind::RecvDatagramsMultishot), 1, "it stayed armed all the time");
}

/// Slots run out while nobody drops bytes: the receive ends, nothing of what arrived before is lost, and it goes on
/// with the same memory once they are dropped.
#[test]
fn slots_come_back_to_the_ring() {
    let mut bench = Bench::new();
    let ((a, _), (b, b_addr)) = (udp(&mut bench), udp(&mut bench));
    let slots = bench.driver.datagram_slots().total;
    for round in 1..=3 {
        let recv = receive(&mut bench, b);
        for _ in 0..=slots {
            let token = send(&mut bench, a, b_addr, 1);
            bench.next(token);
        }
        let mut kept = Vec::new();
        loop {
            let completion = bench.next(recv);
            match completion.outcome {
                Outcome::Datagrams(Ok(datagrams)) => kept.push(datagrams.data),
                Outcome::Datagrams(Err(error)) => {
                    assert_eq!(error, OpError::NoBuffers);
                    assert!(!completion.more);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(kept.len(), slots);
        assert_eq!(bench.driver.datagram_slots().held, slots);
        assert_eq!(bench.driver.counters().no_buffers, round);
        drop(kept);
        // The one that found no slot is still in the socket.
        let recv = receive(&mut bench, b);
        let completion = bench.until(|bench| {
            let at = bench.arrived.iter().position(|completion| completion.token == recv)?;
            Some(bench.arrived.remove(at))
        });
        assert!(matches!(completion.outcome, Outcome::Datagrams(Ok(_))), "{completion:?}");
        bench.driver.cancel(recv);
        let last = bench.next(recv);
        assert!(!last.more, "{last:?}");
        drop(last);
        drop(completion);
        bench.until(|bench| (bench.driver.datagram_slots().held == 0).then_some(()));
    }
}

/// More datagrams at once than the ring was filled for, though slots are free: nobody is told, and no datagram is
/// lost.
#[test]
fn a_burst_is_no_shortage() {
    const BURST: usize = 100;
    let mut bench = Bench::sized(&DriverConfig { datagram_slots: 2 * BURST, ..SMALL });
    let (b, b_addr) = udp(&mut bench);
    let recv = receive(&mut bench, b);
    bench.poll();
    let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..BURST {
        outside.send_to(&n.to_be_bytes(), b_addr).unwrap();
    }
    for n in 0..BURST {
        let completion = bench.next(recv);
        let Outcome::Datagrams(Ok(datagrams)) = completion.outcome else { panic!("{completion:?}") };
        assert!(completion.more);
        assert_eq!(datagrams.data[..], n.to_be_bytes());
    }
    let counters = bench.driver.counters();
    assert_eq!(counters.no_buffers, 0);
    assert!(
        counters.submitted(OpKind::RecvDatagramsMultishot) > 1,
        "the burst was too small to show anything"
    );
}

/// The kernel has ended a receive, which the driver would arm again, and the caller cancels it before the driver has
/// seen that: the cancellation meets nothing, and the receive must end all the same.
#[test]
fn r4_a_cancellation_beats_arming_again() {
    const BURST: usize = 40;
    let mut bench = Bench::sized(&DriverConfig { datagram_slots: 2 * BURST, ..SMALL });
    let (b, b_addr) = udp(&mut bench);
    let recv = receive(&mut bench, b);
    bench.poll();
    let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..BURST {
        outside.send_to(b"datagram", b_addr).unwrap();
    }
    let armed = bench.driver.counters().submitted(OpKind::RecvDatagramsMultishot);
    bench.driver.turn(Some(Instant::now()), 1, &mut bench.arrived).unwrap();
    bench.driver.cancel(recv);
    bench.until(|bench| {
        let at = bench.arrived.iter().position(|completion| completion.token == recv)?;
        (!bench.arrived.remove(at).more).then_some(())
    });
    assert_eq!(bench.driver.counters().submitted(OpKind::RecvDatagramsMultishot), armed);
    bench.driver.release(b).expect("nothing is outstanding");
}

/// Many datagrams to nobody, among datagrams to somebody: every one of the latter arrives, each peer that was
/// not reached is reported under its own name, and the receive is never ended by it.
#[test]
fn errors_of_one_peer_harm_no_other() {
    const ROUNDS: usize = 25;
    let mut bench = Bench::new();
    let ((a, _), (b, b_addr)) = (udp(&mut bench), udp(&mut bench));
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody_addr = nobody.local_addr().unwrap();
    // Connected to itself, it takes nothing from others.
    nobody.connect(nobody_addr).unwrap();
    let (recv_a, recv_b) = (receive(&mut bench, a), receive(&mut bench, b));
    let mut tokens = Vec::new();
    for _ in 0..ROUNDS {
        tokens.push(send(&mut bench, a, nobody_addr, 1));
        tokens.push(send(&mut bench, a, b_addr, 1));
        bench.poll();
    }
    for token in tokens {
        let completion = bench.next(token);
        assert!(
            matches!(completion.outcome, Outcome::DatagramsSent { result: Ok(()), .. }),
            "{completion:?}"
        );
    }
    let mut arrived = 0;
    while arrived < ROUNDS {
        match bench.next(recv_b).outcome {
            Outcome::Datagrams(Ok(datagrams)) => arrived += datagrams.data.len().div_ceil(datagrams.stride),
            other => panic!("{other:?}"),
        }
    }
    let first = bench.next(recv_a);
    assert!(first.more, "{first:?}");
    let mut reports: Vec<_> = vec![first.outcome];
    bench.driver.cancel(recv_a);
    bench.until(|bench| {
        let ended = bench.arrived.iter().any(|completion| completion.token == recv_a && !completion.more);
        ended.then_some(())
    });
    let arrived = std::mem::take(&mut bench.arrived);
    reports.extend(arrived.into_iter().filter(|c| c.token == recv_a && c.more).map(|c| c.outcome));
    for report in reports {
        let Outcome::PeerUnreachable { peer, error } = report else { panic!("{report:?}") };
        assert_eq!((peer, error), (nobody_addr, OpError::Os(libc::ECONNREFUSED)));
    }
}
