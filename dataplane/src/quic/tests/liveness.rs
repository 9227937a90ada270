//! Suspicion, recovery and the end, to the millisecond (design D13).

use std::time::Duration;

use super::world::{AGENT, MS, SECOND, SERVER, World};
use crate::limits;
use crate::quic::{ConnId, Fault, LostKind, QuicEvent, StreamId};

fn cut(world: &mut World) {
    world.link.passes = |_, _, _| false;
}

fn heal(world: &mut World) {
    world.link.passes = |_, _, _| true;
}

/// A quiet connection; the server has one stream with a byte on it.
fn quiet() -> (World, ConnId, ConnId, StreamId) {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.welcomed();
    let stream = world.quic(SERVER).open(server).unwrap().unwrap();
    world.run_for(SECOND);
    (world, agent, server, stream)
}

fn write(world: &mut World, server: ConnId, stream: StreamId) {
    let node = &mut world.nodes[SERVER];
    node.pump.write(&mut node.quic, (server, stream), 0, 1, true);
    world.settle();
}

fn suspect_at(world: &World, node: usize, conn: ConnId) -> Option<Duration> {
    world.saw(node, |e| *e == QuicEvent::Suspect { conn })
}

#[test]
fn unanswered_data_makes_suspect_after_a_second_and_ends_after_five() {
    let (mut world, _, server, stream) = quiet();
    cut(&mut world);
    write(&mut world, server, stream);
    let written = world.elapsed();
    world.run_for(limits::SUSPECT_AFTER_MIN - MS);
    assert!(!world.quic(SERVER).is_suspect(server));
    world.run_for(MS);
    assert!(world.quic(SERVER).is_suspect(server));
    assert!(world.quic(SERVER).path(server).unwrap().suspect);
    assert_eq!(suspect_at(&world, SERVER, server), Some(written + limits::SUSPECT_AFTER_MIN));

    world.run_for(limits::UNANSWERED_TIME_MAX - limits::SUSPECT_AFTER_MIN - MS);
    assert_eq!(world.lost(SERVER, server), None);
    world.run_for(MS);
    let (at, reason) = world.lost(SERVER, server).unwrap();
    assert_eq!(at, written + limits::UNANSWERED_TIME_MAX);
    assert_eq!((reason.kind, reason.fault, reason.retry), (LostKind::Unanswered, Fault::Network, true));
    assert!(world.quic(SERVER).path(server).is_none());
    world.assert_nothing_is_left();
}

/// The boundary pair: an outage of half the time passes without a word; one that reaches it is noticed.
#[test]
fn a_short_outage_goes_unnoticed_and_a_longer_one_recovers() {
    let (mut world, _, server, stream) = quiet();
    cut(&mut world);
    write(&mut world, server, stream);
    world.run_for(limits::SUSPECT_AFTER_MIN / 2);
    heal(&mut world);
    world.run_for(3 * SECOND);
    assert_eq!(suspect_at(&world, SERVER, server), None);

    cut(&mut world);
    let again = world.quic(SERVER).open(server).unwrap().unwrap();
    write(&mut world, server, again);
    world.run_for(limits::SUSPECT_AFTER_MIN + MS);
    assert!(suspect_at(&world, SERVER, server).is_some());
    heal(&mut world);
    world.run_for(3 * SECOND);
    assert!(world.saw(SERVER, |e| *e == QuicEvent::Recovered { conn: server }).is_some());
    assert!(!world.quic(SERVER).is_suspect(server));
    assert_eq!(world.lost(SERVER, server), None);
    world.assert_nothing_is_left();
}

/// Neither end suspects the other after an outage.
fn assert_well(world: &mut World, agent: ConnId, server: ConnId, outage: Duration) {
    for (node, conn) in [(SERVER, server), (AGENT, agent)] {
        assert_eq!(world.lost(node, conn), None, "after {outage:?}");
        assert!(!world.quic(node).is_suspect(conn), "node {node} after {outage:?}");
    }
}

