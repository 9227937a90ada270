//! Ends of streams: half-close, reset, stop, each from either end.

use crate::quic::{Gone, ReadState};
use crate::wire::ResetCode;

use super::super::super::{Carrier, CarrierEvent};
use super::{At, CANCELLED, World};

const BOTH: [(At, At); 2] = [(At::Server, At::Agent), (At::Agent, At::Server)];

/// What each end was told, the given one first.
fn run(world: &mut World, first: At) -> (Vec<CarrierEvent>, Vec<CarrierEvent>) {
    let (server, agent) = world.run();
    match first {
        At::Server => (server, agent),
        At::Agent => (agent, server),
    }
}

#[test]
fn one_direction_ends_and_the_other_goes_on() {
    for (one, other) in BOTH {
        let (mut world, stream) = World::tunnel();
        world.write(one, stream, b"last");
        world.end(one).finish(stream).unwrap();
        assert_eq!(world.end(one).finish(stream), Err(Gone));
        let (told, other_told) = run(&mut world, one);
        assert_eq!(told, [CarrierEvent::Finished(stream)]);
        assert_eq!(other_told.last(), Some(&CarrierEvent::Readable(stream)));
        assert_eq!(world.read(other, stream), (b"last".to_vec(), Ok(ReadState::Finished)));
        assert_eq!(world.read(other, stream).1, Err(Gone));
        for _ in 0..3 {
            world.write(other, stream, b"more");
            assert_eq!(run(&mut world, one), (vec![CarrierEvent::Readable(stream)], vec![]));
            assert_eq!(world.read(one, stream), (b"more".to_vec(), Ok(ReadState::Blocked)));
        }
        world.end(other).finish(stream).unwrap();
        let told = run(&mut world, one);
        assert_eq!(told, (vec![CarrierEvent::Readable(stream)], vec![CarrierEvent::Finished(stream)]));
        assert_eq!(world.read(one, stream).1, Ok(ReadState::Finished));
        assert_eq!((world.server.pipes.len(), world.agent.pipes.len()), (1, 1), "the control streams");
    }
}

#[test]
fn a_stream_that_both_ended_stays_until_it_is_read() {
    for (one, other) in BOTH {
        let (mut world, stream) = World::tunnel();
        world.write(one, stream, b"unread");
        world.end(one).finish(stream).unwrap();
        world.end(other).finish(stream).unwrap();
        run(&mut world, one);
        assert_eq!(world.read(other, stream), (b"unread".to_vec(), Ok(ReadState::Finished)));
        assert_eq!(world.read(one, stream), (vec![], Ok(ReadState::Finished)));
        assert_eq!((world.server.pipes.len(), world.agent.pipes.len()), (1, 1));
    }
}

#[test]
fn a_reset_ends_both_halves_with_its_code() {
    for (one, other) in BOTH {
        for code in ResetCode::ALL {
            let (mut world, stream) = World::tunnel();
            world.write(one, stream, b"lost");
            world.end(one).reset(stream, code).unwrap();
            assert_eq!(world.end(one).reset(stream, code), Err(Gone));
            assert_eq!(world.end(one).stop(stream, code), Err(Gone));
            let (told, other_told) = run(&mut world, one);
            assert_eq!(told, []);
            let expected = [CarrierEvent::Readable(stream), CarrierEvent::Stopped(stream, code)];
            assert!(other_told.ends_with(&expected), "{other_told:?}");
            assert_eq!(world.end(other).finish(stream), Err(Gone));
            assert_eq!(world.read(other, stream), (vec![], Ok(ReadState::Reset(code))));
            assert_eq!(world.read(other, stream).1, Err(Gone));
            assert_eq!((world.server.pipes.len(), world.agent.pipes.len()), (1, 1));
        }
    }
}

