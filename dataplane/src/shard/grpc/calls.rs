//! Calls and their tunnels: what a packet asks for is done, and what becomes of it is told in packets.

use adit_io::{Close, DatagramDriver};
use bytes::{Buf, Bytes};

use super::super::Shard;
use super::super::links::carrier_of_conn;
use super::super::tunnel::{Phase, Tunnel};
use super::{Call, CallRef};
use crate::frontend::Answer;
use crate::http2::StreamId;
use crate::konnectivity::{DialFailure, DialKey, Event, Frontend, TunnelEnd, text};
use crate::limits::LINGER_TIME_MAX;
use crate::port::{self, DialOutcome};
use crate::stream::table::Key;
use crate::wire::ResetCode;

impl<D: DatagramDriver> Shard<D> {
    /// Calls that may have something to say, in turns, until the output is full.
    pub(super) fn serve_calls(&mut self, key: Key) {
        let Some(connection) = self.grpc(key) else { return };
        for _ in 0..connection.ready.len() {
            let Some(connection) = self.grpc(key) else { return };
            if connection.http2.output_has_no_room() {
                return;
            }
            let Some(stream) = connection.ready.pop_front() else { return };
            if let Some(call) = connection.calls.get_mut(&stream) {
                call.is_ready = false;
                self.serve_call(key, stream);
            }
        }
    }

    /// Does what a call's client wants, and says what is to be said, until neither is left.
    pub(super) fn serve_call(&mut self, key: Key, stream: StreamId) {
        loop {
            let Some(connection) = self.grpc(key) else { return };
            let Some(call) = connection.calls.get_mut(&stream) else { return };
            if let Some(event) = call.frontend.poll_event() {
                self.on_call_event(key, stream, event);
                continue;
            }
            connection.send(stream);
            let Some(call) = connection.calls.get_mut(&stream) else { return };
            let credit = call.frontend.take_credit();
            connection.http2.credit(stream, credit);
            let Some(call) = connection.calls.get_mut(&stream) else { return };
            if call.frontend.is_done() && call.sending.is_empty() {
                connection.calls.remove(&stream);
                self.stats.grpc_calls_open -= 1;
                return;
            }
            if !call.frontend.has_event() {
                break;
            }
        }
        // Whoever waits for room, or for bytes, looks for himself.
        let mut place = 0;
        while let Some(tunnel) = self.call(key, stream).and_then(|call| call.tunnels.get(place).copied()) {
            self.queue(tunnel);
            place += 1;
        }
    }

    fn call(&self, key: Key, stream: StreamId) -> Option<&Call> {
        match &self.tunnels.get(key)?.phase {
            Phase::Grpc(connection) => connection.calls.get(&stream),
            _ => None,
        }
    }

    fn on_call_event(&mut self, key: Key, stream: StreamId, event: Event) {
        match event {
            Event::Dial { key: dial, address, .. } => self.start_call_dial(key, stream, dial, address),
            Event::Cancel { key: dial } => {
                if let Some(tunnel) = self.call_tunnel(key, stream, |call| call.dial == dial) {
                    self.abandon_dial(tunnel);
                }
            }
            Event::Close { connect_id } => {
                if let Some(tunnel) =
                    self.call_tunnel(key, stream, |call| call.connect_id == Some(connect_id))
                {
                    self.close_call_tunnel(tunnel);
                }
            }
            Event::Abort { connect_id } => {
                if let Some(tunnel) =
                    self.call_tunnel(key, stream, |call| call.connect_id == Some(connect_id))
                {
                    self.close_tunnel(tunnel, Close::Reset, Some(ResetCode::ResetByPeer));
                }
            }
            Event::End(status) => {
                if let Some(connection) = self.grpc(key) {
                    // Gone is as good as finished.
                    let _ = connection.http2.finish(stream, status.code(), &status.message());
                }
            }
        }
    }

    /// Which of a call's tunnels it is.
    fn call_tunnel(&self, key: Key, stream: StreamId, is: impl Fn(&CallRef) -> bool) -> Option<Key> {
        let of = |key: &Key| self.tunnels.get(*key).and_then(|tunnel| tunnel.call.as_ref());
        self.call(key, stream)?.tunnels.iter().copied().find(|key| of(key).is_some_and(&is))
    }

