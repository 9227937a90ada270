//! Any order of what an agent and a shard may do keeps the promises of a carrier.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;

use super::{Joined, close_rsp, data, dial_rsp};
use crate::carrier::{Carrier, CarrierEvent};
use crate::konnectivity::Packet;
use crate::limits::STOPPED_AFTER;
use crate::quic::{ReadState, StreamId};
use crate::wire::{DialRequest, FrameReader, ResetCode, StreamHeader};

/// What a shard knows of a stream.
struct Tunnel {
    stream: StreamId,
    answer: FrameReader,
    answered: bool,
    read: Vec<u8>,
    read_over: bool,
    write_over: bool,
    finished: bool,
}

struct World {
    joined: Joined,
    tunnels: Vec<Tunnel>,
    /// Dials that the agent was asked for.
    asked: VecDeque<i64>,
    /// Connections that the agent has, and what each said.
    open: BTreeSet<i64>,
    said: BTreeMap<i64, Vec<u8>>,
    next_id: i64,
    counter: u8,
    finished: BTreeSet<StreamId>,
}

impl World {
    fn new() -> Self {
        Self {
            joined: Joined::ready(),
            tunnels: Vec::new(),
            asked: VecDeque::new(),
            open: BTreeSet::new(),
            said: BTreeMap::new(),
            next_id: 1,
            counter: 0,
            finished: BTreeSet::new(),
        }
    }

    fn step(&mut self, (what, which): (u8, usize)) {
        let id = self.open.iter().nth(which).copied();
        match (what, id) {
            (0, _) => self.dial(),
            (1 | 2, _) => {
                let Some(random) = self.asked.pop_front() else { return };
                self.joined.agent.says(&dial_rsp(random, self.next_id, ""));
                self.open.insert(self.next_id);
                self.next_id += 1;
            }
            (3, _) => {
                let Some(random) = self.asked.pop_front() else { return };
                self.joined.agent.says(&dial_rsp(random, 0, "dial tcp: no such host"));
            }
            (4 | 5, Some(id)) => {
                let count = if what == 4 { 5 } else { 20_000 };
                let said = vec![self.counter; count];
                self.counter = self.counter.wrapping_add(1);
                self.said.entry(id).or_default().extend_from_slice(&said);
                self.joined.agent.says(&data(id, &said));
            }
            (6, Some(id)) => {
                self.open.remove(&id);
                self.joined.agent.says(&close_rsp(id, if which == 0 { "broken" } else { "" }));
            }
            (7, _) => self.joined.says(&[data(9999, b"?"), dial_rsp(9999, 0, "?")]),
            (8 | 9, _) => self.read(which),
            (10, _) => self.write(which),
            (11, _) => self.end(which, |world, tunnel| {
                world.joined.carrier.finish(tunnel.stream).is_ok().then(|| tunnel.finished = true);
            }),
            (12, _) => {
                self.end(which, |world, tunnel| {
                    let _ = world.joined.carrier.reset(tunnel.stream, ResetCode::Cancelled);
                });
            }
            (13, _) => {
                let Some(tunnel) = self.tunnels.get_mut(which).filter(|tunnel| !tunnel.read_over) else {
                    return;
                };
                self.joined.carrier.stop(tunnel.stream, ResetCode::Cancelled).unwrap();
                (tunnel.read_over, tunnel.write_over) = (true, true);
            }
            (14, _) => self.joined.time_passes(STOPPED_AFTER / 2),
            _ => self.joined.run(),
        }
        self.hear();
    }

    fn dial(&mut self) {
        let Some(stream) = self.joined.carrier.open().unwrap() else { return };
        let request = DialRequest { address: "10.0.0.1:443".to_owned(), ..DialRequest::default() };
        self.joined.write(stream, &StreamHeader::dial(request).to_frame().unwrap());
        self.tunnels.push(Tunnel {
            stream,
            answer: FrameReader::new(),
            answered: false,
            read: Vec::new(),
            read_over: false,
            write_over: false,
            finished: false,
        });
    }

