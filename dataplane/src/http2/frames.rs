//! Where HTTP/2 frames (RFC 9113 section 4.1) begin and end in a stream of bytes, and what their headers say.
//!
//! The bytes of one frame are given out at a time, and only when asked for: what is behind it is bounded by that
//! frame, whatever arrives. A frame that lies whole in what was received is not copied here; one that does not is, so
//! that a peer that sends it byte by byte pins no receive slots. Payload may be taken in the parts it came in.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::HTTP2_FRAME_BYTES_MAX;

use super::error::{ConnectionError, ErrorCode};

/// What a client says first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, type, flags, stream.
pub(super) const HEADER_BYTES: usize = 9;

/// The type of a frame (RFC 9113 section 6; RFC 9218 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    Goaway,
    WindowUpdate,
    Continuation,
    Unknown,
}

impl Kind {
    fn new(number: u8) -> Self {
        match number {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            // PRIORITY_UPDATE is no better than what it replaces.
            0x2 | 0x10 => Self::Priority,
            0x3 => Self::RstStream,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x6 => Self::Ping,
            0x7 => Self::Goaway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Of the payload, padding included.
    pub(super) bytes: usize,
    pub(super) flags: u8,
    /// 0 for the connection.
    pub(super) stream: u32,
}

impl Header {
    fn parse(bytes: &[u8]) -> Self {
        let length = usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        let stream = u32::from_be_bytes([bytes[5] & 0x7f, bytes[6], bytes[7], bytes[8]]);
        Self { kind: Kind::new(bytes[3]), bytes: length, flags: bytes[4], stream }
    }

    /// END_HEADERS, where the type has such a flag.
    pub(super) const fn ends_headers(&self) -> bool {
        self.flags & 0x4 != 0
    }
}

/// A piece of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The preface, which was right.
    Preface,
    /// A whole frame, its header included.
    Frame(Header, Bytes),
}

/// Cuts the input.
#[derive(Debug)]
pub(super) struct Frames {
    preface_seen: bool,
    /// The unfinished preface or frame.
    partial: BytesMut,
    /// Not looked at yet. Holds no empty pieces.
    pieces: VecDeque<Bytes>,
}

impl Frames {
    /// Of a client, who says the preface first, or of a server.
    pub(super) fn new(begins_with_preface: bool) -> Self {
        Self { preface_seen: !begins_with_preface, partial: BytesMut::new(), pieces: VecDeque::new() }
    }

    /// Takes what was received.
    pub(super) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Forgets everything: there is nobody to understand it.
    pub(super) fn clear(&mut self) {
        self.partial = BytesMut::new();
        self.pieces.clear();
    }

    /// The next piece; `None` if it is not there yet.
    ///
    /// # Errors
    /// Something else than the preface, as soon as that is clear; a frame that is too long, at its header.
    pub(super) fn next(&mut self) -> Result<Option<Cut>, ConnectionError> {
        if !self.preface_seen {
            return self.preface();
        }
        let Some(header) = self.header() else { return Ok(None) };
        if header.bytes > HTTP2_FRAME_BYTES_MAX {
            let text = if self.speaks_http1() {
                "it answers in HTTP/1: it is no gRPC server, or one of TLS spoken to without".to_owned()
            } else {
                format!("a frame of {} bytes; {HTTP2_FRAME_BYTES_MAX} are allowed", header.bytes)
            };
            return Err(ConnectionError::Protocol { code: ErrorCode::FRAME_SIZE_ERROR, text });
        }
        Ok(self.take(HEADER_BYTES + header.bytes).map(|bytes| Cut::Frame(header, bytes)))
    }

    /// Takes the header of the frame that is next, which [`Self::header`] has shown: its payload follows in parts.
    pub(super) fn take_header(&mut self) {
        if self.partial.is_empty()
            && let Some(first) = self.pieces.front_mut()
        {
            first.advance(HEADER_BYTES);
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.partial.clear();
    }

    /// So many of the next bytes at most, as they lie together; `None` if there are none.
    pub(super) fn take_part(&mut self, bytes_max: usize) -> Option<Bytes> {
        let first = self.pieces.front_mut()?;
        let part = first.split_to(first.len().min(bytes_max));
        if first.is_empty() {
            self.pieces.pop_front();
        }
        Some(part)
    }

    /// The header of the frame that is next, once it is there, whether or not the rest is.
    pub(super) fn header(&mut self) -> Option<Header> {
        if !self.preface_seen {
            return None;
        }
        match self.pieces.front() {
            Some(first) if self.partial.is_empty() && first.len() >= HEADER_BYTES => {
                Some(Header::parse(first))
            }
            _ => self.gather(HEADER_BYTES).then(|| Header::parse(&self.partial)),
        }
    }

    /// Whether what should be a frame's header is the status line of an HTTP/1 server.
    fn speaks_http1(&self) -> bool {
        let status_line = |bytes: &[u8]| bytes.starts_with(b"HTTP/1.");
        status_line(&self.partial) || self.pieces.front().is_some_and(|first| status_line(first))
    }

    fn preface(&mut self) -> Result<Option<Cut>, ConnectionError> {
        let whole = self.gather(PREFACE.len());
        if !PREFACE.starts_with(&self.partial) {
            let text = "it did not begin with the HTTP/2 preface".to_owned();
            return Err(ConnectionError::Protocol { code: ErrorCode::PROTOCOL_ERROR, text });
        }
        if whole {
            self.partial = BytesMut::new();
            self.preface_seen = true;
        }
        Ok(whole.then_some(Cut::Preface))
    }

    /// So many bytes, once they are there: a slice where they lie together.
    fn take(&mut self, wanted: usize) -> Option<Bytes> {
        if self.partial.is_empty()
            && let Some(first) = self.pieces.front_mut()
            && first.len() >= wanted
        {
            let bytes = first.split_to(wanted);
            if first.is_empty() {
                self.pieces.pop_front();
            }
            return Some(bytes);
        }
        self.gather(wanted).then(|| std::mem::take(&mut self.partial).freeze())
    }

    /// Copies until there are so many; whether there are.
    fn gather(&mut self, wanted: usize) -> bool {
        self.partial.reserve(wanted.saturating_sub(self.partial.len()));
        while self.partial.len() < wanted {
            let Some(first) = self.pieces.front_mut() else { return false };
            let count = first.len().min(wanted - self.partial.len());
            self.partial.extend_from_slice(&first[..count]);
            first.advance(count);
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
        true
    }
}
