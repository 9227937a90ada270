//! Messages, cut anywhere.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use crate::konnectivity::{FramingError, MessageReader, PREFIX_BYTES};
use crate::limits::{GRPC_BUFFER_BYTES_MAX, GRPC_MESSAGE_BYTES_MAX, GRPC_PIECES_MAX};
use crate::wire::tests::split_at;

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.put_slice(message);
    framed.freeze()
}

fn reader(bytes: impl Into<Bytes>) -> MessageReader {
    let mut reader = MessageReader::new();
    reader.push(bytes.into()).unwrap();
    reader
}

/// Everything a reader makes of pieces: messages, and what ended them.
fn read_all(pieces: Vec<Bytes>) -> (Vec<Bytes>, Result<(), FramingError>) {
    let mut reader = MessageReader::new();
    let mut messages = Vec::new();
    for piece in pieces {
        if let Err(error) = reader.push(piece) {
            return (messages, Err(error));
        }
        loop {
            match reader.poll() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    let end = reader.finish();
    (messages, end)
}

#[test]
fn a_message_in_one_piece_is_not_copied() {
    let bytes = framed(b"message");
    let mut reader = reader(bytes.clone());
    let message = reader.poll().unwrap().unwrap();
    assert_eq!(message, "message");
    assert_eq!(message.as_ptr(), bytes[PREFIX_BYTES..].as_ptr());
    assert_eq!((reader.poll(), reader.finish()), (Ok(None), Ok(())));
}

#[test]
fn an_unfinished_message_holds_none_of_the_pieces_it_came_in() {
    let bytes = framed(b"a message in two pieces");
    let first = Bytes::copy_from_slice(&bytes[..10]);
    let mut reader = reader(first.clone());
    assert_eq!(reader.poll(), Ok(None));
    assert!(first.is_unique());
    assert_eq!((reader.held_bytes(), reader.finish()), (10, Err(FramingError::Truncated)));
    reader.push(bytes.slice(10..)).unwrap();
    assert_eq!(reader.poll().unwrap().unwrap(), "a message in two pieces");
}

#[test]
fn several_messages_at_once_come_out_one_by_one_and_empty_ones_count() {
    let mut reader = reader([framed(b"one"), framed(b""), framed(b"two")].concat());
    for expected in ["one", "", "two"] {
        assert_eq!(reader.poll().unwrap().unwrap(), expected);
    }
    assert_eq!(reader.poll(), Ok(None));
}

#[test]
fn a_compressed_message_is_refused_at_its_prefix_and_for_ever() {
    let mut reader = reader(&[1, 0, 0, 0][..]);
    assert_eq!(reader.poll(), Ok(None));
    reader.push(Bytes::from_static(&[9])).unwrap();
    assert_eq!(reader.poll(), Err(FramingError::Flags(1)));
    reader.push(framed(b"fine")).unwrap();
    assert_eq!(reader.poll(), Err(FramingError::Flags(1)));
    assert_eq!(FramingError::Flags(1).to_string(), "a message with flags 0x01: compression was not offered");
}

#[test]
fn the_longest_message_passes_and_one_byte_more_is_refused_before_it_comes() {
    let longest = vec![7; GRPC_MESSAGE_BYTES_MAX];
    assert_eq!(reader(framed(&longest)).poll().unwrap().unwrap(), longest);
    let mut reader = reader(&[0, 0, 0x40, 0, 1][..]);
    let error = FramingError::TooLong(GRPC_MESSAGE_BYTES_MAX + 1);
    assert_eq!(reader.poll(), Err(error));
    assert_eq!(error.to_string(), "received message larger than max (4194305 vs. 4194304)");
}

#[test]
fn what_waits_is_bounded_and_a_prefix_alone_takes_no_memory() {
    let mut reader = reader(&[0, 0, 0x40, 0, 0][..]);
    assert_eq!((reader.poll(), reader.held_bytes()), (Ok(None), PREFIX_BYTES));
    let piece = Bytes::from(vec![0; 1 << 20]);
    let error = loop {
        assert!(reader.held_bytes() <= GRPC_BUFFER_BYTES_MAX);
        if let Err(error) = reader.push(piece.clone()) {
            break error;
        }
    };
    assert!(matches!(error, FramingError::Overflow(_)), "{error}");
    assert_eq!((reader.poll(), reader.held_bytes()), (Err(error), 0));
}

#[test]
fn bytes_one_by_one_do_not_pin_what_they_came_in() {
    let buffer = Bytes::from(vec![0; GRPC_PIECES_MAX + 1]);
    let shared = buffer.slice(..1);
    drop(buffer);
    let mut reader = MessageReader::new();
    for _ in 0..=GRPC_PIECES_MAX {
        reader.push(shared.clone()).unwrap();
    }
    assert!(shared.is_unique());
    assert_eq!(reader.held_bytes(), GRPC_PIECES_MAX + 1);
    // Thirteen empty messages.
    assert_eq!(std::iter::from_fn(|| reader.poll().unwrap()).count(), (GRPC_PIECES_MAX + 1) / PREFIX_BYTES);
}

proptest! {
    #[test]
    fn messages_come_out_as_they_went_in_wherever_they_are_cut(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
        cuts in prop::collection::vec(any::<usize>(), 0..80),
    ) {
        let bytes: Bytes = messages.iter().flat_map(|message| framed(message)).collect();
        let (read, end) = read_all(split_at(&bytes, &cuts));
        prop_assert_eq!(read, messages);
        prop_assert_eq!(end, Ok(()));
    }

    #[test]
    fn arbitrary_bytes_give_the_same_result_however_they_are_cut(
        bytes in prop::collection::vec(prop_oneof![8 => Just(0_u8), 2 => 0_u8..8, 1 => any::<u8>()], 0..300),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let bytes = Bytes::from(bytes);
        prop_assert_eq!(read_all(split_at(&bytes, &cuts)), read_all(vec![bytes]));
    }
}