    fn read(&mut self, which: usize) {
        let Some(tunnel) = self.tunnels.get_mut(which).filter(|tunnel| !tunnel.read_over) else { return };
        let mut out = Vec::new();
        let state = self.joined.carrier.read(self.joined.now, tunnel.stream, 7_000, &mut out).unwrap();
        if tunnel.answered {
            tunnel.read.extend(out.into_iter().flatten());
        } else {
            out.into_iter().for_each(|piece| tunnel.answer.push(piece));
            tunnel.answered = tunnel.answer.poll().unwrap().is_some();
            if tunnel.answered {
                tunnel.read.extend(std::mem::take(&mut tunnel.answer).into_rest().into_iter().flatten());
            }
        }
        tunnel.read_over = matches!(state, ReadState::Finished | ReadState::Reset(_));
    }

    fn write(&mut self, which: usize) {
        let Some(tunnel) = self.tunnels.get(which).filter(|tunnel| !tunnel.write_over) else { return };
        let mut chunks = VecDeque::from([Bytes::from(vec![1; 50_000])]);
        // Gone where its end has not been heard of.
        let _ = self.joined.carrier.write(self.joined.now, tunnel.stream, &mut chunks);
    }

    fn end(&mut self, which: usize, how: impl Fn(&mut Self, &mut Tunnel)) {
        if which < self.tunnels.len() && !self.tunnels[which].write_over {
            let mut tunnel = self.tunnels.remove(which);
            how(self, &mut tunnel);
            tunnel.write_over = true;
            self.tunnels.insert(which, tunnel);
        }
    }

    fn hear(&mut self) {
        for packet in self.joined.agent.heard.drain(..).collect::<Vec<_>>() {
            match packet {
                Packet::DialReq { random, .. } => self.asked.push_back(random),
                Packet::CloseReq { connect_id } if self.open.remove(&connect_id) => {
                    self.joined.agent.says(&close_rsp(connect_id, ""));
                }
                Packet::CloseReq { .. } | Packet::Data { .. } => {}
                other => panic!("nothing that a server sends: {other:?}"),
            }
        }
        for event in self.joined.events.drain(..) {
            match event {
                CarrierEvent::Stopped(stream, _) => {
                    self.tunnels
                        .iter_mut()
                        .filter(|tunnel| tunnel.stream == stream)
                        // What is ended before this is heard has no other end than this (`Quic::finish`).
                        .for_each(|tunnel| (tunnel.write_over, tunnel.finished) = (true, false));
                }
                CarrierEvent::Finished(stream) => {
                    assert!(self.finished.insert(stream), "finished twice");
                }
                CarrierEvent::Lost(reason) => panic!("{reason}"),
                _ => {}
            }
        }
    }

    /// Whatever came before, once all is read and the agent has answered nothing is left.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.joined.run();
            self.hear();
            while let Some(random) = self.asked.pop_front() {
                self.joined.agent.says(&dial_rsp(random, 0, "no"));
            }
            for which in 0..self.tunnels.len() {
                while !self.tunnels[which].read_over {
                    let before = self.tunnels[which].read.len();
                    self.read(which);
                    if self.tunnels[which].read.len() == before {
                        break;
                    }
                }
                // As a shard takes a stream off a tunnel.
                let tunnel = &mut self.tunnels[which];
                if tunnel.answered && !tunnel.read_over {
                    self.joined.carrier.stop(tunnel.stream, ResetCode::Cancelled).unwrap();
                    tunnel.read_over = true;
                }
            }
        }
        self.joined.run();
        let carrier = &self.joined.carrier;
        assert_eq!((carrier.streams.len(), carrier.backend.in_use()), (0, 0), "{carrier:?}");
        assert!(carrier.dials.is_empty() && carrier.connections.is_empty());
        for tunnel in &self.tunnels {
            let said = self.said.values().any(|said| said.starts_with(&tunnel.read));
            assert!(said || tunnel.read.is_empty(), "bytes that nobody said, or out of order");
            assert!(!tunnel.finished || self.finished.contains(&tunnel.stream), "an end that nobody told");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_order_keeps_every_stream_whole_and_leaves_nothing(
        steps in prop::collection::vec((0_u8..20, 0_usize..4), 0..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
    }
}
