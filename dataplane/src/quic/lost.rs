//! Why a connection ended: what happened, in words for an operator, whose fault it was, and whether to try again.

use std::fmt;
use std::time::Duration;

use quinn_proto::{ConnectionError, TransportErrorCode, VarInt};

use crate::wire::{CloseCode, ResetCode};

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// This side, or its configuration.
    Local,
    /// The other side, or its configuration.
    Peer,
    /// The network between them, as far as one can tell.
    Network,
    /// Nobody: it ended as it should.
    None,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LostKind {
    /// The peer closed it; `None` for a code that a newer peer invented.
    ClosedByPeer(Option<CloseCode>),
    /// This side closed it by [`super::Quic::close`].
    ClosedLocally(CloseCode),
    /// A stateless reset: the peer no longer knows the connection, so it has restarted.
    Reset,
    /// Nothing was received for [`crate::limits::IDLE_TIME_MAX`], or for [`crate::limits::HELD_TIME_MAX`] where the
    /// peer was there by another way.
    Idle,
    /// What was sent went unanswered for [`crate::limits::UNANSWERED_TIME_MAX`], or was not acknowledged for
    /// [`crate::limits::UNACKNOWLEDGED_TIME_MAX`] while other things came.
    Unanswered,
    /// The handshake did not end in time.
    HandshakeTimeout,
    /// The server took no new connection: too many handshakes, or it is full.
    Refused,
    /// TLS failed here: the peer's certificate or offer was not acceptable.
    TlsLocal,
    /// TLS failed there: our certificate or offer was not acceptable to the peer.
    TlsPeer,
    /// No QUIC version in common.
    VersionMismatch,
    /// The peer broke the protocol, or we did in its eyes.
    Protocol,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostReason {
    /// What happened.
    pub kind: LostKind,
    /// The same in words, without a full stop. For the log; may quote the peer.
    pub text: String,
    /// Whether the same attempt may succeed later without anybody changing a configuration.
    pub retry: bool,
    /// Who is to blame.
    pub fault: Fault,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl LostReason {
    /// A reason in words of its own.
    pub(crate) fn new(kind: LostKind, fault: Fault, retry: bool, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), retry, fault }
    }

    /// The peer closed with this code of the tunnel protocol, and these words.
    pub(crate) fn closed_by_peer(code: u64, reason: &[u8]) -> Self {
        closed_by_application(code, reason)
    }

    /// This end closed.
    pub(crate) fn closed_locally(code: CloseCode, text: &str) -> Self {
        Self::new(LostKind::ClosedLocally(code), Fault::None, true, text)
    }

    pub(super) fn unanswered(waited: Duration) -> Self {
        let seconds = waited.as_secs();
        Self::new(LostKind::Unanswered, Fault::Network, true, format!("no answer for {seconds} s"))
    }

    pub(super) fn idle(silent: Duration) -> Self {
        let seconds = silent.as_secs();
        Self::new(LostKind::Idle, Fault::Network, true, format!("nothing was received for {seconds} s"))
    }

    pub(super) fn unacknowledged() -> Self {
        let seconds = crate::limits::UNACKNOWLEDGED_TIME_MAX.as_secs();
        let text = format!("the peer speaks and has acknowledged nothing for {seconds} s");
        Self::new(LostKind::Unanswered, Fault::Peer, true, text)
    }

    pub(super) fn moved_too_often(text: &str) -> Self {
        Self::new(LostKind::ClosedLocally(CloseCode::Protocol), Fault::Peer, true, text)
    }

    pub(super) fn handshake_timeout() -> Self {
        let seconds = crate::limits::HANDSHAKE_TIME_MAX.as_secs();
        let text = format!("the handshake did not end within {seconds} s");
        Self::new(LostKind::HandshakeTimeout, Fault::Network, true, text)
    }

    pub(super) fn keys_used_up() -> Self {
        Self::new(LostKind::Protocol, Fault::Local, true, "the handshake has used up its keys")
    }

    pub(super) fn from_error(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::VersionMismatch => Self::new(
                LostKind::VersionMismatch,
                Fault::Peer,
                false,
                "the peer does not speak QUIC version 1",
            ),
            ConnectionError::ApplicationClosed(close) => {
                closed_by_application(close.error_code.into_inner(), &close.reason)
            }
            ConnectionError::ConnectionClosed(close) => closed_by_transport(close.error_code, &close.reason),
            ConnectionError::TransportError(error) => {
                if let Some(alert) = alert(error.code) {
                    let text = format!("TLS: {}", with_alert(alert, &printable(error.reason.as_bytes())));
                    return Self::new(LostKind::TlsLocal, Fault::Peer, false, text);
                }
                Self::new(LostKind::Protocol, Fault::Peer, true, format!("protocol error: {error}"))
            }
            ConnectionError::Reset => Self::new(
                LostKind::Reset,
                Fault::Peer,
                true,
                "stateless reset: the peer has restarted and does not know this connection",
            ),
            // A peer may ask for an idle timeout of its own (RFC 9000 section 10.1).
            ConnectionError::TimedOut => Self::new(
                LostKind::Idle,
                Fault::Network,
                true,
                "nothing was received for the peer's idle time",
            ),
            // quinn-proto reports neither for a connection that it already handed out; both stay readable.
            ConnectionError::LocallyClosed => Self::new(LostKind::Protocol, Fault::Local, true, "closed"),
            ConnectionError::CidsExhausted => {
                Self::new(LostKind::Protocol, Fault::Local, true, "no connection ID left")
            }
        }
    }
}