    fn start_call_dial(&mut self, key: Key, stream: StreamId, dial: DialKey, address: String) {
        let client = self.tunnels.get(key).and_then(|entry| entry.tls.as_ref()?.client().cloned());
        let mut tunnel = Tunnel::new(Phase::Lingering);
        tunnel.call = Some(CallRef { connection: key, stream, dial, connect_id: None });
        let inserted = self.tunnels.insert(tunnel);
        let Some(call) = self.grpc(key).and_then(|connection| connection.calls.get_mut(&stream)) else {
            debug_assert!(false, "only a call that is open dials");
            return;
        };
        match inserted {
            Ok(tunnel) => {
                call.tunnels.push(tunnel);
                self.begin_dial(tunnel, address, client);
            }
            Err(_) => {
                let full = "the server is busy: its table of tunnels is full";
                call.frontend.on_dial_failed(dial, DialFailure::NotAsked(full.to_owned()));
                self.stats.frontends_refused += 1;
            }
        }
    }

    /// The agent has connected. False when the client does not wait for it any more.
    pub(in crate::shard) fn establish_call(&mut self, key: Key) -> bool {
        let Some(mut call) = self.tunnels.get(key).and_then(|tunnel| tunnel.call) else { return true };
        call.connect_id = self.frontend(call).and_then(|frontend| frontend.on_established(call.dial));
        self.wake_call(call);
        if let Some(tunnel) = self.tunnels.get_mut(key) {
            tunnel.call = Some(call);
        }
        call.connect_id.is_some()
    }

    /// The dial has failed: the client is told, and nothing is left of it. False for a tunnel of no call.
    pub(in crate::shard) fn refuse_call(
        &mut self,
        key: Key,
        outcome: DialOutcome,
        answer: &Answer,
        error: &str,
    ) -> bool {
        let Some(call) = self.tunnels.get(key).and_then(|tunnel| tunnel.call) else { return false };
        let error = error.to_owned();
        let failure = match outcome {
            DialOutcome::NoAgent if *answer == Answer::no_agent() => DialFailure::NoAgent,
            DialOutcome::ErrorResponse => DialFailure::Refused(error),
            DialOutcome::BackendClose => DialFailure::AgentLost(error),
            DialOutcome::Timeout => DialFailure::TimedOut,
            DialOutcome::NoAgent | DialOutcome::Established | DialOutcome::FrontendClose => {
                DialFailure::NotAsked(error)
            }
        };
        if let Some(frontend) = self.frontend(call) {
            frontend.on_dial_failed(call.dial, failure);
            self.wake_call(call);
        }
        if let Some(tunnel) = self.tunnels.get_mut(key) {
            tunnel.phase = Phase::Lingering;
        }
        self.close_tunnel(key, Close::Graceful, None);
        true
    }

    /// The client closes its connection, and all that it sent was taken: it goes to the target, with the end behind it.
    /// There is no half-close, so nothing is read any more (konnectivity-client has closed both directions).
    fn close_call_tunnel(&mut self, key: Key) {
        self.reader_took_all(key);
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        tunnel.ingress.on_end();
        if !tunnel.egress.has_stream_ended()
            && let Some((conn, stream)) = tunnel.stream
        {
            // An old agent's connection has one end for both directions: it must not overtake what the client sent.
            tunnel.stops_behind_end = carrier_of_conn(conn).is_some();
            if !tunnel.stops_behind_end {
                self.stop_stream(conn, stream, ResetCode::Cancelled);
            }
        }
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        tunnel.readable = false;
        tunnel.egress.end();
        tunnel.egress.on_shutdown();
        self.queue(key);
    }

    /// A tunnel's bytes → packets, and its end after them.
    pub(in crate::shard) fn pump_call_send(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let (Some(call), Some(data)) = (tunnel.call, tunnel.egress.want_send()) else {
            return self.end_call_send(key);
        };
        let connect_id = call.connect_id.unwrap_or_default();
        let taken = self.frontend(call).map_or(0, |frontend| give(frontend, connect_id, &data));
        if taken > 0 {
            self.wake_call(call);
        }
        self.stats.bytes_to_sockets += taken as u64;
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        tunnel.egress.on_sent(taken, data);
        if tunnel.egress.has_unsent() {
            self.reader_must_take(key);
        } else {
            self.reader_took_all(key);
            self.read_on(key);
            self.end_call_send(key);
        }
    }

