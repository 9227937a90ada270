//! Errors of a dial: a class for metrics and for the caller's decisions, and a text shaped as Go's `net` package
//! shapes it, because kube-apiserver's users, its tests and Konnectivity's status mapping look for those words.

use std::io;
use std::net::SocketAddr;

use adit_io::OpError;

use crate::limits;

use super::clean_text::clean_text;

/// What kind of error a dial ended with (PROTOCOL.md section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum ErrorClass {
    /// None.
    Ok = 0,
    /// Nothing came in time.
    Timeout = 1,
    /// The target refused the connection.
    Refused = 2,
    /// The name has no address.
    NoSuchHost = 3,
    /// No way to the host or its network.
    Unreachable = 4,
    /// The target reset the connection.
    Reset = 5,
    /// The agent is out of descriptors.
    TooManyOpenFiles = 6,
    /// The agent's policy forbids the destination.
    PolicyDenied = 7,
    /// The server gave up, or the agent is ending.
    Canceled = 8,
    /// The agent does not know the network or the form of the address.
    Unsupported = 9,
    /// The agent has no room for another tunnel.
    Full = 10,
    /// Anything else, and every class that this end does not know.
    Other = 15,
}

impl ErrorClass {
    /// Every class, in order.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::Timeout,
        Self::Refused,
        Self::NoSuchHost,
        Self::Unreachable,
        Self::Reset,
        Self::TooManyOpenFiles,
        Self::PolicyDenied,
        Self::Canceled,
        Self::Unsupported,
        Self::Full,
        Self::Other,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The class of a number on the wire.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        Self::ALL.into_iter().find(|class| class.number() == number).unwrap_or(Self::Other)
    }

    /// Whether it is about the agent and not about what was to be dialed: another agent may do better.
    #[must_use]
    pub const fn is_the_agents_own(self) -> bool {
        matches!(self, Self::Canceled | Self::TooManyOpenFiles | Self::Full)
    }

    /// For metric labels: one lower-case word, `_` between parts.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::NoSuchHost => "no_such_host",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::TooManyOpenFiles => "too_many_open_files",
            Self::PolicyDenied => "policy_denied",
            Self::Canceled => "canceled",
            Self::Unsupported => "unsupported",
            Self::Full => "full",
            Self::Other => "other",
        }
    }

    /// The words that Go has for it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ok => "",
            Self::Timeout => "i/o timeout",
            Self::Refused => "connection refused",
            Self::NoSuchHost => "no such host",
            Self::Unreachable => "no route to host",
            Self::Reset => "connection reset by peer",
            Self::TooManyOpenFiles => "too many open files",
            Self::PolicyDenied => "destination not allowed",
            Self::Canceled => "operation was canceled",
            Self::Unsupported => "unknown network",
            Self::Full => "too many tunnels",
            Self::Other => "dial failed",
        }
    }

    /// The class of an error in Go's words, as an agent of Konnectivity's sends it: the first match of a part of the
    /// text, whatever its case, in the order of [`status_for_text`]; [`Self::Other`] if none matches.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        const WORDS: [(&str, ErrorClass); 14] = [
            ("timeout", ErrorClass::Timeout),
            ("deadline exceeded", ErrorClass::Timeout),
            ("too many open files", ErrorClass::TooManyOpenFiles),
            ("connection refused", ErrorClass::Refused),
            ("connection reset by peer", ErrorClass::Reset),
            ("broken pipe", ErrorClass::Reset),
            ("network is unreachable", ErrorClass::Unreachable),
            ("no route to host", ErrorClass::Unreachable),
            ("host is unreachable", ErrorClass::Unreachable),
            ("network is down", ErrorClass::Unreachable),
            ("no such host", ErrorClass::NoSuchHost),
            ("name resolution", ErrorClass::NoSuchHost),
            ("operation was canceled", ErrorClass::Canceled),
            ("unknown network", ErrorClass::Unsupported),
        ];
        let text = text.to_ascii_lowercase();
        WORDS.into_iter().find(|(word, _)| text.contains(word)).map_or(Self::Other, |(_, class)| class)
    }

    /// The class of an errno.
    #[must_use]
    pub fn from_errno(errno: i32) -> Self {
        // Not told apart by `io::ErrorKind`; the numbers are the same on every Linux architecture.
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        match io::Error::from_raw_os_error(errno).kind() {
            _ if errno == ENFILE || errno == EMFILE => Self::TooManyOpenFiles,
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => Self::Unreachable,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            _ => Self::Other,
        }
    }
}

