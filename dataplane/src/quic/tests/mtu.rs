//! Path MTU and segmentation.

use std::time::Duration;

use super::world::{AGENT, SECOND, SERVER, World};
use crate::limits;
use crate::quic::{ConnId, QuicEvent, StreamId};

/// quinn-proto ends its search when it is this close (`MtuDiscoveryConfig::minimum_change`).
const SEARCH_ENDS_WITHIN: u16 = 20;

fn mtu(world: &mut World, node: usize, conn: ConnId) -> u16 {
    world.quic(node).path(conn).unwrap().mtu_bytes
}

fn bulk(world: &mut World, server: ConnId, bytes: u64) -> StreamId {
    let stream = world.quic(SERVER).open(server).unwrap().unwrap();
    let node = &mut world.nodes[SERVER];
    node.pump.write(&mut node.quic, (server, stream), 0, bytes, true);
    stream
}

fn received(world: &World, agent: ConnId, stream: StreamId) -> u64 {
    world.nodes[AGENT].pump.incoming.get(&(agent, stream)).map_or(0, |incoming| incoming.bytes)
}

#[test]
fn it_begins_at_1200_and_grows_to_what_is_allowed() {
    for allowed in [1452, 8952, limits::MTU_MAX] {
        let mut world = World::pair(1, |config| config.mtu_max_bytes = allowed);
        let (agent, server) = world.connected();
        for node in &world.nodes {
            let connected = |e: &QuicEvent| matches!(e, QuicEvent::Connected { .. });
            let (at, _) = *node.log.iter().find(|(_, event)| connected(event)).as_ref().unwrap();
            let mut early = node.trains.iter().filter(|train| train.at < *at);
            assert!(early.all(|train| train.segment_bytes <= 1200));
        }
        world.quic(SERVER).welcome(server, 0);
        world.quic(AGENT).welcome(agent, limits::AGENT_STREAMS_INITIAL);
        world.run_for(10 * SECOND);
        for (node, conn) in [(AGENT, agent), (SERVER, server)] {
            let found = mtu(&mut world, node, conn);
            assert!(found <= allowed && found >= allowed - SEARCH_ENDS_WITHIN, "{found} of {allowed}");
        }
        let stream = bulk(&mut world, server, 2_000_000);
        world.run_until(|world| received(world, agent, stream) == 2_000_000, 60 * SECOND);
        let largest = world.nodes[SERVER].trains.iter().map(|train| train.segment_bytes).max().unwrap();
        assert!(largest <= usize::from(allowed));
        world.assert_nothing_is_left();
    }
}

#[test]
fn the_peers_maximum_bounds_the_search() {
    let mut world = World::pair(1, |config| {
        config.mtu_max_bytes = if config.client.is_some() { 1400 } else { limits::MTU_MAX };
    });
    let (agent, server) = world.welcomed();
    world.run_for(10 * SECOND);
    assert!(mtu(&mut world, SERVER, server) <= 1400);
    assert!(mtu(&mut world, AGENT, agent) <= 1400);
    world.assert_nothing_is_left();
}

#[test]
fn it_stays_at_what_the_link_carries() {
    let mut world = World::pair(1, |config| config.mtu_max_bytes = 8952);
    world.link.mtu_bytes = 1452;
    let (agent, server) = world.welcomed();
    world.run_for(30 * SECOND);
    for (node, conn) in [(AGENT, agent), (SERVER, server)] {
        let found = mtu(&mut world, node, conn);
        assert!((1452 - SEARCH_ENDS_WITHIN..=1452).contains(&found), "{found}");
    }
    // Failed probes are no losses and make nobody suspect.
    assert_eq!(world.quic(SERVER).path(server).unwrap().lost_packets, 0);
    assert!(world.saw(SERVER, |e| matches!(e, QuicEvent::Suspect { .. })).is_none());
    world.assert_nothing_is_left();
}

#[test]
fn a_link_that_shrinks_is_survived() {
    let mut world = World::pair(1, |config| config.mtu_max_bytes = 8952);
    let (agent, server) = world.welcomed();
    world.run_for(10 * SECOND);
    assert!(mtu(&mut world, SERVER, server) > 8900);
    world.link.mtu_bytes = 1300;
    let stream = bulk(&mut world, server, 1_000_000);
    world.run_until(|world| received(world, agent, stream) == 1_000_000, 120 * SECOND);
    assert!(mtu(&mut world, SERVER, server) <= 1300);
    world.assert_nothing_is_left();
}

