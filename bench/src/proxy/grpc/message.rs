//! gRPC's message framing (gRPC over HTTP/2, "Length-Prefixed-Message"): one byte that says whether the message is
//! compressed, four bytes of length, the message. Frames of HTTP/2 cut this anywhere.

use super::queue::Queue;

/// Longest message that is taken, in bytes: grpc-go's own limit, which is therefore every Go client's.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The compressed flag and the length.
const PREFIX_BYTES: usize = 5;

/// Why a stream is no sequence of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    /// No encoding was offered, so nothing may be compressed.
    #[error("a message with flags {0:#04x}; compression was not offered")]
    Flags(u8),
    /// Longer than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes; {MESSAGE_BYTES_MAX} are the most")]
    Length(usize),
}

/// Puts messages together again. Holds one incomplete message at most, and what was pushed and not taken.
#[derive(Debug, Default)]
pub(super) struct Messages {
    queue: Queue,
    /// Of the message that was handed out last: given back before the next one.
    taken_bytes: usize,
}

impl Messages {
    /// Adds what a frame carried.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.queue.consume(std::mem::take(&mut self.taken_bytes));
        self.queue.push(bytes);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// [`MessageError`], as soon as the prefix says so. Nothing sensible follows it.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, MessageError> {
        self.queue.consume(std::mem::take(&mut self.taken_bytes));
        let Some(([flags, length @ ..], rest)) = self.queue.bytes().split_first_chunk::<PREFIX_BYTES>()
        else {
            return Ok(None);
        };
        if *flags != 0 {
            return Err(MessageError::Flags(*flags));
        }
        let length = u32::from_be_bytes(*length) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(MessageError::Length(length));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.taken_bytes = PREFIX_BYTES + length;
        Ok(self.queue.bytes().get(PREFIX_BYTES..self.taken_bytes))
    }

    /// Whether the stream may end here.
    pub(super) fn is_between_messages(&self) -> bool {
        self.queue.len() == self.taken_bytes
    }
}

/// A buffer that begins with the prefix of a message of this many bytes, which must follow.
///
/// # Panics
/// Longer than 4 GiB: no caller makes such messages.
pub(super) fn prefix(length: usize) -> Vec<u8> {
    let announced = u32::try_from(length).expect("a message is shorter than 4 GiB");
    let mut message = Vec::with_capacity(PREFIX_BYTES + length);
    message.push(0);
    message.extend_from_slice(&announced.to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MESSAGE_BYTES_MAX, MessageError, Messages, prefix};

    proptest! {
        #[test]
        fn messages_survive_any_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..12),
            cuts in prop::collection::vec(1_usize..40, 1..20),
        ) {
            let mut wire = Vec::new();
            for body in &bodies {
                wire.extend(prefix(body.len()));
                wire.extend(body);
            }
            let mut messages = Messages::default();
            let mut found = Vec::new();
            let mut cuts = cuts.iter().cycle();
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                messages.push(piece);
                while let Some(message) = messages.next().unwrap() {
                    found.push(message.to_vec());
                }
                rest = later;
            }
            prop_assert_eq!(found, bodies);
            prop_assert!(messages.is_between_messages());
        }

        #[test]
        fn garbage_is_refused_or_waits_and_nothing_is_made_up(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..30), 1..10),
        ) {
            let mut messages = Messages::default();
            let (mut pushed, mut taken) = (0, 0);
            'all: for piece in pieces {
                messages.push(&piece);
                pushed += piece.len();
                loop {
                    match messages.next() {
                        Ok(Some(message)) => taken += 5 + message.len(),
                        Ok(None) => break,
                        Err(_) => break 'all,
                    }
                }
                prop_assert!(taken <= pushed);
            }
        }
    }

    #[test]
    fn a_compressed_message_is_refused_at_its_prefix() {
        let mut messages = Messages::default();
        messages.push(&[1, 0, 0]);
        assert_eq!(messages.next(), Ok(None));
        messages.push(&[0, 9]);
        assert_eq!(messages.next(), Err(MessageError::Flags(1)));
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_before_it_comes() {
        let mut messages = Messages::default();
        messages.push(&prefix(MESSAGE_BYTES_MAX)[..5]);
        assert_eq!(messages.next(), Ok(None));
        assert!(!messages.is_between_messages());
        let mut messages = Messages::default();
        messages.push(&[0, 0, 0x40, 0, 1]);
        assert_eq!(messages.next(), Err(MessageError::Length(MESSAGE_BYTES_MAX + 1)));
    }
}
