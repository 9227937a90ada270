//! Payload and its windows (RFC 9113 sections 5.2, 6.1 and 6.9), past the library, which copies each byte several
//! times.
//!
//! Only what is right goes this way: DATA and WINDOW_UPDATE of streams that are open, outside of header blocks, behind
//! the greeting. Whatever breaks a rule, or is of a stream that is over, the library sees and judges. Neither knows of
//! what goes the other's way, so each counts windows of its own, and gives back what it took.
//!
//! Payload without padding is handed on as it comes, before its frame is whole: what is received at once is so passed
//! on at once, whatever frames it was cut into.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;

use crate::limits::{
    HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_CREDIT_BYTES_MIN, HTTP2_FRAME_BYTES_MAX,
    HTTP2_PIPES_CONNECTION_WINDOW_BYTES,
};

use super::connection::Connection;
use super::engine::Meaning;
use super::error::{ConnectionError, ErrorCode};
use super::frames::{HEADER_BYTES, Header, Kind};
use super::pipes::Use;

/// The largest window (RFC 9113 section 6.9.1).
pub(super) const WINDOW_BYTES_MAX: i64 = (1 << 31) - 1;
/// Payload shorter than this is copied: it would pin a whole receive buffer.
const SHARED_BYTES_MIN: usize = 4096;

/// DATA's flags (RFC 9113 section 6.1).
const END_STREAM: u8 = 0x1;
const PADDED: u8 = 0x8;

/// The connection's window for what the peer sends past the library.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    bytes: usize,
    /// Received and not given back.
    uncredited_bytes: usize,
}

impl ReceiveWindow {
    pub(super) const fn new(usage: Use) -> Self {
        let bytes = match usage {
            Use::Calls => HTTP2_CONNECTION_WINDOW_BYTES,
            Use::Pipes => HTTP2_PIPES_CONNECTION_WINDOW_BYTES,
        };
        Self { bytes: bytes as usize, uncredited_bytes: 0 }
    }

    /// Takes note of a frame's payload; false where it is more than was allowed.
    const fn take(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes {
            return false;
        }
        self.bytes -= bytes;
        self.uncredited_bytes += bytes;
        true
    }

    /// How much to give back now.
    fn credit(&mut self) -> Option<usize> {
        if self.uncredited_bytes < HTTP2_CREDIT_BYTES_MIN {
            return None;
        }
        let bytes = std::mem::take(&mut self.uncredited_bytes);
        self.bytes += bytes;
        Some(bytes)
    }
}

/// A DATA frame whose header was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    stream: u32,
    bytes_left: usize,
    /// It ends the peer's side of the stream.
    ends: bool,
}

impl Connection {
    /// Takes the header of a frame whose payload may be taken in parts; false where it is none.
    ///
    /// # Errors
    /// It exceeds the connection's window.
    pub(super) fn begin_payload(&mut self, header: Header, now: Instant) -> Result<bool, ConnectionError> {
        let fits = header.kind == Kind::Data && header.flags & PADDED == 0;
        if !fits || header.bytes > HTTP2_FRAME_BYTES_MAX || !self.lets_pass(header.stream) {
            return Ok(false);
        }
        self.guard.frame(&header, now)?;
        self.frames.take_header();
        self.take_windows(&header, now)?;
        let ends = header.flags & END_STREAM != 0;
        let incoming = Incoming { stream: header.stream, bytes_left: header.bytes, ends };
        self.incoming = Some(incoming);
        if header.bytes == 0 {
            self.part(incoming, Bytes::new(), now)?;
        }
        Ok(true)
    }

    /// Takes what there is of a payload; false if there is nothing.
    ///
    /// # Errors
    /// There have been too many empty frames.
    pub(super) fn take_payload(&mut self, now: Instant) -> Result<bool, ConnectionError> {
        let Some(mut incoming) = self.incoming else { return Ok(false) };
        let Some(part) = self.frames.take_part(incoming.bytes_left) else { return Ok(false) };
        incoming.bytes_left -= part.len();
        self.part(incoming, part, now)?;
        Ok(true)
    }

    fn part(&mut self, incoming: Incoming, part: Bytes, now: Instant) -> Result<(), ConnectionError> {
        let is_last = incoming.bytes_left == 0;
        self.incoming = (!is_last).then_some(incoming);
        let end = is_last && incoming.ends;
        self.pass_on(incoming.stream, part, 0, end, now)?;
        if is_last {
            self.give_back_to_connection();
        }
        self.engine.output(&mut self.output);
        Ok(())
    }

    /// Whether a stream's payload is none of the library's business.
    fn lets_pass(&self, stream: u32) -> bool {
        let is_open =
            self.streams.get(&stream).is_some_and(|open| open.goes_past_library && !open.peer_ended);
        is_open && self.may_pass()
    }

    /// Whether a frame that breaks no rule of its own may come now.
    fn may_pass(&self) -> bool {
        self.is_greeted() && !self.guard.is_in_header_block()
    }

    /// Takes a frame's payload from both windows. A stream whose window is exceeded is reset; what comes for it is
    /// thrown away.
    fn take_windows(&mut self, header: &Header, now: Instant) -> Result<(), ConnectionError> {
        if !self.receive_window.take(header.bytes) {
            return Err(flow_control("it sent more than the connection's window allows"));
        }
        let exceeds =
            self.streams.get_mut(&header.stream).is_some_and(|open| !open.take_window(header.bytes));
        if exceeds { self.break_stream(header, now) } else { Ok(()) }
    }

