//! One connection: input to events, commands to output, and what has a deadline.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use crate::limits::{
    HTTP2_CREDIT_BYTES_MIN, HTTP2_GOAWAY_TIME_MAX, HTTP2_OUTPUT_BYTES_TARGET, HTTP2_PIPES_OUTPUT_BYTES_MAX,
    HTTP2_PREFACE_TIME_MAX, HTTP2_SETTINGS_ACK_TIME_MAX, PEER_TEXT_BYTES_MAX,
};
use crate::wire::clean_text;

use super::engine::{Engine, Field, Meaning};
use super::error::{Budget, ConnectionError, ErrorCode, Late};
use super::event::{End, Event, Request, StreamId};
use super::frames::{Cut, Frames, Header, Kind};
use super::guard::Guard;
use super::keep_alive::PING;
use super::output::Output;
use super::payload::{Incoming, ReceiveWindow, WINDOW_BYTES_MAX};
use super::pipes::Use;
use super::stream::Stream;

/// Both windows before anybody said anything (RFC 9113 section 6.9.2).
const INITIAL_WINDOW_BYTES: u32 = 65_535;
/// The highest number of a stream (RFC 9113 section 5.1.1): that of a GOAWAY that only announces another.
const STREAM_MAX: u32 = (1 << 31) - 1;
/// The payload of the PING behind such a GOAWAY; any would do.
const DRAIN_PING: [u8; 8] = *b"adit end";

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    /// Not begun.
    None,
    /// Announced: streams that were on their way are still taken.
    Announced { until: Instant },
    /// Streams above this one are refused.
    Final { last: u32 },
}

/// One connection, of a server or of a client. See the module for what it bounds.
///
/// Give it what was received with [`Self::receive`] while [`Self::wants_input`], take [`Self::poll_event`] until there
/// is none, write [`Self::take_output`], and call [`Self::on_time`] at [`Self::deadline`].
#[derive(Debug)]
pub struct Connection {
    /// It opens the streams, and the peer answers; otherwise the other way round.
    pub(super) is_client: bool,
    pub(super) usage: Use,
    pub(super) engine: Engine,
    pub(super) frames: Frames,
    pub(super) guard: Guard,
    pub(super) streams: BTreeMap<u32, Stream>,
    pub(super) output: Output,
    /// Of one frame, and not taken yet.
    pub(super) events: VecDeque<Event>,
    /// What the peer lets all streams send together. Never negative.
    pub(super) send_window_bytes: i64,
    pub(super) initial_window_bytes: u32,
    /// Received through the library, and not given back to the connection's window.
    uncredited_bytes: usize,
    /// For what does not go through it.
    pub(super) receive_window: ReceiveWindow,
    /// The DATA whose payload comes in parts.
    pub(super) incoming: Option<Incoming>,
    /// The highest stream that the peer opened: none, where it is a server.
    pub(super) last_opened: u32,
    /// The peer, a server, takes no more streams.
    pub(super) peer_leaves: bool,
    drain: Drain,
    /// Until when the peer's first SETTINGS are waited for.
    preface_until: Option<Instant>,
    /// Until when the acknowledgement of ours is waited for.
    settings_ack_until: Option<Instant>,
    pub(super) pings_unanswered: u32,
    pub(super) ended: bool,
}

impl Connection {
    /// Begins as a server. Our SETTINGS are output already.
    ///
    /// # Errors
    /// [`ConnectionError::Internal`]: none was seen, but the library allows for some.
    pub fn server(now: Instant) -> Result<Self, ConnectionError> {
        Self::new(false, Use::Calls, now)
    }

    /// Begins as a client. The preface and our SETTINGS are output already, and streams can be opened.
    ///
    /// # Errors
    /// As [`Self::server`].
    pub fn client(now: Instant) -> Result<Self, ConnectionError> {
        Self::new(true, Use::Calls, now)
    }

    pub(super) fn new(is_client: bool, usage: Use, now: Instant) -> Result<Self, ConnectionError> {
        let engine = if is_client { Engine::client(usage)? } else { Engine::server(usage)? };
        let mut connection = Self {
            is_client,
            usage,
            engine,
            frames: Frames::new(!is_client),
            guard: Guard::new(now),
            streams: BTreeMap::new(),
            output: Output::default(),
            events: VecDeque::new(),
            send_window_bytes: i64::from(INITIAL_WINDOW_BYTES),
            initial_window_bytes: INITIAL_WINDOW_BYTES,
            uncredited_bytes: 0,
            receive_window: ReceiveWindow::new(usage),
            incoming: None,
            last_opened: 0,
            peer_leaves: false,
            drain: Drain::None,
            preface_until: Some(now + HTTP2_PREFACE_TIME_MAX),
            settings_ack_until: Some(now + HTTP2_SETTINGS_ACK_TIME_MAX),
            pings_unanswered: 0,
            ended: false,
        };
        connection.engine.output(&mut connection.output);
        Ok(connection)
    }

