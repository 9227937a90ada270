//! The server's end of an old agent's `/AgentService/Connect` stream (section 3).
//!
//! All connections of such an agent share one stream, and their protocol has no credit for one of them. What that costs
//! is contained here: each connection has a buffer of its own, and only while one of them is over its target does the
//! agent get no credit, which slows its other connections. A reader that takes something now and then makes the agent
//! slow, as TCP would. One that takes nothing for [`STOPPED_AFTER`](crate::limits::STOPPED_AFTER) is closed with
//! [`Ended::Stopped`], and the others go on: none of them is ever cut, and each waits no longer than that for one that
//! stopped.
//!
//! Dials overtake what waits to be sent, so that a full window delays them no more than one message does.
//!
//! Dials are numbered by the server, from 1 in each stream (section 0.11); connections by the agent (section 2.2).
//!
//! Deliberately absent: a dial's deadline, the choice of an agent, authentication.

mod metadata;
mod packets;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use crate::limits::{
    GRPC_DATA_BYTES_MAX, GRPC_SEND_PENDING_BYTES_TARGET, LEGACY_CONNECTIONS_MAX, LEGACY_SEND_BYTES_TARGET,
};

use super::framing::{Message, MessageReader};
use super::frontend::{DialFailure, TunnelEnd};
use super::packet::{Packet, PacketError, next_packet};
use super::pieces::Pieces;
use super::readers::Readers;
use super::status::{Status, Violation};

pub use metadata::{AgentMetadata, MetadataError, SERVER_KEYS, server_metadata};

/// What the caller has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendEvent {
    /// A dial went well.
    Established {
        /// The dial.
        random: i64,
        /// The connection.
        connect_id: i64,
    },
    /// A dial went wrong.
    Failed {
        /// The dial.
        random: i64,
        /// Why.
        failure: DialFailure,
    },
    /// A connection is over, and everything that it said was taken, or is not wanted any more.
    Ended {
        /// Which.
        connect_id: i64,
        /// How.
        how: Ended,
    },
    /// The agent wants no new dials (section 3.6): one that drains is chosen only where there is no other.
    Draining,
    /// The call is over: nothing is left of the agent. Where the server ends it, with this status.
    Over(Status),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The agent closed it; its error, mostly empty.
    Closed(String),
    /// Nobody took what it said for [`STOPPED_AFTER`](crate::limits::STOPPED_AFTER), while the agent's other
    /// connections waited.
    Stopped,
    /// The agent was lost.
    AgentLost,
}

impl Ended {
    /// For logs.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Closed(error) => error,
            Self::Stopped => {
                "its client stopped reading, and an agent of the old protocol cannot slow down one connection alone: \
                 upgrade the agent"
            }
            Self::AgentLost => "the agent was lost",
        }
    }

    /// What a client is told of it: an agent's error is passed on, and the loss of an agent is none (section 2.3).
    #[must_use]
    pub fn into_tunnel_end(self) -> TunnelEnd {
        match self {
            Self::Closed(error) if !error.is_empty() => TunnelEnd::Failed(error),
            Self::Closed(_) | Self::AgentLost => TunnelEnd::Closed,
            Self::Stopped => TunnelEnd::Failed(self.text().to_owned()),
        }
    }
}

/// Why a dial was not passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDialed {
    /// As many dials and connections as there may be.
    #[error("too many connections of one agent: {LEGACY_CONNECTIONS_MAX}")]
    Full,
    /// The call is over.
    #[error("the agent was lost")]
    Over,
    /// The address is too long.
    #[error(transparent)]
    Packet(#[from] PacketError),
}

/// A connection of the agent's.
#[derive(Debug, Default)]
struct Connection {
    /// What it said and nobody took.
    unread: Pieces,
    /// CLOSE_REQ was asked for: only CLOSE_RSP is waited for.
    closing: bool,
    /// CLOSE_REQ waits to be sent.
    close_waits: bool,
    /// It is over once `unread` was taken.
    ended: Option<Ended>,
    /// The caller was told of its end before the agent closed it.
    told: bool,
    /// What its DATA that waits to be sent costs.
    unsent_bytes: usize,
}

