//! Handing operations to the driver. A full driver is no reason to lose one: it waits here, in order.
//!
//! A connect is the exception: what it lacks may be a place for a socket, which only the end of another can give, and
//! nothing comes before it on its socket. It waits beside the others, not before them, and not for long.

use adit_io::{Completion, DatagramDriver, Op, OpError, Outcome, Refusal, Token};

use super::Shard;
use super::token::{Purpose, encode};
use crate::stream::table::Key;

impl<D: DatagramDriver> Shard<D> {
    /// Submits an operation for an entry; it completes exactly once, whatever the driver says now.
    pub(super) fn submit(&mut self, op: Op, purpose: Purpose, key: Key) {
        let token = encode(purpose, key);
        let waits = |refused: &(Op, Token)| !matches!(refused.0, Op::Connect { .. });
        if self.refused.iter().any(waits) {
            self.stats.submissions_deferred += 1;
            self.refused.push_back((op, token));
        } else if let Err((op, token)) = self.try_submit(op, token) {
            self.refused.push_back((op, token));
        }
    }

    /// Whether a connect of this dial waits for a place.
    pub(super) fn is_connect_refused(&self, key: Key) -> bool {
        self.refused.iter().any(|refused| is_connect_of(refused, key))
    }

    /// Ends the connects of this dial that wait for a place: they fail as if the system had run out of descriptors.
    pub(super) fn fail_refused_connects(&mut self, key: Key) {
        while let Some(at) = self.refused.iter().position(|refused| is_connect_of(refused, key)) {
            if let Some((op, token)) = self.refused.remove(at) {
                self.synthesized.push(failed(op, token, OpError::Os(EMFILE)));
            }
        }
    }

    /// Cancels an operation; its completion still comes.
    pub(super) fn cancel(&mut self, purpose: Purpose, key: Key) {
        let token = encode(purpose, key);
        if let Some(at) = self.refused.iter().position(|(_, refused)| *refused == token) {
            if let Some((op, _)) = self.refused.remove(at) {
                self.synthesized.push(failed(op, token, OpError::Cancelled));
            }
        } else {
            self.driver.cancel(token);
        }
    }

    /// Forgets operations that were never submitted, of a tunnel that is being removed.
    pub(super) fn forget_refused(&mut self, key: Key) {
        self.forget_refused_of(|purpose, of| purpose != Purpose::Accept && of == key);
    }

    /// Forgets the accept that was never submitted, of a listener that is being removed. Listeners and tunnels have
    /// tables of their own, so their keys may be equal.
    pub(super) fn forget_refused_accept(&mut self, key: Key) {
        self.forget_refused_of(|purpose, of| purpose == Purpose::Accept && of == key);
    }

    fn forget_refused_of(&mut self, goes: impl Fn(Purpose, Key) -> bool) {
        if !self.refused.is_empty() {
            self.refused.retain(|(_, token)| {
                super::token::decode(*token).is_none_or(|(purpose, key)| !goes(purpose, key))
            });
        }
    }

    pub(super) fn retry_refused(&mut self) {
        for _ in 0..self.refused.len() {
            let Some((op, token)) = self.refused.pop_front() else { break };
            match self.try_submit(op, token) {
                Ok(()) => {}
                Err(connect @ (Op::Connect { .. }, _)) => self.refused.push_back(connect),
                Err(first) => return self.refused.push_front(first),
            }
        }
    }

    /// Gives back what has to wait.
    fn try_submit(&mut self, op: Op, token: Token) -> Result<(), (Op, Token)> {
        let Err(refused) = self.driver.submit(op, token) else { return Ok(()) };
        match refused.reason {
            Refusal::Full | Refusal::Busy => {
                self.stats.submissions_deferred += 1;
                Err((refused.value, token))
            }
            Refusal::StaleSocket => {
                self.synthesized.push(failed(refused.value, token, OpError::Cancelled));
                Ok(())
            }
        }
    }
}

/// Out of descriptors, on every Linux architecture.
const EMFILE: i32 = 24;

fn is_connect_of((op, token): &(Op, Token), key: Key) -> bool {
    matches!(op, Op::Connect { .. }) && super::token::decode(*token).is_some_and(|(_, of)| of == key)
}

/// The final completion of an operation that never reached the driver.
fn failed(op: Op, token: Token, error: OpError) -> Completion {
    let outcome = match op {
        Op::Accept { .. } => Outcome::Accepted(Err(error)),
        Op::Connect { .. } => Outcome::Connected(Err(error)),
        Op::Recv { .. } => Outcome::Received(Err(error)),
        Op::Send { data, .. } => Outcome::Sent { result: Err(error), data: Some(data) },
        Op::ShutdownWrite { .. } => Outcome::ShutdownWrite(Err(error)),
        Op::Watch { .. } => Outcome::Gone(Err(error)),
    };
    Completion { token, more: false, outcome }
}