    /// The stream behind a tunnel may have more for it.
    fn read_on(&mut self, key: Key) {
        if self.tunnels.get(key).is_some_and(|tunnel| tunnel.readable) {
            self.queue(key);
        }
    }

    /// The target has said everything. The protocol has no half-close: this ends the connection, and what the client
    /// sent so far has a moment to get through.
    fn end_call_send(&mut self, key: Key) {
        let deadline = self.now + LINGER_TIME_MAX;
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        if tunnel.egress.want_shutdown() {
            tunnel.egress.on_shutdown();
            tunnel.ingress.on_end();
            self.set_deadline(key, deadline);
            self.queue(key);
        }
    }

    /// What the client sent for a tunnel → ingress, while there is room.
    pub(in crate::shard) fn pump_call_receive(&mut self, key: Key) {
        let mut took = false;
        loop {
            let Some(tunnel) = self.tunnels.get_mut(key) else { return };
            let Some(call) = tunnel.call else { return };
            let Some(connect_id) = call.connect_id else { return };
            if !tunnel.ingress.has_room() {
                break;
            }
            let piece = self.frontend(call).and_then(|frontend| frontend.take_for_tunnel(connect_id));
            let Some(piece) = piece else { break };
            self.wake_call(call);
            self.stats.bytes_to_streams += piece.len() as u64;
            let Some(tunnel) = self.tunnels.get_mut(key) else { return };
            tunnel.ingress.on_bytes(piece);
            took = true;
        }
        if took {
            self.queue(key);
        }
    }

    /// A tunnel of a call was removed: the client is told what it was not told yet.
    pub(in crate::shard) fn forget_call(&mut self, call: CallRef, key: Key, code: Option<ResetCode>) {
        let end = match code {
            Some(ResetCode::OverBudget) => TunnelEnd::Failed(ResetCode::OverBudget.text().to_owned()),
            Some(ResetCode::DrainCut) => TunnelEnd::Failed(ResetCode::DrainCut.text().to_owned()),
            _ => TunnelEnd::Closed,
        };
        let Some(connection) = self.grpc(call.connection) else { return };
        let Some(open) = connection.calls.get_mut(&call.stream) else { return };
        open.tunnels.retain(|tunnel| *tunnel != key);
        match call.connect_id {
            Some(connect_id) => open.frontend.on_tunnel_ended(connect_id, end),
            None => {
                let failure = DialFailure::NotAsked(text::DRAINING.to_owned());
                open.frontend.on_dial_failed(call.dial, failure);
            }
        }
        self.wake_call(call);
    }

    fn frontend(&mut self, call: CallRef) -> Option<&mut Frontend> {
        Some(&mut self.grpc(call.connection)?.calls.get_mut(&call.stream)?.frontend)
    }

    /// What came of what a call's frontend was told is said in this turn.
    fn wake_call(&mut self, call: CallRef) {
        if let Some(connection) = self.grpc(call.connection) {
            connection.mark_ready(call.stream);
            self.queue(call.connection);
        }
    }

    pub(super) fn tell_of_grpc_failure(&mut self, key: Key, error: &str) {
        self.stats.grpc_connections_broken += 1;
        let tls = self.tunnels.get(key).and_then(|entry| entry.tls.as_ref());
        let event = port::Event::FrontendFailed {
            remote: tls.and_then(|tls| tls.remote()),
            client: tls.and_then(|tls| tls.client().cloned()),
            reason: format!("HTTP/2: {error}"),
        };
        self.mailbox.send_or_drop(event);
    }
}

/// How many bytes a frontend takes.
fn give(frontend: &mut Frontend, connect_id: i64, data: &[Bytes]) -> usize {
    let mut taken = 0;
    for piece in data {
        let mut left = piece.clone();
        frontend.on_tunnel_bytes(connect_id, &mut left);
        taken += piece.len() - left.remaining();
        if !left.is_empty() {
            break;
        }
    }
    taken
}
