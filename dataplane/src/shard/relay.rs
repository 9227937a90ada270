//! Streams of another shard's connections. A frontend that carries many tunnels over one connection cannot move to the
//! shard of each tunnel's agent, so for it the bytes cross instead (docs/adr/0006).
//!
//! ```text
//!   tunnel ─ write, finish, reset, stop ─▶ Remote ═ Forward ═▶ Relayed ─▶ stream of the agent's connection
//!          ◀─ read ─                               ◀═ Back ═           ◀─
//!        (the frontend's shard)                  (the agent's shard: `relayed`)
//! ```
//!
//! **Back-pressure.** Each direction of each stream has a window of [`RELAY_WINDOW_BYTES`], given back for what was
//! taken at the other end, and a message counts as [`RELAY_MESSAGE_COST_BYTES`] at least. A queue that is full holds
//! its messages back at the sender, in order, and what may wait there is bounded by those windows.
//!
//! Deliberately absent: a choice of agents (the frontend's shard makes it), and everything that is not one stream.

use std::collections::VecDeque;

use adit_io::DatagramDriver;
use bytes::Bytes;

use super::Shard;
use crate::limits::{PASSED_PER_TURN_MAX, RELAY_MESSAGE_COST_BYTES, RELAY_WINDOW_BYTES};
use crate::port::{ConnectionKey, ShardId};
use crate::quic::{ConnId, Gone, ReadState, StreamId, WriteState};
use crate::wire::ResetCode;

/// What shards say to each other about one stream.
#[derive(Debug)]
pub(super) struct RelayMessage {
    /// Whose frontend it is for.
    pub(super) home: ShardId,
    /// The stream's number there.
    pub(super) id: u32,
    pub(super) what: What,
}

/// The message itself. `Forward` goes to the agent's shard, `Back` to the frontend's.
#[derive(Debug)]
pub(super) enum What {
    /// A stream on this connection. If it may be dead or drains, it is opened all the same where it is the last that is
    /// left.
    Open {
        chosen: ConnectionKey,
        is_last: bool,
    },
    Forward(Part),
    Back(Part),
}

/// What both directions of a stream have.
#[derive(Debug)]
pub(super) enum Part {
    /// Its bytes.
    Data(Bytes),
    /// So many of the other direction's bytes, as they were counted, were taken.
    Credit(usize),
    /// Its end, in order.
    End,
    /// Its end, at once.
    Reset(ResetCode),
    /// The other direction is not read any further.
    Stop(ResetCode),
}

/// What a message with so many bytes counts.
pub(super) fn cost_bytes(bytes: &Bytes) -> usize {
    bytes.len().max(RELAY_MESSAGE_COST_BYTES)
}

/// One half of what crosses: how much may be sent, and what came and was not taken.
#[derive(Debug)]
pub(super) struct Crossing {
    /// What the other end may still be sent, as it is counted.
    room_bytes: usize,
    /// Nothing more is sent.
    pub(super) is_ended: bool,
    /// A write found no room.
    is_blocked: bool,
    came: VecDeque<Bytes>,
    /// What was taken of the first of them already.
    partly_bytes: usize,
    /// Taken, and not given back yet.
    uncredited_bytes: usize,
    came_end: bool,
    came_reset: Option<ResetCode>,
    came_stop: Option<ResetCode>,
    /// What came is not wanted any more.
    pub(super) is_stopped: bool,
    /// Whoever takes what came was told of its end.
    was_told: bool,
}

impl Default for Crossing {
    fn default() -> Self {
        Self {
            room_bytes: RELAY_WINDOW_BYTES,
            is_ended: false,
            is_blocked: false,
            came: VecDeque::new(),
            partly_bytes: 0,
            uncredited_bytes: 0,
            came_end: false,
            came_reset: None,
            came_stop: None,
            is_stopped: false,
            was_told: false,
        }
    }
}