    /// Resets a stream whose windows the peer does not respect.
    fn break_stream(&mut self, header: &Header, now: Instant) -> Result<(), ConnectionError> {
        self.engine.reset(header.stream, ErrorCode::FLOW_CONTROL_ERROR);
        self.engine.forget_events();
        self.was_reset(header, header.stream, ErrorCode::FLOW_CONTROL_ERROR, now)
    }

    fn pass_on(
        &mut self,
        stream: u32,
        payload: Bytes,
        padding_bytes: usize,
        end: bool,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let bytes = match payload.len() {
            0..SHARED_BYTES_MIN => Bytes::copy_from_slice(&payload),
            _ => payload,
        };
        if end && self.streams.contains_key(&stream) {
            self.engine.peer_ended(stream)?;
        }
        self.data(stream, bytes, padding_bytes, end, now)
    }

    fn give_back_to_connection(&mut self) {
        if let Some(bytes) = self.receive_window.credit() {
            self.put_window_update(0, bytes);
        }
    }

    /// Takes a frame that is none of the library's business; false where it is.
    ///
    /// # Errors
    /// It exceeds a window of the connection's, or makes one too large.
    pub(super) fn take_past_library(
        &mut self,
        header: &Header,
        frame: &Bytes,
        now: Instant,
    ) -> Result<bool, ConnectionError> {
        match header.kind {
            Kind::Data => self.take_data(header, frame, now),
            Kind::WindowUpdate if self.may_pass() => self.take_window_update(header, frame, now),
            _ => Ok(false),
        }
    }

    /// DATA with padding.
    fn take_data(&mut self, header: &Header, frame: &Bytes, now: Instant) -> Result<bool, ConnectionError> {
        let Some(payload) = payload_of(header, frame) else { return Ok(false) };
        if !self.lets_pass(header.stream) {
            return Ok(false);
        }
        self.take_windows(header, now)?;
        let (payload, end) = (frame.slice(payload), header.flags & END_STREAM != 0);
        let padding_bytes = header.bytes - payload.len();
        self.pass_on(header.stream, payload, padding_bytes, end, now)?;
        self.give_back_to_connection();
        Ok(true)
    }

    fn take_window_update(
        &mut self,
        header: &Header,
        frame: &[u8],
        now: Instant,
    ) -> Result<bool, ConnectionError> {
        let Ok(payload) = <[u8; 4]>::try_from(&frame[HEADER_BYTES..]) else { return Ok(false) };
        let bytes = u32::from_be_bytes(payload) & !(1 << 31);
        if bytes == 0 {
            return Ok(false);
        }
        let above = |window: i64| window + i64::from(bytes) > WINDOW_BYTES_MAX;
        if header.stream == 0 {
            if above(self.send_window_bytes) {
                return Err(flow_control("it made the connection's window larger than 2^31-1"));
            }
            self.meaning(header, Meaning::Window { stream: None, bytes }, now)?;
            return Ok(true);
        }
        let Some(open) = self.streams.get(&header.stream) else { return Ok(false) };
        if above(open.send_window_bytes) {
            self.break_stream(header, now)?;
        } else {
            self.meaning(header, Meaning::Window { stream: Some(header.stream), bytes }, now)?;
        }
        Ok(true)
    }

    /// Writes payload, which the windows must allow, in frames as long as the peer takes.
    pub(super) fn put_data(&mut self, stream: u32, mut bytes: Bytes) {
        let frame_bytes_max = self.engine.frame_bytes_max() as usize;
        while !bytes.is_empty() {
            let payload = bytes.split_to(bytes.len().min(frame_bytes_max));
            self.put_header(payload.len(), 0x0, stream);
            self.output.put_payload(payload);
        }
    }

    /// Gives a stream's window back.
    ///
    /// # Errors
    /// More is given back than was taken, which the library finds out.
    pub(super) fn give_back(&mut self, stream: u32, bytes: usize) -> Result<(), ConnectionError> {
        match self.streams.get_mut(&stream) {
            Some(open) if open.goes_past_library => {
                open.receive_window_bytes += bytes;
                self.put_window_update(stream, bytes);
                Ok(())
            }
            _ => self.engine.window_update(Some(stream), bytes),
        }
    }

    fn put_window_update(&mut self, stream: u32, bytes: usize) {
        self.put_header(4, 0x8, stream);
        self.output.put_u32(u32::try_from(bytes).expect("no more than a window was taken"));
    }

    /// Writes the header of a frame without flags.
    pub(super) fn put_header(&mut self, payload_bytes: usize, kind: u8, stream: u32) {
        let length = u32::try_from(payload_bytes).expect("it is a frame's").to_be_bytes();
        self.output.put_slice(&[length[1], length[2], length[3], kind, 0]);
        self.output.put_u32(stream);
    }
}

/// Where DATA's payload is, without its padding; `None` where the padding is longer than the frame.
fn payload_of(header: &Header, frame: &[u8]) -> Option<Range<usize>> {
    if header.flags & PADDED == 0 {
        return Some(HEADER_BYTES..frame.len());
    }
    let begin = HEADER_BYTES + 1;
    let padding_bytes = usize::from(*frame.get(HEADER_BYTES)?);
    let end = frame.len().checked_sub(padding_bytes).filter(|end| *end >= begin)?;
    Some(begin..end)
}

fn flow_control(text: &str) -> ConnectionError {
    ConnectionError::Protocol { code: ErrorCode::FLOW_CONTROL_ERROR, text: text.to_owned() }
}