    /// Whether more may be received: output has room, and the connection is not over.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        !self.ended && self.may_hear()
    }

    /// Takes what was received. It is looked at by [`Self::poll_event`], so what is given here and not polled is held.
    pub fn receive(&mut self, input: Bytes) {
        if !self.ended {
            self.frames.push(input);
        }
    }

    /// The next event. `None` until more is received or, where that is short of room, output was taken.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            if matches!(self.drain, Drain::Final { .. }) && self.streams.is_empty() {
                self.end(End::Drained);
                continue;
            }
            if !self.may_hear() {
                return None;
            }
            match self.step(now) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => self.fail(error),
            }
        }
    }

    /// How many bytes of output wait.
    #[must_use]
    pub fn output_bytes(&self) -> usize {
        self.output.len()
    }

    /// Whether so much output waits that nothing is received and no payload is taken.
    #[must_use]
    pub fn output_has_no_room(&self) -> bool {
        self.room_bytes() == 0
    }

    /// What is to be written, all of it, behind what `pieces` has. Payload is not copied.
    pub fn take_output_into(&mut self, pieces: &mut Vec<Bytes>) {
        self.output.take_into(pieces);
    }

    /// The same in one piece: a copy, where there is payload.
    pub fn take_output(&mut self) -> Bytes {
        self.output.take()
    }

    /// How many streams are not over.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// When [`Self::on_time`] is to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let drain = match self.drain {
            Drain::Announced { until } => Some(until),
            Drain::None | Drain::Final { .. } => None,
        };
        [self.preface_until, self.settings_ack_until, self.guard.deadline(), drain]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due: gives up on a peer that is late, goes on with a drain. [`Self::poll_event`] tells.
    pub fn on_time(&mut self, now: Instant) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let late = if due(self.preface_until) {
            Some(Late::Preface)
        } else if due(self.guard.deadline()) {
            Some(Late::HeaderBlock)
        } else if due(self.settings_ack_until) {
            Some(Late::SettingsAck)
        } else {
            None
        };
        match (late, self.drain) {
            _ if self.ended => {}
            (Some(late), _) => self.fail(ConnectionError::Late(late)),
            (None, Drain::Announced { until }) if until <= now => self.finish_drain(),
            _ => {}
        }
    }

    /// Drains: streams go on to their end, new ones are refused as soon as the peer can know. Then the connection ends.
    ///
    /// First comes a GOAWAY that names no stream, with a PING; when that is acknowledged, or too late, the one that
    /// does (RFC 9113 section 6.8). A client says one GOAWAY, and opens no more streams. A second call does nothing.
    pub fn drain(&mut self, now: Instant) {
        if self.drain != Drain::None || self.ended {
            return;
        }
        if self.is_client {
            self.finish_drain();
        } else {
            self.put_goaway(STREAM_MAX, ErrorCode::NO_ERROR, "");
            self.put_ping(&DRAIN_PING);
            self.drain = Drain::Announced { until: now + HTTP2_GOAWAY_TIME_MAX };
        }
    }

    /// Whether what is received may make output.
    fn may_hear(&self) -> bool {
        let most = match self.usage {
            Use::Calls => HTTP2_OUTPUT_BYTES_TARGET,
            Use::Pipes => HTTP2_PIPES_OUTPUT_BYTES_MAX,
        };
        self.output.len() < most
    }

    /// Works on the next frame; whether there was one.
    fn step(&mut self, now: Instant) -> Result<bool, ConnectionError> {
        if self.incoming.is_some() {
            return self.take_payload(now);
        }
        if let Some(header) = self.frames.header()
            && self.begin_payload(header, now)?
        {
            return Ok(true);
        }
        match self.frames.next()? {
            Some(Cut::Preface) => {}
            Some(Cut::Frame(header, frame)) => self.frame(&header, &frame, now)?,
            None => {
                if let Some(header) = self.frames.header() {
                    self.guard.begun(&header, now);
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn frame(&mut self, header: &Header, frame: &Bytes, now: Instant) -> Result<(), ConnectionError> {
        self.guard.frame(header, now)?;
        if self.take_past_library(header, frame, now)? {
            self.engine.output(&mut self.output);
            return Ok(());
        }
        self.engine.frame(frame)?;
        if header.kind == Kind::Data {
            self.uncredited_bytes += header.bytes;
        }
        let mut came_to_something = false;
        while let Some(meaning) = self.engine.meaning()? {
            came_to_something = true;
            self.meaning(header, meaning, now)?;
        }
        if !came_to_something {
            match header.kind {
                Kind::RstStream => self.guard.spend(Budget::Resets, now)?,
                Kind::Headers | Kind::Continuation if header.ends_headers() => {
                    self.guard.stray_headers(now)?
                }
                _ => {}
            }
        }
        if self.uncredited_bytes >= HTTP2_CREDIT_BYTES_MIN {
            let bytes = std::mem::take(&mut self.uncredited_bytes);
            self.engine.window_update(None, bytes)?;
        }
        self.engine.output(&mut self.output);
        Ok(())
    }

    pub(super) fn meaning(
        &mut self,
        header: &Header,
        meaning: Meaning,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        match meaning {
            Meaning::Headers { stream, fields, end } if self.is_client => {
                self.answered(stream, fields, end)?
            }
            Meaning::Headers { stream, fields, end } => self.opened(stream, fields, end, now)?,
            Meaning::Trailers { stream, fields } if self.is_caller() => self.finished(stream, fields, true),
            Meaning::Trailers { stream, .. } => self.half_closed(stream),
            Meaning::Data { stream, bytes, end } => {
                let padding_bytes = header.bytes - bytes.len();
                self.data(stream, bytes, padding_bytes, end, now)?;
            }
            Meaning::Reset { stream, code } => self.was_reset(header, stream, code, now)?,
            Meaning::Settings => {
                self.preface_until = None;
                self.resize_windows()?;
            }
            Meaning::SettingsAck => self.settings_ack_until = None,
            Meaning::PingAck(PING) => self.pings_unanswered = self.pings_unanswered.saturating_sub(1),
            Meaning::PingAck(payload) => {
                if payload == DRAIN_PING && matches!(self.drain, Drain::Announced { .. }) {
                    self.finish_drain();
                }
            }
            Meaning::Goaway { last, code, debug } => {
                self.peer_goes(last);
                let text = clean_text(&String::from_utf8_lossy(&debug), PEER_TEXT_BYTES_MAX);
                self.events.push_back(Event::Goaway { code, text });
            }
            Meaning::Window { stream: None, bytes } => {
                // Between two of adit's ends it never binds, and is no reason to look at all streams.
                if self.usage == Use::Calls || self.send_window_bytes == 0 {
                    self.events.push_back(Event::Window { stream: None });
                }
                self.send_window_bytes += i64::from(bytes);
            }
            Meaning::Window { stream: Some(stream), bytes } => {
                if let Some(open) = self.streams.get_mut(&stream) {
                    open.send_window_bytes += i64::from(bytes);
                    self.events.push_back(Event::Window { stream: Some(StreamId(stream)) });
                }
            }
            Meaning::Nothing => {}
        }
        Ok(())
    }

    fn opened(
        &mut self,
        stream: u32,
        fields: Vec<Field>,
        end: bool,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        if matches!(self.drain, Drain::Final { last } if stream > last) {
            self.engine.reset(stream, ErrorCode::REFUSED_STREAM);
            self.engine.forget_events();
            return self.guard.spend(Budget::Resets, now);
        }
        self.last_opened = stream;
        let mut open = Stream::new(self.initial_window_bytes, self.usage, end);
        open.goes_past_library = !names_length(&fields);
        self.streams.insert(stream, open);
        self.events.push_back(Event::Opened { stream: StreamId(stream), request: Request::new(fields) });
        if end {
            self.events.push_back(Event::HalfClosed { stream: StreamId(stream) });
        }
        Ok(())
    }

    pub(super) fn half_closed(&mut self, stream: u32) {
        if let Some(open) = self.streams.get_mut(&stream) {
            open.peer_ended = true;
            if open.ended {
                self.streams.remove(&stream);
            }
            self.events.push_back(Event::HalfClosed { stream: StreamId(stream) });
        }
    }

    pub(super) fn data(
        &mut self,
        stream: u32,
        bytes: Bytes,
        padding_bytes: usize,
        end: bool,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        if bytes.is_empty() && !end {
            self.guard.spend(Budget::EmptyData, now)?;
        }
        let Some(open) = self.streams.get_mut(&stream) else { return Ok(()) };
        open.received(bytes.len(), padding_bytes);
        if let Some(credit) = open.take_credit() {
            self.give_back(stream, credit)?;
        }
        if !bytes.is_empty() {
            self.events.push_back(Event::Data { stream: StreamId(stream), bytes });
        }
        match end {
            true if self.is_caller() => self.finished(stream, Vec::new(), true),
            true => self.half_closed(stream),
            false => {}
        }
        Ok(())
    }

    /// A stream was reset, by a frame that says so or because of one that does not.
    pub(super) fn was_reset(
        &mut self,
        header: &Header,
        stream: u32,
        code: ErrorCode,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let by_peer = header.kind == Kind::RstStream;
        let open = self.streams.remove(&stream);
        if let Some(open) = &open {
            self.events.push_back(Event::Reset { stream: StreamId(stream), code, by_peer });
            if by_peer && open.served {
                return Ok(());
            }
        }
        self.guard.spend(Budget::Resets, now)
    }

    /// SETTINGS_INITIAL_WINDOW_SIZE changes what open streams may send, too (RFC 9113 section 6.9.2).
    fn resize_windows(&mut self) -> Result<(), ConnectionError> {
        let new = self.engine.initial_window_bytes();
        let change = i64::from(new) - i64::from(self.initial_window_bytes);
        self.initial_window_bytes = new;
        self.streams.values_mut().for_each(|stream| stream.send_window_bytes += change);
        if self.streams.values().any(|stream| stream.send_window_bytes > WINDOW_BYTES_MAX) {
            let text = "its SETTINGS made a stream's window larger than 2^31-1".to_owned();
            return Err(ConnectionError::Protocol { code: ErrorCode::FLOW_CONTROL_ERROR, text });
        }
        if change > 0 && !self.streams.is_empty() {
            self.events.push_back(Event::Window { stream: None });
        }
        Ok(())
    }

    /// Whether nothing new may begin.
    pub(super) fn is_leaving(&self) -> bool {
        self.ended || self.peer_leaves || self.drain != Drain::None
    }

    /// Whether it awaits a call's end.
    const fn is_caller(&self) -> bool {
        self.is_client && matches!(self.usage, Use::Calls)
    }

    fn finish_drain(&mut self) {
        self.put_goaway(self.last_opened, ErrorCode::NO_ERROR, "");
        self.drain = Drain::Final { last: self.last_opened };
    }

    /// The connection cannot go on.
    pub(super) fn fail(&mut self, error: ConnectionError) {
        let error = match error {
            ConnectionError::Protocol { code, text } => {
                ConnectionError::Protocol { code, text: clean_text(&text, PEER_TEXT_BYTES_MAX) }
            }
            other => other,
        };
        self.engine.output(&mut self.output);
        self.put_goaway(self.last_opened, error.code(), &error.to_string());
        self.end(End::Failed(error));
    }

    fn end(&mut self, end: End) {
        self.stop();
        self.events.push_back(Event::Ended(end));
    }

    pub(super) fn stop(&mut self) {
        self.ended = true;
        self.streams.clear();
        self.frames.clear();
        self.incoming = None;
    }

    /// Whether the peer's preface and SETTINGS have come.
    #[must_use]
    pub const fn is_greeted(&self) -> bool {
        self.preface_until.is_none()
    }

    /// Writes a GOAWAY (RFC 9113 section 6.8) past the library, whose own always names the last stream and makes later
    /// ones a connection error: a stream that crosses it would end all others.
    pub(super) fn put_goaway(&mut self, last: u32, code: ErrorCode, text: &str) {
        let text = &text.as_bytes()[..text.len().min(PEER_TEXT_BYTES_MAX)];
        self.put_header(8 + text.len(), 0x7, 0);
        self.output.put_u32(last);
        self.output.put_u32(code.0);
        self.output.put_slice(text);
    }
}

/// Whether the fields say how long the payload is: then it is the library that holds the peer to it (RFC 9113 section
/// 8.1.1). No client or server of gRPC does so.
pub(super) fn names_length(fields: &[Field]) -> bool {
    fields.iter().any(|(name, _)| name == b"content-length")
}
