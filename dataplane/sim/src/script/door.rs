//! Where clients knock, what they say first, and what they hear.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use super::wire::Wire;
use crate::clock::SimTime;
use crate::net::{HostId, SimNet, StreamError};

/// Where a client knocks.
#[derive(Clone)]
pub enum Door {
    /// At this Unix socket.
    Unix(String),
    /// At this TCP port, in TLS, expecting a server of this name.
    Tls(SocketAddr, Arc<ClientConfig>, ServerName<'static>),
}

impl Door {
    /// Connects for a script.
    ///
    /// # Errors
    /// As [`SimNet::connect_unix`] and [`SimNet::connect_tcp`].
    pub fn connect(&self, net: &mut SimNet, from: HostId, script: u32) -> Result<Wire, StreamError> {
        let socket = match self {
            Self::Unix(path) => net.connect_unix(from, path)?,
            Self::Tls(at, ..) => net.connect_tcp(from, *at)?,
        };
        net.own_by_script(socket, script);
        Ok(match self {
            Self::Unix(_) => Wire::plain(socket),
            Self::Tls(_, config, name) => Wire::tls(net, socket, Arc::clone(config), name.clone()),
        })
    }

    /// What gRPC calls whoever is there: a socket's path percent-encoded, as grpc-go does since 1.57, or an address.
    #[must_use]
    pub fn authority(&self) -> String {
        match self {
            Self::Unix(path) => path.replace('/', "%2F"),
            Self::Tls(at, ..) => at.to_string(),
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::Tls(at, ..) => write!(f, "tls:{at}"),
        }
    }
}

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A request for this `host:port`.
    Connect(String),
    /// The same, a few bytes at a time.
    Trickled(String),
    /// Nothing.
    Silence,
    /// Something that is no request.
    Garbage,
    /// Half a request, and then it leaves.
    LeavesEarly(String),
    /// A request, and then it leaves before the answer.
    LeavesBeforeAnswer(String),
}

/// The server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code; 0 where the answer is no HTTP. In GRPC mode 200 for a DIAL_RSP without an error, and 500 for
    /// one with an error.
    pub status: u16,
    /// When it was complete.
    pub at: SimTime,
    /// The status line and what follows it, or the error.
    pub text: String,
}
