//! What a completion belongs to: kind, table index and generation in one integer. An index, never a pointer, so a
//! late completion is a checked lookup.

use adit_io::Token;

use crate::stream::dial::AttemptIndex;
use crate::stream::table::Key;

/// What an operation was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Accepting on a listener.
    Accept,
    /// Receiving from a tunnel's socket.
    Recv,
    /// Sending to a tunnel's socket.
    Send,
    /// Ending the sending direction of a tunnel's socket.
    ShutdownWrite,
    /// Watching a tunnel's socket that is not being read.
    Watch,
    /// Receiving datagrams.
    RecvDatagrams,
    /// Sending a train of datagrams.
    Train,
    /// An attempt to connect to a dial's address.
    Connect(AttemptIndex),
}

const CONNECT_BASE: u8 = 16;

impl Purpose {
    const fn code(self) -> u8 {
        match self {
            Self::Accept => 0,
            Self::Recv => 1,
            Self::Send => 2,
            Self::ShutdownWrite => 3,
            Self::Watch => 4,
            Self::RecvDatagrams => 5,
            Self::Train => 6,
            Self::Connect(index) => CONNECT_BASE + index,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Accept,
            1 => Self::Recv,
            2 => Self::Send,
            3 => Self::ShutdownWrite,
            4 => Self::Watch,
            5 => Self::RecvDatagrams,
            6 => Self::Train,
            CONNECT_BASE.. => Self::Connect(code - CONNECT_BASE),
            _ => return None,
        })
    }
}

const _: () = assert!(crate::limits::DIAL_ADDRESSES_MAX <= (u8::MAX - CONNECT_BASE) as usize);

/// The token of an operation for an entry of a table.
#[must_use]
pub(super) fn encode(purpose: Purpose, key: Key) -> Token {
    debug_assert!(key.generation < 1 << 24);
    Token(u64::from(purpose.code()) << 56 | u64::from(key.generation) << 32 | u64::from(key.index))
}

/// What a token says; `None` for one that this shard never made.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "each field is masked to its width")]
pub(super) const fn decode(token: Token) -> Option<(Purpose, Key)> {
    let Some(purpose) = Purpose::from_code((token.0 >> 56) as u8) else { return None };
    let generation = (token.0 >> 32) as u32 & 0x00ff_ffff;
    Some((purpose, Key { index: token.0 as u32, generation }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_comes_back() {
        let key = Key { index: u32::MAX, generation: (1 << 24) - 1 };
        let attempts = (0..8).map(Purpose::Connect);
        let others = [Purpose::Accept, Purpose::Recv, Purpose::Send, Purpose::ShutdownWrite, Purpose::Watch];
        for purpose in others.into_iter().chain([Purpose::RecvDatagrams, Purpose::Train]).chain(attempts) {
            assert_eq!(decode(encode(purpose, key)), Some((purpose, key)));
        }
    }

    #[test]
    fn a_foreign_token_is_not_ours() {
        assert_eq!(decode(Token(9 << 56)), None);
    }
}
