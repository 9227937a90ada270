//! A server that restarts: its stateless resets are believed if its keys outlived it (RFC 9000 section 10.3).

use super::pki::{self, Authority};
use super::world::{AGENT, MS, SECOND, SERVER, World, config};
use crate::limits;
use crate::quic::{ClusterKeys, Fault, LostKind, Quic, QuicConfig};

/// Connects, replaces the server by a new process, has the agent send; returns why and how soon the agent gave up.
fn restart(keys: ClusterKeys) -> (LostKind, Fault, std::time::Duration) {
    let authority = Authority::new("ca");
    let server = QuicConfig {
        server: Some(pki::server(&authority.server(), Some(&authority))),
        keys: ClusterKeys::derive(b"cluster key", "server-0:8091"),
        ..config(2)
    };
    let mut world = World::new(1);
    let client = pki::client(Some(&authority.agent()), &authority);
    world.add(&QuicConfig { client: Some(client), ..config(1) });
    world.add(&server);
    let (agent, _) = world.connected();
    world.run_for(SECOND);

    // A new start has a new seed, or it would issue the same connection IDs again.
    world.nodes[SERVER].quic = Quic::new(&QuicConfig { keys, seed: [77; 32], ..server }).unwrap();
    let stream = world.quic(AGENT).open(agent).unwrap().unwrap();
    let node = &mut world.nodes[AGENT];
    node.pump.write(&mut node.quic, (agent, stream), 0, 100, true);
    let written = world.elapsed();
    world.run_until(|world| world.lost(AGENT, agent).is_some(), 30 * SECOND);
    assert!(world.quic(SERVER).endpoint_counts().responses > 0, "the new process answers");
    let (at, reason) = world.lost(AGENT, agent).unwrap();
    assert!(reason.retry);
    world.assert_nothing_is_left();
    (reason.kind, reason.fault, at - written)
}

#[test]
fn with_the_same_keys_it_is_believed_within_a_round_trip() {
    let (kind, fault, after) = restart(ClusterKeys::derive(b"cluster key", "server-0:8091"));
    assert_eq!((kind, fault), (LostKind::Reset, Fault::Peer));
    assert_eq!(after, 10 * MS);
}

#[test]
fn with_other_keys_it_is_not() {
    for keys in [
        ClusterKeys::derive(b"another key", "server-0:8091"),
        ClusterKeys::derive(b"cluster key", "server-1:8091"),
    ] {
        let (kind, _, after) = restart(keys);
        assert_eq!((kind, after), (LostKind::Unanswered, limits::UNANSWERED_TIME_MAX));
    }
}

#[test]
fn an_idle_agent_learns_of_a_restart_by_its_keep_alive() {
    let mut world = World::pair(1, |_| {});
    let (agent, _) = world.connected();
    world.run_for(SECOND);
    let authority = Authority::new("another");
    let server = QuicConfig { server: Some(pki::server(&authority.server(), None)), ..config(77) };
    world.nodes[SERVER].quic = Quic::new(&server).unwrap();
    let restarted = world.elapsed();
    world.run_until(|world| world.lost(AGENT, agent).is_some(), 30 * SECOND);
    let (at, reason) = world.lost(AGENT, agent).unwrap();
    assert_eq!(reason.kind, LostKind::Reset);
    assert!(at - restarted <= limits::KEEP_ALIVE_INTERVAL + 20 * MS, "{:?}", at - restarted);
    world.assert_nothing_is_left();
}
