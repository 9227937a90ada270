//! The agent's end of an old server's `/AgentService/Connect` call (sections 3.5 and 3.6).
//!
//! Connections are numbered here, from 1 in each call (section 2.2): a dial has its number from the start, and the
//! server learns it by DIAL_RSP. Answers to dials overtake what waits to be sent, so that DATA of others delays them no
//! more than one message does; DATA of a connection comes behind its DIAL_RSP all the same, and CLOSE_RSP behind both.
//!
//! The old protocol has no credit for one connection, and what that costs is contained as it is at the server's end
//! ([`super::Backend`]): a target that takes nothing for [`STOPPED_AFTER`](crate::limits::STOPPED_AFTER), while more
//! than its target waits for it, is closed, and the others go on. One whose connection the server has closed may take
//! what is left for [`ORPHAN_TIME_MAX`].
//!
//! Deliberately absent: a dial's deadline, targets and policies, HTTP/2.

mod packets;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use crate::limits::{
    GRPC_DATA_BYTES_MAX, GRPC_SEND_PENDING_BYTES_TARGET, LEGACY_CONNECTIONS_MAX, LEGACY_SEND_BYTES_TARGET,
    ORPHAN_TIME_MAX,
};

use super::framing::{Message, MessageReader};
use super::packet::{Packet, next_packet};
use super::pieces::Pieces;
use super::readers::Readers;
use super::status::{Status, Violation};

/// What the caller has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// Dial. The answer is [`Agent::establish`] or [`Agent::fail`], unless [`AgentEvent::Cancel`] comes first.
    Dial {
        /// The connection that is to be.
        connect_id: i64,
        /// The server's number for the dial, for logs.
        random: i64,
        /// Where to: `host:port`, which can be parsed.
        address: String,
    },
    /// The server does not want a dial any more. It is forgotten.
    Cancel {
        /// Which.
        connect_id: i64,
    },
    /// The server has closed a connection, and everything that it said before was taken. It is forgotten, and its
    /// target is to be closed, both ways.
    Closed {
        /// Which.
        connect_id: i64,
    },
    /// A connection was closed because its target took nothing, while the others waited. It is forgotten, too.
    Stopped {
        /// Which.
        connect_id: i64,
    },
    /// The call is over, and everything is forgotten.
    Over(Status),
}

/// A dial, or a connection once it is established.
#[derive(Debug)]
struct Connection {
    /// The server's number for the dial.
    random: i64,
    /// DIAL_RSP was said.
    established: bool,
    /// What the server said and nobody took.
    unread: Pieces,
    /// What its DATA that waits to be sent costs.
    unsent_bytes: usize,
}

/// The agent's end of one call. See the module.
#[derive(Debug, Default)]
pub struct Agent {
    reader: MessageReader,
    connections: BTreeMap<i64, Connection>,
    /// Dials that are not answered, by the server's number.
    dials: BTreeSet<(i64, i64)>,
    last_id: u32,
    readers: Readers,
    /// Connections that the server has closed and of which something is left to take, and since when.
    closing: BTreeMap<i64, Instant>,
    readable: BTreeSet<i64>,
    draining: bool,
    over: bool,
    /// DIAL_RSP, DRAIN and what must come before a DIAL_RSP, that wait to be sent; with their connections or 0.
    answers: VecDeque<(i64, Message)>,
    /// DATA and CLOSE_RSP that wait to be sent behind them.
    messages: VecDeque<(i64, Message)>,
    /// How many of both there are of a connection.
    waiting: BTreeMap<i64, usize>,
    /// Of both, those that are no DATA.
    replies: usize,
    /// What all DATA in `messages` costs.
    unsent_bytes: usize,
    events: VecDeque<AgentEvent>,
    uncredited_bytes: usize,
    ignored: u64,
}

impl Agent {
    /// A call that the server has answered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    // ---- The server ------------------------------------------------------------------------------------------

