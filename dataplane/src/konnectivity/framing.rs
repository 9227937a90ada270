//! gRPC's framing of messages (gRPC over HTTP/2, "Length-Prefixed-Message"): one byte that says whether the message is
//! compressed, four bytes of length, the message. Frames of HTTP/2 cut this anywhere.
//!
//! A message that lies whole in one piece is handed on without a copy; an unfinished one is copied out of its pieces,
//! or handed on in parts where it is nothing but payload from some place on.
//! Deliberately absent: compression, which is never offered (no `grpc-accept-encoding`) and therefore refused.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::{GRPC_BUFFER_BYTES_MAX, GRPC_DATA_BYTES_MAX, GRPC_MESSAGE_BYTES_MAX};

use super::pieces::Pieces;

/// The compressed flag and the length.
pub const PREFIX_BYTES: usize = 5;

/// Room that is made for a message before it has come: a DATA packet of anybody's, and not whatever a prefix announces.
const RESERVED_BYTES_MAX: usize = 2 * GRPC_DATA_BYTES_MAX;

/// Why a stream is no sequence of messages. The peer's fault, each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A message that is said to be compressed, or whose first byte is none of gRPC's.
    #[error("a message with flags {0:#04x}: compression was not offered")]
    Flags(u8),
    /// A message longer than [`GRPC_MESSAGE_BYTES_MAX`], in grpc-go's words.
    #[error("received message larger than max ({0} vs. {GRPC_MESSAGE_BYTES_MAX})")]
    TooLong(usize),
    /// The stream ended inside a message.
    #[error("the stream ended inside a message")]
    Truncated,
    /// More than [`GRPC_BUFFER_BYTES_MAX`] waits to be read: nobody was given credit for that.
    #[error("{0} bytes beyond what flow control allows")]
    Overflow(usize),
}

/// A whole message on its way out, prefix included: `head`, then `payload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The prefix and everything before the payload. Never empty.
    pub head: Bytes,
    /// The payload of DATA, shared with where it came from; empty for every other packet.
    pub payload: Bytes,
}

impl Message {
    /// Its length on the wire.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    /// In one piece: a copy.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        [&self.head[..], &self.payload[..]].concat().into()
    }
}

/// A buffer that begins with the prefix of a message of `message_bytes`, with room for `room_bytes` of it.
pub(super) fn put_prefix(message_bytes: usize, room_bytes: usize) -> BytesMut {
    let announced = u32::try_from(message_bytes).expect("no packet of ours comes near 4 GiB");
    let mut buffer = BytesMut::with_capacity(PREFIX_BYTES + room_bytes);
    buffer.put_u8(0);
    buffer.put_u32(announced);
    buffer
}

/// Takes a stream's bytes and gives back its messages.
///
/// Holds one unfinished message at most, and what was pushed and not asked for: together no more than
/// [`GRPC_BUFFER_BYTES_MAX`]. Memory grows with what came, not with what a prefix announces, but for the room for one
/// ordinary packet.
#[derive(Debug, Default)]
pub struct MessageReader {
    /// The unfinished message, prefix included.
    partial: BytesMut,
    /// Not looked at yet.
    pieces: Pieces,
    /// Of a message that is handed on in parts: what it was tagged with, and how many bytes are to come.
    parts: Option<(i64, usize)>,
    /// The stream has no further messages.
    failed: Option<FramingError>,
}

