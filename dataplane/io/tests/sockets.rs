//! What only sockets of a real kernel have, on both of its drivers: Unix listeners, dual-stack UDP, merged trains.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use adit_io::epoll::EpollDriver;
use adit_io::net::{OwnedSocket, SocketKind, UdpOptions, bind_udp};
use adit_io::uring::UringDriver;
use adit_io::{
    Completion, DatagramDriver, DatagramOp, Datagrams, DriverConfig, Ecn, Op, Outcome, PeerAddr,
    ResourceLimits, SocketId, Token, Transmit,
};

fn config() -> DriverConfig {
    DriverConfig { ops_max: 512, ..DriverConfig::sized_for(ResourceLimits::current()) }.clamped()
}

fn uring() -> UringDriver {
    UringDriver::new(&config()).unwrap_or_else(|error| panic!("{error}"))
}

fn epoll() -> EpollDriver {
    EpollDriver::new(&config()).unwrap_or_else(|error| panic!("{error}"))
}

/// Takes turns, one completion at a time, until `wanted` gives something for it.
fn until<T>(driver: &mut impl DatagramDriver, mut wanted: impl FnMut(Completion) -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(20);
    let mut out = Vec::new();
    loop {
        driver.turn(Some(limit), 1, &mut out).expect("a turn");
        for completion in out.drain(..) {
            if let Some(value) = wanted(completion) {
                return value;
            }
        }
        assert!(Instant::now() < limit, "what was waited for does not come");
    }
}

fn bind(driver: &mut impl DatagramDriver<Socket = OwnedSocket>, addr: &str) -> (SocketId, SocketAddr) {
    let options = UdpOptions { gro: true, ..UdpOptions::default() };
    let (socket, addr) = bind_udp(addr.parse().expect("an address"), &options).expect("a free port");
    (driver.adopt(socket).expect("room"), addr)
}

fn send(driver: &mut impl DatagramDriver, socket: SocketId, transmit: Transmit) {
    driver.submit_datagrams(DatagramOp::Send { socket, transmit }, Token(1000)).expect("room");
}

fn receive(driver: &mut impl DatagramDriver) -> Datagrams {
    until(driver, |completion| match completion.outcome {
        Outcome::Datagrams(Ok(datagrams)) => Some(datagrams),
        Outcome::DatagramsSent { result, .. } => {
            assert_eq!(result, Ok(()));
            None
        }
        other => panic!("not expected: {other:?}"),
    })
}

/// A socket on `[::]` names IPv4 peers plainly, answers them, and marks and reads ECN on both families.
fn dual_stack_serves_both_families(mut driver: impl DatagramDriver<Socket = OwnedSocket>) {
    let (server, server_addr) = bind(&mut driver, "[::]:0");
    driver.submit_datagrams(DatagramOp::Recv { socket: server }, Token(1)).expect("room");
    for loopback in ["127.0.0.1", "::1"] {
        let ip: IpAddr = loopback.parse().expect("an address");
        let (client, client_addr) = bind(&mut driver, &SocketAddr::new(ip, 0).to_string());
        let there = Transmit {
            buffer: b"question".to_vec(),
            segment_bytes: 8,
            peer: SocketAddr::new(ip, server_addr.port()),
            local_ip: None,
            ecn: Some(Ecn::Ect0),
            zero_copy: false,
        };
        send(&mut driver, client, there.clone());
        let question = receive(&mut driver);
        assert_eq!(question.data, b"question"[..]);
        assert_eq!(
            (question.peer, question.local_ip, question.ecn),
            (client_addr, Some(ip), Some(Ecn::Ect0))
        );
        driver.submit_datagrams(DatagramOp::Recv { socket: client }, Token(2)).expect("room");
        let back = Transmit {
            buffer: b"answeranswer".to_vec(),
            segment_bytes: 6,
            peer: question.peer,
            local_ip: question.local_ip,
            ecn: Some(Ecn::Ce),
            ..there
        };
        send(&mut driver, server, back);
        let mut answer = receive(&mut driver);
        assert_eq!((answer.peer.ip(), answer.peer.port()), (ip, server_addr.port()));
        assert_eq!((answer.local_ip, answer.ecn), (Some(ip), Some(Ecn::Ce)));
        if answer.data.len() == 6 {
            answer.data.unsplit(receive(&mut driver).data);
        }
        assert_eq!(answer.data, b"answeranswer"[..]);
        driver.close(client, adit_io::Close::Graceful);
        until(&mut driver, |completion| (completion.token == Token(2) && !completion.more).then_some(()));
    }
}

/// A train over loopback is received as one, in one slot.
fn train_arrives_merged(mut driver: impl DatagramDriver<Socket = OwnedSocket>) {
    let capabilities = driver.capabilities();
    assert!(capabilities.gro && capabilities.gso_segments_max >= 40, "this kernel is older than supported");
    let (a, _) = bind(&mut driver, "127.0.0.1:0");
    let (b, b_addr) = bind(&mut driver, "127.0.0.1:0");
    driver.submit_datagrams(DatagramOp::Recv { socket: b }, Token(1)).expect("room");
    let transmit = Transmit {
        buffer: vec![7; 40 * 1452],
        segment_bytes: 1452,
        peer: b_addr,
        local_ip: Some(Ipv4Addr::LOCALHOST.into()),
        ecn: None,
        zero_copy: false,
    };
    send(&mut driver, a, transmit);
    let Datagrams { data, stride, .. } = receive(&mut driver);
    assert_eq!((data.len(), stride), (40 * 1452, 1452));
    let counters = driver.counters();
    assert_eq!((counters.datagrams_received, counters.datagram_trains_received), (40, 1));
    assert_eq!((counters.datagrams_sent, counters.datagram_trains_sent), (40, 1));
}

/// Connections to a Unix listener have no address and are Unix streams when they leave.
fn unix_listener_accepts(mut driver: impl DatagramDriver<Socket = OwnedSocket>, name: &str) {
    let path = std::env::temp_dir().join(format!("adit-io-{}-{name}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).expect("a new path");
    let clients: Vec<UnixStream> = (0..3).map(|_| UnixStream::connect(&path).expect("a listener")).collect();
    std::fs::remove_file(&path).expect("it is there");
    let listener = driver.adopt(listener.into()).expect("room");
    assert_eq!(driver.local_addr(listener), None);
    driver.submit(Op::Accept { listener }, Token(1)).expect("room");
    for _ in &clients {
        let (id, peer) = until(&mut driver, |completion| match completion.outcome {
            Outcome::Accepted(result) => Some(result.expect("a connection waits")),
            other => panic!("not expected: {other:?}"),
        });
        assert_eq!(peer, PeerAddr::Unix);
        let socket = driver.release(id).expect("nothing is outstanding");
        assert_eq!(socket.kind(), SocketKind::UnixStream);
        assert!(UnixStream::try_from(socket).is_ok());
    }
}

#[test]
fn dual_stack_serves_both_families_over_uring() {
    dual_stack_serves_both_families(uring());
}

#[test]
fn dual_stack_serves_both_families_over_epoll() {
    dual_stack_serves_both_families(epoll());
}

#[test]
fn train_arrives_merged_over_uring() {
    train_arrives_merged(uring());
}

#[test]
fn train_arrives_merged_over_epoll() {
    train_arrives_merged(epoll());
}

#[test]
fn unix_listener_accepts_over_uring() {
    unix_listener_accepts(uring(), "uring");
}

#[test]
fn unix_listener_accepts_over_epoll() {
    unix_listener_accepts(epoll(), "epoll");
}
