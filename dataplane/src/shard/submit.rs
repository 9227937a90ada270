//! Handing operations to the driver. A full driver is no reason to lose one: it waits here, in order.

use adit_io::{Completion, DatagramDriver, Op, OpError, Outcome, Refusal, Token};

use super::Shard;
use super::token::{Purpose, encode};
use crate::stream::table::Key;

impl<D: DatagramDriver> Shard<D> {
    /// Submits an operation for an entry; it completes exactly once, whatever the driver says now.
    pub(super) fn submit(&mut self, op: Op, purpose: Purpose, key: Key) {
        let token = encode(purpose, key);
        if !self.refused.is_empty() {
            self.stats.submissions_deferred += 1;
            self.refused.push_back((op, token));
        } else {
            self.try_submit(op, token);
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

    /// Forgets operations that were never submitted, of an entry that is being removed.
    pub(super) fn forget_refused(&mut self, key: Key) {
        if !self.refused.is_empty() {
            self.refused.retain(|(_, token)| super::token::decode(*token).is_none_or(|(_, of)| of != key));
        }
    }

    pub(super) fn retry_refused(&mut self) {
        for _ in 0..self.refused.len() {
            let Some((op, token)) = self.refused.pop_front() else { break };
            if !self.try_submit(op, token) {
                break;
            }
        }
    }

    fn try_submit(&mut self, op: Op, token: Token) -> bool {
        let Err(refused) = self.driver.submit(op, token) else { return true };
        match refused.reason {
            Refusal::Full | Refusal::Busy => {
                self.stats.submissions_deferred += 1;
                self.refused.push_front((refused.value, token));
                false
            }
            Refusal::StaleSocket => {
                self.synthesized.push(failed(refused.value, token, OpError::Cancelled));
                true
            }
        }
    }
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
