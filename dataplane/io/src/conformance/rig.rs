//! A driver with the bookkeeping that every case needs: it hands out tokens, waits for completions with a deadline
//! of driver time, and checks at each completion that the rules hold.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::Harness;
use crate::driver::{Close, DatagramDriver, Driver, SocketId, Token};
use crate::error::{OpError, Refused};
use crate::op::{Completion, DatagramOp, Datagrams, Op, Outcome, Shots, SlotSize, Transmit};

/// How long a case waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a case waits before it believes that something does not come.
pub(super) const SHORT: Duration = Duration::from_millis(30);
/// Turns that may be taken while waiting for one thing: a driver whose clock stands still must not hang the suite.
const TURNS_MAX: usize = 1 << 22;

/// What kind of operation a token stands for, to check its completions against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Accept,
    Connect,
    Recv(Shots),
    Send,
    SendHalfDone,
    ShutdownWrite,
    Watch,
    RecvDatagrams,
    SendDatagrams,
    SendDatagramsHalfDone,
}

/// A driver under test.
pub struct Rig<'h, H: Harness> {
    harness: &'h H,
    /// The driver, for what the rig has no cover for.
    pub driver: H::D,
    last_token: u64,
    outstanding: HashMap<Token, Shape>,
    arrived: VecDeque<Completion>,
}

impl<H: Harness> std::fmt::Debug for Rig<'_, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rig")
            .field("outstanding", &self.outstanding)
            .field("arrived", &self.arrived)
            .finish_non_exhaustive()
    }
}

