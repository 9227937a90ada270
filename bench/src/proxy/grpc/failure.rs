//! What went wrong with a tunnel, before it becomes an error of whoever waits for it.

use std::io;

use crate::proxy::DialError;

/// How it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Refused,
    Malformed,
    Io(io::ErrorKind),
}

/// Why a tunnel, or a whole connection, is over. Cloned for everybody who waits for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(super) struct Failure {
    kind: Kind,
    text: String,
}

impl Failure {
    /// The proxy said no.
    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self { kind: Kind::Refused, text: text.into() }
    }

    /// The proxy said what it may not say.
    pub(super) fn malformed(text: impl Into<String>) -> Self {
        Self { kind: Kind::Malformed, text: text.into() }
    }

    /// The proxy broke off, or was late.
    pub(super) fn io(kind: io::ErrorKind, text: impl Into<String>) -> Self {
        Self { kind: Kind::Io(kind), text: text.into() }
    }
}

impl From<Failure> for io::Error {
    fn from(Failure { kind, text }: Failure) -> Self {
        let kind = match kind {
            Kind::Refused => io::ErrorKind::ConnectionAborted,
            Kind::Malformed => io::ErrorKind::InvalidData,
            Kind::Io(kind) => kind,
        };
        Self::new(kind, text)
    }
}

impl From<Failure> for DialError {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            Kind::Refused => Self::Refused(failure.text),
            Kind::Malformed => Self::Malformed(failure.text),
            Kind::Io(_) => Self::Io { step: "DIAL_REQ", source: failure.into() },
        }
    }
}
