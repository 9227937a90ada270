//! Errors of the seam: of an operation, of a submission, of a driver's start.

use std::io;

use crate::driver::DriverKind;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpError {
    /// It was cancelled, or its socket was closed.
    #[error("cancelled")]
    Cancelled,
    /// No receive slot was free. Nothing was lost; submit it again once bytes were dropped.
    #[error("no receive buffer was free")]
    NoBuffers,
    /// The kernel said so.
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    Os(i32),
}

impl OpError {
    /// The kind that the standard library gives this error.
    #[must_use]
    pub fn kind(self) -> io::ErrorKind {
        match self {
            Self::Cancelled => io::ErrorKind::Interrupted,
            Self::NoBuffers => io::ErrorKind::WouldBlock,
            Self::Os(errno) => io::Error::from_raw_os_error(errno).kind(),
        }
    }

    /// The errno, where there is one.
    #[must_use]
    pub const fn raw_os_error(self) -> Option<i32> {
        match self {
            Self::Os(errno) => Some(errno),
            _ => None,
        }
    }
}

/// Why a submission was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// A queue or table is full; try again after a turn.
    #[error("the driver is full")]
    Full,
    /// The socket was closed or released.
    #[error("the socket is gone")]
    StaleSocket,
    /// Operations are outstanding on the socket (R9).
    #[error("operations are outstanding on the socket")]
    Busy,
}

/// A refused submission: what was handed in, and why.
#[derive(Debug)]
pub struct Refused<T> {
    /// What was handed in.
    pub value: T,
    /// Why.
    pub reason: Refusal,
}

/// Why a driver could not start. The text says what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the {} driver: {cause}; {remedy}", kind.as_str())]
pub struct StartError {
    /// Which implementation.
    pub kind: DriverKind,
    /// What is in the way, e.g. "io_uring_setup: operation not permitted (a seccomp filter denies it)".
    pub cause: String,
    /// What the operator can do, e.g. "allow io_uring_setup … in the container's seccomp profile, or use --io epoll".
    pub remedy: String,
}
