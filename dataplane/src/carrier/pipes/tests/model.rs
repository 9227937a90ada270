//! Random orders of everything that may happen, against what must come of it: bytes arrive in order and whole up to an
//! end, ends are those that were meant, and nobody waits for ever.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;

use crate::quic::{ReadState, StreamId, WriteState};
use crate::wire::ResetCode;

use super::super::super::{Carrier, CarrierEvent};
use super::{At, World};

const STREAMS: usize = 3;

#[derive(Clone, Debug)]
enum Act {
    Write(At, usize, usize),
    Read(At, usize, usize),
    Finish(At, usize),
    Reset(At, usize, ResetCode),
    Stop(At, usize, ResetCode),
    /// Takes the output of an end and lets so many bytes of what is on its way arrive.
    Move(At, usize),
}

/// Seldom as much as output has room for.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..3000_usize, 2 => 1..60_000_usize, 1 => 200_000..500_000_usize]
}

fn acts() -> impl Strategy<Value = Act> {
    let at = || prop_oneof![Just(At::Server), Just(At::Agent)];
    let code = || prop::sample::select(&ResetCode::ALL[..]);
    prop_oneof![
        6 => (at(), 0..STREAMS, sizes()).prop_map(|(at, stream, count)| Act::Write(at, stream, count)),
        6 => (at(), 0..STREAMS, sizes()).prop_map(|(at, stream, count)| Act::Read(at, stream, count)),
        1 => (at(), 0..STREAMS).prop_map(|(at, stream)| Act::Finish(at, stream)),
        1 => (at(), 0..STREAMS, code()).prop_map(|(at, stream, code)| Act::Reset(at, stream, code)),
        1 => (at(), 0..STREAMS, code()).prop_map(|(at, stream, code)| Act::Stop(at, stream, code)),
        8 => (at(), sizes()).prop_map(|(at, count)| Act::Move(at, count)),
    ]
}

/// One end of one stream, as its user knows it.
#[derive(Debug, Default)]
struct User {
    known: bool,
    /// What was taken of what it wrote, and what was not.
    sent: usize,
    pending: VecDeque<Bytes>,
    may_write: bool,
    finished: bool,
    reset: Option<ResetCode>,
    stopped: Option<ResetCode>,
    /// What it was told of its sending half.
    told_stopped: bool,
    told_finished: bool,
    got: usize,
    readable: bool,
    end: Option<ReadState>,
}

impl User {
    fn sends(&self) -> bool {
        self.known && !self.finished && self.reset.is_none() && !self.told_stopped
    }

    fn reads(&self) -> bool {
        self.known && self.end.is_none() && self.stopped.is_none() && self.reset.is_none()
    }
}

struct Run {
    world: World,
    streams: Vec<StreamId>,
    users: BTreeMap<(bool, usize), User>,
    /// Bytes on their way to the agent, and to the server.
    to_agent: VecDeque<u8>,
    to_server: VecDeque<u8>,
}

/// What a stream carries at a place, one way.
fn byte(at: At, stream: usize, place: usize) -> u8 {
    let salt = if at == At::Server { 17 } else { 101 };
    u8::try_from((place * 31 + place / 251 + stream * 7 + salt) % 251).unwrap()
}

impl Run {
    fn new() -> Self {
        let mut world = World::connected();
        let mut users: BTreeMap<_, User> = BTreeMap::new();
        let mut streams = Vec::new();
        for stream in 0..STREAMS {
            streams.push(world.server.open().unwrap().unwrap());
            for of_server in [true, false] {
                let user = User { known: of_server, may_write: true, ..User::default() };
                users.insert((of_server, stream), user);
            }
        }
        Self { world, streams, users, to_agent: VecDeque::new(), to_server: VecDeque::new() }
    }

    fn user(&mut self, at: At, stream: usize) -> &mut User {
        self.users.get_mut(&(at == At::Server, stream)).unwrap()
    }

