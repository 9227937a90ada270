//! What each packet of a server does (section 3.5).

use std::time::Instant;

use bytes::Bytes;

use crate::limits::{GRPC_BUFFER_BYTES_MAX, LEGACY_CONNECTIONS_MAX};
use crate::route::Target;
use crate::wire::{DialError, ErrorClass};

use super::super::framing::MessageReader;
use super::super::frontend::text;
use super::super::packet::Packet;
use super::super::pieces::Pieces;
use super::super::status::Status;
use super::{Agent, AgentEvent, Connection, message};

/// What a server is told of a connection that was closed because nobody took what it said.
const STOPPED: &str = "the target stopped reading, and a server of the old protocol cannot slow down one connection \
                       alone: upgrade the server";

impl Agent {
    pub(super) fn on_packet(&mut self, now: Instant, packet: Packet) {
        match packet {
            Packet::DialReq { protocol, address, random } => self.on_dial_req(&protocol, address, random),
            Packet::DialCls { random } => self.on_dial_cls(random),
            Packet::Data { connect_id, data } => self.on_data(now, connect_id, data),
            Packet::CloseReq { connect_id } => self.on_close_req(now, connect_id),
            Packet::DialRsp { .. } | Packet::CloseRsp { .. } | Packet::Drain | Packet::Unknown(_) => {
                self.ignored += 1;
            }
        }
    }

    fn on_dial_req(&mut self, protocol: &str, address: String, random: i64) {
        let refusal = if protocol != "tcp" {
            // Go's `net.Dial`, asked for a network that it does not know.
            let text = format!("dial {protocol}: unknown network {protocol}");
            Some(DialError::new(ErrorClass::Unsupported, &text))
        } else if let Err(error) = Target::parse(&address) {
            Some(DialError::address(&address, &error))
        } else if self.connections.len() >= LEGACY_CONNECTIONS_MAX {
            let text = format!("dial tcp {address}: {}", ErrorClass::Full.text());
            Some(DialError::new(ErrorClass::Full, &text))
        } else {
            None
        };
        if let Some(DialError { text: error, .. }) = refusal {
            return self.answer(0, &Packet::DialRsp { random, connect_id: 0, error });
        }
        let connect_id = self.next_id();
        let connection =
            Connection { random, established: false, unread: Pieces::default(), unsent_bytes: 0 };
        self.connections.insert(connect_id, connection);
        self.dials.insert((random, connect_id));
        self.events.push_back(AgentEvent::Dial { connect_id, random, address });
    }

    /// The number after the last one, and after the highest those that are free again: upstream's counter has 64 bits,
    /// and a stream's number has 32.
    fn next_id(&mut self) -> i64 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            let connect_id = i64::from(self.last_id);
            if connect_id != 0
                && !self.connections.contains_key(&connect_id)
                && !self.waiting.contains_key(&connect_id)
            {
                return connect_id;
            }
        }
    }

    /// Upstream's agents do not listen to it; its servers send it for dials whose client has gone.
    fn on_dial_cls(&mut self, random: i64) {
        let Some(dial) = self.dials.range((random, i64::MIN)..=(random, i64::MAX)).next().copied() else {
            self.ignored += 1;
            return;
        };
        self.dials.remove(&dial);
        self.connections.remove(&dial.1);
        self.events.push_back(AgentEvent::Cancel { connect_id: dial.1 });
    }

    fn on_data(&mut self, now: Instant, connect_id: i64, data: Bytes) {
        let known = self.connections.get_mut(&connect_id).filter(|known| known.established);
        let Some(known) = known else {
            self.ignored += 1;
            if connect_id != 0 {
                self.close_unknown(connect_id, text::DATA_UNKNOWN);
            }
            return;
        };
        if self.closing.contains_key(&connect_id) {
            self.ignored += 1;
            return;
        }
        if known.unread.is_empty() && !data.is_empty() {
            self.readable.insert(connect_id);
        }
        known.unread.push(data);
        let unread_bytes = known.unread.len();
        self.readers.on_pushed(now, connect_id, unread_bytes);
        // Without credit no more than a window and a message come: this server does not care.
        if unread_bytes > GRPC_BUFFER_BYTES_MAX {
            self.stop(connect_id);
        }
    }

    fn on_close_req(&mut self, now: Instant, connect_id: i64) {
        match self.connections.get_mut(&connect_id).filter(|known| known.established) {
            Some(known) if known.unread.is_empty() => self.tell_closed(connect_id),
            Some(_) => _ = self.closing.entry(connect_id).or_insert(now),
            None => self.close_unknown(connect_id, text::CLOSE_UNKNOWN),
        }
    }

    fn close_unknown(&mut self, connect_id: i64, error: &str) {
        let packet = Packet::CloseRsp { connect_id, error: error.to_owned() };
        if self.connections.contains_key(&connect_id) {
            // The number of a dial that is not answered, which was guessed: it must not come behind DIAL_RSP.
            self.answer(connect_id, &packet);
        } else {
            // It must not come before what a connection that is over has said last.
            self.queue(connect_id, message(&packet));
        }
    }

    pub(super) fn tell_closed(&mut self, connect_id: i64) {
        self.forget(connect_id, "");
        self.events.push_back(AgentEvent::Closed { connect_id });
    }

    pub(super) fn stop(&mut self, connect_id: i64) {
        if self.connections.contains_key(&connect_id) {
            self.forget(connect_id, STOPPED);
            self.events.push_back(AgentEvent::Stopped { connect_id });
        }
    }

    /// Ends an established connection with CLOSE_RSP.
    pub(super) fn forget(&mut self, connect_id: i64, error: &str) {
        self.connections.remove(&connect_id);
        self.readers.forget(connect_id);
        self.closing.remove(&connect_id);
        self.readable.remove(&connect_id);
        self.queue(connect_id, message(&Packet::CloseRsp { connect_id, error: error.to_owned() }));
    }

    pub(super) fn end(&mut self, status: Status) {
        self.over = true;
        self.reader = MessageReader::new();
        self.connections.clear();
        self.dials.clear();
        self.readers.clear();
        self.closing.clear();
        self.readable.clear();
        self.answers.clear();
        self.messages.clear();
        self.waiting.clear();
        self.replies = 0;
        self.unsent_bytes = 0;
        self.events.push_back(AgentEvent::Over(status));
    }
}