/// What a message that waits to be sent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// DATA of this connection.
    Data(i64),
    /// CLOSE_REQ of this connection of ours.
    Close(i64),
    /// CLOSE_REQ of a connection of nobody.
    Stray,
}

/// One agent's stream. See the module.
#[derive(Debug, Default)]
pub struct Backend {
    reader: MessageReader,
    pending: BTreeSet<i64>,
    connections: BTreeMap<i64, Connection>,
    readers: Readers,
    /// Connections that said something when nothing waited.
    readable: BTreeSet<i64>,
    last_random: i64,
    draining: bool,
    over: bool,
    /// Dials that the agent was not asked for yet, each of them pending.
    dials: VecDeque<(i64, Message)>,
    /// Everything else that waits to be sent.
    messages: VecDeque<(Purpose, Message)>,
    /// What all DATA in `messages` costs.
    unsent_bytes: usize,
    /// Of `messages`, those of nobody's connections.
    strays: usize,
    events: VecDeque<BackendEvent>,
    uncredited_bytes: usize,
    ignored: u64,
}

impl Backend {
    /// A stream whose response headers were sent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    // ---- The agent -------------------------------------------------------------------------------------------

    /// Takes what a DATA frame of HTTP/2 carried, padding excluded.
    pub fn on_bytes(&mut self, now: Instant, bytes: Bytes) {
        self.uncredited_bytes += bytes.len();
        if self.over {
            return;
        }
        let mut read = self.reader.push(bytes);
        while read.is_ok() {
            let connections = &self.connections;
            match next_packet(&mut self.reader, |connect_id| connections.contains_key(&connect_id)) {
                Ok(Some(Ok(packet))) => self.on_packet(now, packet),
                // No agent sends DIAL_REQ, so nobody waits for a refusal.
                Ok(Some(Err(PacketError::FieldTooLong { .. }))) => self.ignored += 1,
                Ok(Some(Err(error))) => return self.end(Status::Violation(error.into())),
                Ok(None) => return,
                Err(error) => read = Err(error),
            }
        }
        if let Err(error) = read {
            self.end(Status::Violation(Violation::Framing(error)));
        }
    }

    /// The agent has ended the call, in whatever way, or is lost: dials fail, connections end once what they said was
    /// taken (section 2.3, "Agent stream ends").
    pub fn on_agent_gone(&mut self) {
        self.end(Status::Ok);
    }

    /// Bytes of the stream's window that the agent may have back.
    #[must_use]
    pub fn take_credit(&mut self) -> usize {
        if self.readers.are_behind() { 0 } else { std::mem::take(&mut self.uncredited_bytes) }
    }

    /// The next message for the agent, as soon as its window has room for it.
    pub fn next_message(&mut self) -> Option<Message> {
        if let Some((_, dial)) = self.dials.pop_front() {
            return Some(dial);
        }
        let (purpose, message) = self.messages.pop_front()?;
        match purpose {
            Purpose::Data(connect_id) => {
                self.unsent_bytes -= cost_bytes(&message);
                if let Some(known) = self.connections.get_mut(&connect_id) {
                    // An agent may give a number again while DATA of the first connection waits.
                    known.unsent_bytes = known.unsent_bytes.saturating_sub(cost_bytes(&message));
                }
            }
            Purpose::Stray => self.strays -= 1,
            Purpose::Close(connect_id) => {
                if let Some(known) = self.connections.get_mut(&connect_id) {
                    known.close_waits = false;
                }
            }
        }
        Some(message)
    }

    // ---- The caller ------------------------------------------------------------------------------------------

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<BackendEvent> {
        self.events.pop_front()
    }

    /// How many packets were passed over since the last call: late ones, and those of nobody.
    pub fn take_ignored(&mut self) -> u64 {
        std::mem::take(&mut self.ignored)
    }

