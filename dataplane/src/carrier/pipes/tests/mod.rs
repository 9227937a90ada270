//! Both ends of a connection, joined in memory.

mod control;
mod ends;
mod fairness;
mod halves;
mod misbehaviour;
mod model;
mod windows;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::quic::{Gone, LostReason, ReadState, StreamId, WriteState};
use crate::wire::ResetCode;

use super::super::{Carrier, CarrierEvent, stream_id};
use super::Pipes;

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Server,
    Agent,
}

/// Both ends.
pub(super) struct World {
    pub(super) server: Pipes,
    pub(super) agent: Pipes,
    pub(super) now: Instant,
}

impl World {
    /// Two ends that have said nothing yet.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { server: Pipes::server(now).unwrap(), agent: Pipes::agent(now).unwrap(), now }
    }

    /// Two ends that are connected, the agent with its control stream.
    pub(super) fn connected() -> Self {
        let mut world = Self::new();
        let control = stream_id(1);
        let (server, agent) = world.run();
        assert_eq!(server, [CarrierEvent::Connected, CarrierEvent::Opened(control)]);
        assert_eq!(agent, [CarrierEvent::Connected]);
        assert_eq!(world.agent.open(), Ok(Some(control)));
        world
    }

    /// Two ends and a tunnel that both know.
    pub(super) fn tunnel() -> (Self, StreamId) {
        let mut world = Self::connected();
        let stream = world.open();
        (world, stream)
    }

    /// Opens one more tunnel.
    pub(super) fn open(&mut self) -> StreamId {
        let stream = self.server.open().unwrap().unwrap();
        assert_eq!(self.run(), (vec![], vec![CarrierEvent::Opened(stream)]));
        stream
    }

    pub(super) fn end(&mut self, at: At) -> &mut Pipes {
        match at {
            At::Server => &mut self.server,
            At::Agent => &mut self.agent,
        }
    }

    /// Moves everything until nothing moves; what the server and the agent were told.
    pub(super) fn run(&mut self) -> (Vec<CarrierEvent>, Vec<CarrierEvent>) {
        let (mut server, mut agent) = (Vec::new(), Vec::new());
        loop {
            let (to_agent, to_server) = (self.server.take_output(), self.agent.take_output());
            let quiet = to_agent.is_empty() && to_server.is_empty();
            self.agent.receive(self.now, to_agent);
            self.server.receive(self.now, to_server);
            agent.extend(std::iter::from_fn(|| self.agent.poll_event(self.now)));
            server.extend(std::iter::from_fn(|| self.server.poll_event(self.now)));
            if quiet {
                return (server, agent);
            }
        }
    }

    /// Writes bytes that there is room for.
    pub(super) fn write(&mut self, at: At, stream: StreamId, bytes: &[u8]) {
        let now = self.now;
        let mut chunks = VecDeque::from([Bytes::copy_from_slice(bytes)]);
        assert_eq!(self.end(at).write(now, stream, &mut chunks), Ok(WriteState::Took));
    }

    /// Writes until it blocks, whatever the other end does; how much was taken.
    pub(super) fn fill(&mut self, at: At, stream: StreamId) -> usize {
        let now = self.now;
        let mut chunks = VecDeque::from([Bytes::from(vec![7; 1 << 20]), Bytes::from(vec![7; 1 << 20])]);
        assert_eq!(self.end(at).write(now, stream, &mut chunks), Ok(WriteState::Blocked));
        (2 << 20) - chunks.iter().map(Bytes::len).sum::<usize>()
    }

    /// Reads everything that is there.
    pub(super) fn read(&mut self, at: At, stream: StreamId) -> (Vec<u8>, Result<ReadState, Gone>) {
        let now = self.now;
        let mut out = Vec::new();
        let state = self.end(at).read(now, stream, usize::MAX, &mut out);
        (out.concat(), state)
    }

    /// Lets time pass for both, step by step, and moves what comes of it unless the path is cut.
    pub(super) fn pass(&mut self, time: Duration, cut: bool) -> (Vec<CarrierEvent>, Vec<CarrierEvent>) {
        let until = self.now + time;
        let (mut server, mut agent) = (Vec::new(), Vec::new());
        while let Some(next) = [self.server.deadline(), self.agent.deadline()].into_iter().flatten().min()
            && next <= until
        {
            self.now = self.now.max(next);
            self.server.on_time(self.now);
            self.agent.on_time(self.now);
            if cut {
                self.server.take_output();
                self.agent.take_output();
            }
            let (of_server, of_agent) = self.run();
            server.extend(of_server);
            agent.extend(of_agent);
        }
        self.now = until;
        (server, agent)
    }
}

/// Why the connection ended, which is the last event.
pub(super) fn lost(events: &[CarrierEvent]) -> LostReason {
    match events.last() {
        Some(CarrierEvent::Lost(reason)) => reason.clone(),
        other => panic!("{other:?} is no end"),
    }
}

pub(super) const CANCELLED: ResetCode = ResetCode::Cancelled;
