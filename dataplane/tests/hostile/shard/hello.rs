//! Who proves an identity and then says nothing, or next to nothing.

use std::time::{Duration, Instant};

use adit_dataplane::limits::HELLO_TIME_MAX;
use adit_dataplane::port::Event;
use adit_dataplane::wire::{CloseCode, ControlMessage, Hello, StreamHeader};
use adit_io::net::OwnedSocket;
use adit_io::{DatagramDriver, Driver};

use super::running::{DEADLINE, Link, MakeDriver, Running};
use crate::pki::Pki;
use crate::wire;

/// Between two bytes of a Hello that has far more of them than the time has pauses.
const TRICKLE_INTERVAL: Duration = Duration::from_millis(50);

/// What an agent says first.
fn hello(agent_id: &str) -> Vec<u8> {
    let hello = Hello { agent_id: agent_id.into(), instance_id: vec![7; 16], ..Hello::default() };
    let hello = ControlMessage::Hello(hello).to_frame().unwrap();
    [StreamHeader::control().to_frame().unwrap(), hello].concat()
}

/// One says nothing, one a byte at a time, which is honest traffic to QUIC; an agent that says Hello beside them stays.
pub(crate) fn who_says_no_hello_is_told_and_gone_in_time<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let pki = Pki::new();
    let mut running = Running::server(make, &pki);
    let begun = Instant::now();
    let mut silent = Link::agent(&running, &pki, 1);
    let mut trickling = Link::agent(&running, &pki, 2);
    let connected = Instant::now();
    let mut honest = Link::agent(&running, &pki, 3);
    honest.send(&wire::stream(0, 0, &hello("honest")));

    let bytes = hello(&"a".repeat(250));
    assert!(TRICKLE_INTERVAL * u32::try_from(bytes.len()).unwrap() > 2 * HELLO_TIME_MAX);
    let (mut said, mut next) = (0, connected);
    while silent.peer.closed().is_none() || trickling.peer.closed().is_none() {
        assert!(connected.elapsed() < DEADLINE, "they may stay");
        if next.elapsed() >= TRICKLE_INTERVAL && trickling.peer.closed().is_none() {
            next += TRICKLE_INTERVAL;
            trickling.send(&wire::stream(0, said as u64, &bytes[said..=said]));
            said += 1;
        }
        running.report(&mut [&mut silent, &mut trickling, &mut honest]);
    }
    assert!(begun.elapsed() >= HELLO_TIME_MAX, "before its time");
    assert!(connected.elapsed() < 3 * HELLO_TIME_MAX, "{:?}", connected.elapsed());
    for link in [&silent, &trickling] {
        let told = link.peer.closed().unwrap();
        assert_eq!(told, (u64::from(CloseCode::HelloTimeout.code()), "no Hello in time"));
    }
    let report = running.until("one stays", &mut [&mut honest], |report| report.paths.len() == 1);
    assert_eq!((report.stats.sessions_refused, report.stats.sessions_ready), (2, 1));
    assert_eq!(honest.peer.closed(), None);
    // Control, and so the operator, hears of both, and from where.
    let told = running.events.iter().filter(|event| {
        matches!(event, Event::AgentRejected { remote: Some(_), reason } if reason == "no Hello in time")
    });
    assert_eq!(told.count(), 2, "{:?}", running.events);
    running.stop();
}