    /// Whether the agent said that it drains.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// How many dials are under way and connections are not over: [`LEGACY_CONNECTIONS_MAX`] at most.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.pending.len() + self.connections.len()
    }

    /// Whether something of a connection waits for [`Self::next_message`]: DATA, or CLOSE_REQ.
    #[must_use]
    pub fn has_unsent(&self, connect_id: i64) -> bool {
        self.connections.get(&connect_id).is_some_and(|known| known.close_waits || known.unsent_bytes > 0)
    }

    /// Whether the call is over and nothing waits.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.over && self.events.is_empty() && self.connections.is_empty()
    }

    /// Has the agent dial; the dial's number.
    ///
    /// # Errors
    ///
    /// [`NotDialed`].
    pub fn dial(&mut self, address: &str) -> Result<i64, NotDialed> {
        if self.over {
            return Err(NotDialed::Over);
        }
        if self.in_use() >= LEGACY_CONNECTIONS_MAX {
            return Err(NotDialed::Full);
        }
        let random = self.last_random + 1;
        let request = Packet::DialReq { protocol: "tcp".to_owned(), address: address.to_owned(), random };
        self.dials.push_back((random, request.to_message()?));
        self.last_random = random;
        self.pending.insert(random);
        Ok(random)
    }

    /// Whether a dial waits for [`Self::next_message`].
    #[must_use]
    pub fn has_unsent_dial(&self) -> bool {
        !self.dials.is_empty()
    }

    /// A dial is not wanted any more. An agent that was asked is not told, for it would not listen: what it connects is
    /// closed when its answer comes (section 2.3).
    pub fn cancel(&mut self, random: i64) {
        self.pending.remove(&random);
        self.dials.retain(|(waiting, _)| *waiting != random);
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

    /// Takes bytes for a connection while there is room, and leaves the rest. What nobody would read is thrown away.
    pub fn send(&mut self, connect_id: i64, bytes: &mut Bytes) {
        let is_open = |known: &Connection| !known.closing && known.ended.is_none();
        if !self.connections.get(&connect_id).is_some_and(is_open) {
            bytes.clear();
        }
        while !bytes.is_empty() && self.has_room(connect_id) {
            let data = bytes.split_to(bytes.len().min(GRPC_DATA_BYTES_MAX));
            let message = Packet::Data { connect_id, data }.to_message().expect("made within the limits");
            self.unsent_bytes += cost_bytes(&message);
            if let Some(known) = self.connections.get_mut(&connect_id) {
                known.unsent_bytes += cost_bytes(&message);
            }
            self.messages.push_back((Purpose::Data(connect_id), message));
        }
    }

    /// A connection that has something to take and had nothing when it was looked at last.
    pub fn take_readable(&mut self) -> Option<i64> {
        self.readable.pop_first()
    }

    /// The next bytes that a connection said.
    pub fn take(&mut self, now: Instant, connect_id: i64) -> Option<Bytes> {
        let known = self.connections.get_mut(&connect_id)?;
        let piece = known.unread.pop()?;
        // Nobody waits behind what an agent that is gone has left.
        if !self.over {
            self.readers.on_taken(now, connect_id, known.unread.len());
        }
        self.tell_if_ended(connect_id);
        Some(piece)
    }

    /// Closes a connection, behind what was sent to it. Nothing that it says is wanted any more;
    /// [`BackendEvent::Ended`] comes when the agent has closed it, too.
    pub fn close(&mut self, connect_id: i64) {
        let Some(known) = self.connections.get_mut(&connect_id) else { return };
        known.unread = Pieces::default();
        self.readers.forget(connect_id);
        if known.ended.is_some() {
            self.tell_if_ended(connect_id);
        } else if !std::mem::replace(&mut known.closing, true) {
            self.request_close(connect_id);
        }
    }

    /// When [`Backend::on_deadline`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.readers.deadline()
    }

    /// Closes the connections that nobody reads.
    pub fn on_deadline(&mut self, now: Instant) {
        let due = self.readers.due(now);
        due.into_iter().for_each(|connect_id| self.stop(connect_id));
    }
}

/// What a message that waits costs: its bytes, and its place in the queue.
fn cost_bytes(message: &Message) -> usize {
    const PLACE_BYTES: usize = 64;
    message.wire_bytes() + PLACE_BYTES
}
