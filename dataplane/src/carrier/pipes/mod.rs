//! Adit to adit over TCP: `adit/1` on HTTP/2, one stream for each tunnel (PROTOCOL.md section 12).
//!
//! ```text
//!   bytes ─▶ http2::Connection ─▶ events ─▶ Pipe (what was received, which halves are left) ─▶ read, CarrierEvent
//!         ◀─                   ◀───────── write ◀─ Turns (who may put out next) ◀─ the shard
//! ```
//!
//! The agent has connected, and the roles are the other way round: the server's end is HTTP/2's client and opens all
//! streams. Its first one is the control stream, which the agent's end is given when it opens its own.
//!
//! **What an HTTP/2 stream lacks** is a way to stop one direction alone. So RST_STREAM stands for a reset of both: it
//! is sent at once where the sending half is reset, or where reading stops after the sending half has ended. Where
//! reading stops before, what comes is thrown away and its window returned, and RST_STREAM follows our END_STREAM.
//!
//! **What is bounded.** Of each stream at most its window waits to be read ([`crate::limits::STREAM_WINDOW_BYTES`]);
//! whoever stopped for longest when there are too many such streams is the shard's to choose, as with QUIC. The
//! connection's window is returned on receipt and never binds. Output is bounded by [`Connection`].
//!
//! Deliberately absent: what is said on the streams, the control stream's too ([`crate::wire`]); a drain, which the
//! control stream says.

mod commands;
mod events;
mod pipe;
mod reason;
mod turns;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use crate::http2::{Connection, ConnectionError, KeepAlive, KeepAliveDue};
use crate::limits::KEEP_ALIVE_INTERVAL;
use crate::quic::{Gone, LostReason, ReadState, StreamId, WriteState};
use crate::wire::{CloseCode, ResetCode, Welcome};

use super::{Carrier, CarrierEvent};
use pipe::Pipe;
use turns::Turns;

/// The application protocol (ALPN, RFC 7301) that both ends must offer and select.
pub const ALPN: &[u8] = b"adit-h2/1";
/// `:path` of the control stream.
const CONTROL_PATH: &str = "/adit/1/control";
/// `:path` of every other stream.
const STREAM_PATH: &str = "/adit/1/stream";
/// `:authority`, which names nobody: TLS has said who the peers are.
const AUTHORITY: &str = "adit";

/// One connection between two of adit's ends. See the module.
pub struct Pipes {
    /// Of adit's server, which is HTTP/2's client.
    is_server: bool,
    http2: Connection,
    keep_alive: KeepAlive,
    /// Streams that somebody may still use. Those that HTTP/2 knows are at most
    /// [`crate::limits::HTTP2_STREAMS_MAX`]; the others wait for the shard to read their end.
    pipes: BTreeMap<u32, Pipe>,
    turns: Turns,
    /// Not taken yet: of one event of HTTP/2 or one command.
    events: VecDeque<CarrierEvent>,
    control: Option<u32>,
    /// [`CarrierEvent::Connected`] was said.
    is_connected: bool,
    /// To an agent: it has its control stream.
    control_given: bool,
    /// A stream was asked for and there was no room.
    wants_stream: bool,
    /// The socket has ended; what was received before is still to be looked at.
    transport_end: Option<LostReason>,
    /// [`CarrierEvent::Lost`] is said, or about to be.
    is_lost: bool,
}

impl Pipes {
    /// Begins at adit's server, when TLS has selected [`ALPN`]. The control stream is opened already.
    ///
    /// # Errors
    /// [`ConnectionError::Internal`]: none was seen, but the HTTP/2 library allows for some.
    pub fn server(now: Instant) -> Result<Self, ConnectionError> {
        let mut pipes = Self::new(true, Connection::client_of_pipes(now)?, now);
        let opened = pipes.http2.open_pipe(AUTHORITY, CONTROL_PATH);
        let stream = opened.map_err(|error| ConnectionError::Internal(error.to_string()))?;
        pipes.control = Some(stream.0);
        pipes.pipes.insert(stream.0, Pipe::new());
        Ok(pipes)
    }

