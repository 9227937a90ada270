//! Frontends that speak GRPC mode: one HTTP/2 connection on a socket, one call on it for each dial.
//!
//! The connection is an entry of the tunnel table that has the socket and, over TCP, its TLS; each dial of each call is
//! an entry of its own, with an agent's stream and no socket. Bytes go from one to the other in this turn:
//!
//! ```text
//!   socket ─▶ TLS ─▶ ingress ─▶ http2 ─▶ Frontend (packets) ─▶ ingress ─▶ stream of an agent     (calls)
//!          ◀─     ◀─ egress  ◀─       ◀─                    ◀─ egress  ◀─
//! ```
//!
//! **Back-pressure.** What a call's tunnel does not take is not given back as credit, so the client stops sending on
//! that stream alone. What the client does not take fills its stream's window, then [`Frontend`]'s queue, then the
//! tunnel's batch, and stops there. While the socket takes nothing, HTTP/2 makes no more output and reads no more
//! input.
//!
//! Deliberately absent: what packets mean (`konnectivity`), what frames mean (`http2`), and how agents are chosen.

mod calls;

use std::collections::{BTreeMap, VecDeque};

use adit_io::{Close, DatagramDriver};
use bytes::Bytes;

use super::Shard;
use super::tunnel::Phase;
use crate::carrier::Outgoing;
use crate::config::Role;
use crate::http2::{Connection, End, Event, KeepAlive, KeepAliveDue, Request, StreamId};
use crate::konnectivity::{DialKey, Frontend};
use crate::stream::table::Key;
use crate::wire::ResetCode;

/// The method that kube-apiserver calls.
const PROXY: &str = "/ProxyService/Proxy";
/// `grpc-status`: nobody serves this method.
const UNIMPLEMENTED: u32 = 12;
/// `grpc-status`: it is no gRPC.
const INTERNAL: u32 = 13;

/// One frontend's HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct GrpcConnection {
    http2: Connection,
    keep_alive: KeepAlive,
    calls: BTreeMap<StreamId, Call>,
    /// Calls that may have something to say, each once.
    ready: VecDeque<StreamId>,
}

/// One call of it.
#[derive(Debug, Default)]
struct Call {
    frontend: Frontend,
    /// What the stream has not taken of the message that is being sent.
    sending: Outgoing,
    /// Whether it waits in `ready`.
    is_ready: bool,
    /// Its dials and connections; [`crate::limits::GRPC_DIALS_PER_STREAM_MAX`] at most.
    tunnels: Vec<Key>,
}

/// Which call's dial a tunnel is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallRef {
    /// The entry of its connection.
    pub(crate) connection: Key,
    stream: StreamId,
    dial: DialKey,
    /// The number that the client knows the connection by, once it is established.
    connect_id: Option<i64>,
}

impl GrpcConnection {
    fn mark_ready(&mut self, stream: StreamId) {
        if let Some(call) = self.calls.get_mut(&stream)
            && !std::mem::replace(&mut call.is_ready, true)
        {
            self.ready.push_back(stream);
        }
    }

    /// Sends what a call has to say, as far as its stream takes it.
    fn send(&mut self, stream: StreamId) {
        let Some(call) = self.calls.get_mut(&stream) else { return };
        call.sending.send(&mut self.http2, stream, || call.frontend.next_message());
        // Room in the output, unlike a window, is not announced.
        if self.http2.output_has_no_room() && (call.frontend.has_message() || !call.sending.is_empty()) {
            self.mark_ready(stream);
        }
    }
}

impl<D: DatagramDriver> Shard<D> {
    /// A frontend's first bytes were those of HTTP/2.
    pub(super) fn begin_grpc(&mut self, key: Key, bytes: VecDeque<Bytes>) {
        let now = self.now;
        let Role::Server(role) = &self.config.role else { return };
        let keep_alive = KeepAlive::new(now, role.frontend_keep_alive);
        let Ok(mut http2) = Connection::server(now) else {
            return self.close_tunnel(key, Close::Reset, None);
        };
        if self.drain.is_draining() {
            http2.drain(now);
        }
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        let connection = GrpcConnection { http2, keep_alive, calls: BTreeMap::new(), ready: VecDeque::new() };
        entry.phase = Phase::Grpc(Box::new(connection));
        entry.deadline = None;
        bytes.into_iter().for_each(|piece| entry.ingress.on_bytes(piece));
        self.stats.grpc_connections_open += 1;
        self.queue(key);
    }

    fn grpc(&mut self, key: Key) -> Option<&mut GrpcConnection> {
        match &mut self.tunnels.get_mut(key)?.phase {
            Phase::Grpc(connection) => Some(connection),
            _ => None,
        }
    }

    /// Hears what the client says, says what its calls have to say, and hands both to the socket's halves.
    pub(super) fn pump_grpc(&mut self, key: Key) {
        self.hear_frontend(key);
        self.serve_calls(key);
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        let Phase::Grpc(connection) = &mut entry.phase else { return };
        if connection.http2.output_bytes() > 0
            && let Some(mut batch) = entry.egress.want_read()
        {
            connection.http2.take_output_into(&mut batch);
            entry.egress.on_read(batch);
        }
        let alive = connection.keep_alive.deadline();
        let deadline = connection.http2.deadline().map_or(alive, |deadline| deadline.min(alive));
        let again = !connection.ready.is_empty() && !connection.http2.output_has_no_room();
        self.wake_by(key, deadline);
        if again {
            self.queue(key);
        }
        self.pump_send(key);
        self.pump_receive(key);
    }

