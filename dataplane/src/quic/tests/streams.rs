//! Bytes: exactly once, in order, each direction by itself.

use super::world::{AGENT, MS, SECOND, SERVER, World};
use crate::limits;
use crate::quic::{ConnId, QuicEvent, ReadState, StreamId, WriteState};
use crate::wire::ResetCode;

const TO_AGENT: u8 = 0x5a;
const TO_SERVER: u8 = 0xa5;

fn write(world: &mut World, node: usize, key: (ConnId, StreamId), bytes: u64, finish: bool) {
    let salt = if node == SERVER { TO_AGENT } else { TO_SERVER };
    world.nodes[AGENT].pump.expect_salt = TO_AGENT;
    world.nodes[SERVER].pump.expect_salt = TO_SERVER;
    let node = &mut world.nodes[node];
    node.pump.write(&mut node.quic, key, salt, bytes, finish);
}

fn open(world: &mut World, server: ConnId) -> StreamId {
    world.quic(SERVER).open(server).unwrap().expect("a stream to be had")
}

fn ended(world: &World, node: usize, key: (ConnId, StreamId)) -> Option<(u64, ReadState)> {
    let incoming = world.nodes[node].pump.incoming.get(&key)?;
    Some((incoming.bytes, incoming.end?))
}

#[test]
fn bytes_arrive_exactly_once_and_in_order_whatever_the_network_does() {
    for seed in 0..6 {
        let mut world = World::pair(seed, |_| {});
        let (agent, server) = world.welcomed();
        world.link.jitter = 8 * MS;
        world.link.loss = 0.02 * seed as f64;
        world.link.duplication = 0.05;
        let streams: Vec<_> = (0..8).map(|_| open(&mut world, server)).collect();
        for (n, &stream) in streams.iter().enumerate() {
            // The agent learns of a stream by its first bytes, and answers with as many.
            write(&mut world, SERVER, (server, stream), 1 + 40_000 * n as u64, true);
        }
        world.run_until(|world| world.nodes[AGENT].pump.opened.len() == 8, 60 * SECOND);
        for (n, &stream) in streams.iter().enumerate() {
            write(&mut world, AGENT, (agent, stream), 1 + 30_000 * n as u64, true);
        }
        let all = |world: &World, node, conn| {
            streams.iter().all(|&stream| ended(world, node, (conn, stream)).is_some())
        };
        world.run_until(|world| all(world, AGENT, agent) && all(world, SERVER, server), 120 * SECOND);
        for (n, &stream) in streams.iter().enumerate() {
            let n = n as u64;
            assert_eq!(ended(&world, AGENT, (agent, stream)), Some((1 + 40_000 * n, ReadState::Finished)));
            assert_eq!(ended(&world, SERVER, (server, stream)), Some((1 + 30_000 * n, ReadState::Finished)));
        }
        // Every stream is forgotten on both sides, the last acknowledgements included.
        world.run_for(5 * SECOND);
        assert_eq!(world.quic(AGENT).open_streams(agent), Some((0, 0)));
        assert_eq!(world.quic(SERVER).open_streams(server), Some((0, 0)));
        let finished = |e: &QuicEvent| matches!(e, QuicEvent::Finished { .. });
        assert_eq!(world.nodes[SERVER].log.iter().filter(|(_, e)| finished(e)).count(), 8);
        world.assert_nothing_is_left();
    }
}

#[test]
fn half_close_stays_half() {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.welcomed();
    let stream = open(&mut world, server);
    write(&mut world, SERVER, (server, stream), 10, true);
    world.run_for(SECOND);
    assert_eq!(ended(&world, AGENT, (agent, stream)), Some((10, ReadState::Finished)));
    // The other direction goes on as long as it likes.
    write(&mut world, AGENT, (agent, stream), 300_000, false);
    world.run_for(20 * SECOND);
    let incoming = &world.nodes[SERVER].pump.incoming[&(server, stream)];
    assert_eq!((incoming.bytes, incoming.end), (300_000, None));
    assert!(world.quic(SERVER).finish(server, stream).is_err(), "finished once");
    world.quic(AGENT).finish(agent, stream).unwrap();
    world.run_for(SECOND);
    assert_eq!(ended(&world, SERVER, (server, stream)), Some((300_000, ReadState::Finished)));
    world.assert_nothing_is_left();
}

#[test]
fn an_end_without_bytes_arrives() {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.welcomed();
    let stream = open(&mut world, server);
    world.quic(SERVER).finish(server, stream).unwrap();
    world.run_for(SECOND);
    assert_eq!(ended(&world, AGENT, (agent, stream)), Some((0, ReadState::Finished)));
    world.assert_nothing_is_left();
}

#[test]
fn a_reset_arrives_with_its_code_and_leaves_the_other_direction() {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.welcomed();
    let stream = open(&mut world, server);
    write(&mut world, SERVER, (server, stream), 1000, false);
    world.run_for(SECOND);
    world.quic(SERVER).reset(server, stream, ResetCode::Deadline).unwrap();
    world.run_for(SECOND);
    assert_eq!(ended(&world, AGENT, (agent, stream)), Some((1000, ReadState::Reset(ResetCode::Deadline))));
    assert!(world.quic(SERVER).reset(server, stream, ResetCode::Deadline).is_err());
    write(&mut world, AGENT, (agent, stream), 500, true);
    world.run_for(SECOND);
    assert_eq!(ended(&world, SERVER, (server, stream)), Some((500, ReadState::Finished)));
    assert_eq!(world.quic(SERVER).open_streams(server), Some((0, 0)));
    world.assert_nothing_is_left();
}

