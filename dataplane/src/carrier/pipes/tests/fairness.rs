//! Who may put out next where all want to.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::limits::{HTTP2_OUTPUT_BYTES_TARGET, PIPES_TURN_BYTES, STREAM_WINDOW_BYTES};
use crate::quic::{StreamId, WriteState};

use super::super::super::{Carrier, CarrierEvent};
use super::{At, World};

/// Streams that always have more to send, and a reader of all.
struct Senders {
    world: World,
    sent: BTreeMap<StreamId, usize>,
}

impl Senders {
    fn new(count: usize) -> Self {
        let mut world = World::connected();
        let sent = (0..count).map(|_| (world.open(), 0)).collect();
        Self { world, sent }
    }

    fn write(&mut self, stream: StreamId) -> WriteState {
        let mut chunks = VecDeque::from([Bytes::from_static(&[7; 1 << 20])]);
        let state = self.world.server.write(self.world.now, stream, &mut chunks).unwrap();
        *self.sent.get_mut(&stream).unwrap() += (1 << 20) - chunks.iter().map(Bytes::len).sum::<usize>();
        state
    }

    /// The server's output is taken and heard, and the agent reads everything. Who may write.
    fn take(&mut self) -> Vec<StreamId> {
        // The peer counts frames of one kind within a time.
        self.world.now += Duration::from_secs(1);
        let output = self.world.server.take_output();
        assert!(output.len() <= HTTP2_OUTPUT_BYTES_TARGET + 4096, "{}", output.len());
        self.world.agent.receive(self.world.now, output);
        while let Some(event) = self.world.agent.poll_event(self.world.now) {
            if let CarrierEvent::Readable(stream) = event {
                assert!(self.world.read(At::Agent, stream).1.is_ok());
            }
        }
        let credit = self.world.agent.take_output();
        self.world.server.receive(self.world.now, credit);
        let mut writable = Vec::new();
        while let Some(event) = self.world.server.poll_event(self.world.now) {
            let CarrierEvent::Writable(stream) = event else { panic!("{event:?}") };
            writable.push(stream);
        }
        writable
    }
}

#[test]
fn a_hundred_that_want_to_send_all_get_their_turn() {
    let mut senders = Senders::new(100);
    for stream in senders.sent.keys().copied().collect::<Vec<_>>() {
        assert_eq!(senders.write(stream), WriteState::Blocked);
    }
    for _ in 0..100 {
        for stream in senders.take() {
            senders.write(stream);
        }
    }
    let sent = senders.sent.values();
    let (least, most) = (sent.clone().min().unwrap(), sent.max().unwrap());
    assert!(*least >= 100 * HTTP2_OUTPUT_BYTES_TARGET / 100 / 2, "{least} of {most}");
    assert!(most - least <= HTTP2_OUTPUT_BYTES_TARGET + 2 * PIPES_TURN_BYTES, "{least} and {most}");
}

#[test]
fn nobody_starves_where_those_that_may_write_come_late_or_in_the_wrong_order() {
    let mut senders = Senders::new(20);
    let streams: Vec<_> = senders.sent.keys().copied().collect();
    for stream in &streams {
        senders.write(*stream);
    }
    for round in 0..120 {
        let mut writable = senders.take();
        // Output is taken once more before they come, and then the last comes first.
        if round % 3 == 0 {
            senders.world.server.http2.ping();
            writable.extend(senders.take());
        }
        writable.reverse();
        for stream in writable {
            senders.write(stream);
        }
    }
    let least = *senders.sent.values().min().unwrap();
    assert!(least >= 120 * HTTP2_OUTPUT_BYTES_TARGET / 20 / 8, "{:?}", senders.sent);
}

#[test]
fn who_was_called_and_never_comes_holds_up_nobody() {
    let mut senders = Senders::new(20);
    let streams: Vec<_> = senders.sent.keys().copied().collect();
    for stream in &streams {
        senders.write(*stream);
    }
    let comes = |stream: StreamId| !(stream.index() / 2).is_multiple_of(2);
    let before = senders.sent.clone();
    for _ in 0..200 {
        for stream in senders.take() {
            // Half of them never write although they may.
            if comes(stream) {
                senders.write(stream);
            }
        }
        // Somebody else keeps the output moving.
        senders.world.server.http2.ping();
    }
    for (stream, sent) in &senders.sent {
        let moved = sent - before[stream];
        assert!(!comes(*stream) || moved >= 20 * PIPES_TURN_BYTES, "{stream}: {moved}");
    }
}

#[test]
fn one_that_is_alone_has_all_the_room() {
    let mut senders = Senders::new(1);
    let stream = *senders.sent.keys().next().unwrap();
    let mut takes = 0;
    while senders.sent[&stream] < 4 * STREAM_WINDOW_BYTES as usize {
        senders.write(stream);
        takes += 1;
        assert_eq!(senders.take(), [stream]);
    }
    assert!(takes <= 4 * STREAM_WINDOW_BYTES as usize / (HTTP2_OUTPUT_BYTES_TARGET - PIPES_TURN_BYTES) + 1);
}
