//! Handshakes that succeed, and those that fail with words an operator can use.

use super::pki::{self, Authority, SERVER_NAME};
use super::world::{AGENT, MS, SECOND, SERVER, World, config};
use crate::limits;
use crate::quic::{ConnectError, Fault, LostKind, QuicConfig, QuicConfigError, QuicEvent, Side};
use crate::wire::CloseCode;

/// A world of one agent and one server with these configurations.
fn world(agent: std::sync::Arc<rustls::ClientConfig>, server: std::sync::Arc<rustls::ServerConfig>) -> World {
    let mut world = World::new(1);
    world.add(&QuicConfig { client: Some(agent), ..config(1) });
    world.add(&QuicConfig { server: Some(server), ..config(2) });
    world
}

#[test]
fn both_sides_learn_who_the_other_is() {
    let authority = Authority::new("ca");
    let (agent, server) = (authority.agent(), authority.server());
    let mut world = world(pki::client(Some(&agent), &authority), pki::server(&server, Some(&authority)));
    let (a, s) = world.connected();
    assert!(world.saw(AGENT, |e| *e == QuicEvent::Connected { conn: a, side: Side::Client }).is_some());
    assert!(world.saw(SERVER, |e| *e == QuicEvent::Connected { conn: s, side: Side::Server }).is_some());
    assert_eq!(world.quic(SERVER).peer_certificates(s), [agent.certificate.to_vec()]);
    assert_eq!(world.quic(AGENT).peer_certificates(a), [server.certificate.to_vec()]);
    let path = world.quic(AGENT).path(a).unwrap();
    assert_eq!((path.remote, path.suspect), (world.nodes[SERVER].addr, false));
    assert!((10 * MS..20 * MS).contains(&path.rtt), "{path:?}");
    assert_eq!(world.quic(SERVER).half_open(), 0);
    world.assert_nothing_is_left();
}

#[test]
fn without_client_authentication_there_is_no_certificate() {
    let authority = Authority::new("ca");
    let mut world = world(pki::client(None, &authority), pki::server(&authority.server(), None));
    let (_, s) = world.connected();
    assert!(world.quic(SERVER).peer_certificates(s).is_empty());
    world.assert_nothing_is_left();
}