impl Crossing {
    /// Takes note of a part. Whether there is now room where a write found none.
    pub(super) fn on_part(&mut self, part: Part) -> bool {
        match part {
            Part::Data(bytes) if self.is_stopped => self.uncredited_bytes += cost_bytes(&bytes),
            Part::Data(bytes) => self.came.push_back(bytes),
            Part::Credit(bytes) => {
                self.room_bytes += bytes;
                return std::mem::take(&mut self.is_blocked);
            }
            Part::End => self.came_end = true,
            Part::Reset(code) => self.came_reset = Some(code),
            Part::Stop(code) => self.came_stop = Some(code),
        }
        false
    }

    /// The next piece to send, from the front of `chunks`, if there is room for one.
    pub(super) fn next_piece(&mut self, chunks: &mut VecDeque<Bytes>) -> Option<Bytes> {
        let first = chunks.front_mut()?;
        if self.room_bytes < RELAY_MESSAGE_COST_BYTES {
            self.is_blocked = true;
            return None;
        }
        let piece = first.split_to(first.len().min(self.room_bytes));
        if first.is_empty() {
            chunks.pop_front();
        }
        self.room_bytes -= cost_bytes(&piece).min(self.room_bytes);
        Some(piece)
    }

    /// How much may be sent now.
    pub(super) const fn room_bytes(&self) -> usize {
        self.room_bytes
    }

    /// The next piece of what came, and where nothing is left, how it stands.
    pub(super) fn take(&mut self, max_bytes: usize) -> Result<Bytes, ReadState> {
        if let Some(code) = self.came_reset {
            self.came.clear();
            self.was_told = true;
            return Err(ReadState::Reset(code));
        }
        let Some(first) = self.came.front_mut() else {
            self.was_told |= self.came_end;
            return Err(if self.came_end { ReadState::Finished } else { ReadState::Blocked });
        };
        if first.len() <= max_bytes {
            let rest = self.came.pop_front().unwrap_or_default();
            let whole_bytes = std::mem::take(&mut self.partly_bytes) + rest.len();
            self.uncredited_bytes += whole_bytes.max(RELAY_MESSAGE_COST_BYTES);
            return Ok(rest);
        }
        let part = first.split_to(max_bytes);
        self.partly_bytes += part.len();
        Ok(part)
    }

    /// What is to be given back now: nothing in small steps.
    pub(super) fn take_credit(&mut self) -> Option<usize> {
        let due = self.uncredited_bytes >= RELAY_WINDOW_BYTES / 4;
        due.then(|| std::mem::take(&mut self.uncredited_bytes))
    }

    /// Drops what came, for nobody reads it.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        let left_bytes: usize = self.came.drain(..).map(|bytes| cost_bytes(&bytes)).sum();
        self.uncredited_bytes += std::mem::take(&mut self.partly_bytes) + left_bytes;
    }

    /// Whether the other end reset its direction.
    pub(super) const fn was_reset(&self) -> Option<ResetCode> {
        self.came_reset
    }

    /// Whether the other end reads no further.
    pub(super) const fn was_stopped(&self) -> Option<ResetCode> {
        self.came_stop
    }

    /// Whether nothing more comes, and that is known: its end was told, or it is not wanted.
    pub(super) const fn is_read(&self) -> bool {
        self.is_stopped || self.was_told
    }
}

/// A stream of another shard's connection, at the frontend's shard.
#[derive(Debug)]
pub(super) struct Remote {
    at: ShardId,
    conn: ConnId,
    crossing: Crossing,
}

impl<D: DatagramDriver> Shard<D> {
    /// Opens a stream on another shard's connection. That there is none is told later, as a reset.
    pub(super) fn open_remote(&mut self, conn: ConnId, chosen: ConnectionKey, is_last: bool) -> StreamId {
        let id = self.remote_next;
        self.remote_next = self.remote_next.wrapping_add(1);
        self.remotes.insert(id, Remote { at: chosen.shard, conn, crossing: Crossing::default() });
        self.stats.streams_relayed += 1;
        let what = What::Open { chosen, is_last };
        self.say_to(chosen.shard, RelayMessage { home: self.config.id, id, what });
        crate::carrier::stream_id(id)
    }

