//! What a connection has to say, in order: frames that were written, and payload as it was given, which is not copied.

use bytes::{BufMut, Bytes, BytesMut};

/// Payload up to this length is copied behind its frame's header: a piece of its own costs the socket more than that.
const COPIED_BYTES_MAX: usize = 4096;
/// Room that is made for payload that is copied, so that many small pieces do not each make a little.
const COPY_ROOM_BYTES: usize = 16 * 1024;

/// A queue of bytes, taken out all at once.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Whole pieces, none of them empty, and how many bytes they are.
    pieces: Vec<Bytes>,
    pieces_bytes: usize,
    /// What was written behind them.
    written: BytesMut,
}

impl Output {
    pub(super) fn len(&self) -> usize {
        self.pieces_bytes + self.written.len()
    }

    /// Writes bytes that are not payload.
    pub(super) fn put_slice(&mut self, bytes: &[u8]) {
        self.written.put_slice(bytes);
    }

    /// Writes four bytes, the most significant first.
    pub(super) fn put_u32(&mut self, number: u32) {
        self.written.put_u32(number);
    }

    /// Puts payload behind its frame's header.
    pub(super) fn put_payload(&mut self, payload: Bytes) {
        if payload.len() <= COPIED_BYTES_MAX {
            if self.written.capacity() - self.written.len() < payload.len() {
                self.written.reserve(COPY_ROOM_BYTES);
            }
            return self.written.put_slice(&payload);
        }
        self.end_piece();
        self.pieces_bytes += payload.len();
        self.pieces.push(payload);
    }

    fn end_piece(&mut self) {
        if !self.written.is_empty() {
            self.pieces_bytes += self.written.len();
            self.pieces.push(self.written.split().freeze());
        }
    }

    /// Moves everything behind `pieces`.
    pub(super) fn take_into(&mut self, pieces: &mut Vec<Bytes>) {
        self.end_piece();
        self.pieces_bytes = 0;
        pieces.append(&mut self.pieces);
    }

    /// Takes everything, in one piece: a copy, where there are several.
    pub(super) fn take(&mut self) -> Bytes {
        self.end_piece();
        self.pieces_bytes = 0;
        let mut pieces = std::mem::take(&mut self.pieces);
        if pieces.len() > 1 { pieces.concat().into() } else { pieces.pop().unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_comes_out_in_order_and_long_payload_as_it_was_given() {
        let long = Bytes::from(vec![7; COPIED_BYTES_MAX + 1]);
        let mut output = Output::default();
        output.put_slice(b"head");
        output.put_payload(long.clone());
        output.put_u32(0x0102_0304);
        output.put_payload(Bytes::from_static(b"short"));
        assert_eq!(output.len(), 4 + long.len() + 4 + 5);
        let mut pieces = vec![Bytes::from_static(b"before")];
        output.take_into(&mut pieces);
        assert_eq!(pieces, [&b"before"[..], b"head", &long, b"\x01\x02\x03\x04short"]);
        assert_eq!(pieces[2].as_ptr(), long.as_ptr());
        assert_eq!((output.len(), output.take()), (0, Bytes::new()));
        output.put_payload(long.clone());
        output.put_slice(b"tail");
        assert_eq!(output.take(), [&long[..], b"tail"].concat());
        assert_eq!(output.len(), 0);
    }
}
