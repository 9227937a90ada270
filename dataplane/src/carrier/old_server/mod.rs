//! Our agent's end of a connection to an old Go server: one call of `/AgentService/Connect` over HTTP/2.
//!
//! ```text
//!   HTTP/2 ◀──▶ the call ◀──▶ Agent (packets) ◀──▶ streams that the shard sees
//! ```
//!
//! The agent says who it is in the call's metadata, and the server in the response's header fields, which become
//! [`CarrierEvent::Welcomed`]. From then on each DIAL_REQ is a stream that the server seems to have opened: it begins
//! with a header, the [`DialResponse`](crate::wire::DialResponse) that the shard writes becomes DIAL_RSP, and what
//! follows are DATA. A half-close is not to be had: whoever ends its half closes the connection.
//!
//! DATA are as large as those of upstream's server ([`GRPC_DATA_BYTES_MAX`](crate::limits::GRPC_DATA_BYTES_MAX)), not
//! the 4 KiB of its agent: a server takes messages of up to 4 MiB, and fewer cost both ends less.
//!
//! Deliberately absent: how many servers there are to find, the choice among connections, TLS, a new token while the
//! call lasts (the old protocol asks for one at its beginning only).

mod call;
mod dials;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::call::{CONNECT, Outgoing, unanswered};
use super::streams::Streams;
use super::{Carrier, CarrierEvent, stream_number};
use crate::http2::{self, Call, Connection, ConnectionError, KeepAlive, KeepAliveDue, NotOpened};
use crate::konnectivity::{Agent, AgentMetadata};
use crate::limits::{HELLO_TIME_MAX, OLD_SERVER_PING_INTERVAL_MIN};
use crate::quic::{Fault, Gone, LostKind, LostReason, ReadState, StreamId, WriteState};
use crate::wire::{CloseCode, ResetCode, Welcome};

/// What an agent says when it calls.
#[derive(Clone, Copy)]
pub struct OldServerCall<'a> {
    /// The name of the server, with its port, without user information.
    pub authority: &'a str,
    /// `--agent-id`.
    pub agent_id: &'a str,
    /// `--agent-identifiers`, a URL query; may be empty.
    pub identifiers: &'a str,
    /// The bearer token, empty if there is none.
    pub token: &'a str,
    /// Who calls: adit and its version.
    pub user_agent: &'a str,
    /// After how much silence the server is asked whether it is there. Not before
    /// [`OLD_SERVER_PING_INTERVAL_MIN`]: an old server ends the connection of whoever asks more often.
    pub keep_alive: Duration,
}

/// Without the token.
impl fmt::Debug for OldServerCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OldServerCall")
            .field("authority", &self.authority)
            .field("agent_id", &self.agent_id)
            .field("identifiers", &self.identifiers)
            .finish_non_exhaustive()
    }
}

/// Why there is no call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCalled {
    /// A defect in HTTP/2.
    #[error(transparent)]
    Http2(#[from] ConnectionError),
    /// What the agent says of itself cannot be sent.
    #[error("the agent's id, identifiers or token: {0}")]
    Call(#[from] NotOpened),
}

/// How far the server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has been called, and its header fields are awaited until then.
    Greeting(Instant),
    /// Dials may come.
    Ready,
    /// It is over.
    Lost,
}

/// One old server. See the module.
pub struct OldServer {
    http2: Connection,
    call: http2::StreamId,
    stage: Stage,
    /// The server said that it goes away.
    draining: bool,
    keep_alive: KeepAlive,
    agent: Agent,
    streams: Streams,
    outgoing: Outgoing,
}

/// Without what is to be sent: there may be a token in it.
impl fmt::Debug for OldServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OldServer")
            .field("stage", &self.stage)
            .field("connections", &self.agent.in_use())
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

impl OldServer {
    /// A server whose TLS handshake has ended. The call is output already.
    ///
    /// # Errors
    /// [`NotCalled`].
    pub fn new(now: Instant, call: OldServerCall<'_>) -> Result<Self, NotCalled> {
        let authorization = format!("{}{}", AgentMetadata::BEARER, call.token);
        let [agent_id, identifiers, authorization_key] = AgentMetadata::KEYS;
        let mut metadata = vec![(agent_id, call.agent_id), (identifiers, call.identifiers)];
        if !call.token.is_empty() {
            metadata.push((authorization_key, &authorization));
        }
        let mut http2 = Connection::client(now)?;
        let stream = http2.open(Call {
            scheme: "https",
            authority: call.authority,
            path: CONNECT,
            user_agent: call.user_agent,
            metadata: &metadata,
        })?;
        Ok(Self {
            http2,
            call: stream,
            stage: Stage::Greeting(now + HELLO_TIME_MAX),
            draining: false,
            keep_alive: KeepAlive::new(now, call.keep_alive.max(OLD_SERVER_PING_INTERVAL_MIN)),
            agent: Agent::new(),
            streams: Streams::default(),
            outgoing: Outgoing::default(),
        })
    }

    /// How many packets of the server's were passed over since the last call: late ones, and those of nobody.
    pub fn take_ignored(&mut self) -> u64 {
        self.agent.take_ignored()
    }

    /// Moves what waits for the server into the output, and tells what that made room for.
    fn flush(&mut self) {
        if self.stage == Stage::Ready {
            self.outgoing.send(&mut self.http2, self.call, || self.agent.next_message());
            self.streams.after_sending(&self.agent, self.outgoing.is_empty());
        }
    }

