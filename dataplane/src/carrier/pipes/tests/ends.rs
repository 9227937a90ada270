//! Ends of connections: closes, silence, sockets that break.

use std::time::Duration;

use crate::limits::{HTTP2_KEEP_ALIVE_TIMEOUT, HTTP2_PREFACE_TIME_MAX, KEEP_ALIVE_INTERVAL};
use crate::quic::{Fault, Gone, LostKind, LostReason, ReadState};
use crate::wire::CloseCode;

use super::super::super::{Carrier, CarrierEvent};
use super::{At, CANCELLED, World, lost};

fn broken() -> LostReason {
    LostReason::new(LostKind::Reset, Fault::Network, true, "the TCP connection was reset")
}

#[test]
fn whoever_closes_says_why_and_both_are_told_once() {
    for at in [At::Server, At::Agent] {
        for code in CloseCode::ALL {
            let (mut world, stream) = World::tunnel();
            world.write(at, stream, b"on its way");
            let now = world.now;
            world.end(at).close(now, code, "because of this");
            world.end(at).close(now, CloseCode::Internal, "again");
            let (server, agent) = world.run();
            let (own, peer) = if at == At::Server { (server, agent) } else { (agent, server) };
            let closed = LostReason::closed_locally(code, "because of this");
            assert_eq!(own, [CarrierEvent::Lost(closed)]);
            let reason = lost(&peer);
            assert_eq!(reason.kind, LostKind::ClosedByPeer(Some(code)));
            assert_eq!(reason.text, "closed by the peer: because of this");
            for end in [&mut world.server, &mut world.agent] {
                assert!(!end.wants_input() && end.deadline().is_none());
                assert_eq!(end.open(), Err(Gone));
                assert_eq!(end.finish(stream), Err(Gone));
                assert_eq!(end.stop(stream, CANCELLED), Err(Gone));
                end.on_transport_end(now, broken());
                end.on_time(now + Duration::from_secs(3600));
                assert_eq!(end.poll_event(now), None);
            }
        }
    }
}

#[test]
fn a_close_before_anything_else_arrives_as_well() {
    let mut world = World::new();
    world.server.close(world.now, CloseCode::Full, "no room");
    let (server, agent) = world.run();
    assert_eq!(server.len(), 1, "{server:?}");
    assert_eq!(lost(&agent).text, "closed by the peer: no room");
}

#[test]
fn a_socket_that_ends_is_told_after_what_came_before_it() {
    let (mut world, stream) = World::tunnel();
    world.write(At::Server, stream, b"last words");
    let bytes = world.server.take_output();
    world.agent.receive(world.now, bytes);
    world.agent.on_transport_end(world.now, broken());
    world.agent.on_transport_end(world.now, LostReason::closed_locally(CloseCode::NoError, "later"));
    assert!(!world.agent.wants_input());
    assert_eq!(world.agent.poll_event(world.now), Some(CarrierEvent::Readable(stream)));
    assert_eq!(world.read(At::Agent, stream), (b"last words".to_vec(), Ok(ReadState::Blocked)));
    assert_eq!(world.agent.poll_event(world.now), Some(CarrierEvent::Lost(broken())));
    assert_eq!(world.agent.poll_event(world.now), None);
}

#[test]
fn a_close_that_came_before_the_socket_ended_is_the_reason() {
    let (mut world, stream) = World::tunnel();
    // Output that nobody will take must not keep it from being heard.
    world.fill(At::Agent, stream);
    while world.agent.wants_input() {
        world.agent.http2.ping();
    }
    world.server.close(world.now, CloseCode::Shutdown, "the process ends");
    let bytes = world.server.take_output();
    world.agent.receive(world.now, bytes);
    world.agent.on_transport_end(world.now, broken());
    let events: Vec<_> = std::iter::from_fn(|| world.agent.poll_event(world.now)).collect();
    assert_eq!(lost(&events).kind, LostKind::ClosedByPeer(Some(CloseCode::Shutdown)));
}

#[test]
fn silence_is_broken_by_a_ping_and_the_living_answer() {
    let mut world = World::connected();
    let (server, agent) = world.pass(Duration::from_secs(3600), false);
    assert_eq!((server, agent), (vec![], vec![]));
    assert_eq!(world.server.http2.pings_unanswered() + world.agent.http2.pings_unanswered(), 0);
}

#[test]
fn a_peer_that_does_not_answer_is_given_up() {
    let mut world = World::connected();
    let most = KEEP_ALIVE_INTERVAL + HTTP2_KEEP_ALIVE_TIMEOUT;
    assert_eq!(world.pass(most - Duration::from_millis(1), true), (vec![], vec![]));
    let (server, agent) = world.pass(Duration::from_millis(1), true);
    for events in [server, agent] {
        let reason = lost(&events);
        assert_eq!((reason.kind, reason.fault, reason.retry), (LostKind::Unanswered, Fault::Network, true));
        assert_eq!(reason.text, "no answer for 20 s");
    }
}

#[test]
fn a_peer_that_says_nothing_at_all_is_given_up_before_it_is_connected() {
    let World { server, agent, now } = World::new();
    for mut end in [server, agent] {
        let late = now + HTTP2_PREFACE_TIME_MAX;
        assert!(end.deadline().is_some_and(|deadline| deadline <= late));
        end.on_time(late);
        let reason = lost(&std::iter::from_fn(|| end.poll_event(late)).collect::<Vec<_>>());
        assert_eq!(reason.kind, LostKind::HandshakeTimeout);
        assert!(reason.text.contains("no preface and SETTINGS within 10 s"), "{reason}");
    }
}