/// The byte at position `at` of the stream that is called `seed`: wrong order, gaps and mix-ups all show.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "a byte is wanted")]
pub const fn pattern(seed: u8, at: usize) -> u8 {
    let mixed = (at as u64 ^ ((seed as u64) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// `len` bytes of [`pattern`] from position `from`.
pub(super) fn patterned(seed: u8, from: usize, len: usize) -> Bytes {
    (from..from + len).map(|at| pattern(seed, at)).collect()
}

/// Panics at the first byte of `data` that is not [`pattern`]'s at its position.
#[track_caller]
pub(super) fn check_pattern(seed: u8, from: usize, data: &[u8]) {
    for (offset, byte) in data.iter().enumerate() {
        assert_eq!(*byte, pattern(seed, from + offset), "byte {} of stream {seed}", from + offset);
    }
}

impl<'h, H: Harness> Rig<'h, H> {
    /// With a driver of ordinary size.
    pub fn new(harness: &'h H) -> Self {
        Self::with(harness, harness.driver())
    }

    /// With a driver that is easily full.
    pub fn small(harness: &'h H) -> Self {
        Self::with(harness, harness.small_driver())
    }

    fn with(harness: &'h H, driver: H::D) -> Self {
        Self { harness, driver, last_token: 0, outstanding: HashMap::new(), arrived: VecDeque::new() }
    }

    pub(super) fn stream_pair(&mut self) -> (SocketId, SocketId) {
        self.harness.stream_pair(&mut self.driver)
    }

    pub(super) fn tcp_pair(&mut self) -> (SocketId, SocketId) {
        self.harness.tcp_pair(&mut self.driver)
    }

    // ---- Submitting ------------------------------------------------------------------------------------------

    /// Submits under a new token.
    pub(super) fn try_submit(&mut self, op: Op) -> Result<Token, Refused<Op>> {
        let token = self.next_token();
        self.submit_as(op, token).map(|()| token)
    }

    /// Submits under a token of the case's choice.
    pub(super) fn submit_as(&mut self, op: Op, token: Token) -> Result<(), Refused<Op>> {
        let shape = match &op {
            Op::Accept { .. } => Shape::Accept,
            Op::Connect { .. } => Shape::Connect,
            Op::Recv { shots, .. } => Shape::Recv(*shots),
            Op::Send { .. } => Shape::Send,
            Op::ShutdownWrite { .. } => Shape::ShutdownWrite,
            Op::Watch { .. } => Shape::Watch,
        };
        self.driver.submit(op, token)?;
        self.outstanding.insert(token, shape);
        Ok(())
    }

    #[track_caller]
    pub(super) fn submit(&mut self, op: Op) -> Token {
        self.try_submit(op).expect("the driver has room")
    }

    #[track_caller]
    pub(super) fn recv(&mut self, socket: SocketId, slot: SlotSize, shots: Shots) -> Token {
        self.submit(Op::Recv { socket, slot, shots })
    }

    #[track_caller]
    pub(super) fn send(&mut self, socket: SocketId, bytes: impl Into<Bytes>) -> Token {
        self.submit(Op::Send { socket, data: vec![bytes.into()], zero_copy: false })
    }

    pub(super) fn try_submit_datagrams(&mut self, op: DatagramOp) -> Result<Token, Refused<DatagramOp>> {
        let token = self.next_token();
        let shape = match &op {
            DatagramOp::Recv { .. } => Shape::RecvDatagrams,
            DatagramOp::Send { .. } => Shape::SendDatagrams,
        };
        self.driver.submit_datagrams(op, token)?;
        self.outstanding.insert(token, shape);
        Ok(token)
    }

    #[track_caller]
    pub(super) fn recv_datagrams(&mut self, socket: SocketId) -> Token {
        self.try_submit_datagrams(DatagramOp::Recv { socket }).expect("the driver has room")
    }

    #[track_caller]
    pub(super) fn send_datagrams(&mut self, socket: SocketId, transmit: Transmit) -> Token {
        self.try_submit_datagrams(DatagramOp::Send { socket, transmit }).expect("the driver has room")
    }

    /// A token that was never used.
    pub(super) fn next_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    // ---- Waiting ---------------------------------------------------------------------------------------------

    /// One turn, at most until `deadline`; its completions are checked and kept. Returns how many came.
    #[track_caller]
    pub(super) fn pump(&mut self, deadline: Option<Instant>, max: usize) -> usize {
        let mut out = Vec::new();
        self.harness.turn(&mut self.driver, deadline, max, &mut out).expect("no peer can break a driver");
        assert!(out.len() <= max, "{} completions where {max} were asked for", out.len());
        for completion in &out {
            self.check(completion);
        }
        let count = out.len();
        self.arrived.extend(out);
        count
    }

    /// R2, and that the outcome suits the operation.
    #[track_caller]
    fn check(&mut self, completion: &Completion) {
        let token = completion.token;
        let Some(&shape) = self.outstanding.get(&token) else {
            panic!("R2: {completion:?} is of no outstanding operation");
        };
        let more = completion.more;
        let mut next = shape;
        let fits = match (&completion.outcome, shape) {
            (Outcome::Accepted(result), Shape::Accept) => result.is_ok() || !more,
            (Outcome::Connected(_), Shape::Connect)
            | (Outcome::Received(_), Shape::Recv(Shots::One))
            | (Outcome::ShutdownWrite(_), Shape::ShutdownWrite)
            | (Outcome::Gone(_), Shape::Watch) => !more,
            (Outcome::Received(result), Shape::Recv(Shots::Many)) => {
                // The end of the stream and an error are final.
                result.as_ref().is_ok_and(|data| !data.is_empty()) || !more
            }
            (Outcome::Sent { data, result }, Shape::Send) => {
                next = Shape::SendHalfDone;
                data.is_some() != more && (result.is_ok() || !more || data.is_none())
            }
            (Outcome::SendReleased { .. }, Shape::SendHalfDone)
            | (Outcome::DatagramsReleased { .. }, Shape::SendDatagramsHalfDone) => !more,
            (Outcome::Datagrams(result), Shape::RecvDatagrams) => {
                result.as_ref().map_or(!more, |datagrams| datagrams.stride > 0)
            }
            (Outcome::PeerUnreachable { .. }, Shape::RecvDatagrams) => more,
            (Outcome::DatagramsSent { transmit, .. }, Shape::SendDatagrams) => {
                next = Shape::SendDatagramsHalfDone;
                transmit.is_some() != more
            }
            _ => false,
        };
        assert!(fits, "R2: {completion:?} is not what a {shape:?} completes with");
        if more {
            self.outstanding.insert(token, next);
        } else {
            self.outstanding.remove(&token);
        }
    }

    /// The next completion of this operation; waits for it.
    #[track_caller]
    pub(super) fn next(&mut self, token: Token) -> Completion {
        self.wait_for(&format!("a completion of {token:?}"), |rig| rig.take(token))
    }

    /// The next completion of this operation if it has already arrived.
    pub(super) fn take(&mut self, token: Token) -> Option<Completion> {
        let at = self.arrived.iter().position(|completion| completion.token == token)?;
        self.arrived.remove(at)
    }

    /// Takes turns until `ready` gives something.
    #[track_caller]
    pub(super) fn wait_for<T>(&mut self, what: &str, mut ready: impl FnMut(&mut Self) -> Option<T>) -> T {
        let limit = self.driver.now() + PATIENCE;
        for _ in 0..TURNS_MAX {
            if let Some(value) = ready(self) {
                return value;
            }
            assert!(self.driver.now() < limit, "{what} does not come: {self:?}");
            // What is waited for may need another turn without completing anything itself.
            self.pump(Some(limit.min(self.driver.now() + SHORT)), 64);
        }
        panic!("{what} does not come in {TURNS_MAX} turns: {self:?}");
    }

    /// Lets `time` pass and whatever comes come.
    #[track_caller]
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.driver.now() + time;
        for _ in 0..TURNS_MAX {
            if self.driver.now() >= until {
                return;
            }
            self.pump(Some(until), 64);
        }
        panic!("{time:?} do not pass in {TURNS_MAX} turns");
    }

    /// Fails if this operation completes anything within a short time.
    #[track_caller]
    pub(super) fn expect_nothing(&mut self, token: Token) {
        self.pass(SHORT);
        let unexpected = self.take(token);
        assert!(unexpected.is_none(), "nothing was to complete, but {unexpected:?} did");
    }

    /// Whether the operation's final completion has not come out of the driver yet.
    pub(super) fn is_outstanding(&self, token: Token) -> bool {
        self.outstanding.contains_key(&token)
    }

    // ---- Whole operations ------------------------------------------------------------------------------------

    /// The next result of a receive, and whether it was final.
    #[track_caller]
    pub(super) fn received(&mut self, token: Token) -> (Result<BytesMut, OpError>, bool) {
        match self.next(token) {
            Completion { outcome: Outcome::Received(result), more, .. } => (result, !more),
            other => panic!("not a receive: {other:?}"),
        }
    }

    /// The next datagrams of a receive that goes on.
    #[track_caller]
    pub(super) fn datagrams(&mut self, token: Token) -> Datagrams {
        match self.next(token).outcome {
            Outcome::Datagrams(Ok(datagrams)) => datagrams,
            other => panic!("not datagrams: {other:?}"),
        }
    }

    /// The result of a send and its pieces, in whichever of the two shapes it comes.
    #[track_caller]
    pub(super) fn sent(&mut self, token: Token) -> (Result<usize, OpError>, Vec<Bytes>) {
        match self.next(token).outcome {
            Outcome::Sent { result, data: Some(data) } => (result, data),
            Outcome::Sent { result, data: None } => match self.next(token).outcome {
                Outcome::SendReleased { data } => (result, data),
                other => panic!("not the release of a send: {other:?}"),
            },
            other => panic!("not a send: {other:?}"),
        }
    }

    /// The result of a datagram send and its train, in whichever of the two shapes it comes.
    #[track_caller]
    pub(super) fn datagrams_sent(&mut self, token: Token) -> (Result<(), OpError>, Transmit) {
        match self.next(token).outcome {
            Outcome::DatagramsSent { result, transmit: Some(transmit) } => (result, transmit),
            Outcome::DatagramsSent { result, transmit: None } => match self.next(token).outcome {
                Outcome::DatagramsReleased { transmit } => (result, transmit),
                other => panic!("not the release of a datagram send: {other:?}"),
            },
            other => panic!("not a datagram send: {other:?}"),
        }
    }

    /// Sends all of `bytes`, however many operations it takes. They must fit into the socket's buffers.
    #[track_caller]
    pub(super) fn send_all(&mut self, socket: SocketId, bytes: impl Into<Bytes>) {
        let mut rest: Bytes = bytes.into();
        while !rest.is_empty() {
            let token = self.send(socket, rest.clone());
            let (result, _) = self.sent(token);
            let _ = rest.split_to(result.expect("the peer is there"));
        }
    }

    /// Receives exactly `len` bytes with one-shot receives.
    #[track_caller]
    pub(super) fn recv_exact(&mut self, socket: SocketId, len: usize) -> Vec<u8> {
        let mut all = Vec::with_capacity(len);
        while all.len() < len {
            let token = self.recv(socket, SlotSize::Large, Shots::One);
            let (result, _) = self.received(token);
            let data = result.expect("the peer is there");
            assert!(!data.is_empty(), "the stream ends after {} of {len} bytes", all.len());
            all.extend_from_slice(&data);
        }
        assert_eq!(all.len(), len, "more bytes than were sent");
        all
    }

    /// Receives what is there within a short time, at most `len` bytes.
    #[track_caller]
    pub(super) fn recv_exact_or_less(&mut self, socket: SocketId, len: usize) -> Vec<u8> {
        let mut all = Vec::with_capacity(len);
        while all.len() < len {
            let token = self.recv(socket, SlotSize::Large, Shots::One);
            self.pass(SHORT);
            self.driver.cancel(token);
            match self.received(token).0 {
                Ok(data) if !data.is_empty() => all.extend_from_slice(&data),
                _ => break,
            }
        }
        all
    }

    /// Receives until the end of the stream.
    #[track_caller]
    pub(super) fn recv_to_end(&mut self, socket: SocketId) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let token = self.recv(socket, SlotSize::Large, Shots::One);
            let data = self.received(token).0.expect("the stream ends in order");
            if data.is_empty() {
                return all;
            }
            all.extend_from_slice(&data);
        }
    }

    /// Sends until a send stays outstanding because the peer does not read. Gives it, and how many bytes went
    /// before it.
    #[track_caller]
    pub(super) fn fill(&mut self, socket: SocketId, seed: u8) -> (Token, usize) {
        const CHUNK: usize = 256 * 1024;
        let mut went = 0;
        // No socket buffer of this system is that large.
        while went < 256 * 1024 * 1024 {
            let token = self.send(socket, patterned(seed, went, CHUNK));
            self.pass(SHORT);
            if self.is_outstanding(token) {
                return (token, went);
            }
            went += self.sent(token).0.expect("the peer is there");
        }
        panic!("the socket takes everything");
    }

    /// Cancels an operation and waits for its final completion, which it gives.
    #[track_caller]
    pub(super) fn cancel(&mut self, token: Token) -> Completion {
        self.driver.cancel(token);
        loop {
            let completion = self.next(token);
            if !completion.more {
                return completion;
            }
        }
    }

    /// Ends the case: cancels what is outstanding, sees every final completion, and that nothing follows.
    #[track_caller]
    pub(super) fn finish(mut self) {
        let outstanding: Vec<Token> = self.outstanding.keys().copied().collect();
        for token in outstanding {
            self.driver.cancel(token);
        }
        self.wait_for("the end of every operation", |rig| {
            rig.arrived.clear();
            rig.outstanding.is_empty().then_some(())
        });
        self.pump(Some(self.driver.now()), 64);
        let late: Vec<_> = self.arrived.drain(..).collect();
        assert!(late.is_empty(), "R2: after everything was final came {late:?}");
    }

    /// Closes, for cases that do not care how.
    pub(super) fn close(&mut self, socket: SocketId) {
        self.driver.close(socket, Close::Graceful);
    }
}