    /// Takes what a DATA frame of HTTP/2 carried, padding excluded.
    pub fn on_bytes(&mut self, now: Instant, bytes: Bytes) {
        self.uncredited_bytes += bytes.len();
        if self.over {
            return;
        }
        match self.reader.push(bytes) {
            Ok(()) => self.read_packets(now),
            Err(error) => self.end(Status::Violation(error.into())),
        }
    }

    /// Bytes of the call's window that the server may have back.
    #[must_use]
    pub fn take_credit(&mut self) -> usize {
        if self.readers.are_behind() || !self.has_room_for_replies() {
            return 0;
        }
        std::mem::take(&mut self.uncredited_bytes)
    }

    /// The next message for the server, as soon as its window has room for it. Where this makes room for answers,
    /// [`Self::poll_event`] reads on.
    pub fn next_message(&mut self) -> Option<Message> {
        let (connect_id, message) = self.answers.pop_front().or_else(|| self.messages.pop_front())?;
        if message.payload.is_empty() {
            self.replies -= 1;
        } else {
            self.unsent_bytes -= cost_bytes(&message);
            if let Some(known) = self.connections.get_mut(&connect_id) {
                known.unsent_bytes = known.unsent_bytes.saturating_sub(cost_bytes(&message));
            }
        }
        if let Some(count) = self.waiting.get_mut(&connect_id) {
            *count -= 1;
            if *count == 0 {
                self.waiting.remove(&connect_id);
            }
        }
        Some(message)
    }

    // ---- The caller ------------------------------------------------------------------------------------------

    /// What happened next.
    pub fn poll_event(&mut self, now: Instant) -> Option<AgentEvent> {
        if self.events.is_empty() {
            self.read_packets(now);
        }
        self.events.pop_front()
    }

    /// How many packets were passed over since the last call: late ones, and those that no server sends.
    pub fn take_ignored(&mut self) -> u64 {
        std::mem::take(&mut self.ignored)
    }

