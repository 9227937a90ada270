//! Frames: a length prefix and a message (PROTOCOL.md section 4).
//!
//! The reader takes bytes split anywhere. What follows the frame (a tunnel's payload) is handed on without a copy;
//! an unfinished frame is copied out of the receive slots, so that a peer that sends a message byte by byte pins
//! none of them.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::limits::MESSAGE_BYTES_MAX;

use super::error::WireError;

/// Bytes of the length prefix: an unsigned integer, most significant byte first.
pub const LENGTH_PREFIX_BYTES: usize = 4;

/// Writes a message as a frame.
///
/// # Errors
///
/// [`WireError::TooLong`] if the message is above [`MESSAGE_BYTES_MAX`].
pub fn encode_frame(message: &impl Message) -> Result<Bytes, WireError> {
    let body_bytes = message.encoded_len();
    let prefix = u32::try_from(body_bytes).map_err(|_| WireError::TooLong(body_bytes))?;
    if body_bytes > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLong(body_bytes));
    }
    let mut frame = BytesMut::with_capacity(LENGTH_PREFIX_BYTES + body_bytes);
    frame.put_u32(prefix);
    message.encode_raw(&mut frame);
    Ok(frame.freeze())
}

/// Takes a stream's bytes and gives back the frames at its start.
///
/// Holds at most one unfinished frame and what was pushed since the last [`FrameReader::poll`] that returned
/// `Ok(None)`; after that, no more than [`LENGTH_PREFIX_BYTES`] + [`MESSAGE_BYTES_MAX`] of its own.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// The unfinished frame, prefix included.
    partial: BytesMut,
    /// Not looked at yet. Holds no empty pieces.
    pieces: VecDeque<Bytes>,
    /// The prefix was bad: the stream has no further frames.
    failed: Option<WireError>,
}

impl FrameReader {
    /// A reader at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the stream's next bytes.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// The next frame's message, or `None` if it is not complete yet.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] for a prefix above [`MESSAGE_BYTES_MAX`], from then on every time.
    pub fn poll(&mut self) -> Result<Option<Bytes>, WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.partial.is_empty()
            && let Some(message) = self.poll_first_piece()?
        {
            return Ok(Some(message));
        }
        if !self.gather(LENGTH_PREFIX_BYTES) {
            return Ok(None);
        }
        let body_bytes = body_bytes(&self.partial).inspect_err(|error| self.failed = Some(error.clone()))?;
        if !self.gather(LENGTH_PREFIX_BYTES + body_bytes) {
            return Ok(None);
        }
        let mut frame = std::mem::take(&mut self.partial);
        frame.advance(LENGTH_PREFIX_BYTES);
        Ok(Some(frame.freeze()))
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`] if a frame is unfinished.
    pub fn finish(&self) -> Result<(), WireError> {
        if self.partial.is_empty() && self.pieces.is_empty() { Ok(()) } else { Err(WireError::Truncated) }
    }

    /// What follows the frames taken so far, in order, without copying it. Meant to be called right after the
    /// stream's last frame.
    #[must_use]
    pub fn into_rest(self) -> VecDeque<Bytes> {
        let mut rest = self.pieces;
        if !self.partial.is_empty() {
            rest.push_front(self.partial.freeze());
        }
        rest
    }

    /// A frame that lies whole in the first piece, which is the usual case: no copy.
    fn poll_first_piece(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some(first) = self.pieces.front() else { return Ok(None) };
        if first.len() < LENGTH_PREFIX_BYTES {
            return Ok(None);
        }
        let body_bytes = body_bytes(first).inspect_err(|error| self.failed = Some(error.clone()))?;
        let frame_bytes = LENGTH_PREFIX_BYTES + body_bytes;
        if first.len() < frame_bytes {
            return Ok(None);
        }
        let message = first.slice(LENGTH_PREFIX_BYTES..frame_bytes);
        self.consume(frame_bytes);
        Ok(Some(message))
    }

    /// Copies from the pieces until the unfinished frame has `wanted` bytes; whether it has.
    fn gather(&mut self, wanted: usize) -> bool {
        while self.partial.len() < wanted {
            let Some(first) = self.pieces.front() else { return false };
            let take = first.len().min(wanted - self.partial.len());
            self.partial.extend_from_slice(&first[..take]);
            self.consume(take);
        }
        true
    }

    /// Drops bytes of the first piece.
    fn consume(&mut self, count: usize) {
        if let Some(first) = self.pieces.front_mut() {
            first.advance(count);
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

/// The length that a frame's first [`LENGTH_PREFIX_BYTES`] bytes announce.
fn body_bytes(mut frame: &[u8]) -> Result<usize, WireError> {
    let announced = usize::try_from(frame.get_u32()).unwrap_or(usize::MAX);
    if announced > MESSAGE_BYTES_MAX { Err(WireError::TooLong(announced)) } else { Ok(announced) }
}
