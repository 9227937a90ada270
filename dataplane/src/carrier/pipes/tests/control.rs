//! The control stream, and a dial.

use crate::quic::{Gone, ReadState};
use crate::wire::{ControlMessage, DialRequest, DialResponse, Drain, FrameReader, Kind, StreamHeader};

use super::super::super::{Carrier, CarrierEvent, stream_id};
use super::super::Pipes;
use super::{At, World};

#[test]
fn the_agents_control_stream_is_the_servers_first() {
    let mut world = World::connected();
    let control = stream_id(1);
    world.write(At::Agent, control, &StreamHeader::control().to_frame().unwrap());
    assert_eq!(world.run(), (vec![CarrierEvent::Readable(control)], vec![]));
    let (bytes, state) = world.read(At::Server, control);
    assert_eq!(state, Ok(ReadState::Blocked));
    let mut reader = FrameReader::new();
    reader.push(bytes.into());
    let header = StreamHeader::decode(reader.poll().unwrap().unwrap()).unwrap();
    assert_eq!(header.kind, Kind::Control);
    let drain = ControlMessage::Drain(Drain { deadline_ms: 1, reason: String::new() });
    world.write(At::Server, control, &drain.to_frame().unwrap());
    assert_eq!(world.run(), (vec![], vec![CarrierEvent::Readable(control)]));
    assert_eq!(world.read(At::Agent, control).0, drain.to_frame().unwrap());
}

#[test]
fn an_agent_opens_nothing_but_its_control_stream_and_that_once() {
    let mut world = World::new();
    assert_eq!(world.agent.open(), Ok(None), "the server has not opened it");
    world.run();
    assert_eq!(world.agent.open(), Ok(Some(stream_id(1))));
    assert_eq!(world.agent.open(), Ok(None));
    assert_eq!(world.run(), (vec![], vec![]), "and no room is promised");
}

#[test]
fn a_dial_is_answered_and_bytes_go_both_ways() {
    let (mut world, stream) = World::tunnel();
    let request = DialRequest {
        network: crate::wire::Network::Tcp,
        address: "10.0.0.1:80".to_owned(),
        dial_id: 7,
        deadline_ms: 5000,
        traceparent: String::new(),
    };
    let header = StreamHeader::dial(request).to_frame().unwrap();
    world.write(At::Server, stream, &header);
    assert_eq!(world.run(), (vec![], vec![CarrierEvent::Readable(stream)]));
    assert_eq!(world.read(At::Agent, stream), (header.to_vec(), Ok(ReadState::Blocked)));
    let answer = DialResponse::ok("10.0.0.1:80".parse().unwrap()).to_frame().unwrap();
    world.write(At::Agent, stream, &answer);
    world.write(At::Agent, stream, b"hello");
    world.write(At::Server, stream, b"GET");
    let readable = vec![CarrierEvent::Readable(stream)];
    assert_eq!(world.run(), (readable.clone(), readable));
    assert_eq!(world.read(At::Server, stream).0, [&answer[..], b"hello"].concat());
    assert_eq!(world.read(At::Agent, stream).0, b"GET");
}

#[test]
fn what_is_read_in_parts_is_told_once_and_again_after_it_blocked() {
    let (mut world, stream) = World::tunnel();
    world.write(At::Server, stream, b"abcdef");
    assert_eq!(world.run().1, [CarrierEvent::Readable(stream)]);
    let mut out = Vec::new();
    assert_eq!(world.agent.read(world.now, stream, 4, &mut out), Ok(ReadState::More));
    assert_eq!(world.agent.read(world.now, stream, 4, &mut out), Ok(ReadState::Blocked));
    assert_eq!(out.concat(), b"abcdef");
    world.write(At::Server, stream, b"g");
    assert_eq!(world.run().1, [CarrierEvent::Readable(stream)]);
    world.write(At::Server, stream, b"h");
    assert_eq!(world.run().1, [], "it is known");
    assert_eq!(world.read(At::Agent, stream).0, b"gh");
}

#[test]
fn a_stream_that_was_never_opened_is_gone() {
    let mut world = World::connected();
    for stream in [stream_id(3), stream_id(2), stream_id(0)] {
        assert_eq!(world.read(At::Server, stream).1, Err(Gone));
        assert_eq!(world.server.finish(stream), Err(Gone));
        assert_eq!(world.server.reset(stream, super::CANCELLED), Err(Gone));
        assert_eq!(world.server.stop(stream, super::CANCELLED), Err(Gone));
        assert!(!world.server.received_reset(stream));
    }
    assert_eq!(world.run(), (vec![], vec![]));
}

#[test]
fn nothing_of_what_is_carried_is_shown() {
    let mut world = World::connected();
    world.write(At::Agent, stream_id(1), b"a token");
    assert_eq!(format!("{:?}", world.agent), "Pipes(agent, 1 streams, lost: false)");
    fn sent<T: Send>(_: &T) {}
    sent::<Pipes>(&world.server);
}