    /// What came → events, and what they mean.
    fn hear_frontend(&mut self, key: Key) {
        loop {
            let now = self.now;
            let Some(entry) = self.tunnels.get_mut(key) else { return };
            let Phase::Grpc(connection) = &mut entry.phase else { return };
            if let Some(event) = connection.http2.poll_event(now) {
                self.on_http2_event(key, event);
            } else if connection.http2.wants_input()
                && let Some(piece) = entry.ingress.take_piece()
            {
                connection.http2.receive(piece);
                connection.keep_alive.heard(now);
            } else {
                return;
            }
        }
    }

    fn on_http2_event(&mut self, key: Key, event: Event) {
        match event {
            Event::Opened { stream, request } => self.on_call(key, stream, &request),
            Event::Data { stream, bytes } => self.on_call_input(key, stream, |call| call.on_bytes(bytes)),
            Event::HalfClosed { stream } => self.on_call_input(key, stream, Frontend::on_client_end),
            Event::Reset { stream, .. } => self.on_call_input(key, stream, Frontend::on_client_reset),
            Event::Window { stream: Some(stream) } => {
                if let Some(connection) = self.grpc(key) {
                    connection.mark_ready(stream);
                }
            }
            Event::Window { stream: None } => self.wake_all_calls(key),
            Event::Ended(end) => self.on_grpc_end(key, &end),
            // Only a client is answered; a client that goes away ends its calls by itself.
            Event::Goaway { .. } | Event::Answered { .. } | Event::Finished { .. } => {}
        }
    }

    fn wake_all_calls(&mut self, key: Key) {
        let Some(connection) = self.grpc(key) else { return };
        let streams: Vec<StreamId> = connection.calls.keys().copied().collect();
        streams.into_iter().for_each(|stream| connection.mark_ready(stream));
    }

    fn on_call(&mut self, key: Key, stream: StreamId, request: &Request) {
        let draining = self.drain.is_draining();
        let Some(connection) = self.grpc(key) else { return };
        if !request.is_grpc() || request.path != PROXY {
            let (code, message) = if request.is_grpc() {
                (UNIMPLEMENTED, format!("unknown method {}: this server has {PROXY}", request.path))
            } else {
                (INTERNAL, "this is no gRPC request".to_owned())
            };
            // Gone is as good as refused.
            let _ = connection.http2.finish(stream, code, &message);
            return;
        }
        let mut call = Call::default();
        if draining {
            call.frontend.drain();
        }
        connection.calls.insert(stream, call);
        self.stats.grpc_calls_open += 1;
    }

    fn on_call_input(&mut self, key: Key, stream: StreamId, input: impl FnOnce(&mut Frontend)) {
        let Some(connection) = self.grpc(key) else { return };
        if let Some(call) = connection.calls.get_mut(&stream) {
            input(&mut call.frontend);
            self.serve_call(key, stream);
        }
    }

    /// The connection is over: what waits goes out, with the end behind it.
    fn on_grpc_end(&mut self, key: Key, end: &End) {
        if let End::Failed(error) = end {
            self.tell_of_grpc_failure(key, &error.to_string());
        }
        let output = self.grpc(key).map(|connection| connection.http2.take_output());
        self.leave_grpc(key);
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        entry.egress.push(output.unwrap_or_default());
        entry.egress.on_stream_end();
        self.linger(key);
    }

    /// Nobody hears the calls of this connection any more: they are cut off, and it is none from now on.
    pub(super) fn leave_grpc(&mut self, key: Key) {
        let Some(connection) = self.grpc(key) else { return };
        let streams: Vec<StreamId> = connection.calls.keys().copied().collect();
        for stream in streams {
            self.on_call_input(key, stream, Frontend::on_client_reset);
        }
        if let Some(entry) = self.tunnels.get_mut(key) {
            entry.phase = Phase::Lingering;
            self.stats.grpc_connections_open -= 1;
        }
    }

    pub(super) fn on_grpc_timer(&mut self, key: Key) {
        let now = self.now;
        let Some(connection) = self.grpc(key) else { return };
        connection.http2.on_time(now);
        match connection.keep_alive.on_time(now) {
            KeepAliveDue::Nothing => {}
            KeepAliveDue::Ping => connection.http2.ping(),
            KeepAliveDue::Dead => {
                self.tell_of_grpc_failure(key, "the client does not answer PING");
                return self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer));
            }
        }
        self.queue(key);
    }

    /// No new dials; connections end when their last call has.
    pub(super) fn drain_grpc(&mut self) {
        let now = self.now;
        let keys: Vec<Key> = self
            .tunnels
            .iter()
            .filter(|(_, entry)| matches!(entry.phase, Phase::Grpc(_)))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            let Some(connection) = self.grpc(key) else { continue };
            connection.http2.drain(now);
            connection.calls.values_mut().for_each(|call| call.frontend.drain());
            self.wake_all_calls(key);
            self.queue(key);
        }
    }
}