fn closed_by_application(code: u64, reason: &[u8]) -> LostReason {
    let known = CloseCode::from_code(code);
    let words = printable(reason);
    let text = match known {
        _ if !words.is_empty() => format!("closed by the peer: {words}"),
        Some(known) => format!("closed by the peer: {}", known.text()),
        None => format!("closed by the peer with unknown code {code:#x}"),
    };
    // What this end must change before it is taken back; everything else passes.
    let fault = match known {
        Some(
            CloseCode::Refused | CloseCode::Unauthenticated | CloseCode::Protocol | CloseCode::Duplicate,
        ) => Fault::Local,
        Some(CloseCode::NoError | CloseCode::Draining | CloseCode::Shutdown) => Fault::None,
        _ => Fault::Peer,
    };
    LostReason::new(LostKind::ClosedByPeer(known), fault, fault != Fault::Local, text)
}

fn closed_by_transport(code: TransportErrorCode, reason: &[u8]) -> LostReason {
    let reason = printable(reason);
    if let Some(alert) = alert(code) {
        let text = format!("the peer refused the TLS handshake: {}", with_alert(alert, &reason));
        return LostReason::new(LostKind::TlsPeer, Fault::Local, false, text);
    }
    match code {
        TransportErrorCode::CONNECTION_REFUSED => LostReason::new(
            LostKind::Refused,
            Fault::Peer,
            true,
            "refused: the server takes no new connections at the moment",
        ),
        // What an application's close becomes before the handshake ends (RFC 9000 section 10.2.3).
        TransportErrorCode::APPLICATION_ERROR => {
            LostReason::new(LostKind::Refused, Fault::Peer, true, "closed by the peer during the handshake")
        }
        _ => {
            let text = if reason.is_empty() { code.to_string() } else { format!("{code}: {reason}") };
            LostReason::new(LostKind::Protocol, Fault::Local, true, format!("the peer reports: {text}"))
        }
    }
}

/// The stream code of the tunnel protocol; one that a newer peer invented means as much as a reset.
pub(super) fn reset_code(code: VarInt) -> ResetCode {
    ResetCode::from_code(code.into_inner()).unwrap_or(ResetCode::ResetByPeer)
}

/// The TLS alert in a CRYPTO_ERROR code (RFC 9001 section 4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    let code = u64::from(code);
    (0x100..0x200).contains(&code).then(|| u8::try_from(code & 0xff).expect("masked to eight bits"))
}

fn with_alert(alert: u8, reason: &str) -> String {
    let name = alert_name(alert);
    if reason.is_empty() { name.to_owned() } else { format!("{name} ({reason})") }
}

/// RFC 8446 section 6.2, in words.
const fn alert_name(alert: u8) -> &'static str {
    match alert {
        40 => "no acceptable handshake parameters",
        42 => "certificate unreadable or its signature wrong",
        43 => "certificate of an unsupported kind",
        44 => "certificate revoked",
        45 => "certificate expired or not yet valid",
        46 => "certificate not acceptable",
        47 => "illegal handshake parameter",
        48 => "certificate of an unknown authority",
        49 => "access denied",
        50 => "handshake message unreadable",
        51 => "handshake signature or binder wrong",
        70 => "TLS version not supported",
        71 => "security of the offer insufficient",
        80 => "internal error of the TLS library",
        112 => "server name not known",
        116 => "certificate required",
        120 => "application protocol not supported",
        _ => "TLS alert",
    }
}

/// A peer's words, made safe for a log: valid UTF-8, no control characters, at most
/// [`crate::limits::REASON_PHRASE_BYTES_MAX`] bytes.
fn printable(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(crate::limits::REASON_PHRASE_BYTES_MAX)];
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_words_cannot_forge_log_lines() {
        let text = printable(b"gone\r\nlevel=error \x1b[31m\xff");
        assert_eq!(text, "gone  level=error  [31m\u{fffd}");
        assert_eq!(printable(&[b'a'; 5000]).len(), crate::limits::REASON_PHRASE_BYTES_MAX);
    }

    #[test]
    fn tls_refusals_are_readable_and_blame_the_configuration() {
        let reason = closed_by_transport(TransportErrorCode::crypto(116), b"");
        assert_eq!(reason.text, "the peer refused the TLS handshake: certificate required");
        assert_eq!((reason.kind, reason.fault, reason.retry), (LostKind::TlsPeer, Fault::Local, false));
    }

    #[test]
    fn a_full_server_is_worth_another_try() {
        let reason = closed_by_transport(TransportErrorCode::CONNECTION_REFUSED, b"");
        assert_eq!((reason.kind, reason.retry), (LostKind::Refused, true));
    }
}
