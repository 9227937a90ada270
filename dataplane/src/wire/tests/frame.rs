//! Frames, split anywhere.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use crate::limits::MESSAGE_BYTES_MAX;
use crate::wire::{Drain, FrameReader, LENGTH_PREFIX_BYTES, WireError, encode_frame};

use super::split_at;

fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// Everything a reader makes of pieces: messages, then an error or the rest.
fn read_all(pieces: Vec<Bytes>, frames: usize) -> (Vec<Bytes>, Result<Vec<u8>, WireError>) {
    let mut reader = FrameReader::new();
    let mut messages = Vec::new();
    for piece in pieces {
        reader.push(piece);
        while messages.len() < frames {
            match reader.poll() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    (messages, Ok(reader.into_rest().iter().flat_map(|piece| piece.to_vec()).collect()))
}

#[test]
fn a_frame_in_one_piece_is_not_copied_and_neither_is_what_follows() {
    let mut bytes = BytesMut::from(&frame(b"message")[..]);
    bytes.extend_from_slice(b"payload");
    let bytes = bytes.freeze();
    let mut reader = FrameReader::new();
    reader.push(bytes.clone());
    let message = reader.poll().unwrap().unwrap();
    assert_eq!(message, "message");
    assert_eq!(message.as_ptr(), bytes[LENGTH_PREFIX_BYTES..].as_ptr());
    let rest = reader.into_rest();
    assert_eq!(rest, ["payload"]);
    assert_eq!(rest[0].as_ptr(), bytes[LENGTH_PREFIX_BYTES + 7..].as_ptr());
}

#[test]
fn an_unfinished_frame_holds_none_of_the_pieces_it_came_in() {
    let bytes = frame(b"a message that comes in two pieces");
    let first = Bytes::copy_from_slice(&bytes[..10]);
    let mut reader = FrameReader::new();
    reader.push(first.clone());
    assert_eq!(reader.poll(), Ok(None));
    assert!(first.is_unique(), "the reader keeps a receive slot");
    assert_eq!(reader.finish(), Err(WireError::Truncated));
    reader.push(bytes.slice(10..));
    assert_eq!(reader.poll().unwrap().unwrap(), "a message that comes in two pieces");
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn an_empty_message_is_a_frame_of_its_own() {
    let mut reader = FrameReader::new();
    reader.push(Bytes::from_static(&[0, 0, 0]));
    assert_eq!(reader.poll(), Ok(None));
    reader.push(Bytes::from_static(&[0]));
    assert_eq!(reader.poll(), Ok(Some(Bytes::new())));
    assert_eq!(reader.poll(), Ok(None));
}

#[test]
fn the_longest_message_passes_and_one_byte_more_does_not() {
    let longest = vec![7; MESSAGE_BYTES_MAX];
    let mut reader = FrameReader::new();
    reader.push(frame(&longest));
    assert_eq!(reader.poll().unwrap().unwrap(), longest);

    let mut reader = FrameReader::new();
    let prefix = u32::try_from(MESSAGE_BYTES_MAX + 1).unwrap().to_be_bytes();
    reader.push(Bytes::copy_from_slice(&prefix[..3]));
    assert_eq!(reader.poll(), Ok(None));
    reader.push(Bytes::copy_from_slice(&prefix[3..]));
    let error = Err(WireError::TooLong(MESSAGE_BYTES_MAX + 1));
    assert_eq!(reader.poll(), error, "refused at the prefix, before any of the message came");
    reader.push(frame(b"fine"));
    assert_eq!(reader.poll(), error, "and for ever");
}

#[test]
fn our_own_messages_are_held_to_the_limit() {
    let message = Drain { deadline_ms: 0, reason: "x".repeat(MESSAGE_BYTES_MAX) };
    assert!(matches!(encode_frame(&message), Err(WireError::TooLong(_))));
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_wherever_they_are_split(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5),
        payload in prop::collection::vec(any::<u8>(), 0..100),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut bytes = BytesMut::new();
        for message in &messages {
            bytes.extend_from_slice(&frame(message));
        }
        bytes.extend_from_slice(&payload);
        let (read, rest) = read_all(split_at(&bytes.freeze(), &cuts), messages.len());
        prop_assert_eq!(read, messages);
        prop_assert_eq!(rest, Ok(payload));
    }

    #[test]
    fn arbitrary_bytes_give_the_same_result_however_they_are_split(
        // Small length prefixes, so that frames occur.
        bytes in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => 0u8..8, 1 => any::<u8>()], 0..300),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let bytes = Bytes::from(bytes);
        let whole = read_all(vec![bytes.clone()], usize::MAX);
        prop_assert_eq!(read_all(split_at(&bytes, &cuts), usize::MAX), whole);
    }
}
