//! The server's end of one `/ProxyService/Proxy` stream (section 2.3).
//!
//! ```text
//!   HTTP/2 stream ──on_bytes, on_client_end, on_client_reset──▶ Frontend ──poll_event──▶ dials, closes, the call's end
//!                 ◀──next_message, take_credit──                  │  ▲
//!                                            take_for_tunnel ─────┘  └── on_established, on_dial_failed,
//!                                                                        on_tunnel_bytes, on_tunnel_ended
//! ```
//!
//! What it promises: no DATA before the DIAL_RSP of its connection, since both stand in one queue; nothing after
//! CLOSE_RSP; every dial is answered once, unless the client takes it back; and everything is bounded. Whoever does not
//! read costs only itself: towards the client nothing is taken from tunnels while messages wait, and from the client no
//! credit is given while a tunnel has not taken what came.
//!
//! A stream has one connection in practice, since every client opens a stream for each dial, also where many streams
//! share one HTTP/2 connection. Further dials on a stream are answered, as upstream's server does; DATA, however, is
//! taken for the connection that it came for first (section 2.2).
//!
//! Deliberately absent: time. A dial's deadline, and that of a client that never ends its stream, are the caller's.

mod outcome;
mod packets;
mod table;
pub mod text;

use std::collections::VecDeque;

use bytes::Bytes;

use crate::limits::{
    GRPC_DATA_BYTES_MAX, GRPC_REPLIES_MAX, GRPC_SEND_PENDING_BYTES_TARGET, GRPC_SEND_PENDING_MESSAGES_MAX,
    INGRESS_PENDING_BYTES_TARGET,
};

use super::framing::{Message, MessageReader};
use super::packet::{Packet, next_packet};
use super::status::{Status, Violation};
use table::{Phase, Table};

pub use outcome::{DialFailure, DialKey, Event, Ignored, TunnelEnd};

/// What is done with what the client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Packets are read.
    Packets,
    /// Everything is thrown away, until the client ends its stream.
    Nothing,
    /// Nothing comes, or nothing that came matters any more.
    Over,
}

/// One stream's state. See the module.
#[derive(Debug)]
pub struct Frontend {
    reader: MessageReader,
    reading: Reading,
    client_ended: bool,
    table: Table,
    /// The connection that the stream's DATA is for.
    bound: Option<i64>,
    /// Whether there was a dial, however it went.
    has_dialed: bool,
    draining: bool,
    pub(super) messages: VecDeque<Message>,
    message_bytes: usize,
    /// Those of `messages` that are no DATA.
    replies: usize,
    events: VecDeque<Event>,
    /// The status to end with, once `messages` is empty.
    end: Option<Status>,
    /// Received, and not given back as credit.
    uncredited_bytes: usize,
    ignored: Option<(Ignored, u64)>,
}

impl Default for Frontend {
    fn default() -> Self {
        Self::new()
    }
}

impl Frontend {
    /// A stream that just opened.
    #[must_use]
    pub fn new() -> Self {
        Self {
            reader: MessageReader::new(),
            reading: Reading::Packets,
            client_ended: false,
            table: Table::default(),
            bound: None,
            has_dialed: false,
            draining: false,
            messages: VecDeque::new(),
            message_bytes: 0,
            replies: 0,
            events: VecDeque::new(),
            end: None,
            uncredited_bytes: 0,
            ignored: None,
        }
    }

    // ---- The client ------------------------------------------------------------------------------------------

    /// Takes what a DATA frame of HTTP/2 carried, padding excluded.
    pub fn on_bytes(&mut self, bytes: Bytes) {
        self.uncredited_bytes += bytes.len();
        if self.reading == Reading::Packets {
            match self.reader.push(bytes) {
                Ok(()) => self.read_packets(),
                Err(error) => self.fail(error.into()),
            }
        }
    }

    /// The client has ended its side (END_STREAM): dials are cancelled, connections closed, and the call ends well, as
    /// soon as what came before is read (section 2.3).
    pub fn on_client_end(&mut self) {
        self.client_ended = true;
        self.read_packets();
    }

