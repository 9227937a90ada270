//! What an old server asks for, and what the shard says about it.

use std::time::Instant;

use bytes::Bytes;

use super::super::streams::Connections;
use super::super::{CarrierEvent, stream_id};
use super::{OldServer, Stage};
use crate::konnectivity::{Agent, AgentEvent, Status};
use crate::quic::{Fault, LostKind, LostReason, ReadState};
use crate::wire::{DialRequest, DialResponse, ErrorClass, ResetCode, StreamHeader, WireError};

impl Connections for Agent {
    fn take(&mut self, now: Instant, connect_id: i64) -> Option<Bytes> {
        Self::take(self, now, connect_id)
    }

    fn has_room(&self, connect_id: i64) -> bool {
        Self::has_room(self, connect_id)
    }

    fn send(&mut self, connect_id: i64, bytes: &mut Bytes) {
        Self::send(self, connect_id, bytes);
    }

    fn close(&mut self, connect_id: i64) {
        Self::close(self, connect_id);
    }

    fn has_unsent(&self, connect_id: i64) -> bool {
        Self::has_unsent(self, connect_id)
    }
}

impl OldServer {
    /// A stream's first message: how its dial went.
    pub(super) fn on_response(&mut self, number: u32, message: Result<Bytes, WireError>) {
        let connect_id = i64::from(number);
        let error = match message.and_then(DialResponse::decode).map(DialResponse::into_result) {
            Ok(Ok(())) => {
                if self.agent.establish(connect_id) {
                    self.streams.begin(number, connect_id);
                }
                return;
            }
            Ok(Err(error)) => error.text,
            Err(error) => error.to_string(),
        };
        self.agent.fail(connect_id, &error);
        self.streams.end_reading(number);
    }

    /// A stream ends: if its dial was not answered, it is now.
    pub(super) fn answer_unanswered(&mut self, number: u32, code: ResetCode) {
        if self.streams.is_new(number) {
            let text = match code {
                ResetCode::Full => ErrorClass::Full.text(),
                ResetCode::Cancelled => ErrorClass::Canceled.text(),
                other => other.text(),
            };
            self.agent.fail(i64::from(number), &format!("dial tcp: {text}"));
        }
    }

    /// Passes on what the server said.
    pub(super) fn take_agent_events(&mut self, now: Instant) {
        if self.stage != Stage::Ready {
            return;
        }
        while let Some(event) = self.agent.poll_event(now) {
            self.on_agent_event(now, event);
        }
        while let Some(connect_id) = self.agent.take_readable() {
            self.streams.tell_readable(number(connect_id));
        }
    }

    fn on_agent_event(&mut self, now: Instant, event: AgentEvent) {
        match event {
            AgentEvent::Dial { connect_id, random, address } => {
                let request = DialRequest {
                    address,
                    dial_id: random.cast_unsigned(),
                    // Upstream's agent gives every dial the 5 s that ours does by itself (section 3.5).
                    ..DialRequest::default()
                };
                let header = StreamHeader::dial(request).to_frame().expect("an address fits a frame");
                let number = number(connect_id);
                self.streams.insert(number, connect_id, header);
                self.streams.events.push_back(CarrierEvent::Opened(stream_id(number)));
            }
            AgentEvent::Cancel { connect_id } => {
                let code = ResetCode::Cancelled;
                self.streams.end(number(connect_id), ReadState::Reset(code), code);
            }
            AgentEvent::Closed { connect_id } => {
                self.streams.end(number(connect_id), ReadState::Finished, ResetCode::Cancelled);
            }
            AgentEvent::Stopped { connect_id } => {
                let (number, code) = (number(connect_id), ResetCode::OverBudget);
                self.streams.events.push_back(CarrierEvent::ReaderStopped(stream_id(number)));
                self.streams.end(number, ReadState::Reset(code), code);
            }
            AgentEvent::Over(status) => self.on_call_over(now, &status),
        }
    }

    /// The server's bytes are no packets.
    fn on_call_over(&mut self, now: Instant, status: &Status) {
        self.end_call(now);
        let text = format!("a server of Konnectivity's broke the protocol: {}", status.message());
        self.lose(LostReason::new(LostKind::Protocol, Fault::Peer, true, text));
    }
}

/// The stream of a connection, which has the same number.
fn number(connect_id: i64) -> u32 {
    u32::try_from(connect_id).expect("connections are numbered with 32 bits")
}