    /// How many dials are under way and connections are not over.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.connections.len()
    }

    /// A dial went well. False if nobody waits for it any more: what was opened is to be closed.
    pub fn establish(&mut self, connect_id: i64) -> bool {
        let Some(known) = self.connections.get_mut(&connect_id).filter(|known| !known.established) else {
            return false;
        };
        known.established = true;
        let random = known.random;
        self.dials.remove(&(random, connect_id));
        self.answer(connect_id, &Packet::DialRsp { random, connect_id, error: String::new() });
        true
    }

    /// A dial went wrong; `error` as Go words it. False if nobody waits for it any more.
    pub fn fail(&mut self, connect_id: i64, error: &str) -> bool {
        if self.connections.get(&connect_id).is_none_or(|known| known.established) {
            return false;
        }
        let Some(known) = self.connections.remove(&connect_id) else { return false };
        self.dials.remove(&(known.random, connect_id));
        let error = if error.is_empty() { "dial failed" } else { error };
        let random = known.random;
        self.answer(connect_id, &Packet::DialRsp { random, connect_id: 0, error: error.to_owned() });
        true
    }

    /// Whether a connection's bytes are taken at the moment. One connection cannot fill what all share.
    #[must_use]
    pub fn has_room(&self, connect_id: i64) -> bool {
        self.unsent_bytes < LEGACY_SEND_BYTES_TARGET
            && self
                .connections
                .get(&connect_id)
                .is_none_or(|known| known.unsent_bytes < GRPC_SEND_PENDING_BYTES_TARGET)
    }

    /// Takes bytes of a target while there is room, and leaves the rest. Those of no connection are thrown away.
    pub fn send(&mut self, connect_id: i64, bytes: &mut Bytes) {
        if self.connections.get(&connect_id).is_none_or(|known| !known.established) {
            bytes.clear();
        }
        while !bytes.is_empty() && self.has_room(connect_id) {
            let data = bytes.split_to(bytes.len().min(GRPC_DATA_BYTES_MAX));
            let message = Packet::Data { connect_id, data }.to_message().expect("made within the limits");
            self.unsent_bytes += cost_bytes(&message);
            if let Some(known) = self.connections.get_mut(&connect_id) {
                known.unsent_bytes += cost_bytes(&message);
            }
            self.queue(connect_id, message);
        }
    }

    /// Whether something of a connection waits for [`Self::next_message`].
    #[must_use]
    pub fn has_unsent(&self, connect_id: i64) -> bool {
        self.waiting.contains_key(&connect_id)
    }

    /// A connection that has something to take and had nothing when it was looked at last.
    pub fn take_readable(&mut self) -> Option<i64> {
        self.readable.pop_first()
    }

    /// The next bytes for a target.
    pub fn take(&mut self, now: Instant, connect_id: i64) -> Option<Bytes> {
        let known = self.connections.get_mut(&connect_id)?;
        let piece = known.unread.pop()?;
        self.readers.on_taken(now, connect_id, known.unread.len());
        if known.unread.is_empty() && self.closing.contains_key(&connect_id) {
            self.tell_closed(connect_id);
        }
        Some(piece)
    }

    /// A target has ended, or is given up: CLOSE_RSP behind what it said. What the server said and nobody took is
    /// thrown away, and nothing is told of the connection any more.
    pub fn close(&mut self, connect_id: i64) {
        if self.connections.get(&connect_id).is_some_and(|known| known.established) {
            self.forget(connect_id, "");
        }
    }

    /// The agent drains: the server is told once, and what runs goes on (section 3.6). Whether dials that come all the
    /// same are served is the caller's to decide.
    pub fn drain(&mut self) {
        if !std::mem::replace(&mut self.draining, true) && !self.over {
            self.answer(0, &Packet::Drain);
        }
    }

    /// When [`Self::on_deadline`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let closing = self.closing.values().min().map(|since| *since + ORPHAN_TIME_MAX);
        [self.readers.deadline(), closing].into_iter().flatten().min()
    }

    /// Closes the connections whose targets take nothing.
    pub fn on_deadline(&mut self, now: Instant) {
        let mut due = self.readers.due(now);
        let late = self.closing.iter().filter(|(_, since)| now.duration_since(**since) >= ORPHAN_TIME_MAX);
        due.extend(late.map(|(connect_id, _)| *connect_id));
        due.into_iter().for_each(|connect_id| self.stop(connect_id));
    }

    // ---- Inside ----------------------------------------------------------------------------------------------

    /// Reads packets while there is room for what they cause.
    fn read_packets(&mut self, now: Instant) {
        while !self.over && self.has_room_for_replies() {
            let connections = &self.connections;
            let is_open = |connect_id| connections.get(&connect_id).is_some_and(|known| known.established);
            match next_packet(&mut self.reader, is_open) {
                Ok(Some(Ok(packet))) => self.on_packet(now, packet),
                Ok(Some(Err(error))) => match error.refusal() {
                    Some(refusal) => self.answer(0, &refusal),
                    None => self.end(Status::Violation(error.into())),
                },
                Ok(None) => return,
                Err(error) => self.end(Status::Violation(Violation::Framing(error))),
            }
        }
    }

    fn has_room_for_replies(&self) -> bool {
        self.replies < LEGACY_CONNECTIONS_MAX
    }

    /// Queues what overtakes DATA.
    fn answer(&mut self, connect_id: i64, packet: &Packet) {
        let message = message(packet);
        self.replies += 1;
        *self.waiting.entry(connect_id).or_default() += 1;
        self.answers.push_back((connect_id, message));
    }

    fn queue(&mut self, connect_id: i64, message: Message) {
        self.replies += usize::from(message.payload.is_empty());
        *self.waiting.entry(connect_id).or_default() += 1;
        self.messages.push_back((connect_id, message));
    }
}

fn message(packet: &Packet) -> Message {
    packet.to_message().expect("made within the limits")
}

/// What a message that waits costs: its bytes, and its place in the queue.
fn cost_bytes(message: &Message) -> usize {
    const PLACE_BYTES: usize = 64;
    message.wire_bytes() + PLACE_BYTES
}
