//! What each packet of a client does (sections 2.2 and 2.3).

use bytes::Bytes;

use crate::route::Target;
use crate::wire::{DialError, ErrorClass};

use super::super::framing::MessageReader;
use super::super::packet::Packet;
use super::outcome::{DialKey, Event, Ignored};
use super::table::Phase;
use super::{Frontend, Reading, text};

impl Frontend {
    pub(super) fn on_packet(&mut self, packet: Packet) {
        match packet {
            Packet::DialReq { protocol, address, random } => self.on_dial_req(&protocol, address, random),
            Packet::DialCls { random } => match self.table.dial_of(random) {
                // Not passed on: a late answer is closed instead (section 2.3).
                Some(key) => self.cancel(key),
                None => self.ignore(Ignored::UnknownDial(random)),
            },
            Packet::Data { connect_id, data } => self.on_data(connect_id, data),
            Packet::CloseReq { connect_id } => self.on_close_req(connect_id),
            Packet::DialRsp { .. } | Packet::CloseRsp { .. } | Packet::Drain | Packet::Unknown(_) => {
                self.ignore(Ignored::NotForServers(packet.name()));
            }
        }
        self.end_if_drained();
    }

    fn cancel(&mut self, key: DialKey) {
        self.table.end_dial(key);
        self.events.push_back(Event::Cancel { key });
    }

    fn on_dial_req(&mut self, protocol: &str, address: String, random: i64) {
        if self.table.dial_of(random).is_some() {
            return self.ignore(Ignored::DuplicateDial(random));
        }
        self.has_dialed = true;
        if self.draining {
            return self.refuse_dial(random, text::DRAINING.to_owned());
        }
        if protocol != "tcp" {
            // Go's `net.Dial`, asked for a network that it does not know.
            let text = format!("dial {protocol}: unknown network {protocol}");
            return self.refuse_dial(random, DialError::new(ErrorClass::Unsupported, &text).text);
        }
        let target = match Target::parse(&address) {
            Ok(target) => target,
            Err(error) => return self.refuse_dial(random, DialError::address(&address, &error).text),
        };
        if self.table.is_full() {
            let text = format!("dial tcp {target}: {} on one stream", ErrorClass::Full.text());
            return self.refuse_dial(random, DialError::new(ErrorClass::Full, &text).text);
        }
        let key = self.table.begin_dial(random);
        self.events.push_back(Event::Dial { key, random, address, target });
    }

    /// A dial whose request could not be understood.
    pub(super) fn on_unreadable_dial(&mut self, random: i64, error: String) {
        if self.table.dial_of(random).is_some() {
            return self.ignore(Ignored::DuplicateDial(random));
        }
        self.has_dialed = true;
        self.refuse_dial(random, error);
        self.end_if_drained();
    }

    /// Answers a dial that no agent is asked about.
    fn refuse_dial(&mut self, random: i64, error: String) {
        self.reply(&Packet::DialRsp { random, connect_id: 0, error });
    }

    fn on_data(&mut self, connect_id: i64, data: Bytes) {
        if connect_id == 0 {
            return self.ignore(Ignored::NoConnection);
        }
        if !self.has_dialed {
            return self.refuse_packet(connect_id, text::DATA_BEFORE_DIAL);
        }
        let bound = *self.bound.get_or_insert(connect_id);
        if bound != connect_id {
            return self.mismatch(bound, connect_id);
        }
        if !self.table.was_established(connect_id) {
            self.refuse_packet(connect_id, text::DATA_UNKNOWN);
        } else if !self.table.push_unread(connect_id, data) {
            self.ignore(Ignored::Closed(connect_id));
        }
    }

    /// One stream, one connection: both are cut off (section 2.2).
    fn mismatch(&mut self, bound: i64, other: i64) {
        for connect_id in [bound, other] {
            let is_known = self.table.remove(connect_id).is_some();
            if is_known {
                self.events.push_back(Event::Abort { connect_id });
            }
            if is_known || !self.table.was_established(connect_id) {
                self.reply(&Packet::CloseRsp { connect_id, error: text::MISMATCHED.to_owned() });
            }
        }
        self.stop_reading();
    }

    fn on_close_req(&mut self, connect_id: i64) {
        if !self.has_dialed {
            return self.refuse_packet(connect_id, text::CLOSE_BEFORE_DIAL);
        }
        if self.table.phase(connect_id) == Some(Phase::Open) {
            self.begin_close(connect_id);
        } else if self.table.was_established(connect_id) {
            self.ignore(Ignored::Closed(connect_id));
        } else {
            return self.refuse_packet(connect_id, text::CLOSE_UNKNOWN);
        }
        // The answer still goes to the client, and so does what other connections say (section 2.3).
        self.stop_reading();
    }

    /// CLOSE_RSP with an error, and nothing more is read.
    fn refuse_packet(&mut self, connect_id: i64, error: &str) {
        self.reply(&Packet::CloseRsp { connect_id, error: error.to_owned() });
        self.stop_reading();
    }

    /// Closes a connection once what the client sent before is taken.
    pub(super) fn begin_close(&mut self, connect_id: i64) {
        if self.table.has_taken_all(connect_id) {
            self.table.set_phase(connect_id, Phase::Closing);
            self.tell_close(connect_id);
        } else {
            self.table.set_phase(connect_id, Phase::Flushing);
        }
    }

    /// What upstream's server does after its last packet: the rest is drained and thrown away (section 2.3).
    pub(super) fn stop_reading(&mut self) {
        if self.reading == Reading::Packets {
            self.reading = Reading::Nothing;
            self.reader = MessageReader::new();
        }
    }

    fn ignore(&mut self, ignored: Ignored) {
        let count = self.ignored.map_or(0, |(_, count)| count);
        self.ignored = Some((ignored, count + 1));
    }
}