    /// The client has cancelled the call (RST_STREAM), or its HTTP/2 connection is lost: everything is cut off, and
    /// nothing more is sent.
    pub fn on_client_reset(&mut self) {
        self.cut_off();
        self.messages.clear();
        self.message_bytes = 0;
        self.replies = 0;
        self.end = None;
    }

    /// Bytes of the stream's window that the client may have back. None while it is the server who has to catch up.
    #[must_use]
    pub fn take_credit(&mut self) -> usize {
        let is_behind = self.reading == Reading::Packets
            && (!self.has_room_for_replies() || self.table.unread_bytes() > INGRESS_PENDING_BYTES_TARGET);
        if is_behind { 0 } else { std::mem::take(&mut self.uncredited_bytes) }
    }

    /// The next message for the client, as soon as its window has room for it.
    pub fn next_message(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.message_bytes -= message.wire_bytes();
        self.replies -= usize::from(message.payload.is_empty());
        self.read_packets();
        Some(message)
    }

    /// Whether a message waits.
    #[must_use]
    pub fn has_message(&self) -> bool {
        !self.messages.is_empty()
    }

    // ---- The caller ------------------------------------------------------------------------------------------

    /// What is to be done next. [`Event::End`] comes when the last message was taken.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty() && self.messages.is_empty() {
            return self.end.take().map(Event::End);
        }
        let event = self.events.pop_front();
        self.read_packets();
        event
    }

    /// Whether [`Self::poll_event`] has something to say.
    #[must_use]
    pub fn has_event(&self) -> bool {
        !self.events.is_empty() || (self.messages.is_empty() && self.end.is_some())
    }

    /// What was passed over last, and how many packets since the last call.
    pub fn take_ignored(&mut self) -> Option<(Ignored, u64)> {
        self.ignored.take()
    }

    /// Whether nothing is left: the call is over, and so are its dials and connections.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.reading == Reading::Over
            && self.end.is_none()
            && self.messages.is_empty()
            && self.events.is_empty()
            && self.table.is_empty()
    }

    /// No new dials. The stream ends when its last dial and connection have; one that never dialed may still be told
    /// so, once.
    pub fn drain(&mut self) {
        self.draining = true;
        self.end_if_drained();
    }

    // ---- Dials -----------------------------------------------------------------------------------------------

    /// A dial went well: the number of the connection, which the client is told. `None` if nobody waits for it: what
    /// was opened must be closed (section 2.3, "DIAL_RSP unknown random").
    #[must_use]
    pub fn on_established(&mut self, key: DialKey) -> Option<i64> {
        let random = self.table.end_dial(key)?;
        let connect_id = self.table.establish();
        self.reply(&Packet::DialRsp { random, connect_id, error: String::new() });
        Some(connect_id)
    }

    /// A dial went wrong. Whether anybody waited for it.
    pub fn on_dial_failed(&mut self, key: DialKey, failure: DialFailure) -> bool {
        let Some(random) = self.table.end_dial(key) else { return false };
        let stops = failure.stops();
        match failure.text() {
            Some(error) => self.reply(&Packet::DialRsp { random, connect_id: 0, error }),
            None => self.reply(&Packet::DialCls { random }),
        }
        if stops {
            self.stop_reading();
        }
        self.end_if_drained();
        true
    }

    // ---- Connections -----------------------------------------------------------------------------------------

    /// The next bytes for a connection, in order.
    pub fn take_for_tunnel(&mut self, connect_id: i64) -> Option<Bytes> {
        let (piece, is_last) = self.table.pop_unread(connect_id)?;
        if is_last && self.table.phase(connect_id) == Some(Phase::Flushing) {
            self.begin_close(connect_id);
        }
        Some(piece)
    }

    /// Whether a connection's bytes are taken at the moment.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.message_bytes < GRPC_SEND_PENDING_BYTES_TARGET
            && self.messages.len() < GRPC_SEND_PENDING_MESSAGES_MAX
    }

    /// Takes bytes from a connection while there is room, and leaves the rest. What nobody wants any more, because the
    /// client closes the connection or it is forgotten, is taken and thrown away.
    pub fn on_tunnel_bytes(&mut self, connect_id: i64, bytes: &mut Bytes) {
        if self.reading == Reading::Over || self.table.phase(connect_id) != Some(Phase::Open) {
            bytes.clear();
        }
        while !bytes.is_empty() && self.has_room() {
            let data = bytes.split_to(bytes.len().min(GRPC_DATA_BYTES_MAX));
            self.reply(&Packet::Data { connect_id, data });
        }
    }

    /// A connection is over, whoever ended it; all of its bytes came before. The client is told with CLOSE_RSP, unless
    /// it was told before or is gone. What it sent and the connection has not taken is thrown away.
    pub fn on_tunnel_ended(&mut self, connect_id: i64, end: TunnelEnd) {
        if self.table.remove(connect_id).is_none() {
            return;
        }
        let error = match end {
            TunnelEnd::Closed => String::new(),
            TunnelEnd::Failed(error) => error,
            TunnelEnd::NotPassedOn => text::CLOSE_NOT_PASSED_ON.to_owned(),
        };
        self.reply(&Packet::CloseRsp { connect_id, error });
        self.end_if_drained();
    }

    // ---- Inside ----------------------------------------------------------------------------------------------

    /// Reads packets while there is room for what they cause, and then the client's end.
    fn read_packets(&mut self) {
        while self.reading == Reading::Packets && self.has_room_for_replies() {
            let (table, bound) = (&self.table, self.bound);
            let is_open = |connect_id| {
                bound.is_none_or(|bound| bound == connect_id) && table.phase(connect_id) == Some(Phase::Open)
            };
            match next_packet(&mut self.reader, is_open) {
                Ok(Some(Ok(packet))) => self.on_packet(packet),
                Ok(Some(Err(error))) => match error.refusal() {
                    Some(Packet::DialRsp { random, error, .. }) => self.on_unreadable_dial(random, error),
                    _ => self.fail(error.into()),
                },
                Ok(None) if self.client_ended => match self.reader.finish() {
                    Ok(()) => self.on_client_ended(),
                    Err(error) => self.fail(error.into()),
                },
                Ok(None) => break,
                Err(error) => self.fail(error.into()),
            }
        }
        if self.reading == Reading::Nothing && self.client_ended {
            self.on_client_ended();
        }
    }

    fn has_room_for_replies(&self) -> bool {
        self.replies < GRPC_REPLIES_MAX && self.events.len() < GRPC_REPLIES_MAX
    }

    fn on_client_ended(&mut self) {
        self.reading = Reading::Over;
        for key in self.table.take_dials() {
            self.events.push_back(Event::Cancel { key });
        }
        for connect_id in self.table.connect_ids() {
            match self.table.phase(connect_id) {
                Some(Phase::Open) => self.begin_close(connect_id),
                // The caller was told, and nobody waits for what it has to say.
                Some(Phase::Closing) => _ = self.table.remove(connect_id),
                Some(Phase::Flushing) | None => {}
            }
        }
        self.end.get_or_insert(Status::Ok);
    }

    /// The caller closes a connection; where the client is gone, that was its last.
    fn tell_close(&mut self, connect_id: i64) {
        self.events.push_back(Event::Close { connect_id });
        if self.reading == Reading::Over {
            self.table.remove(connect_id);
        }
    }

    /// The client broke the protocol.
    fn fail(&mut self, violation: Violation) {
        self.cut_off();
        self.end = Some(Status::Violation(violation));
    }

    fn cut_off(&mut self) {
        self.reading = Reading::Over;
        self.reader = MessageReader::new();
        for key in self.table.take_dials() {
            self.events.push_back(Event::Cancel { key });
        }
        for connect_id in self.table.connect_ids() {
            // One that is closing is the caller's already.
            if self.table.remove(connect_id) != Some(Phase::Closing) {
                self.events.push_back(Event::Abort { connect_id });
            }
        }
    }

    fn end_if_drained(&mut self) {
        if self.draining && self.has_dialed && self.table.is_empty() && self.reading != Reading::Over {
            self.reading = Reading::Over;
            self.reader = MessageReader::new();
            self.end = Some(Status::Ok);
        }
    }

    fn reply(&mut self, packet: &Packet) {
        if self.reading == Reading::Over {
            return;
        }
        let message = packet.to_message().expect("made within the limits");
        self.message_bytes += message.wire_bytes();
        self.replies += usize::from(message.payload.is_empty());
        self.messages.push_back(message);
    }
}
