//! Windows, and how many streams there may be.

use crate::limits::{HTTP2_STREAMS_MAX, STREAM_WINDOW_BYTES};
use crate::quic::ReadState;

use super::super::super::{Carrier, CarrierEvent, stream_id};
use super::{At, CANCELLED, World};

const WINDOW: usize = STREAM_WINDOW_BYTES as usize;

#[test]
fn a_reader_that_stopped_holds_a_window_and_its_writer_goes_on_when_it_reads() {
    for (one, other) in [(At::Server, At::Agent), (At::Agent, At::Server)] {
        let (mut world, stream) = World::tunnel();
        let mut sent = 0;
        while sent < WINDOW {
            sent += world.fill(one, stream);
            world.run();
        }
        assert_eq!(sent, WINDOW);
        assert_eq!(world.fill(one, stream), 0);
        assert_eq!(world.run(), (vec![], vec![]), "only a reader makes room");
        let (bytes, state) = world.read(other, stream);
        assert_eq!((bytes.len(), state), (WINDOW, Ok(ReadState::Blocked)));
        let (server, agent) = world.run();
        let told = if one == At::Server { server } else { agent };
        assert_eq!(told, [CarrierEvent::Writable(stream)]);
        assert!(world.fill(one, stream) > 0);
    }
}

#[test]
fn a_thousand_stopped_readers_stall_nobody() {
    let mut world = World::connected();
    let stopped: Vec<_> = (0..1000).map(|_| world.open()).collect();
    let live = world.open();
    for stream in &stopped {
        // A window each would be a thousand million bytes to move here; it is their number that must not matter.
        world.write(At::Server, *stream, &[7; 8000]);
        world.write(At::Agent, *stream, &[7; 8000]);
        world.run();
    }
    for stream in &stopped[..8] {
        while world.fill(At::Server, *stream) > 0 {
            world.run();
        }
    }
    for _ in 0..50 {
        for (from, to) in [(At::Server, At::Agent), (At::Agent, At::Server)] {
            world.write(from, live, &[1; 100_000]);
            world.run();
            assert_eq!(world.read(to, live).0.len(), 100_000);
        }
    }
}

#[test]
fn no_more_streams_are_opened_than_there_may_be_and_one_that_ends_makes_room() {
    let mut world = World::connected();
    let mut streams = Vec::new();
    // One is the control stream.
    for _ in 1..HTTP2_STREAMS_MAX {
        streams.push(world.server.open().unwrap().unwrap());
    }
    assert_eq!(world.server.open(), Ok(None));
    let (server, agent) = world.run();
    assert_eq!((server, agent.len()), (vec![], streams.len()));
    assert_eq!(streams.last(), Some(&stream_id(2 * HTTP2_STREAMS_MAX - 1)));
    let (first, second) = (streams[0], streams[1]);
    world.agent.finish(first).unwrap();
    world.run();
    assert_eq!(world.server.open(), Ok(None), "half of it is open");
    world.server.finish(first).unwrap();
    assert_eq!(world.run().0, [CarrierEvent::Finished(first), CarrierEvent::StreamsAvailable]);
    assert!(world.server.open().unwrap().is_some());
    assert_eq!(world.server.open(), Ok(None));
    world.agent.reset(second, CANCELLED).unwrap();
    assert!(world.run().0.contains(&CarrierEvent::StreamsAvailable));
    assert!(world.server.open().unwrap().is_some());
    let (server, agent) = world.run();
    assert!(server.is_empty() && matches!(agent[..], [CarrierEvent::Opened(_)]), "{agent:?}");
}
