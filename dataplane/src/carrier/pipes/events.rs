//! From HTTP/2's events to the carrier's.

use std::time::Instant;

use crate::http2::{End, ErrorCode, Event, Request, StreamId};
use crate::limits::PIPES_TURN_BYTES;
use crate::quic::{Fault, LostKind, LostReason};
use crate::wire::{CloseCode, ResetCode};

use super::super::{CarrierEvent, stream_id};
use super::pipe::{Pipe, Receiving};
use super::{CONTROL_PATH, Pipes, STREAM_PATH, reason};

impl Pipes {
    pub(super) fn next_event(&mut self, now: Instant) -> Option<CarrierEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.is_lost {
                return None;
            }
            if self.wants_stream && self.http2.has_stream_room() {
                self.wants_stream = false;
                return Some(CarrierEvent::StreamsAvailable);
            }
            if let Some(stream) = self.turns.call(self.http2.room_bytes().div_ceil(PIPES_TURN_BYTES)) {
                return Some(CarrierEvent::Writable(stream_id(stream)));
            }
            let event = self.http2.poll_event(now);
            self.look_for_greeting();
            match event {
                Some(event) => self.on_event(event),
                None if !self.events.is_empty() => {}
                None => {
                    let reason = self.transport_end.take()?;
                    if self.http2.take_output().is_empty() {
                        self.lose(reason);
                    } else {
                        // Nobody will have it, and it may have stopped what was received from being looked at.
                        self.transport_end = Some(reason);
                    }
                }
            }
        }
    }

    /// To the server: the agent speaks HTTP/2, and the control stream is as if the agent had opened it.
    fn look_for_greeting(&mut self) {
        if self.is_server && !self.is_connected && self.http2.is_greeted() {
            self.is_connected = true;
            self.events.push_back(CarrierEvent::Connected);
            let control = self.control.expect("it was opened first");
            self.events.push_back(CarrierEvent::Opened(stream_id(control)));
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Opened { stream, request } => self.on_opened(stream, &request),
            Event::Data { stream, bytes } => {
                let Some(pipe) = self.pipes.get_mut(&stream.0) else { return };
                let unread_bytes = pipe.receive(bytes);
                self.http2.credit(stream, unread_bytes);
                if unread_bytes == 0 {
                    self.tell_readable(stream.0);
                }
            }
            Event::HalfClosed { stream } => {
                let Some(pipe) = self.pipes.get_mut(&stream.0) else { return };
                pipe.on_end();
                self.tell_end(stream.0);
            }
            Event::Reset { stream, code, by_peer } => {
                let code = if by_peer { reason::reset_code(code) } else { ResetCode::Protocol };
                self.on_reset(stream.0, code);
            }
            Event::Window { stream } => self.on_window(stream),
            Event::Goaway { code, text } => self.lose(reason::of_goaway(code, &text)),
            Event::Ended(End::Failed(error)) => self.lose(reason::of_error(&error)),
            // The answer says that the agent has taken the stream, and nothing more. Calls and drains there are none.
            Event::Answered { .. } | Event::Finished { .. } | Event::Ended(End::Drained) => {}
        }
    }

    /// To the agent: a stream was opened.
    fn on_opened(&mut self, stream: StreamId, request: &Request) {
        match (&request.path[..], self.control) {
            (CONTROL_PATH, None) => {
                self.control = Some(stream.0);
                self.is_connected = true;
                self.pipes.insert(stream.0, Pipe::new());
                self.events.push_back(CarrierEvent::Connected);
            }
            (_, None) => {
                let text = format!("it opened {} before {CONTROL_PATH}", shown(&request.path));
                self.http2.leave(&reason::close_text(CloseCode::Protocol, &text));
                let text = format!("the peer broke the protocol: {text}");
                self.lose(LostReason::new(LostKind::Protocol, Fault::Peer, true, text));
            }
            (STREAM_PATH, Some(_)) => {
                self.pipes.insert(stream.0, Pipe::new());
                self.events.push_back(CarrierEvent::Opened(stream_id(stream.0)));
            }
            (CONTROL_PATH, Some(_)) => self.http2.reset(stream, ErrorCode(ResetCode::Protocol.code())),
            (_, Some(_)) => self.http2.reset(stream, ErrorCode(ResetCode::UnknownKind.code())),
        }
    }

    /// The stream is over for HTTP/2.
    pub(super) fn on_reset(&mut self, stream: u32, code: ResetCode) {
        let Some(pipe) = self.pipes.get_mut(&stream) else { return };
        let sent = pipe.sends;
        pipe.on_reset(code);
        self.turns.leave(stream);
        if matches!(pipe.receiving, Receiving::Reset(_)) {
            self.tell_end(stream);
        }
        if sent {
            self.events.push_back(CarrierEvent::Stopped(stream_id(stream), code));
        }
        self.forget_if_over(stream);
    }

    /// A window has grown. Whoever waited for it waits for room in the output now, which there may be at once.
    fn on_window(&mut self, stream: Option<StreamId>) {
        let (turns, http2) = (&mut self.turns, &self.http2);
        let mut look = |stream: u32, pipe: &mut Pipe| {
            if pipe.wants_window && http2.window_bytes(StreamId(stream)) > 0 {
                pipe.wants_window = false;
                turns.queue_up(stream);
            }
        };
        match stream {
            Some(StreamId(stream)) => {
                if let Some(pipe) = self.pipes.get_mut(&stream) {
                    look(stream, pipe);
                }
            }
            None => self.pipes.iter_mut().for_each(|(stream, pipe)| look(*stream, pipe)),
        }
    }

    /// Says that there are bytes to read, once until they are looked at.
    fn tell_readable(&mut self, stream: u32) {
        if let Some(pipe) = self.pipes.get_mut(&stream)
            && !std::mem::replace(&mut pipe.told, true)
        {
            self.events.push_back(CarrierEvent::Readable(stream_id(stream)));
        }
    }

    /// Says that the receiving half has ended, which must not wait for a reader that has not looked at its bytes.
    fn tell_end(&mut self, stream: u32) {
        if self.pipes.get(&stream).is_some_and(|pipe| pipe.receiving != Receiving::Gone) {
            self.events.push_back(CarrierEvent::Readable(stream_id(stream)));
        }
        self.forget_if_over(stream);
    }

    pub(super) fn forget_if_over(&mut self, stream: u32) {
        if self.pipes.get(&stream).is_some_and(Pipe::is_over) {
            self.pipes.remove(&stream);
        }
    }

    /// The connection is over.
    pub(super) fn lose(&mut self, reason: LostReason) {
        self.is_lost = true;
        self.transport_end = None;
        self.pipes.clear();
        self.turns = super::Turns::default();
        self.events.push_back(CarrierEvent::Lost(reason));
    }
}

/// What a peer said, fit for a log.
fn shown(path: &str) -> String {
    crate::wire::clean_text(path, crate::limits::SHOWN_CHARACTERS_MAX)
}
