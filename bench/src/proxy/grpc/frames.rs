//! Where HTTP/2 frames (RFC 9113 §4.1) begin and end in a stream of bytes.
//!
//! The library that understands frames is given one at a time: what it queues and buffers is then bounded by one
//! frame, and the number of bytes that a DATA frame takes from the windows, padding included, is known.

/// Length, type, flags, stream.
pub(super) const HEADER_BYTES: usize = 9;
/// Longest frame: SETTINGS_MAX_FRAME_SIZE (RFC 9113 §6.5.2), which we leave at its default.
pub(super) const FRAME_BYTES_MAX: usize = 16 * 1024;
/// The type of DATA (RFC 9113 §6.1).
const TYPE_DATA: u8 = 0;
/// Those of header blocks (RFC 9113 §6.2, §6.10), and the flag of their end.
const TYPE_HEADERS: u8 = 1;
const TYPE_CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;

/// The peer sent a frame of this many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong(pub(super) usize);

/// Follows the frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    payload_bytes_left: usize,
    /// A header block has begun and not ended (RFC 9113 §4.3).
    in_header_block: bool,
}

/// A piece of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// How many bytes it takes.
    pub(super) bytes: usize,
    /// Where a frame ends with it: what that frame takes from the flow-control windows.
    pub(super) ends: Option<usize>,
}

impl Frames {
    /// Whether what should be a frame's header is the status line of an HTTP/1 server.
    pub(super) fn speaks_http1(&self) -> bool {
        self.header.starts_with(b"HTTP/1.")
    }

    /// Whether a frame begins here, outside of any header block.
    pub(super) fn is_between(&self) -> bool {
        self.header_bytes == 0 && !self.in_header_block
    }

    /// Takes bytes up to the end of a frame, or all of them.
    ///
    /// # Errors
    /// A frame that is longer than [`FRAME_BYTES_MAX`].
    pub(super) fn next(&mut self, input: &[u8]) -> Result<Piece, TooLong> {
        let missing = HEADER_BYTES - self.header_bytes;
        let of_header = missing.min(input.len());
        self.header[self.header_bytes..][..of_header].copy_from_slice(&input[..of_header]);
        self.header_bytes += of_header;
        if self.header_bytes < HEADER_BYTES {
            return Ok(Piece { bytes: of_header, ends: None });
        }
        let length = usize::from(self.header[0]) << 16
            | usize::from(self.header[1]) << 8
            | usize::from(self.header[2]);
        if missing > 0 {
            if length > FRAME_BYTES_MAX {
                return Err(TooLong(length));
            }
            self.payload_bytes_left = length;
        }
        let of_payload = self.payload_bytes_left.min(input.len() - of_header);
        self.payload_bytes_left -= of_payload;
        let ends = (self.payload_bytes_left == 0).then(|| {
            self.header_bytes = 0;
            if matches!(self.header[3], TYPE_HEADERS | TYPE_CONTINUATION) {
                self.in_header_block = self.header[4] & END_HEADERS == 0;
            }
            if self.header[3] == TYPE_DATA { length } else { 0 }
        });
        Ok(Piece { bytes: of_header + of_payload, ends })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{FRAME_BYTES_MAX, Frames, TooLong};

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        bytes.resize(9 + payload, 7);
        bytes
    }

    proptest! {
        #[test]
        fn every_frame_ends_where_it_ends(
            wanted in prop::collection::vec((0_u8..10, 0_usize..300), 1..20),
            cuts in prop::collection::vec(1_usize..50, 1..20),
        ) {
            let wire: Vec<u8> = wanted.iter().flat_map(|&(kind, payload)| frame(kind, payload)).collect();
            let mut frames = Frames::default();
            let (mut ends, mut at, mut found) = (0, 0, Vec::new());
            let mut cuts = cuts.iter().cycle();
            while at < wire.len() {
                let to = wire.len().min(at + cuts.next().unwrap());
                while at < to {
                    let piece = frames.next(&wire[at..to]).unwrap();
                    prop_assert!(piece.bytes > 0);
                    at += piece.bytes;
                    if let Some(window_bytes) = piece.ends {
                        ends += 9 + wanted[found.len()].1;
                        prop_assert_eq!(at, ends);
                        found.push(window_bytes);
                    }
                }
            }
            let expected: Vec<usize> =
                wanted.iter().map(|&(kind, payload)| if kind == 0 { payload } else { 0 }).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_at_its_header() {
        let mut frames = Frames::default();
        assert!(frames.next(&frame(0, FRAME_BYTES_MAX)).is_ok());
        let too_long = frame(0, FRAME_BYTES_MAX + 1);
        assert!(frames.next(&too_long[..8]).is_ok());
        assert_eq!(frames.next(&too_long[8..]), Err(TooLong(FRAME_BYTES_MAX + 1)));
    }
}
