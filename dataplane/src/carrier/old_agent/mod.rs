//! The server's end of an old Go agent's connection: one call of `/AgentService/Connect` over HTTP/2.
//!
//! ```text
//!   HTTP/2 ◀──▶ the call ◀──▶ Backend (packets) ◀──▶ streams that the shard sees
//! ```
//!
//! The agent presents itself in the call's metadata, and waits for the response's header fields, which
//! [`Carrier::welcome`] sends. From then on each stream that the shard opens is a dial: its header becomes DIAL_REQ,
//! the agent's answer a [`DialResponse`](crate::wire::DialResponse) with the agent's own words, and what follows are
//! DATA. A half-close is not to be had: whoever ends his half closes the connection.
//!
//! **Drain.** The old protocol has no word for a server that drains, and a GOAWAY is none: a Go agent takes it for the
//! loss of its connection, and cuts all its tunnels within its probe interval. So an agent is told nothing before the
//! end.
//!
//! Deliberately absent: whether the agent is who it says (control's), TLS, a stand-in for an empty id: two agents
//! without one would be taken for the same.

mod call;
mod dials;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::call::{Outgoing, status, unanswered};
use super::streams::Streams;
use super::{Carrier, CarrierEvent, stream_id, stream_number};
use crate::http2::{self, Connection, ConnectionError, KeepAlive, KeepAliveDue};
use crate::konnectivity::{Backend, server_metadata};
use crate::limits::{HELLO_TIME_MAX, LEGACY_CONNECTIONS_MAX};
use crate::quic::{Fault, Gone, LostKind, LostReason, ReadState, StreamId, WriteState};
use crate::wire::{CloseCode, ResetCode, Welcome};

/// How far the agent has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its call is awaited, until then.
    Greeting(Instant),
    /// Control decides about it.
    Presented(http2::StreamId),
    /// Dials may go.
    Ready(http2::StreamId),
    /// It is over.
    Lost,
}

/// One old agent. See the module.
pub struct OldAgent {
    http2: Connection,
    stage: Stage,
    keep_alive: KeepAlive,
    instance_id: Vec<u8>,
    backend: Backend,
    streams: Streams,
    outgoing: Outgoing,
    /// Streams by the dials that they wait for.
    dials: BTreeMap<i64, u32>,
    /// Streams by their connections. Of some the stream is over, and the agent's CLOSE_RSP is awaited.
    connections: BTreeMap<i64, u32>,
    /// A stream was asked for and refused.
    wants_stream: bool,
    /// How long it may take nothing while a dial waits for it; `None`: without end.
    retire_after: Option<Duration>,
    /// Since when it has taken nothing although there was a dial for it.
    stuck_since: Option<Instant>,
}

/// Without what was received: there may be a token in it.
impl fmt::Debug for OldAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OldAgent")
            .field("stage", &self.stage)
            .field("dials", &self.dials.len())
            .field("connections", &self.connections.len())
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

impl OldAgent {
    /// An agent whose TLS handshake has ended, and that is asked whether it is there after `keep_alive` of silence.
    /// `instance_id` is the name of its process, which the old protocol has none for: any that is new for each
    /// connection. Where there is a `retire_after`, an agent whose window has no room for a dial for so long is given
    /// up, as upstream's server does it with `--backend-dial-timeout`; where there is none, it may take its time.
    ///
    /// # Errors
    /// As [`Connection::server`]: none was seen.
    pub fn new(
        now: Instant,
        keep_alive: Duration,
        retire_after: Option<Duration>,
        instance_id: [u8; 16],
    ) -> Result<Self, ConnectionError> {
        Ok(Self {
            http2: Connection::server(now)?,
            stage: Stage::Greeting(now + HELLO_TIME_MAX),
            keep_alive: KeepAlive::new(now, keep_alive),
            instance_id: instance_id.to_vec(),
            backend: Backend::new(),
            streams: Streams::default(),
            outgoing: Outgoing::default(),
            dials: BTreeMap::new(),
            connections: BTreeMap::new(),
            wants_stream: false,
            retire_after,
            stuck_since: None,
        })
    }

    /// How many packets of the agent's were passed over since the last call: late ones, and those of nobody.
    pub fn take_ignored(&mut self) -> u64 {
        self.backend.take_ignored()
    }

    fn has_room(&self) -> bool {
        matches!(self.stage, Stage::Ready(_))
            && self.streams.len() < LEGACY_CONNECTIONS_MAX
            && self.backend.in_use() < LEGACY_CONNECTIONS_MAX
    }

    /// Moves what waits for the agent into the output, and tells what that made room for.
    fn flush(&mut self) {
        if let Stage::Ready(call) = self.stage {
            // Also where nothing waits for the room that it has made: the dial may be cancelled by now.
            if self.http2.sendable_bytes(call) > 0 {
                self.stuck_since = None;
            }
            self.outgoing.send(&mut self.http2, call, || self.backend.next_message());
            self.streams.after_sending(&self.backend, self.outgoing.is_empty());
            if self.wants_stream && self.has_room() {
                self.wants_stream = false;
                self.streams.events.push_back(CarrierEvent::StreamsAvailable);
            }
        }
    }

    /// The agent may have back what it sent.
    fn give_credit(&mut self) {
        if let Stage::Presented(call) | Stage::Ready(call) = self.stage {
            let credit_bytes = self.backend.take_credit();
            self.http2.credit(call, credit_bytes);
        }
    }

    /// When it is to be given up, unless it takes something before.
    fn retires_at(&self) -> Option<Instant> {
        Some(self.stuck_since? + self.retire_after?)
    }

