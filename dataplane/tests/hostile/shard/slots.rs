//! The gap attack (RUSTSEC-2026-0185) on the memory that datagrams arrive in: 64 KiB for each, of which a byte that
//! cannot be read yet would hold all. Half of the slots may be held; what comes then is copied, and others are served.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use adit_dataplane::port::Event;
use adit_dataplane::wire::{ControlMessage, DialRequest, Hello, Network, StreamHeader};
use adit_io::net::OwnedSocket;
use adit_io::{DatagramDriver, Driver};

use super::running::{Link, MakeDriver, Running, SLOTS, welcome};
use crate::pki::Pki;
use crate::wire::{self, Frame};

/// Pieces that come between two looks at the shard, so that its socket's buffer never fills.
const BATCH: u64 = 10;

/// Once more than half are held, what comes is copied.
const HELD_MAX: usize = SLOTS / 2 + 1;

/// Sends stream bytes with gaps before them, each in a datagram of its own, over each link in turn. The attack must be
/// felt, and must not get all slots; when it has ended, at most half of them are held.
fn attack(running: &mut Running, links: &mut [&mut Link], pieces: &[(u64, u64)]) {
    let mut most = 0;
    for batch in pieces.chunks(usize::try_from(BATCH).unwrap()) {
        for link in links.iter_mut() {
            for (stream, offset) in batch {
                let mut payload = vec![0; 1100];
                payload.extend(wire::stream(*stream, *offset, b"g"));
                link.send(&payload);
            }
            // What was dropped in this turn may still be counted.
            most = most.max(running.report(&mut [&mut **link]).datagram_slots.held);
        }
    }
    let report = running.until("half is free", links, |report| report.datagram_slots.held <= HELD_MAX);
    assert_eq!(report.datagram_slots.total, SLOTS);
    assert!(most > SLOTS / 4 && most < SLOTS, "{most} slots of {SLOTS} were held");
    assert!(report.endpoint.copied > BATCH, "{:?}", report.endpoint);
    assert!(links.iter().all(|link| link.peer.closed().is_none()), "the attack is still on");
}

pub(crate) fn gaps_of_an_agent_pin_half_of_the_receive_slots_and_no_more<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let pki = Pki::new();
    let mut running = Running::server(make, &pki);
    // The control stream is the only one. quinn-proto copies what a stream holds of about 28 packets, so several agents
    // conspire; and far fewer pieces than end a connection.
    let mut links: Vec<Link> = (1..8).map(|number| Link::agent(&running, &pki, number)).collect();
    let mut links: Vec<&mut Link> = links.iter_mut().collect();
    attack(&mut running, &mut links, &(0..60).map(|n| (0, 1 + 2 * n)).collect::<Vec<_>>());

    // An honest agent comes meanwhile.
    let mut honest = Link::agent(&running, &pki, 9);
    let hello = Hello { agent_id: "honest".into(), instance_id: vec![7; 16], ..Hello::default() };
    let hello = ControlMessage::Hello(hello).to_frame().unwrap();
    let header = StreamHeader::control().to_frame().unwrap();
    honest.send(&wire::stream(0, 0, &[header, hello].concat()));
    running.until("it is welcome", &mut [&mut honest], |report| report.stats.sessions_ready == 1);
    honest.until("it hears so", |peer| peer.heard.iter().any(|frame| matches!(frame, Frame::Stream(0, _))));

    // No Hello can come out of that: the attackers go by their deadline, and everything comes back.
    links.push(&mut honest);
    running.until("slots come back", &mut links, |report| {
        report.datagram_slots.held == 0 && report.paths.len() == 1
    });
    // The shard had forgotten them by then; what it told them last may still be on its way.
    let honest = links.pop().unwrap();
    links.iter_mut().for_each(|link| link.until("it hears of its end", |peer| peer.closed().is_some()));
    assert_eq!(honest.peer.closed(), None);
    running.stop();
}

pub(crate) fn gaps_of_a_server_pin_half_of_the_receive_slots_and_no_more<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let pki = Pki::new();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut running = Running::agent(make, &pki, socket.local_addr().unwrap());
    let mut link = Link::server(socket, &pki);
    let is_hello = |frame: &Frame| matches!(frame, Frame::Stream(0, _));
    link.until("the agent says Hello", |peer| peer.heard.iter().any(is_hello));
    let welcome = ControlMessage::Welcome(welcome()).to_frame().unwrap();
    link.send(&wire::stream(0, 0, &welcome));
    running.until("the agent believes it", &mut [&mut link], |report| report.stats.sessions_ready == 1);
    assert!(running.events.iter().any(|event| matches!(event, Event::ServerReady { .. })));

    // Dials whose first byte never comes.
    let dials = 300;
    attack(&mut running, &mut [&mut link], &(0..dials).map(|n| (4 * n + 1, 1)).collect::<Vec<_>>());

    // An honest dial comes meanwhile.
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let request = DialRequest {
        network: Network::Tcp,
        address: target.local_addr().unwrap().to_string(),
        dial_id: 1,
        deadline_ms: 5000,
        traceparent: String::new(),
    };
    let stream = 4 * dials + 1;
    link.send(&wire::stream(stream, 0, &StreamHeader::dial(request).to_frame().unwrap()));
    link.until("an answer", |peer| {
        peer.heard.iter().any(|frame| matches!(frame, Frame::Stream(id, _) if *id == stream))
    });
    target.accept().unwrap();

    // Headers that do not come in time are not waited for, and everything comes back.
    running.until("slots come back", &mut [&mut link], |report| report.datagram_slots.held == 0);
    assert_eq!(link.peer.closed(), None);
    running.stop();
}
