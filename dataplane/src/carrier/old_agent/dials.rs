//! What the shard asks an old agent for, and what the agent says about it.

use std::time::Instant;

use bytes::Bytes;

use super::super::streams::Connections;
use super::super::{CarrierEvent, stream_id};
use super::{OldAgent, Stage};
use crate::konnectivity::{Backend, BackendEvent, DialFailure, Ended, NotDialed, Status};
use crate::limits::LEGACY_DIAL_SILENCE_MAX;
use crate::quic::{Fault, LostKind, LostReason, ReadState};
use crate::wire::{DialError, DialResponse, ErrorClass, Kind, ResetCode, StreamHeader, WireError};

impl Connections for Backend {
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

impl OldAgent {
    /// A stream's first message: what to dial.
    pub(super) fn on_header(&mut self, now: Instant, number: u32, message: Result<Bytes, WireError>) {
        let refusal = match message.and_then(StreamHeader::decode) {
            Ok(StreamHeader { kind: Kind::Dial, dial: Some(request), .. }) => {
                match self.backend.dial(&request.address) {
                    Ok(dial) => {
                        self.dials.insert(dial, number);
                        self.keep_alive.expect(now, LEGACY_DIAL_SILENCE_MAX);
                        return self.streams.wait_for(number, dial);
                    }
                    Err(error) => not_dialed(&error),
                }
            }
            Ok(_) => {
                let code = ResetCode::UnknownKind;
                return self.streams.end(number, ReadState::Reset(code), code);
            }
            Err(error) => match error.dial_refusal() {
                Some(refusal) => refusal,
                None => {
                    let code = error.reset_code();
                    return self.streams.end(number, ReadState::Reset(code), code);
                }
            },
        };
        self.streams.refuse(number, frame(&refusal));
    }

    /// The dial of a stream, if it waits for one, is not wanted any more.
    pub(super) fn cancel_dial(&mut self, number: u32) {
        if let Some(dial) = self.streams.dial(number) {
            self.dials.remove(&dial);
            self.backend.cancel(dial);
        }
    }

    /// Passes on what the agent said, once it is welcome.
    pub(super) fn take_backend_events(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Ready(_)) {
            return;
        }
        while let Some(event) = self.backend.poll_event() {
            self.on_backend_event(now, event);
        }
        while let Some(connect_id) = self.backend.take_readable() {
            if let Some(number) = self.connections.get(&connect_id) {
                self.streams.tell_readable(*number);
            }
        }
    }

    fn on_backend_event(&mut self, now: Instant, event: BackendEvent) {
        match event {
            BackendEvent::Established { random, connect_id } => {
                let Some(number) = self.dials.remove(&random) else {
                    return self.backend.close(connect_id);
                };
                self.connections.insert(connect_id, number);
                let answer =
                    DialResponse { class: ErrorClass::Ok, text: String::new(), remote: String::new() };
                self.streams.open(&mut self.backend, number, connect_id, frame(&answer));
            }
            BackendEvent::Failed { random, failure } => {
                if let Some(number) = self.dials.remove(&random) {
                    self.streams.refuse(number, frame(&DialResponse::error(dial_error(failure))));
                }
            }
            BackendEvent::Ended { connect_id, how } => self.on_ended(connect_id, &how),
            BackendEvent::Draining => self.streams.events.push_back(CarrierEvent::Draining),
            BackendEvent::Over(status) => self.on_call_over(now, &status),
        }
    }

    fn on_ended(&mut self, connect_id: i64, how: &Ended) {
        let Some(number) = self.connections.remove(&connect_id) else { return };
        let (end, code) = match how {
            Ended::Stopped => (ReadState::Reset(ResetCode::OverBudget), ResetCode::OverBudget),
            Ended::Closed(error) if error.is_empty() => (ReadState::Finished, ResetCode::ResetByPeer),
            Ended::Closed(_) | Ended::AgentLost => {
                (ReadState::Reset(ResetCode::ResetByPeer), ResetCode::ResetByPeer)
            }
        };
        if *how == Ended::Stopped {
            self.streams.events.push_back(CarrierEvent::ReaderStopped(stream_id(number)));
        }
        self.streams.end(number, end, code);
    }

    /// The agent's bytes are no packets.
    fn on_call_over(&mut self, now: Instant, status: &Status) {
        let text = status.message();
        self.end_call(now, status.code(), &text);
        let text = format!("an agent of Konnectivity's broke the protocol: {text}");
        self.lose(LostReason::new(LostKind::Protocol, Fault::Peer, true, text));
    }
}

/// Why the agent was not asked.
fn not_dialed(error: &NotDialed) -> DialResponse {
    let class = match error {
        NotDialed::Full => ErrorClass::Full,
        NotDialed::Over => ErrorClass::Canceled,
        NotDialed::Packet(_) => ErrorClass::Unsupported,
    };
    DialResponse::error(DialError::new(class, &error.to_string()))
}

/// An agent's answer, in its own words, by which a frontend's status is chosen.
fn dial_error(failure: DialFailure) -> DialError {
    match failure {
        DialFailure::Refused(text) => DialError::new(ErrorClass::from_text(&text), &text),
        DialFailure::Closed => {
            DialError::new(ErrorClass::Canceled, "the agent closed the dial without an answer")
        }
        // What a server says and not an agent. The last is told by the carrier's loss.
        DialFailure::NoAgent
        | DialFailure::NotAsked(_)
        | DialFailure::TimedOut
        | DialFailure::AgentLost(_) => DialError::new(ErrorClass::Canceled, "the agent was lost"),
    }
}

fn frame(response: &DialResponse) -> Bytes {
    response.to_frame().expect("a text within its limit fits a frame")
}