    fn say_forward(&mut self, at: ShardId, id: u32, part: Part) {
        self.say_to(at, RelayMessage { home: self.config.id, id, what: What::Forward(part) });
    }

    pub(super) fn write_remote(
        &mut self,
        stream: StreamId,
        chunks: &mut VecDeque<Bytes>,
    ) -> Result<WriteState, Gone> {
        let id = crate::carrier::stream_number(stream);
        loop {
            let remote = self.remotes.get_mut(&id).ok_or(Gone)?;
            if let Some(code) = remote.crossing.was_stopped() {
                return Ok(WriteState::Stopped(code));
            }
            if remote.crossing.is_ended {
                return Err(Gone);
            }
            while chunks.front().is_some_and(Bytes::is_empty) {
                chunks.pop_front();
            }
            if chunks.is_empty() {
                return Ok(WriteState::Took);
            }
            let Some(piece) = remote.crossing.next_piece(chunks) else { return Ok(WriteState::Blocked) };
            let at = remote.at;
            self.stats.bytes_relayed += piece.len() as u64;
            self.say_forward(at, id, Part::Data(piece));
        }
    }

    pub(super) fn read_remote(
        &mut self,
        stream: StreamId,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
    ) -> Result<ReadState, Gone> {
        let id = crate::carrier::stream_number(stream);
        let remote = self.remotes.get_mut(&id).ok_or(Gone)?;
        let mut left = max_bytes;
        let state = loop {
            if left == 0 {
                break ReadState::More;
            }
            match remote.crossing.take(left) {
                Ok(piece) => {
                    left -= piece.len();
                    out.push(piece);
                }
                Err(state) => break state,
            }
        };
        let (at, credit) = (remote.at, remote.crossing.take_credit());
        if let Some(bytes) = credit {
            self.say_forward(at, id, Part::Credit(bytes));
        }
        self.forget_remote_if_over(id);
        Ok(state)
    }

    /// Ends the sending half: in order, or at once with a code.
    pub(super) fn end_remote(&mut self, stream: StreamId, code: Option<ResetCode>) -> Result<(), Gone> {
        let id = crate::carrier::stream_number(stream);
        let remote = self.remotes.get_mut(&id).ok_or(Gone)?;
        let stopped = remote.crossing.was_stopped().is_some();
        if std::mem::replace(&mut remote.crossing.is_ended, true) && !stopped {
            return Err(Gone);
        }
        let at = remote.at;
        if !stopped {
            self.say_forward(at, id, code.map_or(Part::End, Part::Reset));
        }
        self.forget_remote_if_over(id);
        Ok(())
    }

    pub(super) fn stop_remote(&mut self, stream: StreamId, code: ResetCode) -> Result<(), Gone> {
        let id = crate::carrier::stream_number(stream);
        let remote = self.remotes.get_mut(&id).ok_or(Gone)?;
        remote.crossing.stop();
        let at = remote.at;
        self.say_forward(at, id, Part::Stop(code));
        self.forget_remote_if_over(id);
        Ok(())
    }

    pub(super) fn received_reset_of_remote(&self, stream: StreamId) -> bool {
        let id = crate::carrier::stream_number(stream);
        self.remotes.get(&id).is_some_and(|remote| remote.crossing.was_reset().is_some())
    }

    fn forget_remote_if_over(&mut self, id: u32) {
        let over = |remote: &Remote| remote.crossing.is_ended && remote.crossing.is_read();
        if self.remotes.get(&id).is_some_and(over) {
            self.remotes.remove(&id);
        }
    }

    /// The agent's shard says something about a stream.
    pub(super) fn on_back(&mut self, id: u32, part: Part) {
        let Some(remote) = self.remotes.get_mut(&id) else { return };
        let (conn, stream) = (remote.conn, crate::carrier::stream_id(id));
        let stopped = matches!(part, Part::Stop(_));
        let readable = matches!(part, Part::Data(_) | Part::End | Part::Reset(_));
        let writable = remote.crossing.on_part(part);
        remote.crossing.is_ended |= stopped;
        if readable {
            self.on_readable(conn, stream);
        }
        if writable {
            self.on_writable(conn, stream);
        }
        if stopped {
            self.on_stopped(conn, stream);
            self.forget_remote_if_over(id);
        }
    }

