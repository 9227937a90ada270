//! Both ends of the old protocol, joined: what a server's shard writes comes out at an agent's, and back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::{OldServer, call, ok};
use crate::carrier::{Carrier, CarrierEvent, OldAgent};
use crate::limits::{LEGACY_CONNECTIONS_MAX, STOPPED_AFTER};
use crate::quic::{LostReason, ReadState, StreamId, WriteState};
use crate::wire::{
    CloseCode, DialError, DialRequest, DialResponse, ErrorClass, FrameReader, ResetCode, StreamHeader,
    Welcome,
};

/// One end: a carrier and what its shard knows of it.
struct End<C> {
    carrier: C,
    events: VecDeque<CarrierEvent>,
    /// Output that the other end has not received.
    on_the_way: Bytes,
}

impl<C: Carrier> End<C> {
    fn new(carrier: C) -> Self {
        Self { carrier, events: VecDeque::new(), on_the_way: Bytes::new() }
    }

    /// Takes so much of what the other end sent; whether something happened.
    fn hear(&mut self, now: Instant, from: &mut Bytes, count: usize) -> bool {
        let piece = from.split_to(from.len().min(count));
        let heard = !piece.is_empty();
        if heard {
            self.carrier.receive(now, piece);
        }
        self.work(now) || heard
    }

    fn work(&mut self, now: Instant) -> bool {
        let events: Vec<CarrierEvent> = std::iter::from_fn(|| self.carrier.poll_event(now)).collect();
        let output = self.carrier.take_output();
        let worked = !events.is_empty() || !output.is_empty();
        self.events.extend(events);
        if !output.is_empty() {
            self.on_the_way = [&self.on_the_way[..], &output].concat().into();
        }
        worked
    }

    fn write(&mut self, now: Instant, stream: StreamId, bytes: &[u8]) -> usize {
        let mut chunks = VecDeque::from([Bytes::copy_from_slice(bytes)]);
        match self.carrier.write(now, stream, &mut chunks) {
            Ok(WriteState::Took | WriteState::Blocked) => {
                bytes.len() - chunks.iter().map(Bytes::len).sum::<usize>()
            }
            Ok(WriteState::Stopped(_)) | Err(_) => 0,
        }
    }

    /// What there is to read, and the end if it has come; none once that was read.
    fn read(&mut self, now: Instant, stream: StreamId) -> (Vec<u8>, Option<ReadState>) {
        let mut out = Vec::new();
        loop {
            match self.carrier.read(now, stream, 10_000, &mut out) {
                Ok(ReadState::More) => {}
                Ok(ReadState::Blocked) | Err(_) => return (out.concat(), None),
                Ok(end) => return (out.concat(), Some(end)),
            }
        }
    }