impl MessageReader {
    /// A reader at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.partial.len() + self.pieces.len()
    }

    /// Takes the stream's next bytes.
    ///
    /// # Errors
    ///
    /// [`FramingError::Overflow`], from then on every time.
    pub fn push(&mut self, piece: Bytes) -> Result<(), FramingError> {
        let held_bytes = self.held_bytes() + piece.len();
        if held_bytes > GRPC_BUFFER_BYTES_MAX {
            return Err(self.fail(FramingError::Overflow(held_bytes - GRPC_BUFFER_BYTES_MAX)));
        }
        self.pieces.push(piece);
        Ok(())
    }

    /// The next message without its prefix, or `None` if it is not complete yet.
    ///
    /// # Errors
    ///
    /// [`FramingError`], as soon as the prefix says so, and from then on every time.
    pub fn poll(&mut self) -> Result<Option<Bytes>, FramingError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.parts.is_some() {
            return Ok(None);
        }
        if self.partial.is_empty()
            && let Some(message) = self.poll_first_piece()?
        {
            return Ok(Some(message));
        }
        if !self.gather(PREFIX_BYTES) {
            return Ok(None);
        }
        let message_bytes = message_bytes(&self.partial).map_err(|error| self.fail(error))?;
        if !self.gather(PREFIX_BYTES + message_bytes) {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.partial);
        message.advance(PREFIX_BYTES);
        Ok(Some(message.freeze()))
    }

    /// The next part of a message that need not be whole, with its tag; `None` where [`Self::poll`] is to be asked.
    /// `split` is shown the beginning of the next message and its length, and says how it is tagged and where the part
    /// begins that reaches to its end; `None` of a message that must be whole.
    pub fn poll_part(
        &mut self,
        split: impl FnOnce(&[u8], usize) -> Option<(i64, usize)>,
    ) -> Option<(i64, Bytes)> {
        if self.failed.is_some() || !self.partial.is_empty() {
            return None;
        }
        if self.parts.is_none() {
            let first = self.pieces.front().filter(|first| first.len() >= PREFIX_BYTES)?;
            let message_bytes = message_bytes(first).ok()?;
            let begun = &first[PREFIX_BYTES..];
            let (tag, head_bytes) = split(&begun[..begun.len().min(message_bytes)], message_bytes)?;
            self.pieces.consume(PREFIX_BYTES + head_bytes);
            self.parts = Some((tag, message_bytes - head_bytes));
        }
        let (tag, left) = self.parts?;
        let part = if left == 0 { Bytes::new() } else { self.pieces.take(left)? };
        self.parts = Some((tag, left - part.len())).filter(|(_, left)| *left > 0);
        Some((tag, part))
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    ///
    /// [`FramingError::Truncated`] if a message is unfinished.
    pub fn finish(&self) -> Result<(), FramingError> {
        let is_between = self.held_bytes() == 0 && self.parts.is_none();
        if is_between { Ok(()) } else { Err(FramingError::Truncated) }
    }

    fn fail(&mut self, error: FramingError) -> FramingError {
        self.partial = BytesMut::new();
        self.pieces = Pieces::default();
        self.parts = None;
        self.failed = Some(error);
        error
    }

    /// A message that lies whole in the first piece: no copy.
    fn poll_first_piece(&mut self) -> Result<Option<Bytes>, FramingError> {
        let Some(first) = self.pieces.front() else { return Ok(None) };
        if first.len() < PREFIX_BYTES {
            return Ok(None);
        }
        let whole_bytes = match message_bytes(first) {
            Ok(message_bytes) => PREFIX_BYTES + message_bytes,
            Err(error) => return Err(self.fail(error)),
        };
        if first.len() < whole_bytes {
            return Ok(None);
        }
        let message = first.slice(PREFIX_BYTES..whole_bytes);
        self.pieces.consume(whole_bytes);
        Ok(Some(message))
    }

    /// Copies from the pieces until the unfinished message has `wanted` bytes; whether it has.
    fn gather(&mut self, wanted: usize) -> bool {
        if self.partial.len() < wanted {
            self.partial.reserve(wanted.min(RESERVED_BYTES_MAX).saturating_sub(self.partial.len()));
        }
        while self.partial.len() < wanted {
            let Some(first) = self.pieces.front() else { return false };
            let take = first.len().min(wanted - self.partial.len());
            self.partial.extend_from_slice(&first[..take]);
            self.pieces.consume(take);
        }
        true
    }
}

/// The length that a message's first [`PREFIX_BYTES`] bytes announce.
fn message_bytes(mut prefix: &[u8]) -> Result<usize, FramingError> {
    let flags = prefix.get_u8();
    if flags != 0 {
        return Err(FramingError::Flags(flags));
    }
    let announced = usize::try_from(prefix.get_u32()).unwrap_or(usize::MAX);
    if announced > GRPC_MESSAGE_BYTES_MAX { Err(FramingError::TooLong(announced)) } else { Ok(announced) }
}