/// Acknowledgements travel in the packets that carry data, and those are too large from one moment on, each way.
#[test]
fn a_link_that_shrinks_while_both_ends_send_is_survived() {
    for (delay_ms, early_ms) in [(5, 50), (5, 0), (30, 0), (30, 100), (80, 0), (80, 300)] {
        let mut world = World::pair(1, |config| config.mtu_max_bytes = 8952);
        world.link.delay = Duration::from_millis(delay_ms);
        world.link.mtu_bytes = 1472;
        let (agent, server) = world.welcomed();
        world.run_for(10 * SECOND);
        let stream = world.quic(SERVER).open(server).unwrap().unwrap();
        let node = &mut world.nodes[SERVER];
        node.pump.write(&mut node.quic, (server, stream), 0, 560_000, true);
        world.run_for(Duration::from_millis(delay_ms + early_ms + 1));
        world.link.mtu_bytes = 1200;
        let node = &mut world.nodes[AGENT];
        node.pump.write(&mut node.quic, (agent, stream), 0, 560_000, true);
        let up = |world: &World| {
            world.nodes[SERVER].pump.incoming.get(&(server, stream)).map_or(0, |incoming| incoming.bytes)
        };
        let all = |world: &World| up(world) == 560_000 && received(world, agent, stream) == 560_000;
        world.run_until(all, 20 * SECOND);
        world.assert_nothing_is_left();
    }
}

#[test]
fn trains_are_long_until_segmentation_is_refused() {
    let mut world = World::pair(1, |config| config.gso_segments_max = 64);
    let (agent, server) = world.welcomed();
    world.run_for(10 * SECOND);
    let stream = bulk(&mut world, server, 3_000_000);
    world.run_until(|world| received(world, agent, stream) == 3_000_000, 60 * SECOND);
    let longest = world.nodes[SERVER].trains.iter().map(|train| train.segments).max().unwrap();
    assert!(longest > 10, "{longest} segments in the longest train");
    // 45 datagrams of 1452 bytes are what one UDP payload holds.
    assert!(longest <= 45, "{longest}");

    world.quic(SERVER).set_gso_segments_max(1);
    world.nodes[SERVER].trains.clear();
    let stream = bulk(&mut world, server, 300_000);
    world.run_until(|world| received(world, agent, stream) == 300_000, 60 * SECOND);
    assert!(world.nodes[SERVER].trains.iter().all(|train| train.segments == 1));
    world.assert_nothing_is_left();
}

#[test]
fn connections_take_turns() {
    let authority = super::pki::Authority::new("ca");
    let mut world = World::new(1);
    let agents = [1, 2].map(|seed| {
        let client = super::pki::client(Some(&authority.agent()), &authority);
        world.add(&crate::quic::QuicConfig { client: Some(client), ..super::world::config(seed) })
    });
    let server = super::pki::server(&authority.server(), Some(&authority));
    // Single datagrams, so that a congestion window is more than one turn.
    let config =
        crate::quic::QuicConfig { server: Some(server), gso_segments_max: 1, ..super::world::config(3) };
    let server = world.add(&config);
    let mut conns = Vec::new();
    for agent in agents {
        let conn = world.connect(agent, server);
        world.run_for(SECOND);
        world.quic(agent).welcome(conn, limits::AGENT_STREAMS_INITIAL);
        conns.push(world.connected_at(server).unwrap());
    }
    world.run_for(5 * SECOND);
    // Open the congestion windows, then have both write at one moment.
    for round in 0..2 {
        world.nodes[server].trains.clear();
        for &conn in &conns {
            let stream = world.quic(server).open(conn).unwrap().unwrap();
            let node = &mut world.nodes[server];
            node.pump.write(&mut node.quic, (conn, stream), 0, 400_000, true);
        }
        world.settle();
        if round == 0 {
            world.run_for(30 * SECOND);
        }
    }
    let peers: Vec<_> = world.nodes[server].trains.iter().map(|train| train.peer).collect();
    let runs: Vec<usize> = peers.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    assert!(peers.len() > 4 * limits::TRAINS_PER_DRIVE_MAX, "{runs:?}");
    assert_eq!(runs[..2], [limits::TRAINS_PER_DRIVE_MAX; 2], "{runs:?}");
    world.run_for(30 * SECOND);
    world.assert_nothing_is_left();
}

/// An address that is not proved gets no probes, and those that are held back must not end the search: a peer that has
/// proved its new address gets the path's whole MTU again, busy or idle.
#[test]
fn a_peer_that_moved_gets_its_mtu_back() {
    for busy in [true, false] {
        let mut world = World::pair(1, |config| config.mtu_max_bytes = 8952);
        let (agent, server) = world.welcomed();
        world.run_for(10 * SECOND);
        assert!(mtu(&mut world, SERVER, server) > 8900);
        let moved = super::world::addr(50);
        world.nodes[AGENT].addr = moved;
        let stream = busy.then(|| bulk(&mut world, server, 20_000_000));
        world.run_until(|world| world.nodes[SERVER].quic.remote(server) == Some(moved), 10 * SECOND);
        world.run_for(10 * SECOND);
        assert!(mtu(&mut world, SERVER, server) > 8900, "busy: {busy}, {}", mtu(&mut world, SERVER, server));
        if let Some(stream) = stream {
            world.run_until(|world| received(world, agent, stream) == 20_000_000, 60 * SECOND);
        }
        assert!(world.quic(SERVER).endpoint_counts().withheld <= 2);
        world.assert_nothing_is_left();
    }
}