#[test]
fn a_reset_is_seen_behind_bytes_that_nobody_reads_and_once() {
    let (mut world, stream) = World::tunnel();
    world.write(At::Server, stream, b"unread");
    world.run();
    assert!(!world.agent.received_reset(stream));
    world.server.reset(stream, CANCELLED).unwrap();
    assert!(world.run().1.contains(&CarrierEvent::Readable(stream)), "although it had been told of bytes");
    assert!(world.agent.received_reset(stream));
    assert!(!world.agent.received_reset(stream));
    assert_eq!(world.read(At::Agent, stream).1, Err(Gone));
}

#[test]
fn a_reset_behind_an_end_stops_and_leaves_what_was_sent() {
    for (one, other) in BOTH {
        let (mut world, stream) = World::tunnel();
        world.write(one, stream, b"all of it");
        world.end(one).finish(stream).unwrap();
        world.end(one).stop(stream, CANCELLED).unwrap();
        let (_, told) = run(&mut world, one);
        assert_eq!(told.last(), Some(&CarrierEvent::Stopped(stream, CANCELLED)));
        assert!(!world.end(other).received_reset(stream));
        assert_eq!(world.end(other).finish(stream), Err(Gone));
        assert_eq!(world.read(other, stream), (b"all of it".to_vec(), Ok(ReadState::Finished)));
        assert_eq!((world.server.pipes.len(), world.agent.pipes.len()), (1, 1));
    }
}

#[test]
fn who_stops_reading_still_sends_and_the_peer_is_told_behind_the_end() {
    for (one, other) in BOTH {
        let (mut world, stream) = World::tunnel();
        world.write(other, stream, b"unread");
        run(&mut world, one);
        world.end(one).stop(stream, CANCELLED).unwrap();
        assert_eq!(world.end(one).stop(stream, CANCELLED), Err(Gone));
        assert_eq!(world.read(one, stream).1, Err(Gone));
        // More than a window: it is thrown away, and must not stop the peer.
        for _ in 0..40 {
            world.write(other, stream, &[7; 60_000]);
            assert_eq!(run(&mut world, one), (vec![], vec![]));
        }
        world.write(one, stream, b"still");
        assert_eq!(run(&mut world, other).0, [CarrierEvent::Readable(stream)]);
        assert_eq!(world.read(other, stream), (b"still".to_vec(), Ok(ReadState::Blocked)));
        world.end(one).finish(stream).unwrap();
        let (told, _) = run(&mut world, other);
        assert_eq!(told, [CarrierEvent::Readable(stream), CarrierEvent::Stopped(stream, CANCELLED)]);
        assert_eq!(world.read(other, stream).1, Ok(ReadState::Finished));
        assert_eq!((world.server.pipes.len(), world.agent.pipes.len()), (1, 1));
    }
}

#[test]
fn who_stops_reading_needs_tell_nobody_that_has_ended() {
    for (one, other) in BOTH {
        let (mut world, stream) = World::tunnel();
        world.end(one).stop(stream, CANCELLED).unwrap();
        world.write(other, stream, b"unread");
        world.end(other).finish(stream).unwrap();
        assert_eq!(run(&mut world, one), (vec![], vec![CarrierEvent::Finished(stream)]));
        world.end(one).finish(stream).unwrap();
        let (told, _) = run(&mut world, other);
        assert_eq!(told, [CarrierEvent::Readable(stream)]);
        assert_eq!(world.read(other, stream).1, Ok(ReadState::Finished));
        assert_eq!((world.server.pipes.len(), world.agent.pipes.len()), (1, 1));
    }
}

#[test]
fn resets_that_cross_end_the_stream_and_nothing_else() {
    let mut world = World::connected();
    for _ in 0..100 {
        let stream = world.open();
        world.write(At::Agent, stream, b"x");
        world.run();
        world.server.reset(stream, CANCELLED).unwrap();
        world.agent.reset(stream, ResetCode::ResetByPeer).unwrap();
        assert_eq!(world.run(), (vec![], vec![]));
    }
    assert_eq!((world.server.pipes.len(), world.agent.pipes.len()), (1, 1));
}