/// Runs a handshake that must fail; returns the agent's and the server's reasons.
fn refused(
    agent: std::sync::Arc<rustls::ClientConfig>,
    server: std::sync::Arc<rustls::ServerConfig>,
) -> [(LostKind, Fault, bool, String); 2] {
    let mut world = world(agent, server);
    let conn = world.connect(AGENT, SERVER);
    world.run_for(5 * SECOND);
    assert!(world.connected_at(SERVER).is_none(), "the server took an agent that it cannot trust");
    let agent = world.lost(AGENT, conn).unwrap().1;
    let server = world.nodes[SERVER].log.iter().find_map(|(_, event)| match event {
        QuicEvent::Lost { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    world.assert_nothing_is_left();
    [agent, server.unwrap()].map(|reason| (reason.kind, reason.fault, reason.retry, reason.text))
}

#[test]
fn an_agent_without_a_certificate_is_told_so() {
    let authority = Authority::new("ca");
    let [agent, server] =
        refused(pki::client(None, &authority), pki::server(&authority.server(), Some(&authority)));
    assert_eq!((agent.0, agent.1, agent.2), (LostKind::TlsPeer, Fault::Local, false));
    assert!(agent.3.contains("certificate required"), "{}", agent.3);
    assert_eq!((server.0, server.1, server.2), (LostKind::TlsLocal, Fault::Peer, false));
    assert!(server.3.contains("certificate required"), "{}", server.3);
}

#[test]
fn an_agent_of_another_authority_is_told_so() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let [agent, server] =
        refused(pki::client(Some(&theirs.agent()), &ours), pki::server(&ours.server(), Some(&ours)));
    assert_eq!((agent.0, server.0), (LostKind::TlsPeer, LostKind::TlsLocal));
    for text in [&agent.3, &server.3] {
        assert!(text.contains("certificate of an unknown authority"), "{text}");
    }
}

#[test]
fn an_expired_certificate_is_called_expired() {
    let authority = Authority::new("ca");
    let [agent, server] = refused(
        pki::client(Some(&authority.expired_agent()), &authority),
        pki::server(&authority.server(), Some(&authority)),
    );
    for text in [&agent.3, &server.3] {
        assert!(text.contains("expired"), "{text}");
    }
    assert!(!agent.2 && !server.2);
}

#[test]
fn a_server_of_another_authority_is_not_trusted() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let [agent, server] =
        refused(pki::client(Some(&ours.agent()), &ours), pki::server(&theirs.server(), Some(&ours)));
    assert_eq!((agent.0, agent.1, agent.2), (LostKind::TlsLocal, Fault::Peer, false));
    assert_eq!((server.0, server.1), (LostKind::TlsPeer, Fault::Local));
    assert!(agent.3.contains("unknown authority"), "{}", agent.3);
}

#[test]
fn a_server_of_another_name_is_not_trusted() {
    let authority = Authority::new("ca");
    let mut world =
        world(pki::client(Some(&authority.agent()), &authority), pki::server(&authority.server(), None));
    let (now, remote) = (world.now, world.nodes[SERVER].addr);
    let conn = world.quic(AGENT).connect(now, remote, "other.adit.test", None).unwrap();
    world.run_for(SECOND);
    let (_, reason) = world.lost(AGENT, conn).unwrap();
    assert_eq!((reason.kind, reason.retry), (LostKind::TlsLocal, false));
    assert!(reason.text.contains("other.adit.test"), "{reason}");
    world.assert_nothing_is_left();
}

#[test]
fn a_handshake_that_nobody_answers_ends_at_its_deadline() {
    let mut world = World::pair(1, |_| {});
    world.link.passes = |_, _, _| false;
    let conn = world.connect(AGENT, SERVER);
    world.run_for(limits::HANDSHAKE_TIME_MAX - MS);
    assert_eq!(world.lost(AGENT, conn), None);
    world.run_for(MS);
    let (at, reason) = world.lost(AGENT, conn).unwrap();
    assert_eq!(
        (at, reason.kind, reason.retry),
        (limits::HANDSHAKE_TIME_MAX, LostKind::HandshakeTimeout, true)
    );
    world.assert_nothing_is_left();
}

#[test]
fn the_reason_of_a_close_arrives() {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.connected();
    let now = world.now;
    world.quic(SERVER).close(now, server, CloseCode::Unauthenticated, "the token has expired");
    // Reported at once, and not usable from here on.
    assert_eq!(world.quic(SERVER).open_connections(), 0);
    assert!(world.quic(SERVER).open(server).is_err());
    world.run_for(SECOND);
    let (_, here) = world.lost(SERVER, server).unwrap();
    assert_eq!(here.kind, LostKind::ClosedLocally(CloseCode::Unauthenticated));
    let (_, there) = world.lost(AGENT, agent).unwrap();
    assert_eq!(there.kind, LostKind::ClosedByPeer(Some(CloseCode::Unauthenticated)));
    assert_eq!((there.fault, there.retry), (Fault::Local, false));
    assert_eq!(there.text, "closed by the peer: the token has expired");
    world.assert_nothing_is_left();
}

#[test]
fn a_name_outlived_by_its_connection_reaches_nobody() {
    let mut world = World::pair(1, |_| {});
    let (first, _) = world.connected();
    let now = world.now;
    world.quic(AGENT).close(now, first, CloseCode::NoError, "");
    world.run_for(SECOND);
    let second = world.connect(AGENT, SERVER);
    world.run_for(SECOND);
    assert_eq!(first.index, second.index, "the place is used again");
    assert_ne!(first, second);
    let now = world.now;
    world.quic(AGENT).close(now, first, CloseCode::Internal, "stale");
    assert!(world.quic(AGENT).open(first).is_err());
    assert_eq!(world.quic(AGENT).open_connections(), 1);
    world.assert_nothing_is_left();
}

#[test]
fn impossible_connects_are_refused_with_the_reason() {
    let mut world = World::pair(1, |_| {});
    let (now, remote) = (world.now, world.nodes[SERVER].addr);
    let connect = |world: &mut World, node: usize, remote, name: &str| {
        world.quic(node).connect(now, remote, name, None).unwrap_err()
    };
    assert_eq!(connect(&mut world, SERVER, remote, SERVER_NAME), ConnectError::NoClientConfig);
    assert_eq!(connect(&mut world, AGENT, remote, "a b"), ConnectError::ServerName("a b".into()));
    let nowhere = "0.0.0.0:0".parse().unwrap();
    assert_eq!(connect(&mut world, AGENT, nowhere, SERVER_NAME), ConnectError::Address(nowhere));
    world.assert_nothing_is_left();
}

#[test]
fn impossible_configurations_are_refused() {
    let error = |change: fn(&mut QuicConfig)| {
        let mut config = config(1);
        change(&mut config);
        crate::quic::Quic::new(&config).unwrap_err()
    };
    assert_eq!(error(|c| c.shards = 0), QuicConfigError::Shard { shard: 0, shards: 0 });
    assert_eq!(error(|c| c.shard = 1), QuicConfigError::Shard { shard: 1, shards: 1 });
    assert_eq!(error(|c| c.shards = 33), QuicConfigError::Shard { shard: 0, shards: 33 });
    assert_eq!(error(|c| c.generation = 8), QuicConfigError::Generation(8));
    assert_eq!(error(|c| c.mtu_max_bytes = 1199), QuicConfigError::Mtu { bytes: 1199 });
    assert_eq!(error(|c| c.mtu_max_bytes = 65_469), QuicConfigError::Mtu { bytes: 65_469 });
}

#[test]
fn equal_runs_are_equal() {
    let run = || {
        let mut world = World::pair(7, |_| {});
        world.link.jitter = 3 * MS;
        world.link.loss = 0.05;
        let (agent, server) = world.welcomed();
        let stream = world.quic(SERVER).open(server).unwrap().unwrap();
        let node = &mut world.nodes[SERVER];
        node.pump.write(&mut node.quic, (server, stream), 0, 100_000, true);
        world.run_for(5 * SECOND);
        assert!(world.nodes[AGENT].pump.incoming[&(agent, stream)].end.is_some());
        let logs: Vec<_> = world.nodes.iter().map(|node| node.log.clone()).collect();
        let trains: Vec<_> = world.nodes.iter().map(|node| node.trains.clone()).collect();
        (logs, trains)
    };
    let (first, second) = (run(), run());
    assert_eq!(first.0, second.0);
    assert_eq!(first.1, second.1);
}

#[test]
fn a_quic_may_be_built_on_one_thread_and_driven_on_another() {
    fn is_send<T: Send>() {}
    is_send::<crate::quic::Quic>();
}
