//! The request line: its text, and what it means. Pure.

use std::fmt;
use std::str::FromStr;

/// What a client asks of a target. The [`fmt::Display`] form is the line without its `\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Return every byte.
    Echo,
    /// Check payload and answer.
    Sink {
        /// Of the payload.
        seed: u64,
        /// How many.
        bytes: u64,
    },
    /// Send payload.
    Source {
        /// Of the payload.
        seed: u64,
        /// How many.
        bytes: u64,
    },
    /// Check payload and say how far it got.
    Meter {
        /// Of the payload.
        seed: u64,
    },
    /// Send a block of payload for each byte received.
    Pull {
        /// Of the payload.
        seed: u64,
        /// Bytes of a block, at least 1.
        block_bytes: u64,
    },
    /// Speak, then take the next request.
    Greet,
    /// Read nothing.
    Stall,
    /// Read slowly.
    Trickle {
        /// At most this many, at least 1.
        bytes_per_second: u64,
    },
    /// Send payload of seed 0, then reset.
    Reset {
        /// How many before the reset.
        bytes: u64,
    },
    /// Send payload after the client's FIN.
    HalfClose {
        /// Of the payload.
        seed: u64,
        /// How many.
        bytes: u64,
    },
    /// Send FIN, then check payload.
    FinishFirst {
        /// Of the payload.
        seed: u64,
        /// How many.
        bytes: u64,
    },
}

/// Why a line is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The first word is none of the known ones.
    Unknown,
    /// A number is missing, malformed, zero where it may not be, or one too many.
    Arguments,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown request",
            Self::Arguments => "wrong arguments",
        })
    }
}

impl std::error::Error for RequestError {}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Echo => f.write_str("echo"),
            Self::Sink { seed, bytes } => write!(f, "sink {seed} {bytes}"),
            Self::Source { seed, bytes } => write!(f, "source {seed} {bytes}"),
            Self::Meter { seed } => write!(f, "meter {seed}"),
            Self::Pull { seed, block_bytes } => write!(f, "pull {seed} {block_bytes}"),
            Self::Greet => f.write_str("greet"),
            Self::Stall => f.write_str("stall"),
            Self::Trickle { bytes_per_second } => write!(f, "trickle {bytes_per_second}"),
            Self::Reset { bytes } => write!(f, "reset {bytes}"),
            Self::HalfClose { seed, bytes } => write!(f, "half-close {seed} {bytes}"),
            Self::FinishFirst { seed, bytes } => write!(f, "finish-first {seed} {bytes}"),
        }
    }
}

impl FromStr for Request {
    type Err = RequestError;

    fn from_str(line: &str) -> Result<Self, RequestError> {
        let mut words = line.split(' ');
        let verb = words.next().ok_or(RequestError::Unknown)?;
        let mut number = || -> Result<u64, RequestError> {
            let word = words.next().ok_or(RequestError::Arguments)?;
            word.parse().map_err(|_| RequestError::Arguments)
        };
        let request = match verb {
            "echo" => Self::Echo,
            "sink" => Self::Sink { seed: number()?, bytes: number()? },
            "source" => Self::Source { seed: number()?, bytes: number()? },
            "meter" => Self::Meter { seed: number()? },
            "pull" => match (number()?, number()?) {
                (_, 0) => return Err(RequestError::Arguments),
                (seed, block_bytes) => Self::Pull { seed, block_bytes },
            },
            "greet" => Self::Greet,
            "stall" => Self::Stall,
            "trickle" => match number()? {
                0 => return Err(RequestError::Arguments),
                bytes_per_second => Self::Trickle { bytes_per_second },
            },
            "reset" => Self::Reset { bytes: number()? },
            "half-close" => Self::HalfClose { seed: number()?, bytes: number()? },
            "finish-first" => Self::FinishFirst { seed: number()?, bytes: number()? },
            _ => return Err(RequestError::Unknown),
        };
        match words.next() {
            None => Ok(request),
            Some(_) => Err(RequestError::Arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Request, RequestError};

    fn any_request() -> impl Strategy<Value = Request> {
        let pair = (any::<u64>(), any::<u64>());
        prop_oneof![
            Just(Request::Echo),
            Just(Request::Greet),
            Just(Request::Stall),
            pair.prop_map(|(seed, bytes)| Request::Sink { seed, bytes }),
            pair.prop_map(|(seed, bytes)| Request::Source { seed, bytes }),
            pair.prop_map(|(seed, bytes)| Request::HalfClose { seed, bytes }),
            pair.prop_map(|(seed, bytes)| Request::FinishFirst { seed, bytes }),
            any::<u64>().prop_map(|seed| Request::Meter { seed }),
            (any::<u64>(), 1..=u64::MAX).prop_map(|(seed, block_bytes)| Request::Pull { seed, block_bytes }),
            (1..=u64::MAX).prop_map(|bytes_per_second| Request::Trickle { bytes_per_second }),
            any::<u64>().prop_map(|bytes| Request::Reset { bytes }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed(request in any_request()) {
            let line = request.to_string();
            prop_assert!(line.len() < crate::target::REQUEST_BYTES_MAX);
            prop_assert_eq!(line.parse(), Ok(request));
        }

        #[test]
        fn garbage_is_an_error_or_prints_as_itself(line in "[a-z0-9 -]{0,40}") {
            if let Ok(request) = line.parse::<Request>() {
                prop_assert_eq!(request.to_string().parse(), Ok(request));
            }
        }
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in ["", "Echo", "echo\r", " echo", "download 1 2"] {
            assert_eq!(line.parse::<Request>(), Err(RequestError::Unknown), "{line:?}");
        }
        for line in [
            "echo 1",
            "sink",
            "sink 1",
            "sink 1 2 3",
            "sink -1 2",
            "sink 1  2",
            "trickle 0",
            "pull 1 0",
            "reset x",
        ] {
            assert_eq!(line.parse::<Request>(), Err(RequestError::Arguments), "{line:?}");
        }
    }
}
