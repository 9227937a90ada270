//! One gRPC call as a carrier's: what is to be sent on it, the numbers of its status, and how its connection ends.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::http2::{Connection, ConnectionError, End, StreamId};
use crate::konnectivity::Message;
use crate::limits::HTTP2_KEEP_ALIVE_TIMEOUT;
use crate::quic::{Fault, LostKind, LostReason};
use crate::wire::CloseCode;

/// The only method of Konnectivity's that an agent calls.
pub(super) const CONNECT: &str = "/AgentService/Connect";

/// Statuses (gRPC's "statuscodes.md").
pub(super) mod status {
    pub(in super::super) const OK: u32 = 0;
    pub(in super::super) const UNKNOWN: u32 = 2;
    pub(in super::super) const INVALID_ARGUMENT: u32 = 3;
    pub(in super::super) const FAILED_PRECONDITION: u32 = 9;
    pub(in super::super) const UNIMPLEMENTED: u32 = 12;
    pub(in super::super) const UNAVAILABLE: u32 = 14;
}

/// A payload up to this length is copied behind its head: one frame costs the peer less than two.
const COPIED_BYTES_MAX: usize = 4096;

/// The message that is on its way into a call's window.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pieces: VecDeque<Bytes>,
}

impl Outgoing {
    /// Whether nothing of what was taken is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Sends what the windows and the output have room for; a message is taken from `next` only where there is some.
    pub(crate) fn send(
        &mut self,
        http2: &mut Connection,
        call: StreamId,
        mut next: impl FnMut() -> Option<Message>,
    ) {
        while http2.sendable_bytes(call) > 0 {
            let Some(piece) = self.pieces.front_mut() else {
                let Some(message) = next() else { return };
                self.push(message);
                continue;
            };
            // The event that says why it is over is on its way.
            let Ok(sent_bytes) = http2.send(call, piece.clone()) else { return };
            piece.advance(sent_bytes);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    fn push(&mut self, message: Message) {
        if message.payload.len() <= COPIED_BYTES_MAX {
            self.pieces.push_back(message.to_bytes());
        } else {
            self.pieces.extend([message.head, message.payload]);
        }
    }
}

/// Why a connection is lost that HTTP/2 gave up.
pub(super) fn http2_ended(end: &End) -> LostReason {
    let End::Failed(error) = end else {
        let kind = LostKind::ClosedLocally(CloseCode::NoError);
        return LostReason::new(kind, Fault::None, true, "the HTTP/2 connection was drained");
    };
    let fault = if error.is_peers_fault() { Fault::Peer } else { Fault::Local };
    let kind = match error {
        ConnectionError::Late(_) => LostKind::ClosedLocally(CloseCode::HelloTimeout),
        _ => LostKind::Protocol,
    };
    LostReason::new(kind, fault, true, error.to_string())
}

/// Why a connection is lost whose peer did not answer a PING.
pub(super) fn unanswered() -> LostReason {
    let seconds = HTTP2_KEEP_ALIVE_TIMEOUT.as_secs();
    let text = format!("no answer to a keep-alive within {seconds} s");
    LostReason::new(LostKind::Idle, Fault::Network, true, text)
}