    fn other(&mut self, at: At, stream: usize) -> &mut User {
        self.users.get_mut(&(at != At::Server, stream)).unwrap()
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match *act {
            Act::Write(at, stream, count) => {
                let user = self.user(at, stream);
                if user.sends() && user.pending.is_empty() {
                    let start = user.sent;
                    let bytes: Vec<u8> =
                        (start..start + count).map(|place| byte(at, stream, place)).collect();
                    let (first, second) = bytes.split_at(count / 3);
                    let pieces = [Bytes::copy_from_slice(first), Bytes::copy_from_slice(second)];
                    self.user(at, stream).pending.extend(pieces);
                }
                self.write(at, stream)
            }
            Act::Read(at, stream, count) => self.read(at, stream, count),
            Act::Finish(at, stream) => {
                let id = self.streams[stream];
                if self.user(at, stream).sends() && self.user(at, stream).pending.is_empty() {
                    self.user(at, stream).finished = self.world.end(at).finish(id).is_ok();
                }
                self.look(at)
            }
            Act::Reset(at, stream, code) => {
                let id = self.streams[stream];
                if self.user(at, stream).sends() {
                    self.user(at, stream).pending.clear();
                    prop_assert_eq!(self.world.end(at).reset(id, code), Ok(()));
                    self.user(at, stream).reset = Some(code);
                    // What came before is not read either; where nothing did, the receiving half is gone.
                    let _ = self.world.end(at).stop(id, code);
                }
                Ok(())
            }
            Act::Stop(at, stream, code) => {
                let id = self.streams[stream];
                if self.user(at, stream).reads() && self.world.end(at).stop(id, code).is_ok() {
                    self.user(at, stream).stopped = Some(code);
                }
                Ok(())
            }
            Act::Move(at, count) => self.carry(at, count),
        }
    }

    fn write(&mut self, at: At, stream: usize) -> Result<(), TestCaseError> {
        let (id, now) = (self.streams[stream], self.world.now);
        let mut user = std::mem::take(self.user(at, stream));
        if user.sends() && user.may_write && !user.pending.is_empty() {
            let before: usize = user.pending.iter().map(Bytes::len).sum();
            match self.world.end(at).write(now, id, &mut user.pending) {
                Ok(WriteState::Took) => prop_assert!(user.pending.is_empty()),
                Ok(WriteState::Blocked) => {
                    prop_assert!(!user.pending.is_empty());
                    user.may_write = false;
                }
                Ok(WriteState::Stopped(_)) => prop_assert!(false, "an event says that"),
                // Reset by the peer; the event is on its way.
                Err(_) => user.pending.clear(),
            }
            if !user.pending.is_empty() || before > 0 {
                user.sent += before - user.pending.iter().map(Bytes::len).sum::<usize>();
            }
        }
        *self.user(at, stream) = user;
        Ok(())
    }

    fn read(&mut self, at: At, stream: usize, count: usize) -> Result<(), TestCaseError> {
        let (id, now) = (self.streams[stream], self.world.now);
        if !self.user(at, stream).reads() {
            return Ok(());
        }
        let mut out = Vec::new();
        let state = self.world.end(at).read(now, id, count, &mut out);
        let from = if at == At::Server { At::Agent } else { At::Server };
        let user = self.user(at, stream);
        for (place, got) in out.concat().into_iter().enumerate() {
            prop_assert_eq!(got, byte(from, stream, user.got + place));
        }
        user.got += out.iter().map(Bytes::len).sum::<usize>();
        let got = user.got;
        match state {
            Ok(ReadState::Blocked) => user.readable = false,
            Ok(ReadState::More) => {}
            Ok(end) => user.end = Some(end),
            Err(_) => prop_assert!(false, "its reader had not heard of an end"),
        }
        let other = self.other(at, stream);
        prop_assert!(got <= other.sent);
        match state {
            Ok(ReadState::Finished) => prop_assert!(other.finished && got == other.sent),
            Ok(ReadState::Reset(code)) => prop_assert_eq!(other.reset, Some(code)),
            _ => {}
        }
        Ok(())
    }

