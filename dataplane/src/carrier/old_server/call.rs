//! What an old server's HTTP/2 connection says: its answer to the call, and how that ends.

use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};

use super::super::CarrierEvent;
use super::super::call::{CONNECT, http2_ended, status};
use super::{OldServer, Stage};
use crate::http2::{CallStatus, ErrorCode, Event, Metadata};
use crate::konnectivity::SERVER_KEYS;
use crate::limits::{AGENT_ID_BYTES_MAX, INSTANCE_ID_BYTES_MAX};
use crate::quic::{Fault, LostKind, LostReason};
use crate::wire::{CloseCode, Welcome, clean_text};

impl OldServer {
    pub(super) fn on_http2_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Answered { metadata, .. } => match welcome(&metadata) {
                Ok(welcome) => {
                    self.stage = Stage::Ready;
                    self.streams.events.push_back(CarrierEvent::Welcomed(Box::new(welcome)));
                }
                Err(text) => {
                    self.end_call(now);
                    let kind = LostKind::ClosedLocally(CloseCode::Protocol);
                    let text = format!("this is no server of Konnectivity's: {text}");
                    self.lose(LostReason::new(kind, Fault::Peer, true, text));
                }
            },
            Event::Data { bytes, .. } => {
                self.agent.on_bytes(now, bytes);
                self.take_agent_events(now);
            }
            Event::Finished { status, .. } => {
                let reason = self.call_ended(&status);
                self.http2.drain(now);
                self.lose(reason);
            }
            Event::Reset { code, .. } => {
                self.http2.drain(now);
                let text = format!("the call was reset by the server: {code}");
                self.lose(LostReason::new(LostKind::ClosedByPeer(None), Fault::Peer, true, text));
            }
            // What runs goes on until the server ends it.
            Event::Goaway { code: ErrorCode::NO_ERROR, .. } => {
                if !std::mem::replace(&mut self.draining, true) {
                    self.streams.events.push_back(CarrierEvent::Draining);
                }
            }
            // The connection's end follows.
            Event::Goaway { code, text } => {
                let text = format!("the server ended the connection: {code} {text}");
                self.lose(LostReason::new(LostKind::ClosedByPeer(None), Fault::Local, true, text.trim_end()));
            }
            Event::Ended(end) => self.lose(http2_ended(&end)),
            // What makes room is looked for in any case; the others come to servers.
            Event::Window { .. } | Event::Opened { .. } | Event::HalfClosed { .. } => {}
        }
    }

    /// Why a call has ended, before the server has presented itself or after.
    fn call_ended(&self, status: &CallStatus) -> LostReason {
        let CallStatus { code, message } = status;
        let greeting = matches!(self.stage, Stage::Greeting(_));
        match *code {
            Some(status::OK) if !greeting => {
                let kind = LostKind::ClosedByPeer(Some(CloseCode::NoError));
                LostReason::new(kind, Fault::None, true, "the server ended the call")
            }
            Some(status::UNIMPLEMENTED) if greeting => {
                let text = format!("the server does not know {CONNECT}: this is not its port for agents");
                LostReason::new(LostKind::ClosedByPeer(Some(CloseCode::Refused)), Fault::Local, true, text)
            }
            Some(code) if greeting => {
                // Also where the server could not find out whether to trust the agent: that may pass.
                let text = format!("the server refused the agent: {message} (gRPC status {code})");
                LostReason::new(LostKind::ClosedByPeer(Some(CloseCode::Refused)), Fault::Local, true, text)
            }
            Some(code) => {
                let text = format!("the server ended the call: {message} (gRPC status {code})");
                LostReason::new(LostKind::ClosedByPeer(None), Fault::Peer, true, text)
            }
            None => {
                let text = format!("this is no server of Konnectivity's: {message}");
                LostReason::new(LostKind::Protocol, Fault::Peer, true, text)
            }
        }
    }
}

/// Who a server says that it is, or what is wrong with that.
fn welcome(metadata: &Metadata) -> Result<Welcome, String> {
    let one = |key: &str| {
        let values: Vec<&[u8]> = metadata.values(key).collect();
        match values[..] {
            [value] => Ok(String::from_utf8_lossy(value).into_owned()),
            _ => Err(format!("expected one {key} in the response, got {}", values.len())),
        }
    };
    let [server_id, server_count] = SERVER_KEYS;
    let (server_id, server_count) = (one(server_id)?, one(server_count)?);
    if server_id.is_empty() || clean_text(&server_id, AGENT_ID_BYTES_MAX) != server_id {
        let shown = clean_text(&server_id, AGENT_ID_BYTES_MAX);
        return Err(format!("serverid {shown:?} is empty, too long or not plain text"));
    }
    let Ok(count) = server_count.parse::<u32>() else {
        return Err(format!(
            "servercount {:?} is not a number",
            clean_text(&server_count, AGENT_ID_BYTES_MAX)
        ));
    };
    Ok(Welcome {
        // It has no name for its process: two of one id are taken for one, as upstream's agents do.
        instance_id: digest(&SHA256, server_id.as_bytes()).as_ref()[..INSTANCE_ID_BYTES_MAX].to_vec(),
        server_id,
        // None means one (section 5).
        server_count: count.max(1),
        shards: 1,
        features: 0,
        version: "grpc".to_owned(),
    })
}
