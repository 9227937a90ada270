//! What each packet of an agent does (sections 2.3 and 3.5).

use std::time::Instant;

use bytes::Bytes;

use crate::limits::{GRPC_BUFFER_BYTES_MAX, LEGACY_CONNECTIONS_MAX};

use super::super::framing::MessageReader;
use super::super::frontend::DialFailure;
use super::super::packet::Packet;
use super::super::status::Status;
use super::{Backend, BackendEvent, Connection, Ended, Purpose};

impl Backend {
    pub(super) fn on_packet(&mut self, now: Instant, packet: Packet) {
        match packet {
            Packet::DialRsp { random, connect_id, error } => self.on_dial_rsp(random, connect_id, error),
            Packet::DialCls { random } if self.pending.remove(&random) => {
                self.fail_dial(random, DialFailure::Closed);
            }
            Packet::Data { connect_id, data } => self.on_data(now, connect_id, data),
            Packet::CloseRsp { connect_id, error } => self.on_close_rsp(connect_id, error),
            Packet::Drain if !self.draining => {
                self.draining = true;
                self.events.push_back(BackendEvent::Draining);
            }
            Packet::DialCls { .. }
            | Packet::Drain
            | Packet::DialReq { .. }
            | Packet::CloseReq { .. }
            | Packet::Unknown(_) => self.ignored += 1,
        }
    }

    fn on_dial_rsp(&mut self, random: i64, connect_id: i64, error: String) {
        let is_wanted = self.pending.remove(&random);
        let is_taken = self.connections.contains_key(&connect_id);
        if !is_wanted {
            self.ignored += 1;
            // Whoever wanted it is gone. A second answer, however, is no reason to close what the first one opened.
            if connect_id != 0 && !is_taken {
                self.request_close(connect_id);
            }
        } else if !error.is_empty() {
            self.fail_dial(random, DialFailure::Refused(error));
        } else if connect_id == 0 || is_taken {
            let text =
                format!("the agent answered with connection {connect_id}, which is none of this dial's");
            self.fail_dial(random, DialFailure::Refused(text));
        } else {
            self.connections.insert(connect_id, Connection::default());
            self.events.push_back(BackendEvent::Established { random, connect_id });
        }
    }

    fn fail_dial(&mut self, random: i64, failure: DialFailure) {
        self.events.push_back(BackendEvent::Failed { random, failure });
    }

    fn on_data(&mut self, now: Instant, connect_id: i64, data: Bytes) {
        let Some(known) = self.connections.get_mut(&connect_id) else {
            self.ignored += 1;
            if connect_id != 0 {
                self.request_close(connect_id);
            }
            return;
        };
        if known.closing || known.ended.is_some() {
            self.ignored += 1;
            return;
        }
        if known.unread.is_empty() && !data.is_empty() {
            self.readable.insert(connect_id);
        }
        known.unread.push(data);
        self.readers.on_pushed(now, connect_id, known.unread.len());
        // Without credit no more than a window and a message come: this agent does not care.
        if known.unread.len() > GRPC_BUFFER_BYTES_MAX {
            self.stop(connect_id);
        }
    }

    /// Closes a connection that nobody reads. What it said and nobody took is lost, so this is never told as an end.
    pub(super) fn stop(&mut self, connect_id: i64) {
        let Some(known) = self.connections.get_mut(&connect_id) else { return };
        known.told = true;
        self.events.push_back(BackendEvent::Ended { connect_id, how: Ended::Stopped });
        self.close(connect_id);
    }

    fn on_close_rsp(&mut self, connect_id: i64, error: String) {
        match self.connections.get_mut(&connect_id) {
            Some(known) if known.ended.is_none() => {
                known.ended = Some(Ended::Closed(error));
                self.tell_if_ended(connect_id);
            }
            _ => self.ignored += 1,
        }
    }

    /// Forgets a connection that is over and of which everything was taken.
    pub(super) fn tell_if_ended(&mut self, connect_id: i64) {
        let Some(known) = self.connections.get_mut(&connect_id) else { return };
        if known.unread.is_empty()
            && let Some(how) = known.ended.take()
        {
            let told = known.told;
            self.connections.remove(&connect_id);
            self.readable.remove(&connect_id);
            if !told {
                self.events.push_back(BackendEvent::Ended { connect_id, how });
            }
        }
    }

    /// CLOSE_REQ. For connections of nobody there are as many as an honest agent may have at once.
    pub(super) fn request_close(&mut self, connect_id: i64) {
        let known = self.connections.get_mut(&connect_id);
        let is_known = known.is_some();
        if let Some(known) = known {
            known.close_waits = true;
        }
        if !is_known && self.strays >= LEGACY_CONNECTIONS_MAX {
            return;
        }
        self.strays += usize::from(!is_known);
        let message = Packet::CloseReq { connect_id }.to_message().expect("made within the limits");
        self.messages
            .push_back((if is_known { Purpose::Close(connect_id) } else { Purpose::Stray }, message));
    }

    pub(super) fn end(&mut self, status: Status) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.reader = MessageReader::new();
        self.dials.clear();
        self.messages.clear();
        self.unsent_bytes = 0;
        self.strays = 0;
        self.readers.clear();
        for random in std::mem::take(&mut self.pending) {
            self.fail_dial(random, DialFailure::AgentLost(Ended::AgentLost.text().to_owned()));
        }
        let connect_ids: Vec<i64> = self.connections.keys().copied().collect();
        for connect_id in connect_ids {
            if let Some(known) = self.connections.get_mut(&connect_id) {
                known.ended.get_or_insert(Ended::AgentLost);
            }
            self.tell_if_ended(connect_id);
        }
        self.events.push_back(BackendEvent::Over(status));
    }
}