    /// The server may have back what it sent.
    fn give_credit(&mut self) {
        let credit_bytes = self.agent.take_credit();
        self.http2.credit(self.call, credit_bytes);
    }

    fn stream(&self, stream: StreamId) -> Result<u32, Gone> {
        if self.stage == Stage::Lost { Err(Gone) } else { Ok(stream_number(stream)) }
    }

    fn lose(&mut self, reason: LostReason) {
        if self.stage != Stage::Lost {
            self.stage = Stage::Lost;
            self.streams.clear();
            self.agent = Agent::new();
            self.outgoing = Outgoing::default();
            self.streams.events.push_back(CarrierEvent::Lost(reason));
        }
    }

    /// Ends the call, and the HTTP/2 connection with a GOAWAY behind it. It is the caller's to lose it.
    fn end_call(&mut self, now: Instant) {
        // Gone is as good as ended.
        let _ = self.http2.half_close(self.call);
        self.http2.drain(now);
    }
}

impl Carrier for OldServer {
    fn wants_input(&self) -> bool {
        self.stage != Stage::Lost && self.http2.wants_input()
    }

    fn receive(&mut self, now: Instant, bytes: Bytes) {
        if self.stage != Stage::Lost {
            self.keep_alive.heard(now);
            self.http2.receive(bytes);
        }
    }

    fn on_transport_end(&mut self, _now: Instant, reason: LostReason) {
        self.lose(reason);
    }

    fn take_output_into(&mut self, pieces: &mut Vec<Bytes>) {
        self.flush();
        self.http2.take_output_into(pieces);
    }

    fn poll_event(&mut self, now: Instant) -> Option<CarrierEvent> {
        loop {
            if let Some(event) = self.streams.events.pop_front() {
                return Some(event);
            }
            if self.stage == Stage::Lost {
                return None;
            }
            if let Some(event) = self.http2.poll_event(now) {
                self.on_http2_event(now, event);
                continue;
            }
            self.take_agent_events(now);
            self.give_credit();
            self.flush();
            if self.streams.events.is_empty() {
                return None;
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let own = match self.stage {
            Stage::Greeting(until) => Some(until),
            Stage::Ready => self.agent.deadline(),
            Stage::Lost => return None,
        };
        [own, self.http2.deadline(), Some(self.keep_alive.deadline())].into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Instant) {
        match self.stage {
            Stage::Greeting(until) if until <= now => {
                let seconds = HELLO_TIME_MAX.as_secs();
                let text = format!("no answer of the server to {CONNECT} within {seconds} s");
                let kind = LostKind::ClosedLocally(CloseCode::HelloTimeout);
                self.end_call(now);
                self.lose(LostReason::new(kind, Fault::Peer, true, text));
            }
            Stage::Greeting(_) => {}
            Stage::Ready => {
                self.agent.on_deadline(now);
                self.take_agent_events(now);
            }
            Stage::Lost => return,
        }
        self.http2.on_time(now);
        match self.keep_alive.on_time(now) {
            KeepAliveDue::Nothing => {}
            KeepAliveDue::Ping => self.http2.ping(),
            KeepAliveDue::Dead => self.lose(unanswered()),
        }
    }

    /// Never a stream: the old protocol has none for control, and only a server's dials.
    fn open(&mut self) -> Result<Option<StreamId>, Gone> {
        if self.stage == Stage::Lost { Err(Gone) } else { Ok(None) }
    }

    fn read(
        &mut self,
        now: Instant,
        stream: StreamId,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
    ) -> Result<ReadState, Gone> {
        let number = self.stream(stream)?;
        let left = self.streams.pull(&mut self.agent, now, number, max_bytes, out)?;
        self.take_agent_events(now);
        self.give_credit();
        Ok(self.streams.settle_read(number, left))
    }

    fn write(
        &mut self,
        _now: Instant,
        stream: StreamId,
        chunks: &mut VecDeque<Bytes>,
    ) -> Result<WriteState, Gone> {
        let number = self.stream(stream)?;
        if let Some(message) = self.streams.first_message(number, chunks) {
            self.on_response(number, message);
        }
        self.streams.write(&mut self.agent, number, chunks)
    }

    fn finish(&mut self, stream: StreamId) -> Result<(), Gone> {
        let number = self.stream(stream)?;
        self.answer_unanswered(number, ResetCode::Cancelled);
        self.streams.finish(&mut self.agent, number)
    }

    fn reset(&mut self, stream: StreamId, code: ResetCode) -> Result<(), Gone> {
        let number = self.stream(stream)?;
        self.answer_unanswered(number, code);
        self.streams.reset(&mut self.agent, number, code)
    }

    fn stop(&mut self, stream: StreamId, code: ResetCode) -> Result<(), Gone> {
        let number = self.stream(stream)?;
        self.answer_unanswered(number, code);
        self.streams.stop(&mut self.agent, number, code)
    }

    fn received_reset(&mut self, stream: StreamId) -> bool {
        self.stream(stream).is_ok_and(|number| self.streams.received_reset(number))
    }

    /// Does nothing: it is the server who welcomes.
    fn welcome(&mut self, _now: Instant, _welcome: &Welcome) {}

    fn drain(&mut self, _now: Instant) {
        self.agent.drain();
    }

    fn close(&mut self, now: Instant, code: CloseCode, reason: &str) {
        self.flush();
        self.end_call(now);
        self.lose(LostReason::new(LostKind::ClosedLocally(code), Fault::None, true, reason));
    }
}