#[test]
fn a_stop_arrives_with_its_code_and_ends_the_writer() {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.welcomed();
    world.nodes[AGENT].pump.all_stopped = true;
    let stream = open(&mut world, server);
    write(&mut world, SERVER, (server, stream), u64::from(4 * limits::STREAM_WINDOW_BYTES), true);
    world.run_for(10 * SECOND);
    assert!(world.nodes[SERVER].pump.is_blocked((server, stream)));
    world.quic(AGENT).stop(agent, stream, ResetCode::OverBudget).unwrap();
    world.run_for(SECOND);
    let stopped = QuicEvent::Stopped { conn: server, stream, code: ResetCode::OverBudget };
    assert!(world.saw(SERVER, |e| *e == stopped).is_some());
    // The writer's half was reset with it, so that both sides forget it.
    let mut more = std::collections::VecDeque::from([bytes::Bytes::from_static(b"x")]);
    assert!(world.quic(SERVER).write(server, stream, &mut more).is_err());
    assert!(world.quic(AGENT).read(agent, stream, 1, &mut Vec::new()).is_err());
    write(&mut world, AGENT, (agent, stream), 7, true);
    world.run_for(SECOND);
    assert_eq!(ended(&world, SERVER, (server, stream)), Some((7, ReadState::Finished)));
    assert_eq!(world.quic(SERVER).open_streams(server), Some((0, 0)));
    assert_eq!(world.quic(AGENT).open_streams(agent), Some((0, 0)));
    world.assert_nothing_is_left();
}

#[test]
fn a_write_behind_a_stop_says_so() {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.welcomed();
    world.nodes[AGENT].pump.all_stopped = true;
    let stream = open(&mut world, server);
    write(&mut world, SERVER, (server, stream), 100, false);
    world.run_for(SECOND);
    world.quic(AGENT).stop(agent, stream, ResetCode::Cancelled).unwrap();
    // Deliver without letting the server look at its events.
    let now = world.now;
    let transmit = world.quic(AGENT).poll_transmit(now, Vec::new()).unwrap();
    let datagrams = adit_io::Datagrams {
        stride: transmit.segment_bytes,
        data: bytes::BytesMut::from(&transmit.buffer[..]),
        peer: world.nodes[AGENT].addr,
        local_ip: None,
        ecn: None,
    };
    world.quic(SERVER).handle_datagrams(now, datagrams);
    let mut more = std::collections::VecDeque::from([bytes::Bytes::from_static(b"x")]);
    let state = world.quic(SERVER).write(server, stream, &mut more);
    assert_eq!(state, Ok(WriteState::Stopped(ResetCode::Cancelled)));
    world.run_for(SECOND);
    world.assert_nothing_is_left();
}

#[test]
fn reads_respect_their_limit() {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.welcomed();
    world.nodes[AGENT].pump.all_stopped = true;
    let stream = open(&mut world, server);
    write(&mut world, SERVER, (server, stream), 5000, true);
    world.run_for(SECOND);
    let (mut sizes, mut states) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let mut chunks = Vec::new();
        states.push(world.quic(AGENT).read(agent, stream, 2000, &mut chunks).unwrap());
        sizes.push(chunks.iter().map(bytes::Bytes::len).sum::<usize>());
    }
    assert_eq!(sizes, [2000, 2000, 1000]);
    assert_eq!(states, [ReadState::More, ReadState::More, ReadState::Finished]);
    assert!(world.quic(AGENT).read(agent, stream, 2000, &mut Vec::new()).is_err(), "read to its end before");
    world.assert_nothing_is_left();
}

#[test]
fn copied_datagrams_carry_the_same_bytes() {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.welcomed();
    world.quic(AGENT).set_copy_received(true);
    let stream = open(&mut world, server);
    write(&mut world, SERVER, (server, stream), 200_000, true);
    world.run_for(10 * SECOND);
    assert_eq!(ended(&world, AGENT, (agent, stream)), Some((200_000, ReadState::Finished)));
    assert!(world.quic(AGENT).endpoint_counts().copied > 100);
    assert_eq!(world.quic(SERVER).endpoint_counts().copied, 0);
    world.assert_nothing_is_left();
}

#[test]
fn a_train_is_reported_once_and_not_for_each_packet() {
    let mut world = World::pair(1, |_| {});
    let (agent, server) = world.welcomed();
    let stream = open(&mut world, server);
    write(&mut world, SERVER, (server, stream), 1_000_000, true);
    world.run_for(10 * SECOND);
    assert_eq!(ended(&world, AGENT, (agent, stream)), Some((1_000_000, ReadState::Finished)));
    let packets = world.nodes[SERVER].trains.iter().map(|train| train.segments).sum::<usize>();
    let trains = world.nodes[SERVER].trains.len();
    let readable = QuicEvent::Readable { conn: agent, stream };
    let reports = world.nodes[AGENT].log.iter().filter(|(_, event)| *event == readable).count();
    assert!(packets > 700 && reports <= trains, "{reports} reports of {trains} trains, {packets} packets");
    world.assert_nothing_is_left();
}
