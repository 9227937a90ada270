//! Streams that a carrier makes up, where its peer has only numbered connections on one call: what the shard sees of
//! each of them, and what of it has still to be told.
//!
//! The first frame that is written on a stream is for the carrier, and so is the first that is read of it; everything
//! behind them are the connection's bytes. Both halves of a connection end together, since the old protocol knows no
//! other end. Deliberately absent: packets, dials, HTTP/2.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::{CarrierEvent, stream_id};
use crate::quic::{Gone, ReadState, WriteState};
use crate::wire::{FrameReader, ResetCode, WireError};

/// What carries the connections: one end of a call.
pub(super) trait Connections {
    /// The next bytes that a connection said.
    fn take(&mut self, now: Instant, connect_id: i64) -> Option<Bytes>;
    /// Whether a connection's bytes are taken at the moment.
    fn has_room(&self, connect_id: i64) -> bool;
    /// Takes bytes for a connection while there is room, and leaves the rest.
    fn send(&mut self, connect_id: i64, bytes: &mut Bytes);
    /// Closes a connection behind what was sent to it.
    fn close(&mut self, connect_id: i64);
    /// Whether something of a connection waits to be sent.
    fn has_unsent(&self, connect_id: i64) -> bool;
}

/// What is done with what is written.
#[derive(Debug)]
enum Phase {
    /// It is the first frame.
    First(FrameReader),
    /// It waits for the peer's answer to this dial.
    Waiting(i64),
    /// It is the connection's.
    Open(i64),
    /// It is thrown away: there is no connection any more.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Open,
    Finished,
    Stopped(ResetCode),
    Gone,
}

#[derive(Debug)]
struct Stream {
    phase: Phase,
    /// Its connection, also where that is over.
    connect_id: i64,
    /// Read before the connection's bytes: the first frame, then what was left of a piece.
    front: Bytes,
    /// How reading ends behind that and what the connection has said.
    end: Option<ReadState>,
    /// The receiving half is there.
    receiving: bool,
    /// A read found nothing: the next thing that there is to read is told.
    read_blocked: bool,
    sending: Sending,
    /// When something was written last, in turns.
    turn: u64,
}