/// Why a dial failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct DialError {
    /// Of which kind. Never [`ErrorClass::Ok`].
    pub class: ErrorClass,
    /// In Go's words, clean and at most [`limits::PEER_TEXT_BYTES_MAX`] bytes.
    pub text: String,
}

impl DialError {
    /// An error with words of its own, which are cleaned and cut.
    #[must_use]
    pub fn new(class: ErrorClass, text: &str) -> Self {
        Self { class, text: clean_text(text, limits::PEER_TEXT_BYTES_MAX) }
    }

    /// A connect that failed: `dial tcp 10.0.0.1:80: connect: connection refused`, v6 addresses bracketed.
    #[must_use]
    pub fn connect(addr: SocketAddr, error: OpError) -> Self {
        match error {
            OpError::Cancelled => {
                Self::new(ErrorClass::Canceled, &format!("dial tcp {addr}: operation was canceled"))
            }
            OpError::NoBuffers => {
                Self::new(ErrorClass::Full, &format!("dial tcp {addr}: no buffer space available"))
            }
            OpError::Os(errno) => {
                let class = ErrorClass::from_errno(errno);
                // Go names the system call that failed; only socket(2) runs out of descriptors.
                let call = if class == ErrorClass::TooManyOpenFiles { "socket" } else { "connect" };
                Self::new(class, &format!("dial tcp {addr}: {call}: {}", go_errno_text(errno)))
            }
        }
    }

    /// A dial that took too long: `dial tcp 10.0.0.1:80: i/o timeout`. `target` is the address being tried, or the
    /// request's `host:port` before there is one.
    #[must_use]
    pub fn timeout(target: &str) -> Self {
        Self::new(ErrorClass::Timeout, &format!("dial tcp {target}: i/o timeout"))
    }

    /// A name without an address; `error` as control words it, `lookup NAME: no such host`.
    #[must_use]
    pub fn lookup(error: &str) -> Self {
        let class = if error.ends_with("no such host") {
            ErrorClass::NoSuchHost
        } else if error.contains("timeout") || error.contains("deadline exceeded") {
            ErrorClass::Timeout
        } else {
            ErrorClass::Other
        };
        Self::new(class, &format!("dial tcp: {error}"))
    }

    /// A destination that the agent's policy forbids: `dial tcp 169.254.169.254:80: connect: destination not
    /// allowed: link-local address`.
    #[must_use]
    pub fn denied(denied: &crate::route::Denied) -> Self {
        let crate::route::Denied { ip, port, reason } = *denied;
        let addr = SocketAddr::new(ip, port);
        Self::new(
            ErrorClass::PolicyDenied,
            &format!("dial tcp {addr}: connect: {}: {reason}", ErrorClass::PolicyDenied.text()),
        )
    }

    /// An address that cannot be dialed as it is written: `dial tcp: address 10.0.0.1: missing port in address`.
    #[must_use]
    pub fn address(address: &str, error: &crate::route::TargetError) -> Self {
        Self::new(ErrorClass::Unsupported, &format!("dial tcp: address {address}: {error}"))
    }
}

/// An errno in Go's words, which are the kernel's in lower case (`connection refused`).
fn go_errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// The HTTP status that Konnectivity's server gives an error text of an agent: the first match of a part of the
/// text, whatever its case; 502 if none matches.
#[must_use]
pub fn status_for_text(text: &str) -> u16 {
    // Every other text that upstream lists is a 502, too, and so is what it does not list.
    const GATEWAY_TIMEOUT: [&str; 2] = ["deadline exceeded", "timeout"];
    let text = text.to_ascii_lowercase();
    if GATEWAY_TIMEOUT.iter().any(|part| text.contains(part)) {
        504
    } else if text.contains("too many open files") {
        503
    } else {
        502
    }
}
