//! Flow control: before Welcome little, after it never a neighbour's fault.

use std::collections::BTreeSet;

use super::world::{AGENT, SECOND, SERVER, World};
use crate::limits;
use crate::quic::{QuicEvent, ReadState};

#[test]
fn a_peer_that_is_not_welcome_sends_64_kib_and_opens_one_stream() {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.connected();
    world.nodes[SERVER].pump.all_stopped = true;
    let control = world.quic(AGENT).open(agent).unwrap().expect("the control stream");
    assert_eq!(world.quic(AGENT).open(agent), Ok(None), "one stream and no more");
    assert_eq!(world.quic(SERVER).open(server), Ok(None), "none from the server");
    let node = &mut world.nodes[AGENT];
    node.pump.write(&mut node.quic, (agent, control), 0, 1024 * 1024, true);
    world.run_for(30 * SECOND);
    assert_eq!(world.nodes[AGENT].pump.taken((agent, control)), u64::from(limits::UNWELCOME_WINDOW_BYTES));
    assert!(world.nodes[AGENT].pump.is_blocked((agent, control)));
    assert_eq!(world.nodes[SERVER].pump.opened, [(server, control)]);

    // What is read makes room for as much again: a slow Hello is no dead end.
    world.nodes[SERVER].pump.all_stopped = false;
    let node = &mut world.nodes[SERVER];
    node.pump.read(&mut node.quic, (server, control));
    world.run_for(30 * SECOND);
    assert_eq!(world.nodes[SERVER].pump.incoming[&(server, control)].bytes, 1024 * 1024);

    // The server never grants more streams than the control stream.
    world.quic(SERVER).welcome(server, 0);
    world.run_for(SECOND);
    assert_eq!(world.quic(AGENT).open(agent), Ok(None));
    world.assert_nothing_is_left();
}

#[test]
fn welcome_lifts_the_connection_window_and_grants_streams() {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.connected();
    world.quic(AGENT).welcome(agent, limits::AGENT_STREAMS_INITIAL);
    world.run_for(SECOND);
    let available = QuicEvent::StreamsAvailable { conn: server };
    assert!(world.saw(SERVER, |e| *e == available).is_some());
    world.nodes[AGENT].pump.all_stopped = true;
    let stream = world.quic(SERVER).open(server).unwrap().unwrap();
    let node = &mut world.nodes[SERVER];
    node.pump.write(&mut node.quic, (server, stream), 0, u64::from(4 * limits::STREAM_WINDOW_BYTES), true);
    world.run_for(30 * SECOND);
    let taken = world.nodes[SERVER].pump.taken((server, stream));
    assert_eq!(taken, u64::from(limits::STREAM_WINDOW_BYTES), "the stream's own window binds, nothing else");
    world.assert_nothing_is_left();
}

#[test]
fn a_reader_that_goes_on_is_served_at_once() {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.welcomed();
    world.nodes[AGENT].pump.all_stopped = true;
    let stream = world.quic(SERVER).open(server).unwrap().unwrap();
    let total = u64::from(limits::STREAM_WINDOW_BYTES) + 1000;
    let node = &mut world.nodes[SERVER];
    node.pump.write(&mut node.quic, (server, stream), 0, total, true);
    world.run_for(30 * SECOND);
    world.nodes[AGENT].pump.all_stopped = false;
    let before = world.elapsed();
    let node = &mut world.nodes[AGENT];
    node.pump.read(&mut node.quic, (agent, stream));
    assert_eq!(node.pump.incoming[&(agent, stream)].bytes, u64::from(limits::STREAM_WINDOW_BYTES));
    // The credit goes out with this turn, not with whatever is sent next: one round trip and the rest is here.
    world.run_until(|w| w.nodes[AGENT].pump.incoming[&(agent, stream)].bytes == total, SECOND);
    assert_eq!(world.elapsed() - before, 2 * world.link.delay);
    world.assert_nothing_is_left();
}