/// Cuts a connection off, both ways or one, that has as much on its way each way as the congestion windows let out.
fn survives(outage: Duration, cut: impl Fn(&mut World)) {
    let (mut world, agent, server, stream) = quiet();
    let bytes = u64::from(limits::STREAM_WINDOW_BYTES);
    let node = &mut world.nodes[SERVER];
    node.pump.write(&mut node.quic, (server, stream), 0, bytes, true);
    world.run_for(20 * MS);
    let node = &mut world.nodes[AGENT];
    node.pump.write(&mut node.quic, (agent, stream), 0, bytes, true);
    world.run_for(5 * MS);
    cut(&mut world);
    world.run_for(outage);
    heal(&mut world);
    world.run_for(limits::PROBE_INTERVAL_MAX + 200 * MS);
    assert_well(&mut world, agent, server, outage);
    world.run_for(10 * SECOND);
    assert_eq!(world.nodes[AGENT].pump.incoming[&(agent, stream)].bytes, bytes);
    assert_eq!(world.nodes[SERVER].pump.incoming[&(server, stream)].bytes, bytes);
    world.assert_nothing_is_left();
}

/// However the pauses between quinn-proto's own probes fall: what ends a good second before the connection would be
/// given up is survived.
#[test]
fn an_outage_that_ends_before_the_connection_would_be_given_up_is_survived() {
    let longest = limits::UNANSWERED_TIME_MAX - limits::PROBE_INTERVAL_MAX - 100 * MS;
    for outage in (1..).map(|step| step * 130 * MS).take_while(|outage| *outage < longest) {
        survives(outage, cut);
        survives(outage, |world| world.link.passes = |from, _, _| from == super::world::addr(2));
        survives(outage, |world| world.link.passes = |from, _, _| from == super::world::addr(1));
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_suspect() {
    let (mut world, _, server, stream) = quiet();
    world.nodes[AGENT].pump.all_stopped = true;
    let node = &mut world.nodes[SERVER];
    node.pump.write(&mut node.quic, (server, stream), 0, u64::from(4 * limits::STREAM_WINDOW_BYTES), true);
    world.run_for(60 * SECOND);
    assert_eq!(suspect_at(&world, SERVER, server), None);
    assert_eq!(world.lost(SERVER, server), None);
    world.assert_nothing_is_left();
}

#[test]
fn an_unreachable_report_makes_suspect_at_once_but_only_who_waits() {
    let (mut world, _, server, stream) = quiet();
    let (now, peer) = (world.now, world.nodes[AGENT].addr);
    world.quic(SERVER).peer_unreachable(now, peer);
    assert!(!world.quic(SERVER).is_suspect(server), "nothing waits: anyone may have forged this");
    cut(&mut world);
    write(&mut world, server, stream);
    world.quic(SERVER).peer_unreachable(now, super::world::addr(99));
    assert!(!world.quic(SERVER).is_suspect(server), "another peer");
    world.quic(SERVER).peer_unreachable(now, peer);
    world.settle();
    assert_eq!(suspect_at(&world, SERVER, server), Some(world.elapsed()));
    // A forged report costs nothing: whatever arrives clears it.
    heal(&mut world);
    world.run_for(SECOND);
    assert!(world.saw(SERVER, |e| *e == QuicEvent::Recovered { conn: server }).is_some());
    assert_eq!(world.lost(SERVER, server), None);
    world.assert_nothing_is_left();
}

#[test]
fn a_hint_does_not_shorten_the_time_to_the_end() {
    let (mut world, _, server, stream) = quiet();
    cut(&mut world);
    write(&mut world, server, stream);
    let (now, peer, written) = (world.now, world.nodes[AGENT].addr, world.elapsed());
    world.quic(SERVER).peer_unreachable(now, peer);
    world.run_for(10 * SECOND);
    assert_eq!(world.lost(SERVER, server).unwrap().0, written + limits::UNANSWERED_TIME_MAX);
    world.assert_nothing_is_left();
}

#[test]
fn the_agent_keeps_a_silent_connection_alive() {
    let (mut world, agent, server, _) = quiet();
    world.run_for(10 * SECOND);
    world.nodes[AGENT].trains.clear();
    world.nodes[SERVER].trains.clear();
    world.run_for(120 * SECOND);
    assert_eq!(world.lost(AGENT, agent), None);
    assert_eq!(world.lost(SERVER, server), None);
    // One every 2.5 s and a round trip, and its acknowledgement.
    let sent = world.nodes[AGENT].trains.len();
    assert!((44..=48).contains(&sent), "{sent}");
    assert!(world.nodes[SERVER].trains.len() <= sent + 1);
    world.assert_nothing_is_left();
}

#[test]
fn the_server_closes_a_silent_connection_after_the_idle_time() {
    let (mut world, agent, server, _) = quiet();
    world.run_for(10 * SECOND);
    // What the server last received counts, and that was some time before.
    let last = world.nodes[AGENT].trains.last().unwrap().at + world.link.delay;
    cut(&mut world);
    world.run_for(60 * SECOND);
    let (at, reason) = world.lost(SERVER, server).unwrap();
    assert_eq!((reason.kind, reason.retry), (LostKind::Idle, true));
    assert_eq!(at, last + limits::IDLE_TIME_MAX);
    // The agent's keep-alive goes unanswered, so it knows sooner.
    let (at, reason) = world.lost(AGENT, agent).unwrap();
    assert_eq!(reason.kind, LostKind::Unanswered);
    // It counts from what it received itself: the answer, a round trip and an acknowledgement delay (25 ms) later.
    let slack = 2 * world.link.delay + 25 * MS;
    assert!(at <= last + limits::KEEP_ALIVE_INTERVAL + limits::UNANSWERED_TIME_MAX + slack, "{at:?}");
    world.assert_nothing_is_left();
}

/// A node that knows of another way to its peer gives nothing up for that, until the time for it is over.
#[test]
fn a_connection_that_is_held_survives_a_long_outage_and_no_endless_one() {
    let longest = limits::HELD_TIME_MAX - limits::PROBE_INTERVAL_MAX - 100 * MS;
    for outage in (1..).map(|step| step * 1970 * MS).take_while(|outage| *outage < longest) {
        let (mut world, agent, server, stream) = quiet();
        world.nodes.iter_mut().for_each(|node| node.holds = true);
        cut(&mut world);
        write(&mut world, server, stream);
        world.run_for(outage);
        heal(&mut world);
        world.run_for(limits::PROBE_INTERVAL_MAX + 200 * MS);
        assert_well(&mut world, agent, server, outage);
        let arrived = world.nodes[AGENT].pump.incoming.get(&(agent, stream)).map(|stream| stream.bytes);
        assert_eq!(arrived, Some(1), "after {outage:?}");
        world.assert_nothing_is_left();
    }
    let (mut world, agent, server, _) = quiet();
    world.nodes.iter_mut().for_each(|node| node.holds = true);
    let begun = world.elapsed();
    cut(&mut world);
    world.run_for(2 * limits::HELD_TIME_MAX);
    for (node, conn) in [(SERVER, server), (AGENT, agent)] {
        let (at, reason) = world.lost(node, conn).unwrap();
        assert_eq!((reason.kind, reason.retry), (LostKind::Idle, true));
        assert!(at >= begun + limits::HELD_TIME_MAX - limits::KEEP_ALIVE_INTERVAL, "{at:?}");
        assert!(at <= begun + limits::HELD_TIME_MAX, "{at:?}");
    }
    world.assert_nothing_is_left();
}

/// Address translation gives the agent another address in the middle of things (RFC 9000 section 9.3).
#[test]
fn an_agent_whose_address_changes_keeps_its_connection() {
    let (mut world, agent, server, stream) = quiet();
    let moved = super::world::addr(50);
    world.nodes[AGENT].addr = moved;
    // The server speaks to the old address until the agent's keep-alive comes from the new one.
    write(&mut world, server, stream);
    world.run_for(SECOND);
    world.run_until(|world| world.nodes[SERVER].quic.remote(server) == Some(moved), 10 * SECOND);
    world.run_for(SECOND);
    assert_eq!(world.nodes[AGENT].pump.incoming[&(agent, stream)].bytes, 1);
    assert_eq!((world.lost(AGENT, agent), world.lost(SERVER, server)), (None, None));
    // Reports about the new address find it, those about the old one do not.
    cut(&mut world);
    let again = world.quic(SERVER).open(server).unwrap().unwrap();
    write(&mut world, server, again);
    let now = world.now;
    world.quic(SERVER).peer_unreachable(now, super::world::addr(1));
    assert!(!world.quic(SERVER).is_suspect(server));
    world.quic(SERVER).peer_unreachable(now, moved);
    assert!(world.quic(SERVER).is_suspect(server));
    heal(&mut world);
    world.assert_nothing_is_left();
}
