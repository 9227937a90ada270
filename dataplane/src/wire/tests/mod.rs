//! Tests of the codecs: tables of what must be refused, and properties over arbitrary bytes and arbitrary splits.

mod control;
mod dial;
mod error_text;
mod frame;
mod text_and_codes;

use bytes::Bytes;

use super::FrameReader;

/// The message of bytes that are one frame.
fn message_of(frame: Bytes) -> Bytes {
    let mut reader = FrameReader::new();
    reader.push(frame);
    let message = reader.poll().unwrap().unwrap();
    reader.finish().unwrap();
    message
}

/// Cuts bytes at the given places (anywhere, in any order).
pub(crate) fn split_at(bytes: &Bytes, cuts: &[usize]) -> Vec<Bytes> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| bytes.slice(pair[0]..pair[1])).collect()
}
