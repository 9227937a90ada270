//! How a connection to the target is made through the system under test.
//!
//! A [`Connector`] is made once a run and shared by all its connections; [`Connector::dial`] is one connection: what
//! kube-apiserver would do for one request. The time it takes is what a user waits for.
//!
//! Deliberately absent: retries. A dial that fails is an error of the system under test, and counted as one.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

mod address;
mod connector;
mod grpc;
mod head;
mod tls;

pub use address::{Proxy, ProxyError};
pub use connector::{Connector, ConnectorError, Mode, Options};
pub use tls::{Files, TlsError};

/// A connection to the target, whatever carries it.
///
/// `shutdown` ends the sending half, and where the system under test carries half-closes the target sees them; where
/// the protocol has none ([`Mode::carries_half_close`]) it ends both. Dropping it ends both.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Stream for S {}

/// Why there is no connection to the target.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The proxy could not be reached, or broke off.
    #[error("{step}: {source}")]
    Io {
        /// What was tried: `connect`, `TLS handshake`, `CONNECT`, `DIAL_REQ`.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The proxy said no.
    #[error("refused: {0}")]
    Refused(String),
    /// The proxy said something that is no answer.
    #[error("not an answer: {0}")]
    Malformed(String),
}

impl DialError {
    /// The kind under which this is counted.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Io { step, source } => format!("dial: {step}: {}", source.kind()),
            Self::Refused(_) => "dial: refused".to_owned(),
            Self::Malformed(_) => "dial: malformed answer".to_owned(),
        }
    }
}
