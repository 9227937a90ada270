//! What a peer may make us do: every frame is counted here before the library sees it.
//!
//! The library answers a PING or SETTINGS and forgets an empty DATA or a PRIORITY, as often as they come. So each has a
//! budget for [`HTTP2_BUDGET_WINDOW`]. What a peer has to send because of what we send it, it earns by that: grpc-go
//! sends a PING for every DATA frame that finds none on its way, to measure the bandwidth, and gives windows back.
//!
//! A window begins anew with the first frame after its end, so twice a budget may come around that moment.

use std::time::Instant;

use crate::limits::{HTTP2_BUDGET_WINDOW, HTTP2_EARNED_MAX, HTTP2_HEADER_BLOCK_TIME_MAX};

use super::error::{Budget, ConnectionError};
use super::frames::{Header, Kind};

/// A header block that is under way (RFC 9113 section 4.3).
#[derive(Clone, Copy, Debug)]
struct Block {
    since: Instant,
    continuations: u32,
    bytes: usize,
}

/// Counts.
#[derive(Debug)]
pub(super) struct Guard {
    /// When the current window began.
    since: Instant,
    spent: [u32; Budget::COUNT],
    earned_pings: u32,
    earned_window_updates: u32,
    /// Answers that may cross our resets.
    earned_strays: u32,
    block: Option<Block>,
}

impl Guard {
    pub(super) fn new(now: Instant) -> Self {
        let spent = [0; Budget::COUNT];
        Self { since: now, spent, earned_pings: 0, earned_window_updates: 0, earned_strays: 0, block: None }
    }

    /// Takes note that a frame has begun: from now on the peer is expected to finish what it says.
    pub(super) fn begun(&mut self, header: &Header, now: Instant) {
        if header.kind == Kind::Headers && self.block.is_none() {
            self.block = Some(Block { since: now, continuations: 0, bytes: 0 });
        }
    }

    /// Whether nothing but the rest of a header block may come (RFC 9113 section 6.10).
    pub(super) const fn is_in_header_block(&self) -> bool {
        self.block.is_some()
    }

    /// Takes note of a whole frame.
    ///
    /// # Errors
    /// There have been too many of them.
    pub(super) fn frame(&mut self, header: &Header, now: Instant) -> Result<(), ConnectionError> {
        self.begun(header, now);
        match header.kind {
            Kind::Headers | Kind::Continuation => self.block(header),
            Kind::Priority => self.spend(Budget::Priorities, now),
            Kind::Settings => self.spend(Budget::Settings, now),
            Kind::Goaway => self.spend(Budget::Goaways, now),
            Kind::Unknown => self.spend(Budget::UnknownFrames, now),
            Kind::Ping if use_earned(&mut self.earned_pings) => Ok(()),
            Kind::Ping => self.spend(Budget::Pings, now),
            Kind::WindowUpdate if use_earned(&mut self.earned_window_updates) => Ok(()),
            Kind::WindowUpdate => self.spend(Budget::WindowUpdates, now),
            // What these cost depends on what they mean; PUSH_PROMISE ends the connection.
            Kind::Data | Kind::RstStream | Kind::PushPromise => Ok(()),
        }
    }

    fn block(&mut self, header: &Header) -> Result<(), ConnectionError> {
        // A CONTINUATION of nothing is the library's to refuse.
        let Some(block) = &mut self.block else { return Ok(()) };
        block.bytes += header.bytes;
        if header.kind == Kind::Continuation {
            block.continuations += 1;
        }
        for (spent, budget) in
            [(block.continuations as usize, Budget::Continuations), (block.bytes, Budget::HeaderBlockBytes)]
        {
            if spent > budget.max() as usize {
                return Err(ConnectionError::Flood(budget));
            }
        }
        if header.ends_headers() {
            self.block = None;
        }
        Ok(())
    }

    /// Takes one off a budget.
    ///
    /// # Errors
    /// There is nothing left of it.
    pub(super) fn spend(&mut self, budget: Budget, now: Instant) -> Result<(), ConnectionError> {
        if now.saturating_duration_since(self.since) >= HTTP2_BUDGET_WINDOW {
            self.since = now;
            self.spent = [0; Budget::COUNT];
        }
        let spent = &mut self.spent[budget as usize];
        if *spent >= budget.max() {
            return Err(ConnectionError::Flood(budget));
        }
        *spent += 1;
        Ok(())
    }

    /// Takes note of DATA frames that were sent and that the peer may answer.
    pub(super) fn sent_data(&mut self, frames: u32) {
        self.earned_pings = self.earned_pings.saturating_add(frames).min(HTTP2_EARNED_MAX);
        let updates = self.earned_window_updates.saturating_add(frames.saturating_mul(2));
        self.earned_window_updates = updates.min(HTTP2_EARNED_MAX);
    }

    /// Takes note that we reset a stream, whose header block may be on its way.
    pub(super) fn reset_stream(&mut self) {
        self.earned_strays = self.earned_strays.saturating_add(1).min(HTTP2_EARNED_MAX);
    }

    /// Takes note of a header block of a closed stream.
    ///
    /// # Errors
    /// There have been too many of them.
    pub(super) fn stray_headers(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if use_earned(&mut self.earned_strays) { Ok(()) } else { self.spend(Budget::StrayHeaders, now) }
    }

    /// When the header block under way must have ended.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.block.map(|block| block.since + HTTP2_HEADER_BLOCK_TIME_MAX)
    }
}

/// Takes one of what was earned, if there is any.
fn use_earned(earned: &mut u32) -> bool {
    let any = *earned > 0;
    *earned = earned.saturating_sub(1);
    any
}