    /// Begins at an agent, when TLS has selected [`ALPN`].
    ///
    /// # Errors
    /// As [`Self::server`].
    pub fn agent(now: Instant) -> Result<Self, ConnectionError> {
        Ok(Self::new(false, Connection::server_of_pipes(now)?, now))
    }

    fn new(is_server: bool, http2: Connection, now: Instant) -> Self {
        Self {
            is_server,
            http2,
            keep_alive: KeepAlive::new(now, KEEP_ALIVE_INTERVAL),
            pipes: BTreeMap::new(),
            turns: Turns::default(),
            events: VecDeque::new(),
            control: None,
            is_connected: false,
            control_given: false,
            wants_stream: false,
            transport_end: None,
            is_lost: false,
        }
    }
}

/// Without bytes: there are tokens among them.
impl fmt::Debug for Pipes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.is_server { "server" } else { "agent" };
        write!(f, "Pipes({role}, {} streams, lost: {})", self.pipes.len(), self.is_lost)
    }
}

impl Carrier for Pipes {
    fn wants_input(&self) -> bool {
        !self.is_lost && self.transport_end.is_none() && self.http2.wants_input()
    }

    fn receive(&mut self, now: Instant, bytes: Bytes) {
        // Nothing is no sign of life.
        if !self.is_lost && !bytes.is_empty() {
            self.keep_alive.heard(now);
            self.http2.receive(bytes);
        }
    }

    fn on_transport_end(&mut self, _now: Instant, reason: LostReason) {
        if !self.is_lost {
            self.transport_end.get_or_insert(reason);
        }
    }

    fn take_output_into(&mut self, pieces: &mut Vec<Bytes>) {
        if self.http2.output_bytes() > 0 {
            self.http2.take_output_into(pieces);
            self.turns.begin_round();
        }
    }

    fn poll_event(&mut self, now: Instant) -> Option<CarrierEvent> {
        self.next_event(now)
    }

    fn deadline(&self) -> Option<Instant> {
        if self.is_lost {
            return None;
        }
        let keep_alive = self.keep_alive.deadline();
        Some(self.http2.deadline().map_or(keep_alive, |deadline| deadline.min(keep_alive)))
    }

    fn on_time(&mut self, now: Instant) {
        if self.is_lost {
            return;
        }
        self.http2.on_time(now);
        match self.keep_alive.on_time(now) {
            KeepAliveDue::Nothing => {}
            KeepAliveDue::Ping => self.http2.ping(),
            KeepAliveDue::Dead => {
                self.http2.leave(&reason::close_text(CloseCode::Unanswered, CloseCode::Unanswered.text()));
                self.lose(reason::unanswered());
            }
        }
    }

    fn open(&mut self) -> Result<Option<StreamId>, Gone> {
        self.open_stream()
    }

    fn read(
        &mut self,
        _now: Instant,
        stream: StreamId,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
    ) -> Result<ReadState, Gone> {
        self.read_stream(stream, max_bytes, out)
    }

    fn write(
        &mut self,
        _now: Instant,
        stream: StreamId,
        chunks: &mut VecDeque<Bytes>,
    ) -> Result<WriteState, Gone> {
        self.write_stream(stream, chunks)
    }

    fn finish(&mut self, stream: StreamId) -> Result<(), Gone> {
        self.finish_stream(stream)
    }

    fn reset(&mut self, stream: StreamId, code: ResetCode) -> Result<(), Gone> {
        self.reset_stream(stream, code)
    }

    fn stop(&mut self, stream: StreamId, code: ResetCode) -> Result<(), Gone> {
        self.stop_stream(stream, code)
    }

    fn received_reset(&mut self, stream: StreamId) -> bool {
        self.take_reset(stream)
    }

    /// Nothing: the control stream says it.
    fn welcome(&mut self, _now: Instant, _welcome: &Welcome) {}

    /// Nothing: the control stream says it, and streams that are opened all the same are the shard's to refuse.
    fn drain(&mut self, _now: Instant) {}

    fn close(&mut self, _now: Instant, code: CloseCode, reason: &str) {
        if !self.is_lost {
            self.http2.leave(&reason::close_text(code, reason));
            self.lose(LostReason::closed_locally(code, reason));
        }
    }
}