    /// Upstream's server returns from the agent's call (section 2.3): to the agent that is OK, and it comes back.
    fn retire(&mut self, now: Instant) {
        let time = self.retire_after.unwrap_or_default();
        let text =
            format!("it took nothing for {time:?} while a dial waited for it (--backend-dial-timeout)");
        self.end_call(now, status::OK, "");
        let kind = LostKind::ClosedLocally(CloseCode::NoError);
        self.lose(LostReason::new(kind, Fault::Peer, true, text));
    }

    fn stream(&self, stream: StreamId) -> Result<u32, Gone> {
        if self.stage == Stage::Lost { Err(Gone) } else { Ok(stream_number(stream)) }
    }

    fn lose(&mut self, reason: LostReason) {
        if self.stage != Stage::Lost {
            self.stage = Stage::Lost;
            self.streams.clear();
            self.dials.clear();
            self.connections.clear();
            self.backend = Backend::new();
            self.outgoing = Outgoing::default();
            self.streams.events.push_back(CarrierEvent::Lost(reason));
        }
    }
}

impl Carrier for OldAgent {
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
            // What a stream's end closed may be over by that, with nothing from the agent to come.
            self.take_backend_events(now);
            self.give_credit();
            self.flush();
            if self.backend.has_unsent_dial() {
                self.stuck_since.get_or_insert(now);
            }
            if self.streams.events.is_empty() {
                return None;
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let own = match self.stage {
            Stage::Greeting(until) => Some(until),
            Stage::Presented(_) => None,
            Stage::Ready(_) => [self.backend.deadline(), self.retires_at()].into_iter().flatten().min(),
            Stage::Lost => return None,
        };
        [own, self.http2.deadline(), Some(self.keep_alive.deadline())].into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Instant) {
        match self.stage {
            Stage::Greeting(until) if until <= now => {
                let seconds = HELLO_TIME_MAX.as_secs();
                let text = format!("no call of {} within {seconds} s", super::call::CONNECT);
                let kind = LostKind::ClosedLocally(CloseCode::HelloTimeout);
                self.http2.drain(now);
                self.lose(LostReason::new(kind, Fault::Peer, true, text));
            }
            Stage::Greeting(_) | Stage::Presented(_) => {}
            Stage::Ready(_) => {
                self.backend.on_deadline(now);
                self.take_backend_events(now);
                self.flush();
                if self.retires_at().is_some_and(|at| at <= now) {
                    self.retire(now);
                }
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

    fn open(&mut self) -> Result<Option<StreamId>, Gone> {
        if self.stage == Stage::Lost {
            return Err(Gone);
        }
        if !self.has_room() {
            self.wants_stream = true;
            return Ok(None);
        }
        let number = self.streams.next_number();
        self.streams.insert(number, 0, Bytes::new());
        Ok(Some(stream_id(number)))
    }

    fn read(
        &mut self,
        now: Instant,
        stream: StreamId,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
    ) -> Result<ReadState, Gone> {
        let number = self.stream(stream)?;
        let left = self.streams.pull(&mut self.backend, now, number, max_bytes, out)?;
        self.take_backend_events(now);
        self.give_credit();
        Ok(self.streams.settle_read(number, left))
    }

    fn write(
        &mut self,
        now: Instant,
        stream: StreamId,
        chunks: &mut VecDeque<Bytes>,
    ) -> Result<WriteState, Gone> {
        let number = self.stream(stream)?;
        if let Some(message) = self.streams.first_message(number, chunks) {
            self.on_header(now, number, message);
        }
        self.streams.write(&mut self.backend, number, chunks)
    }

    fn finish(&mut self, stream: StreamId) -> Result<(), Gone> {
        let number = self.stream(stream)?;
        self.streams.finish(&mut self.backend, number)
    }

    fn reset(&mut self, stream: StreamId, code: ResetCode) -> Result<(), Gone> {
        let number = self.stream(stream)?;
        self.cancel_dial(number);
        self.streams.reset(&mut self.backend, number, code)
    }

    fn stop(&mut self, stream: StreamId, code: ResetCode) -> Result<(), Gone> {
        let number = self.stream(stream)?;
        self.cancel_dial(number);
        self.streams.stop(&mut self.backend, number, code)
    }

    fn received_reset(&mut self, stream: StreamId) -> bool {
        self.stream(stream).is_ok_and(|number| self.streams.received_reset(number))
    }

    fn welcome(&mut self, now: Instant, welcome: &Welcome) {
        let Stage::Presented(call) = self.stage else { return };
        let metadata = server_metadata(&welcome.server_id, welcome.server_count);
        let fields: Vec<(&str, &str)> = metadata.iter().map(|(key, value)| (*key, value.as_str())).collect();
        if self.http2.respond(call, &fields).is_err() {
            let kind = LostKind::ClosedLocally(CloseCode::Internal);
            let text = "the server's id does not fit the agent's header fields";
            return self.lose(LostReason::new(kind, Fault::Local, true, text));
        }
        self.stage = Stage::Ready(call);
        self.take_backend_events(now);
    }

    /// Does nothing: see the module.
    fn drain(&mut self, _now: Instant) {}

    fn close(&mut self, now: Instant, code: CloseCode, reason: &str) {
        let status = match code {
            CloseCode::NoError => status::OK,
            // As upstream's server answers where its handler fails (section 3.2).
            CloseCode::Refused | CloseCode::Unauthenticated | CloseCode::Protocol => status::UNKNOWN,
            _ => status::UNAVAILABLE,
        };
        self.end_call(now, status, reason);
        self.lose(LostReason::new(LostKind::ClosedLocally(code), Fault::None, true, reason));
    }
}