/// A carrier's streams. See the module.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: BTreeMap<u32, Stream>,
    last: u32,
    /// Those of which a write was blocked, those that have waited longest for their turn first.
    blocked: BTreeSet<(u64, u32)>,
    turn: u64,
    /// Streams that were finished, with their connections, in order.
    finishing: VecDeque<(u32, i64)>,
    /// What the shard is to be told. Bounded by what there are of streams, and of packets in one frame.
    pub(super) events: VecDeque<CarrierEvent>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    /// A number for a stream: the one after the last, and after the highest those that are free again.
    pub(super) fn next_number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.streams.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    /// A new stream, of which `front` can be read, with the number of its connection, 0 if there is none yet.
    pub(super) fn insert(&mut self, number: u32, connect_id: i64, front: Bytes) {
        self.last = number;
        let stream = Stream {
            phase: Phase::First(FrameReader::new()),
            connect_id,
            read_blocked: front.is_empty(),
            front,
            end: None,
            receiving: true,
            sending: Sending::Open,
            turn: self.turn,
        };
        self.streams.insert(number, stream);
    }

    /// Whether the first frame is still to be written.
    pub(super) fn is_new(&self, number: u32) -> bool {
        self.streams.get(&number).is_some_and(|stream| matches!(stream.phase, Phase::First(_)))
    }

    /// The dial that a stream waits for.
    pub(super) fn dial(&self, number: u32) -> Option<i64> {
        match self.streams.get(&number)?.phase {
            Phase::Waiting(dial) => Some(dial),
            _ => None,
        }
    }

    /// A stream waits for this dial.
    pub(super) fn wait_for(&mut self, number: u32, dial: i64) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.phase = Phase::Waiting(dial);
        }
    }

    // ---- The shard's side ------------------------------------------------------------------------------------

    /// Takes what is written, as far as it is the first frame; its message once it is whole. The stream waits from then
    /// on.
    pub(super) fn first_message(
        &mut self,
        number: u32,
        chunks: &mut VecDeque<Bytes>,
    ) -> Option<Result<Bytes, WireError>> {
        let stream = self.streams.get_mut(&number)?;
        let Phase::First(reader) = &mut stream.phase else { return None };
        if stream.sending != Sending::Open {
            return None;
        }
        while let Some(chunk) = chunks.pop_front() {
            reader.push(chunk);
            if let Some(message) = reader.poll().transpose() {
                for rest in std::mem::take(reader).into_rest().into_iter().rev() {
                    chunks.push_front(rest);
                }
                stream.phase = Phase::Waiting(0);
                return Some(message);
            }
        }
        None
    }

    /// Takes what is written for the connection.
    ///
    /// # Errors
    /// [`Gone`]: there is no sending half.
    pub(super) fn write(
        &mut self,
        connections: &mut impl Connections,
        number: u32,
        chunks: &mut VecDeque<Bytes>,
    ) -> Result<WriteState, Gone> {
        let stream = self.streams.get_mut(&number).ok_or(Gone)?;
        match stream.sending {
            Sending::Open => {}
            Sending::Stopped(code) => return Ok(WriteState::Stopped(code)),
            Sending::Finished | Sending::Gone => return Err(Gone),
        }
        self.blocked.remove(&(stream.turn, number));
        match stream.phase {
            Phase::First(_) | Phase::Waiting(_) => {}
            Phase::Over => chunks.clear(),
            Phase::Open(connect_id) => {
                while let Some(chunk) = chunks.front_mut() {
                    let before = chunk.len();
                    connections.send(connect_id, chunk);
                    if chunk.len() < before {
                        self.turn += 1;
                        stream.turn = self.turn;
                    }
                    if !chunk.is_empty() {
                        break;
                    }
                    chunks.pop_front();
                }
            }
        }
        if chunks.is_empty() {
            return Ok(WriteState::Took);
        }
        self.blocked.insert((stream.turn, number));
        Ok(WriteState::Blocked)
    }

    /// Appends what there is to read, at most so much, to `out`; how much more it might have been. What taking it
    /// brought about has to be told before [`Self::settle_read`].
    ///
    /// # Errors
    /// [`Gone`]: there is no receiving half.
    pub(super) fn pull(
        &mut self,
        connections: &mut impl Connections,
        now: Instant,
        number: u32,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
    ) -> Result<usize, Gone> {
        let stream = self.streams.get_mut(&number).filter(|stream| stream.receiving).ok_or(Gone)?;
        let mut left = max_bytes;
        while left > 0 {
            if stream.front.is_empty() {
                let Phase::Open(connect_id) = stream.phase else { break };
                if stream.end.is_some() {
                    break;
                }
                let Some(piece) = connections.take(now, connect_id) else { break };
                stream.front = piece;
            }
            let piece = stream.front.split_to(stream.front.len().min(left));
            left -= piece.len();
            out.push(piece);
        }
        Ok(left)
    }

    /// Where a read ended that could have taken so much more.
    pub(super) fn settle_read(&mut self, number: u32, left: usize) -> ReadState {
        let Some(stream) = self.streams.get_mut(&number) else { return ReadState::Blocked };
        if left == 0 {
            return ReadState::More;
        }
        let Some(end) = stream.end else {
            stream.read_blocked = true;
            return ReadState::Blocked;
        };
        stream.receiving = false;
        self.forget_if_over(number);
        end
    }

    /// Whether the peer reset the stream; its receiving half is gone then.
    pub(super) fn received_reset(&mut self, number: u32) -> bool {
        let Some(stream) = self.streams.get_mut(&number).filter(|stream| stream.receiving) else {
            return false;
        };
        let is_reset = matches!(stream.end, Some(ReadState::Reset(_)));
        stream.receiving = !is_reset;
        self.forget_if_over(number);
        is_reset
    }

    /// Ends the sending half, and with it the connection. Where the first frame was asked with and not answered, what
    /// the answer opens is closed.
    ///
    /// # Errors
    /// [`Gone`]: there is no sending half.
    pub(super) fn finish(&mut self, connections: &mut impl Connections, number: u32) -> Result<(), Gone> {
        let stream = self.streams.get_mut(&number).ok_or(Gone)?;
        match stream.sending {
            Sending::Open => stream.sending = Sending::Finished,
            Sending::Stopped(_) => return Ok(()),
            Sending::Finished | Sending::Gone => return Err(Gone),
        }
        self.blocked.remove(&(stream.turn, number));
        match stream.phase {
            Phase::Waiting(_) => return Ok(()),
            Phase::First(_) | Phase::Over => {}
            Phase::Open(connect_id) => connections.close(connect_id),
        }
        self.finishing.push_back((number, stream.connect_id));
        self.end(number, ReadState::Finished, ResetCode::Cancelled);
        Ok(())
    }

    /// Ends the sending half at once, and with it the connection.
    ///
    /// # Errors
    /// [`Gone`]: there is no sending half.
    pub(super) fn reset(
        &mut self,
        connections: &mut impl Connections,
        number: u32,
        code: ResetCode,
    ) -> Result<(), Gone> {
        let stream = self.streams.get_mut(&number).ok_or(Gone)?;
        match stream.sending {
            Sending::Open => {}
            Sending::Stopped(_) => {
                stream.sending = Sending::Gone;
                self.forget_if_over(number);
                return Ok(());
            }
            Sending::Finished | Sending::Gone => return Err(Gone),
        }
        stream.sending = Sending::Gone;
        self.blocked.remove(&(stream.turn, number));
        if let Phase::Open(connect_id) = stream.phase {
            connections.close(connect_id);
        }
        self.end(number, ReadState::Reset(code), code);
        Ok(())
    }

    /// Ends the receiving half, and with it the connection.
    ///
    /// # Errors
    /// [`Gone`]: there is no receiving half.
    pub(super) fn stop(
        &mut self,
        connections: &mut impl Connections,
        number: u32,
        code: ResetCode,
    ) -> Result<(), Gone> {
        let stream = self.streams.get_mut(&number).filter(|stream| stream.receiving).ok_or(Gone)?;
        stream.receiving = false;
        stream.front = Bytes::new();
        if let Phase::Open(connect_id) = stream.phase {
            connections.close(connect_id);
        }
        self.end(number, ReadState::Reset(code), code);
        Ok(())
    }

    // ---- The peer's side -------------------------------------------------------------------------------------

    /// The connection of a stream stands; `front` is read before its bytes.
    pub(super) fn open(
        &mut self,
        connections: &mut impl Connections,
        number: u32,
        connect_id: i64,
        front: Bytes,
    ) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return connections.close(connect_id);
        };
        stream.phase = Phase::Open(connect_id);
        stream.connect_id = connect_id;
        stream.front = front;
        if stream.sending == Sending::Finished {
            connections.close(connect_id);
            self.finishing.push_back((number, connect_id));
            stream.phase = Phase::Over;
            stream.end = Some(ReadState::Finished);
        }
        self.tell_readable(number);
    }

    /// `front` is all that is ever read of a stream.
    pub(super) fn refuse(&mut self, number: u32, front: Bytes) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.front = front;
        }
        self.end(number, ReadState::Finished, ResetCode::Cancelled);
    }

    /// What is written from now on is the connection's.
    pub(super) fn begin(&mut self, number: u32, connect_id: i64) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.phase = Phase::Open(connect_id);
        }
    }

    /// Nothing more is read, and what is written from now on is thrown away: this end has said all.
    pub(super) fn end_reading(&mut self, number: u32) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.phase = Phase::Over;
            stream.end.get_or_insert(ReadState::Finished);
        }
        self.tell_readable(number);
    }

    /// There is something to read.
    pub(super) fn tell_readable(&mut self, number: u32) {
        if let Some(stream) = self.streams.get_mut(&number)
            && stream.receiving
            && std::mem::take(&mut stream.read_blocked)
        {
            self.events.push_back(CarrierEvent::Readable(stream_id(number)));
        }
    }

    /// The connection of a stream is over: what was said is read before `end`, unless that is a reset; and nothing more
    /// is taken, for which `code` is the reason.
    pub(super) fn end(&mut self, number: u32, end: ReadState, code: ResetCode) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        if matches!(stream.phase, Phase::Waiting(_)) && stream.sending == Sending::Finished {
            // There was nothing to be sent but the end, and nobody to have it.
            self.finishing.push_back((number, stream.connect_id));
        }
        stream.phase = Phase::Over;
        stream.end.get_or_insert(end);
        if stream.sending == Sending::Open {
            stream.sending = Sending::Stopped(code);
            self.blocked.remove(&(stream.turn, number));
            self.events.push_back(CarrierEvent::Stopped(stream_id(number), code));
        }
        self.tell_readable(number);
        self.forget_if_over(number);
    }

    /// Tells who may write again and, where of what was taken to be sent nothing is left, whose end is on its way.
    pub(super) fn after_sending(&mut self, connections: &impl Connections, sent_all: bool) {
        let streams = &self.streams;
        let is_free = |(_, number): &(u64, u32)| match streams.get(number).map(|stream| &stream.phase) {
            Some(Phase::Open(connect_id)) => connections.has_room(*connect_id),
            Some(Phase::First(_) | Phase::Waiting(_)) => false,
            Some(Phase::Over) | None => true,
        };
        for free in self.blocked.extract_if(.., is_free) {
            self.events.push_back(CarrierEvent::Writable(stream_id(free.1)));
        }
        while sent_all
            && let Some((number, connect_id)) = self.finishing.front().copied()
            && !connections.has_unsent(connect_id)
        {
            self.finishing.pop_front();
            self.events.push_back(CarrierEvent::Finished(stream_id(number)));
        }
    }

    /// Everything is over.
    pub(super) fn clear(&mut self) {
        self.streams.clear();
        self.blocked.clear();
        self.finishing.clear();
    }

    fn forget_if_over(&mut self, number: u32) {
        if let Some(stream) = self.streams.get(&number)
            && !stream.receiving
            && stream.sending != Sending::Open
        {
            self.streams.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_again_when_all_were_used_and_never_while_they_are_in_use() {
        let mut streams = Streams::default();
        for _ in 0..2 {
            let number = streams.next_number();
            streams.insert(number, 0, Bytes::new());
        }
        streams.last = u32::MAX - 1;
        assert_eq!([streams.next_number(), streams.next_number(), streams.next_number()], [u32::MAX, 3, 4]);
    }
}