    /// Takes output and lets some of it arrive.
    fn carry(&mut self, from: At, count: usize) -> Result<(), TestCaseError> {
        let output = self.world.end(from).take_output();
        let (wire, to) = match from {
            At::Server => (&mut self.to_agent, At::Agent),
            At::Agent => (&mut self.to_server, At::Server),
        };
        wire.extend(output);
        let now = self.world.now;
        let end = match to {
            At::Server => &mut self.world.server,
            At::Agent => &mut self.world.agent,
        };
        if end.wants_input() {
            let bytes: Vec<u8> = wire.drain(..count.min(wire.len())).collect();
            end.receive(now, bytes.into());
        }
        self.look(At::Server)?;
        self.look(At::Agent)
    }

    /// Takes an end's events.
    fn look(&mut self, at: At) -> Result<(), TestCaseError> {
        let now = self.world.now;
        while let Some(event) = self.world.end(at).poll_event(now) {
            let place = |id: StreamId| self.streams.iter().position(|stream| *stream == id).unwrap();
            match event {
                CarrierEvent::Opened(id) => {
                    let user = self.user(at, place(id));
                    prop_assert!(at == At::Agent && !user.known);
                    (user.known, user.readable) = (true, true);
                }
                CarrierEvent::Readable(id) => self.user(at, place(id)).readable = true,
                // It may come twice where its user comes late.
                CarrierEvent::Writable(id) => self.user(at, place(id)).may_write = true,
                CarrierEvent::Stopped(id, code) => {
                    let stream = place(id);
                    let other = self.other(at, stream);
                    prop_assert!(other.reset == Some(code) || other.stopped == Some(code));
                    let user = self.user(at, stream);
                    prop_assert!(!user.told_stopped && !user.told_finished);
                    user.told_stopped = true;
                    user.pending.clear();
                }
                CarrierEvent::Finished(id) => {
                    let user = self.user(at, place(id));
                    prop_assert!(user.finished && !user.told_finished && !user.told_stopped);
                    user.told_finished = true;
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        Ok(())
    }

    /// Lets everything arrive; everybody reads when told and writes when they may, until nothing moves.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        loop {
            let before = self.sum();
            for at in [At::Server, At::Agent] {
                self.carry(at, usize::MAX)?;
                for stream in 0..STREAMS {
                    self.write(at, stream)?;
                    while self.user(at, stream).reads() && self.user(at, stream).readable {
                        self.read(at, stream, 100_000)?;
                    }
                }
            }
            let moving = self.world.server.http2.output_bytes() + self.world.agent.http2.output_bytes() > 0
                || !(self.to_agent.is_empty() && self.to_server.is_empty())
                || self.users.values().any(|user| user.reads() && user.readable);
            if !moving && self.sum() == before {
                return Ok(());
            }
        }
    }

    fn sum(&self) -> usize {
        self.users.values().map(|user| user.sent + user.got + usize::from(user.end.is_some())).sum()
    }

    /// What must have come of everything that was done.
    fn check(&mut self) -> Result<(), TestCaseError> {
        for stream in 0..STREAMS {
            for at in [At::Server, At::Agent] {
                let user = self.user(at, stream);
                prop_assert!(user.known);
                prop_assert!(user.pending.is_empty(), "it waits for ever");
                let (finished, reset, sent) = (user.finished, user.reset, user.sent);
                let other = &self.users[&(at != At::Server, stream)];
                if !other.reads() && other.end.is_none() {
                    continue;
                }
                match (reset, finished) {
                    (Some(code), _) => prop_assert_eq!(other.end, Some(ReadState::Reset(code))),
                    (None, true) => {
                        prop_assert_eq!(other.end, Some(ReadState::Finished), "{:?}", self.users);
                        prop_assert_eq!(other.got, sent);
                    }
                    (None, false) => prop_assert_eq!(other.end, None),
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_bytes_and_ends_are_those_that_were_meant(
        acts in prop::collection::vec(acts(), 1..60),
    ) {
        let mut run = Run::new();
        for act in &acts {
            run.act(act)?;
        }
        run.settle()?;
        run.check()?;
        // Everybody ends what is left, and nothing is left.
        for stream in 0..STREAMS {
            for at in [At::Server, At::Agent] {
                run.act(&Act::Finish(at, stream))?;
            }
        }
        run.settle()?;
        run.check()?;
        prop_assert_eq!((run.world.server.pipes.len(), run.world.agent.pipes.len()), (1, 1));
    }
}