    fn lost(&self) -> &LostReason {
        match self.events.back() {
            Some(CarrierEvent::Lost(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn count(&self, wanted: impl Fn(&CarrierEvent) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }
}

struct Whole {
    now: Instant,
    server: End<OldAgent>,
    agent: End<OldServer>,
}

impl Whole {
    fn ready() -> Self {
        let now = Instant::now();
        let server = End::new(OldAgent::new(now, Duration::from_secs(3600), None, [1; 16]).unwrap());
        let agent = End::new(OldServer::new(now, call()).unwrap());
        let mut whole = Self { now, server, agent };
        whole.run();
        assert!(matches!(whole.server.events.pop_front(), Some(CarrierEvent::Presented(_))));
        let welcome = Welcome { server_id: "server-1".to_owned(), server_count: 1, ..Welcome::default() };
        whole.server.carrier.welcome(now, &welcome);
        whole.run();
        assert!(matches!(whole.agent.events.pop_front(), Some(CarrierEvent::Welcomed(_))));
        whole
    }

    /// Moves at most so much each way; whether something happened.
    fn step(&mut self, count: usize) -> bool {
        self.agent.work(self.now);
        let to_server = self.server.hear(self.now, &mut self.agent.on_the_way, count);
        let to_agent = self.agent.hear(self.now, &mut self.server.on_the_way, count);
        to_server || to_agent
    }

    fn run(&mut self) {
        while self.step(usize::MAX) || !self.server.on_the_way.is_empty() || !self.agent.on_the_way.is_empty()
        {
        }
    }

    /// A dial, as both shards see it.
    fn dialed(&mut self, address: &str) -> (StreamId, StreamId) {
        let near = self.server.carrier.open().unwrap().unwrap();
        let request = DialRequest { address: address.to_owned(), ..DialRequest::default() };
        let header = StreamHeader::dial(request).to_frame().unwrap();
        assert_eq!(self.server.write(self.now, near, &header), header.len());
        self.run();
        let Some(CarrierEvent::Opened(far)) = self.agent.events.pop_back() else { panic!("no dial") };
        let mut reader = FrameReader::new();
        reader.push(self.agent.read(self.now, far).0.into());
        let header = StreamHeader::decode(reader.poll().unwrap().unwrap()).unwrap();
        assert_eq!(header.dial.unwrap().address, address);
        (near, far)
    }

    fn answer(&mut self, near: StreamId) -> (DialResponse, Option<ReadState>) {
        self.run();
        let (bytes, state) = self.server.read(self.now, near);
        let mut reader = FrameReader::new();
        reader.push(bytes.into());
        (DialResponse::decode(reader.poll().unwrap().unwrap()).unwrap(), state)
    }

    fn connected(&mut self) -> (StreamId, StreamId) {
        let (near, far) = self.dialed("10.0.0.1:443");
        self.agent.write(self.now, far, &ok());
        assert_eq!(self.answer(near).0.into_result(), Ok(()));
        (near, far)
    }

    fn time_passes(&mut self, time: Duration) {
        self.now += time;
        self.server.carrier.on_time(self.now);
        self.agent.carrier.on_time(self.now);
        self.run();
    }
}

#[test]
fn a_dial_and_bytes_both_ways_and_an_end_by_each() {
    let mut whole = Whole::ready();
    let (near, far) = whole.connected();
    whole.server.write(whole.now, near, b"ping");
    whole.run();
    assert_eq!(whole.agent.read(whole.now, far), (b"ping".to_vec(), None));
    whole.agent.write(whole.now, far, b"pong");
    whole.agent.carrier.finish(far).unwrap();
    whole.run();
    assert_eq!(whole.server.read(whole.now, near), (b"pong".to_vec(), Some(ReadState::Finished)));
    assert_eq!(whole.agent.read(whole.now, far), (vec![], Some(ReadState::Finished)));

    let (near, far) = whole.connected();
    whole.server.write(whole.now, near, b"last words");
    whole.server.carrier.finish(near).unwrap();
    whole.run();
    assert_eq!(whole.agent.read(whole.now, far), (b"last words".to_vec(), Some(ReadState::Finished)));
    whole.run();
    assert_eq!(whole.server.read(whole.now, near), (vec![], Some(ReadState::Finished)));
    assert_eq!(whole.server.count(|event| *event == CarrierEvent::Finished(near)), 1);
    assert_eq!((whole.server.carrier.take_ignored(), whole.agent.carrier.take_ignored()), (0, 0));
}

#[test]
fn a_dial_that_fails_keeps_its_words_through_both() {
    let mut whole = Whole::ready();
    let text = "dial tcp 10.0.0.1:443: connect: no route to host";
    let (near, far) = whole.dialed("10.0.0.1:443");
    let error = DialError::new(ErrorClass::Unreachable, text);
    whole.agent.write(whole.now, far, &DialResponse::error(error.clone()).to_frame().unwrap());
    whole.agent.carrier.finish(far).unwrap();
    let (answer, state) = whole.answer(near);
    assert_eq!((answer.into_result(), state), (Err(error), Some(ReadState::Finished)));
    // An address that is none is refused by the agent's end.
    let near = whole.server.carrier.open().unwrap().unwrap();
    let request = DialRequest { address: "nowhere".to_owned(), ..DialRequest::default() };
    whole.server.write(whole.now, near, &StreamHeader::dial(request).to_frame().unwrap());
    let error = whole.answer(near).0.into_result().unwrap_err();
    assert_eq!(error.text, "dial tcp: address nowhere: missing port in address");
}

#[test]
fn a_drain_is_told_and_a_loss_takes_everything_at_both_ends() {
    let mut whole = Whole::ready();
    whole.connected();
    whole.agent.carrier.drain(whole.now);
    whole.run();
    assert_eq!(whole.server.count(|event| *event == CarrierEvent::Draining), 1);
    whole.connected();
    whole.agent.carrier.close(whole.now, CloseCode::Shutdown, "the agent ends");
    whole.run();
    assert_eq!(whole.server.lost().text, "the agent ended its call");

    let mut whole = Whole::ready();
    let (near, _) = whole.connected();
    whole.server.carrier.close(whole.now, CloseCode::Shutdown, "the server ends");
    whole.run();
    assert_eq!(whole.agent.lost().text, "the server ended the call: the server ends (gRPC status 14)");
    assert!(whole.server.carrier.finish(near).is_err());
    assert_eq!(whole.server.count(|event| matches!(event, CarrierEvent::Lost(_))), 1);
}

#[test]
fn what_is_much_larger_than_every_window_comes_through_on_many_streams_both_ways() {
    let mut whole = Whole::ready();
    let pairs: Vec<_> = (0..8).map(|_| whole.connected()).collect();
    let payload: Vec<u8> = (0..400_000_u32).flat_map(u32::to_be_bytes).collect();
    let mut sent = vec![(0, 0); pairs.len()];
    let mut got = vec![(Vec::new(), Vec::new()); pairs.len()];
    let mut turns = 0;
    while got.iter().any(|(down, up)| down.len() < payload.len() || up.len() < payload.len()) {
        turns += 1;
        assert!(turns < 10_000, "it has stopped");
        for (at, (near, far)) in pairs.iter().enumerate() {
            sent[at].0 += whole.server.write(whole.now, *near, &payload[sent[at].0..]);
            sent[at].1 += whole.agent.write(whole.now, *far, &payload[sent[at].1..]);
            got[at].0.extend(whole.server.read(whole.now, *near).0);
            got[at].1.extend(whole.agent.read(whole.now, *far).0);
        }
        whole.step(50_000);
    }
    assert!(got.iter().all(|(down, up)| *down == payload && *up == payload));
}

#[test]
fn a_reader_that_stops_at_either_end_is_cut_off_and_all_others_go_on() {
    let mut whole = Whole::ready();
    let ((near_a, far_a), (near_b, far_b), (near, far)) =
        (whole.connected(), whole.connected(), whole.connected());
    let payload = vec![3; 4 << 20];
    let (mut to_server, mut to_agent) = (0, 0);
    for _ in 0..50 {
        to_server += whole.agent.write(whole.now, far_a, &payload[to_server..]);
        to_agent += whole.server.write(whole.now, near_b, &payload[to_agent..]);
        whole.run();
    }
    assert!(to_server < payload.len() && to_agent < payload.len(), "somebody has to stop");
    // Whoever waits for one of them waits no longer than this.
    whole.server.write(whole.now, near, b"ping");
    whole.agent.write(whole.now, far, b"pong");
    whole.time_passes(STOPPED_AFTER);
    whole.time_passes(STOPPED_AFTER);
    let stopped = |stream| move |event: &CarrierEvent| *event == CarrierEvent::ReaderStopped(stream);
    assert_eq!((whole.server.count(stopped(near_a)), whole.agent.count(stopped(far_b))), (1, 1));
    assert!(whole.server.carrier.received_reset(near_a) && whole.agent.carrier.received_reset(far_b));
    assert_eq!(whole.agent.read(whole.now, far).0, b"ping");
    assert_eq!(whole.server.read(whole.now, near).0, b"pong");
    // The other ends hear of it, and nothing is left.
    assert_eq!(whole.agent.read(whole.now, far_a).1, Some(ReadState::Finished));
    assert!(whole.server.read(whole.now, near_b).1.is_some());
    whole.run();
    assert_eq!(whole.agent.carrier.agent.in_use(), 1);
}

#[test]
fn as_many_streams_as_there_may_be_come_and_go() {
    let mut whole = Whole::ready();
    let pairs: Vec<_> = (0..LEGACY_CONNECTIONS_MAX).map(|_| whole.connected()).collect();
    assert_eq!(whole.server.carrier.open(), Ok(None));
    for (near, far) in pairs {
        whole.agent.carrier.reset(far, ResetCode::ResetByPeer).unwrap();
        whole.agent.carrier.stop(far, ResetCode::ResetByPeer).unwrap();
        whole.run();
        assert_eq!(whole.server.read(whole.now, near).1, Some(ReadState::Finished));
    }
    whole.run();
    assert_eq!(whole.server.count(|event| *event == CarrierEvent::StreamsAvailable), 1);
    whole.connected();
}

/// What both shards did with one connection: the server's first, then the agent's.
#[derive(Default)]
struct Pair {
    said: [Vec<u8>; 2],
    got: [Vec<u8>; 2],
    read_end: [Option<ReadState>; 2],
    finished: [bool; 2],
    broken: bool,
}

struct Game {
    whole: Whole,
    streams: Vec<[StreamId; 2]>,
    pairs: Vec<Pair>,
    counter: u8,
}

impl Game {
    fn new() -> Self {
        let mut whole = Whole::ready();
        let connected = std::iter::repeat_with(|| whole.connected()).take(3);
        let streams: Vec<[StreamId; 2]> = connected.map(|(near, far)| [near, far]).collect();
        let pairs = std::iter::repeat_with(Pair::default).take(3).collect();
        Self { whole, streams, pairs, counter: 0 }
    }

    fn carrier(&mut self, side: usize) -> &mut dyn Carrier {
        if side == 0 { &mut self.whole.server.carrier } else { &mut self.whole.agent.carrier }
    }

    fn step(&mut self, what: u8, which: usize, count: usize) {
        let side = count % 2;
        let stream = self.streams[which][side];
        let pair = &self.pairs[which];
        match what {
            0..=3 if !pair.finished[side] && !pair.broken => {
                self.counter = self.counter.wrapping_add(1);
                let bytes = vec![self.counter; count];
                let took = match side {
                    0 => self.whole.server.write(self.whole.now, stream, &bytes),
                    _ => self.whole.agent.write(self.whole.now, stream, &bytes),
                };
                self.pairs[which].said[side].extend_from_slice(&bytes[..took]);
            }
            4 | 5 => self.read(which, side),
            6 if count < 10_000 && !pair.finished[side] => {
                self.pairs[which].finished[side] = self.carrier(side).finish(stream).is_ok();
            }
            7 if count < 3_000 => {
                self.pairs[which].broken = true;
                // Gone where it is over.
                let _ = self.carrier(side).reset(stream, ResetCode::ResetByPeer);
            }
            8 => self.whole.time_passes(STOPPED_AFTER / 4),
            _ => _ = self.whole.step(count),
        }
    }

    fn read(&mut self, which: usize, side: usize) {
        let (now, stream) = (self.whole.now, self.streams[which][side]);
        let pair = &mut self.pairs[which];
        if pair.read_end[side].is_none() {
            let (bytes, end) = match side {
                0 => self.whole.server.read(now, stream),
                _ => self.whole.agent.read(now, stream),
            };
            pair.got[side].extend(bytes);
            pair.read_end[side] = end;
        }
    }

    /// Reads everything that there is.
    fn settle(&mut self) {
        for _ in 0..6 {
            self.whole.run();
            (0..self.pairs.len())
                .for_each(|which| [0, 1].into_iter().for_each(|side| self.read(which, side)));
        }
    }

    fn check(&self) {
        let mut in_use = 0;
        for (pair, ends) in self.pairs.iter().zip(&self.streams) {
            let cut_off = |event: &CarrierEvent| {
                ends.iter().any(|stream| *event == CarrierEvent::ReaderStopped(*stream))
            };
            let is_stopped = self.whole.server.count(cut_off) + self.whole.agent.count(cut_off) > 0;
            let ended = pair.broken || pair.finished[0] || pair.finished[1] || is_stopped;
            in_use += usize::from(!ended);
            assert_eq!(ended, pair.read_end[0].is_some() && pair.read_end[1].is_some());
            for side in [0, 1] {
                assert!(pair.said[1 - side].starts_with(&pair.got[side]), "out of order");
                if !pair.broken && !is_stopped && !pair.finished[side] {
                    assert!(pair.got[side] == pair.said[1 - side], "bytes before an end were lost");
                }
            }
        }
        assert_eq!(self.whole.agent.carrier.agent.in_use(), in_use);
        assert_eq!(self.whole.server.count(|event| matches!(event, CarrierEvent::Lost(_))), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever both shards do, in whatever pieces the bytes come: nothing is out of order, what was said before an end
    /// comes before it, and nothing is left.
    #[test]
    fn any_order_keeps_bytes_in_order_and_leaves_nothing(
        steps in prop::collection::vec((0_u8..12, 0_usize..3, 1_usize..40_000), 0..150),
    ) {
        let mut game = Game::new();
        for (what, which, count) in steps {
            game.step(what, which, count);
        }
        game.settle();
        game.check();
    }
}
