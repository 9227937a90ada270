//! What an old agent's HTTP/2 connection says: calls, and how they end.

use std::time::Instant;

use super::super::CarrierEvent;
use super::super::call::{CONNECT, http2_ended, status};
use super::{OldAgent, Stage};
use crate::http2::{Event, Request, StreamId};
use crate::konnectivity::AgentMetadata;
use crate::quic::{Fault, LostKind, LostReason};
use crate::wire::{CloseCode, Hello};

impl OldAgent {
    pub(super) fn on_http2_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Opened { stream, request } => self.on_call(now, stream, &request),
            Event::Data { stream, bytes } if self.call() == Some(stream) => {
                self.backend.on_bytes(now, bytes);
                self.take_backend_events(now);
            }
            // Upstream's server answers the end of a call with OK (section 3.2).
            Event::HalfClosed { stream } if self.call() == Some(stream) => {
                self.end_call(now, status::OK, "");
                let kind = LostKind::ClosedByPeer(Some(CloseCode::NoError));
                self.lose(LostReason::new(kind, Fault::None, true, "the agent ended its call"));
            }
            Event::Reset { stream, code, .. } if self.call() == Some(stream) => {
                self.http2.drain(now);
                let text = format!("the agent's call was reset: {code}");
                self.lose(LostReason::new(LostKind::ClosedByPeer(None), Fault::Peer, true, text));
            }
            Event::Ended(end) => self.lose(http2_ended(&end)),
            // Other calls are over already; what makes room is looked for in any case; and an agent that announces its
            // end goes on until then.
            Event::Data { .. }
            | Event::HalfClosed { .. }
            | Event::Reset { .. }
            | Event::Window { .. }
            | Event::Goaway { .. }
            | Event::Answered { .. }
            | Event::Finished { .. } => {}
        }
    }

    pub(super) const fn call(&self) -> Option<StreamId> {
        match self.stage {
            Stage::Presented(call) | Stage::Ready(call) => Some(call),
            Stage::Greeting(_) | Stage::Lost => None,
        }
    }

    fn on_call(&mut self, now: Instant, stream: StreamId, request: &Request) {
        let refusal = if !request.is_grpc() {
            Some((status::INVALID_ARGUMENT, "not a call of gRPC: POST with application/grpc is".to_owned()))
        } else if request.path != CONNECT {
            Some((status::UNIMPLEMENTED, format!("unknown method {}; agents call {CONNECT}", request.path)))
        } else if self.call().is_some() {
            Some((status::FAILED_PRECONDITION, "one call on each connection".to_owned()))
        } else {
            None
        };
        if let Some((code, text)) = refusal {
            // Gone is as good as refused.
            let _ = self.http2.finish(stream, code, &text);
            return;
        }
        self.stage = Stage::Presented(stream);
        match hello(request, &self.instance_id) {
            Ok(hello) => self.streams.events.push_back(CarrierEvent::Presented(Box::new(hello))),
            Err(text) => {
                self.end_call(now, status::UNKNOWN, &text);
                let kind = LostKind::ClosedLocally(CloseCode::Protocol);
                let text = format!("an agent of Konnectivity's was refused: {text}");
                self.lose(LostReason::new(kind, Fault::Peer, true, text));
            }
        }
    }

    /// Ends the call with a status, and the HTTP/2 connection with a GOAWAY behind it. It is the caller's to lose it.
    pub(super) fn end_call(&mut self, now: Instant, status: u32, text: &str) {
        if let Some(call) = self.call() {
            // Gone is as good as ended.
            let _ = self.http2.finish(call, status, text);
        }
        self.http2.drain(now);
    }
}

/// What an agent's call says about it, or what is wrong with that.
fn hello(request: &Request, instance_id: &[u8]) -> Result<Hello, String> {
    let fields = AgentMetadata::KEYS
        .iter()
        .flat_map(|key| request.metadata.values(key).map(move |value| (*key, value)));
    let metadata = AgentMetadata::read(fields).map_err(|error| error.to_string())?;
    if metadata.agent_id.is_empty() {
        return Err(
            "agentid in the metadata is empty: give the agent an id, by --agent-id or PROXY_AGENT_ID"
                .to_owned(),
        );
    }
    Ok(Hello {
        // Where it is asked for, one that is missing or of another kind is refused as none (section 3.3).
        token: metadata.token().unwrap_or_default().to_owned(),
        agent_id: metadata.agent_id,
        instance_id: instance_id.to_vec(),
        connection_index: 0,
        identifiers: metadata.identifiers_text,
        version: request.user_agent.clone(),
        features: 0,
    })
}
