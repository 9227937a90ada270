//! Sends without a copy: what the kernel reports, and what the driver makes of it. Over loopback the kernel always
//! ends up copying, so the first send that asks for it is also the last that gets it.

use std::io::Read;
use std::net::UdpSocket;

use adit_io::net::{UdpOptions, bind_udp};
use adit_io::{DatagramDriver, DatagramOp, Driver, Op, OpKind, Outcome, Transmit};
use bytes::Bytes;

use crate::{Bench, PATIENCE, tcp_pair};

const LEN: usize = 60_000;

#[test]
fn a_copied_send_switches_zero_copy_off() {
    let mut bench = Bench::new();
    assert!(bench.driver.capabilities().zero_copy, "Linux 6.1 has it");
    let (inside, mut outside) = tcp_pair(&mut bench);
    for (data, zero_copied) in [
        (vec![Bytes::from(vec![1; LEN])], true),
        (vec![Bytes::from(vec![2; LEN / 2]), Bytes::from(vec![3; LEN / 2])], false),
    ] {
        let token = bench.submit(Op::Send { socket: inside, data: data.clone(), zero_copy: true });
        let first = bench.next(token);
        let Outcome::Sent { result: Ok(sent), data: back } = first.outcome else { panic!("{first:?}") };
        assert_eq!(first.more, zero_copied);
        assert_eq!(back.is_none(), zero_copied);
        let mut received = vec![0; sent];
        outside.read_exact(&mut received).expect("the bytes arrive");
        assert_eq!(received, data.concat()[..sent]);
        if zero_copied {
            let last = bench.next(token);
            assert!(!last.more);
            let Outcome::SendReleased { data: back } = last.outcome else { panic!("{last:?}") };
            assert_eq!(back, data);
            assert_eq!(bench.driver.counters().zero_copy_copied, 1);
            assert!(!bench.driver.capabilities().zero_copy);
        }
    }
    let counters = bench.driver.counters();
    assert_eq!(counters.submitted(OpKind::SendZeroCopy), 1);
    assert_eq!(counters.completed(OpKind::SendZeroCopy), 2, "the result and the notification");
    assert_eq!(counters.submitted(OpKind::Send), 1);
}

#[test]
fn a_vectored_send_goes_without_a_copy_too() {
    let mut bench = Bench::new();
    let (inside, mut outside) = tcp_pair(&mut bench);
    let data = vec![Bytes::from(vec![1; 20_000]), Bytes::from(vec![2; 20_000])];
    let token = bench.submit(Op::Send { socket: inside, data: data.clone(), zero_copy: true });
    let first = bench.next(token);
    assert!(first.more, "{first:?}");
    let Outcome::Sent { result: Ok(sent), data: None } = first.outcome else { panic!("{first:?}") };
    let mut received = vec![0; sent];
    outside.read_exact(&mut received).expect("the bytes arrive");
    assert_eq!(received, data.concat()[..sent]);
    let last = bench.next(token);
    assert!(matches!(last.outcome, Outcome::SendReleased { data: back } if back == data));
}

#[test]
fn a_train_is_released_after_its_result() {
    let mut bench = Bench::new();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, _) = bind_udp("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
    let socket = bench.adopt(socket);
    let transmit = Transmit {
        buffer: vec![7; 12_000],
        segment_bytes: 1200,
        peer: peer.local_addr().unwrap(),
        local_ip: None,
        ecn: None,
        zero_copy: true,
    };
    let token = bench.token();
    let op = DatagramOp::Send { socket, transmit: transmit.clone() };
    bench.driver.submit_datagrams(op, token).unwrap();
    let first = bench.next(token);
    assert!(first.more, "{first:?}");
    assert!(matches!(first.outcome, Outcome::DatagramsSent { result: Ok(()), transmit: None }));
    for _ in 0..10 {
        assert_eq!(peer.recv(&mut [0; 2000]).unwrap(), 1200);
    }
    let last = bench.next(token);
    assert!(!last.more);
    assert!(matches!(last.outcome, Outcome::DatagramsReleased { transmit: back } if back == transmit));
    assert_eq!(bench.driver.counters().completed(OpKind::SendDatagramsZeroCopy), 2);
}