    /// What other shards say about streams.
    pub(super) fn take_relayed(&mut self) {
        for _ in 0..PASSED_PER_TURN_MAX {
            let Some(message) = self.peers.as_ref().and_then(super::peers::Peers::try_recv_relay) else {
                break;
            };
            let RelayMessage { home, id, what } = message;
            match what {
                What::Open { chosen, is_last } => self.open_relayed(home, id, chosen, is_last),
                What::Forward(part) => self.on_forward(home, id, part),
                What::Back(part) => self.on_back(id, part),
            }
        }
    }

    /// Says something to another shard. One that takes nothing any more answers for its streams with their end.
    pub(super) fn say_to(&mut self, to: ShardId, message: RelayMessage) {
        if let Some(peers) = &mut self.peers {
            let first = !peers.is_unheard();
            peers.say(to, message);
            if first && peers.is_unheard() {
                self.wake_peers_later();
            }
        }
    }

    /// Hands over what waited for room.
    pub(super) fn flush_relayed(&mut self) {
        let lost = self.peers.as_mut().map(super::peers::Peers::flush).unwrap_or_default();
        for message in lost {
            // A shard that has drained had no stream left; this one came too late.
            if let What::Open { .. } | What::Forward(_) = message.what
                && message.home == self.config.id
            {
                self.on_back(message.id, Part::Reset(ResetCode::DrainCut));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_and_not_taken_is_bounded_and_all_of_it_arrives() {
        for piece_bytes in [1, 100, 5000, RELAY_WINDOW_BYTES] {
            let (mut here, mut there) = (Crossing::default(), Crossing::default());
            let pieces = 3 * RELAY_WINDOW_BYTES / piece_bytes.max(RELAY_MESSAGE_COST_BYTES);
            let mut chunks: VecDeque<Bytes> =
                (0..pieces).map(|_| Bytes::from(vec![7; piece_bytes])).collect();
            let (mut got_bytes, mut stalls) = (0, 0);
            loop {
                let mut messages = 0;
                while let Some(piece) = here.next_piece(&mut chunks) {
                    there.on_part(Part::Data(piece));
                    messages += 1;
                }
                assert!(messages <= RELAY_WINDOW_BYTES / RELAY_MESSAGE_COST_BYTES);
                stalls += 1;
                while let Ok(piece) = there.take(1000) {
                    got_bytes += piece.len();
                }
                let Some(credit) = there.take_credit() else { break };
                here.on_part(Part::Credit(credit));
            }
            assert_eq!(got_bytes, pieces * piece_bytes, "{piece_bytes}");
            assert!(chunks.is_empty() && stalls > 2);
        }
    }

    #[test]
    fn the_end_comes_behind_the_bytes_and_a_reset_before_them() {
        let mut crossing = Crossing::default();
        crossing.on_part(Part::Data(Bytes::from_static(b"ab")));
        crossing.on_part(Part::End);
        assert!(!crossing.is_read());
        assert_eq!(crossing.take(1), Ok(Bytes::from_static(b"a")));
        assert_eq!(crossing.take(9), Ok(Bytes::from_static(b"b")));
        assert_eq!(crossing.take(9), Err(ReadState::Finished));
        assert!(crossing.is_read());
        crossing.on_part(Part::Data(Bytes::from_static(b"c")));
        crossing.on_part(Part::Reset(ResetCode::Cancelled));
        assert_eq!(crossing.take(9), Err(ReadState::Reset(ResetCode::Cancelled)));
    }

    #[test]
    fn an_end_is_over_when_it_was_told_and_not_when_it_came() {
        for end in [Part::End, Part::Reset(ResetCode::Cancelled)] {
            let mut crossing = Crossing::default();
            crossing.on_part(end);
            assert!(!crossing.is_read());
            assert!(crossing.take(9).is_err());
            assert!(crossing.is_read());
        }
    }
}
