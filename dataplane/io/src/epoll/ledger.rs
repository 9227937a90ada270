//! Operations from submission to the delivery of their final completion, and the counters of both.
//!
//! An operation is outstanding until the caller has its final completion in hand, not only until the driver has
//! its result: a socket must not leave (R9) while bytes received on it wait in here.

use std::collections::VecDeque;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::counters::{Counters, OpKind};
use crate::driver::{SocketId, Token};
use crate::error::OpError;
use crate::op::{Completion, Outcome, Shots, SlotSize, Transmit};

/// Names an operation that has not ended.
pub(super) type OpIndex = usize;

/// What an operation is about, besides its socket.
#[derive(Debug)]
pub(super) enum Work {
    Accept,
    Connect,
    Recv { slot: SlotSize, shots: Shots },
    Send { data: Vec<Bytes> },
    ShutdownWrite,
    Watch,
    RecvDatagrams,
    SendDatagrams { transmit: Transmit },
}

#[derive(Debug)]
struct Pending {
    token: Token,
    kind: OpKind,
    socket: SocketId,
    work: Work,
}

#[derive(Debug)]
struct Done {
    completion: Completion,
    kind: OpKind,
    /// With the final completion: the socket on which the operation was, if it had one.
    ended: Option<SocketId>,
}

/// All operations of a driver.
#[derive(Debug)]
pub(super) struct Ledger {
    pending: Slab<Pending>,
    /// Tokens are made by the shard, not by a peer: a fast hash will do.
    by_token: FxHashMap<Token, OpIndex>,
    done: VecDeque<Done>,
    /// Operations whose final completion was not delivered yet.
    in_flight: usize,
    ops_max: usize,
    pub(super) counters: Counters,
}

/// How a stream receive is counted.
pub(super) const fn receive_kind(shots: Shots) -> OpKind {
    match shots {
        Shots::One => OpKind::RecvSingle,
        Shots::Many => OpKind::RecvMultishot,
    }
}

impl Ledger {
    pub(super) fn new(ops_max: usize) -> Self {
        Self {
            pending: Slab::new(),
            by_token: FxHashMap::default(),
            done: VecDeque::new(),
            in_flight: 0,
            ops_max,
            counters: Counters::default(),
        }
    }

    /// Whether no further operation may start (R7).
    pub(super) const fn is_full(&self) -> bool {
        self.in_flight >= self.ops_max
    }

    /// Files an operation.
    ///
    /// # Panics
    /// When the token stands for an operation that has not ended (R5).
    pub(super) fn start(&mut self, token: Token, kind: OpKind, socket: SocketId, work: Work) -> OpIndex {
        let op = self.pending.insert(Pending { token, kind, socket, work });
        let other = self.by_token.insert(token, op);
        assert!(other.is_none(), "R5: {token:?} is used for two operations");
        self.in_flight += 1;
        self.counters.submitted[kind as usize] += 1;
        op
    }

    /// What the operation is about.
    pub(super) fn work(&self, op: OpIndex) -> &Work {
        &self.pending[op].work
    }

    /// The operation of this token, and its socket, unless it has ended.
    pub(super) fn find(&self, token: Token) -> Option<(OpIndex, SocketId)> {
        let op = *self.by_token.get(&token)?;
        Some((op, self.pending[op].socket))
    }

    /// Whether it is a connect, whose socket nobody else knows.
    pub(super) fn is_connect(&self, op: OpIndex) -> bool {
        matches!(self.pending[op].work, Work::Connect)
    }

    /// Files a connect that failed before it had a socket.
    pub(super) fn fail_connect(&mut self, token: Token, error: OpError) {
        self.in_flight += 1;
        self.counters.submitted[OpKind::Connect as usize] += 1;
        let completion = Completion { token, more: false, outcome: Outcome::Connected(Err(error)) };
        self.done.push_back(Done { completion, kind: OpKind::Connect, ended: None });
    }

    /// Queues a completion after which the operation goes on.
    pub(super) fn go_on(&mut self, op: OpIndex, outcome: Outcome) {
        let Pending { token, kind, .. } = self.pending[op];
        let completion = Completion { token, more: true, outcome };
        self.done.push_back(Done { completion, kind, ended: None });
    }

    /// Ends an operation whose result has no value of its own, or any with an error. Buffers go back.
    pub(super) fn finish(&mut self, op: OpIndex, result: Result<(), OpError>) {
        self.end(op, |work| match (work, result) {
            (Work::Accept, Err(error)) => Outcome::Accepted(Err(error)),
            (Work::Connect, Err(error)) => Outcome::Connected(Err(error)),
            (Work::Recv { .. }, Err(error)) => Outcome::Received(Err(error)),
            (Work::Send { data }, Err(error)) => Outcome::Sent { result: Err(error), data: Some(data) },
            (Work::ShutdownWrite, result) => Outcome::ShutdownWrite(result),
            (Work::Watch, result) => Outcome::Gone(result),
            (Work::RecvDatagrams, Err(error)) => Outcome::Datagrams(Err(error)),
            (Work::SendDatagrams { transmit }, result) => {
                Outcome::DatagramsSent { result, transmit: Some(transmit) }
            }
            (work, Ok(())) => unreachable!("{work:?} has a result of its own"),
        });
    }

    /// Ends a send of which `sent` bytes went.
    pub(super) fn finish_send(&mut self, op: OpIndex, sent: usize) {
        self.end(op, |work| match work {
            Work::Send { data } => Outcome::Sent { result: Ok(sent), data: Some(data) },
            other => unreachable!("{other:?} is no send"),
        });
    }

    /// Ends an operation that owns no buffer with this outcome.
    pub(super) fn finish_with(&mut self, op: OpIndex, outcome: Outcome) {
        self.end(op, |_| outcome);
    }

    fn end(&mut self, op: OpIndex, outcome: impl FnOnce(Work) -> Outcome) {
        let Pending { token, kind, socket, work } = self.pending.remove(op);
        self.by_token.remove(&token);
        let completion = Completion { token, more: false, outcome: outcome(work) };
        self.done.push_back(Done { completion, kind, ended: Some(socket) });
    }

    /// Notes a wake.
    pub(super) const fn woken(&mut self) {
        self.counters.completed[OpKind::Wake as usize] += 1;
    }

    /// Completions that wait to be handed out.
    pub(super) fn waiting(&self) -> usize {
        self.done.len()
    }

    /// The next completion to hand out; with a final one the socket that it was on.
    pub(super) fn next_completion(&mut self) -> Option<(Completion, Option<SocketId>)> {
        let Done { completion, kind, ended } = self.done.pop_front()?;
        self.counters.completed[kind as usize] += 1;
        if !completion.more {
            self.in_flight -= 1;
        }
        Some((completion, ended))
    }
}
