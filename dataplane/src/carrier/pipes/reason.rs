//! What the two ends tell each other when a connection ends, as GOAWAY's debug data (PROTOCOL.md section 12), and what
//! an end is told of it.

use crate::http2::{ConnectionError, ErrorCode, Late};
use crate::limits::{HTTP2_KEEP_ALIVE_TIMEOUT, REASON_PHRASE_BYTES_MAX};
use crate::quic::{Fault, LostKind, LostReason};
use crate::wire::{CloseCode, ResetCode, clean_text};

/// What a close begins with.
const CLOSE: &str = "adit/1 close ";

/// The text of a close.
pub(super) fn close_text(code: CloseCode, reason: &str) -> String {
    format!("{CLOSE}{} {}", code.code(), clean_text(reason, REASON_PHRASE_BYTES_MAX))
}

/// Why the peer's GOAWAY ends the connection. Whatever it says, nothing follows it.
pub(super) fn of_goaway(code: ErrorCode, text: &str) -> LostReason {
    if code != ErrorCode::NO_ERROR {
        let text = if text.is_empty() { code.to_string() } else { format!("{code}: {text}") };
        return LostReason::new(LostKind::Protocol, Fault::Local, true, format!("the peer reports: {text}"));
    }
    let close = text.strip_prefix(CLOSE).and_then(|close| {
        let (number, reason) = close.split_once(' ').unwrap_or((close, ""));
        Some((number.parse::<u32>().ok()?, reason))
    });
    match close {
        Some((number, reason)) => LostReason::closed_by_peer(u64::from(number), reason.as_bytes()),
        // Whoever says it speaks no adit/1, and may as well be something between.
        None if text.is_empty() => LostReason::new(
            LostKind::ClosedByPeer(None),
            Fault::Peer,
            true,
            "closed by the peer without a reason",
        ),
        None => {
            let text = format!("closed by the peer: {text}");
            LostReason::new(LostKind::ClosedByPeer(None), Fault::Peer, true, text)
        }
    }
}

/// Why an error ends the connection.
pub(super) fn of_error(error: &ConnectionError) -> LostReason {
    let fault = if error.is_peers_fault() { Fault::Peer } else { Fault::Local };
    let kind = match error {
        ConnectionError::Late(Late::Preface | Late::SettingsAck) => LostKind::HandshakeTimeout,
        _ => LostKind::Protocol,
    };
    LostReason::new(kind, fault, true, error.to_string())
}

/// The peer did not answer.
pub(super) fn unanswered() -> LostReason {
    let seconds = HTTP2_KEEP_ALIVE_TIMEOUT.as_secs();
    LostReason::new(LostKind::Unanswered, Fault::Network, true, format!("no answer for {seconds} s"))
}

/// The code of a reset: the tunnel protocol's. HTTP/2's own, and one that a newer peer invented, mean as much as a
/// reset.
pub(super) fn reset_code(code: ErrorCode) -> ResetCode {
    ResetCode::from_code(u64::from(code.0)).unwrap_or(ResetCode::ResetByPeer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PEER_TEXT_BYTES_MAX;

    #[test]
    fn a_close_is_read_as_it_was_meant() {
        for code in CloseCode::ALL {
            let text = close_text(code, "because of: agent \"a b\"");
            let reason = of_goaway(ErrorCode::NO_ERROR, &text);
            assert_eq!(reason.kind, LostKind::ClosedByPeer(Some(code)));
            assert_eq!(reason.text, "closed by the peer: because of: agent \"a b\"");
            let silent = of_goaway(ErrorCode::NO_ERROR, &close_text(code, ""));
            assert_eq!(silent.text, format!("closed by the peer: {}", code.text()));
        }
        assert_eq!(
            of_goaway(ErrorCode::NO_ERROR, "adit/1 close 2").kind,
            LostKind::ClosedByPeer(Some(CloseCode::Draining))
        );
    }

    #[test]
    fn the_longest_close_fits_a_peers_text() {
        let longest = close_text(CloseCode::Unanswered, &"é".repeat(1000));
        assert!(longest.len() <= PEER_TEXT_BYTES_MAX && longest.len() > REASON_PHRASE_BYTES_MAX - 8);
        assert_eq!(clean_text(&longest, PEER_TEXT_BYTES_MAX), longest);
    }

    #[test]
    fn a_refusal_is_this_ends_to_mend_and_a_shutdown_nobodys() {
        for (code, fault, retry) in [
            (CloseCode::Refused, Fault::Local, false),
            (CloseCode::Shutdown, Fault::None, true),
            (CloseCode::Internal, Fault::Peer, true),
        ] {
            let reason = of_goaway(ErrorCode::NO_ERROR, &close_text(code, "x"));
            assert_eq!((reason.fault, reason.retry), (fault, retry), "{code:?}");
        }
    }

    #[test]
    fn what_is_no_close_is_shown_as_it_is() {
        for (code, text, kind, shown) in [
            (0, "", LostKind::ClosedByPeer(None), "closed by the peer without a reason"),
            (0, "max_age", LostKind::ClosedByPeer(None), "closed by the peer: max_age"),
            (0, "adit/1 close x", LostKind::ClosedByPeer(None), "closed by the peer: adit/1 close x"),
            (
                0,
                "adit/1 close 99 ",
                LostKind::ClosedByPeer(None),
                "closed by the peer with unknown code 0x63",
            ),
            (1, "", LostKind::Protocol, "the peer reports: PROTOCOL_ERROR"),
            (11, "calm", LostKind::Protocol, "the peer reports: ENHANCE_YOUR_CALM: calm"),
        ] {
            let reason = of_goaway(ErrorCode(code), text);
            assert_eq!((reason.kind, &reason.text[..]), (kind, shown));
        }
    }

    #[test]
    fn codes_of_http2_mean_as_much_as_a_reset() {
        for code in ResetCode::ALL {
            assert_eq!(reset_code(ErrorCode(code.code())), code);
        }
        for code in [ErrorCode::NO_ERROR, ErrorCode::CANCEL, ErrorCode::REFUSED_STREAM, ErrorCode(0x99)] {
            assert_eq!(reset_code(code), ResetCode::ResetByPeer);
        }
    }
}