/// Design D5: a finite connection window would stop every stream once enough of them are stopped.
#[test]
fn a_thousand_stopped_streams_cost_only_themselves() {
    const STREAMS: usize = 2000;
    const STOPPED_BYTES: u64 = 64 * 1024;
    const LIVE_BYTES: u64 = 16 * 1024;
    // Large datagrams keep this about windows and not about packets.
    let mut world = World::pair(1, |config| config.mtu_max_bytes = limits::MTU_MAX);
    let (agent, server) = world.welcomed();
    let mut streams = Vec::new();
    let mut stopped = BTreeSet::new();
    while streams.len() < STREAMS {
        let Some(stream) = world.quic(SERVER).open(server).unwrap() else {
            // The grant doubles once the agent sees half of it in use.
            let opened = world.nodes[SERVER].log.len();
            world.run_until(|world| world.nodes[SERVER].log.len() > opened, SECOND);
            continue;
        };
        let stop = streams.len() % 2 == 0;
        streams.push(stream);
        if stop {
            stopped.insert(stream);
            world.nodes[AGENT].pump.stopped.insert((agent, stream));
        }
        let node = &mut world.nodes[SERVER];
        node.pump.write(
            &mut node.quic,
            (server, stream),
            0,
            if stop { STOPPED_BYTES } else { LIVE_BYTES },
            true,
        );
    }
    world.run_until(|world| world.nodes[SERVER].pump.all_written(), 120 * SECOND);
    let done = |world: &World| {
        streams.iter().filter(|stream| !stopped.contains(stream)).all(|&stream| {
            let incoming = world.nodes[AGENT].pump.incoming.get(&(agent, stream));
            incoming.is_some_and(|i| i.bytes == LIVE_BYTES && i.end == Some(ReadState::Finished))
        })
    };
    world.run_until(done, 120 * SECOND);
    assert_eq!(stopped.len(), 1000);

    // With a thousand streams stopped a new one is as quick as ever: one delay each way and its bytes.
    let before = world.elapsed();
    let stream = world.quic(SERVER).open(server).unwrap().unwrap();
    let node = &mut world.nodes[SERVER];
    node.pump.write(&mut node.quic, (server, stream), 0, 1000, true);
    world.run_until(|w| w.nodes[AGENT].pump.incoming.contains_key(&(agent, stream)), SECOND);
    assert_eq!(world.elapsed() - before, world.link.delay);
    world.assert_nothing_is_left();
}

#[test]
fn the_grant_doubles_as_it_is_used_and_never_beyond_its_limit() {
    let mut world = World::pair(1, |config| config.mtu_max_bytes = limits::MTU_MAX);
    let (agent, server) = world.welcomed();
    let limit = limits::AGENT_STREAMS_MAX as usize;
    let mut opened = 0;
    let mut granted_at_first = 0;
    loop {
        while let Some(stream) = world.quic(SERVER).open(server).unwrap() {
            let node = &mut world.nodes[SERVER];
            node.pump.write(&mut node.quic, (server, stream), 0, 1, false);
            opened += 1;
        }
        if granted_at_first == 0 {
            granted_at_first = opened;
        }
        if opened >= limit {
            break;
        }
        let reports = world.nodes[SERVER].log.len();
        world.run_until(|world| world.nodes[SERVER].log.len() > reports, 10 * SECOND);
    }
    assert_eq!(granted_at_first, limits::AGENT_STREAMS_INITIAL as usize);
    world.run_for(10 * SECOND);
    assert_eq!(opened, limit);
    assert_eq!(world.nodes[AGENT].pump.opened.len(), limit);
    assert_eq!(world.quic(SERVER).open(server), Ok(None), "no stream to be had beyond the limit");
    assert_eq!(world.quic(AGENT).open_streams(agent).unwrap().1, limit as u64);
    world.assert_nothing_is_left();
}
