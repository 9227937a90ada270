//! A server's dials: choose an agent, ask it, pass its answer on. A dial that loses its agent before the answer
//! moves to another; every dial is answered in time.

use std::sync::Arc;

use adit_io::{Close, DatagramDriver};
use bytes::Bytes;

use super::Shard;
use super::links::{conn_of_remote, remote_of_conn};
use super::tunnel::{PendingDial, Phase};
use crate::config::Role;
use crate::frontend::Answer;
use crate::limits::{AGENT_DIAL_TIME_MAX, ANSWER_TIME_MAX, MESSAGE_BYTES_MAX};
use crate::port::{ConnectionKey, DialOutcome, Event};
use crate::quic::{ConnId, ReadState, StreamId, WriteState};
use crate::route::{Health, RouteQuery, Strategy, choose};
use crate::stream::table::Key;
use crate::stream::tls::ClientName;
use crate::wire::{DialRequest, DialResponse, FrameReader, Network, ResetCode, StreamHeader};

/// What a frontend is told by a server that ends.
const DRAINING: &str = "the server is draining";

/// How a look at a stream for the agent's answer ended.
enum Look {
    Nothing,
    Response(DialResponse),
    Failed(String),
}

impl<D: DatagramDriver> Shard<D> {
    /// A frontend asks for a tunnel on its own socket.
    pub(super) fn start_dial(&mut self, key: Key, raw_target: String) {
        let tls = self.tunnels.get(key).and_then(|tunnel| tunnel.tls.as_ref());
        let frontend = tls.and_then(|tls| tls.client().cloned());
        self.begin_dial(key, raw_target, frontend);
    }

    /// Asks for a tunnel, for whom a certificate names.
    pub(super) fn begin_dial(&mut self, key: Key, raw_target: String, frontend: Option<Arc<ClientName>>) {
        let answer_time = match &self.config.role {
            Role::Server(role) => role.answer_time.min(ANSWER_TIME_MAX),
            Role::Agent(_) => ANSWER_TIME_MAX,
        };
        let deadline = self.now + answer_time;
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        tunnel.phase = Phase::Dialing(Box::new(PendingDial {
            raw_target,
            frontend,
            started: self.now,
            deadline,
            tried: Vec::new(),
            conn: None,
            header: std::collections::VecDeque::new(),
            response: FrameReader::new(),
            last_error: String::new(),
        }));
        self.stats.dials_started += 1;
        self.stats.dials_pending += 1;
        self.set_deadline(key, deadline);
        if self.drain.is_draining() {
            self.answer_dial(key, DialOutcome::NoAgent, Answer::unavailable(DRAINING), DRAINING);
        } else {
            self.ask_an_agent(key);
        }
    }

    /// Chooses among the agents that were not tried and asks one; answers if there is none.
    pub(super) fn ask_an_agent(&mut self, key: Key) {
        loop {
            match self.choose_agent(key, false) {
                Some(chosen) if chosen.shard != self.config.id && !self.stays_here(key) => {
                    return self.begin_move(key, chosen);
                }
                Some(chosen) => {
                    let conn = if chosen.shard == self.config.id {
                        ConnId { index: chosen.index, generation: chosen.generation }
                    } else {
                        conn_of_remote(chosen)
                    };
                    if self.ask(key, conn) {
                        return;
                    }
                }
                None => {
                    // The other shards may have ended already: then it is not for want of agents.
                    let draining = self.drain.is_draining();
                    let Some(dial) = self.pending(key) else { return };
                    let (answer, outcome, error) = if draining {
                        (Answer::unavailable(DRAINING), DialOutcome::NoAgent, DRAINING.to_owned())
                    } else if dial.tried.is_empty() {
                        (Answer::no_agent(), DialOutcome::NoAgent, "No agent available".to_owned())
                    } else {
                        let error = dial.last_error.clone();
                        (Answer::backend_gone(&error), DialOutcome::BackendClose, error)
                    };
                    return self.answer_dial(key, outcome, answer, &error);
                }
            }
        }
    }

    /// Whether the frontend carries more than this tunnel, and therefore cannot move to the agent's shard.
    fn stays_here(&self, key: Key) -> bool {
        self.tunnels.get(key).is_some_and(|tunnel| tunnel.call.is_some())
    }

    /// The connection to ask, of this shard or another. What another shard knows of its connections is not known here:
    /// they are taken to be healthy, and it moves the dial on where they are not.
    fn choose_agent(&mut self, key: Key, healthy_only: bool) -> Option<ConnectionKey> {
        let strategies: &[Strategy] = match &self.config.role {
            Role::Server(role) => &role.strategies,
            Role::Agent(_) => &[],
        };
        let Phase::Dialing(dial) = &self.tunnels.get(key)?.phase else { return None };
        let (sessions, quic, shard, peers) = (&self.sessions, &self.quic, self.config.id, &self.peers);
        let query = RouteQuery {
            realm: &self.realm,
            address: &dial.raw_target,
            strategies,
            excluded: &dial.tried,
            shard,
        };
        let health = |key: ConnectionKey| {
            if key.shard != shard {
                let open = peers.as_ref().is_some_and(|peers| peers.is_open(key.shard));
                return if open { Health::Healthy } else { Health::Gone };
            }
            let conn = ConnId { index: key.index, generation: key.generation };
            match sessions.get(&conn) {
                Some(session) if session.is_ready() => {
                    if quic.is_suspect(conn) || session.is_draining() {
                        if healthy_only { Health::Gone } else { Health::Suspect }
                    } else {
                        Health::Healthy
                    }
                }
                _ => Health::Gone,
            }
        };
        choose(&self.routes, &query, &mut self.rng, health).ok()
    }

    /// Asks an agent, now or as soon as it grants a stream. False when its connection has gone.
    pub(super) fn ask(&mut self, key: Key, conn: ConnId) -> bool {
        let chosen = self.connection_key(conn);
        let opened = match remote_of_conn(conn) {
            Some(there) => {
                let is_last = !self.has_candidate_beside(key, there, true);
                Ok(Some(self.open_remote(conn, there, is_last)))
            }
            None => self.open_stream(conn),
        };
        let Some(tunnel) = self.tunnels.get_mut(key) else { return true };
        let Phase::Dialing(dial) = &mut tunnel.phase else { return true };
        match opened {
            Err(_) => {
                dial.tried.push(chosen);
                "the agent's connection ended".clone_into(&mut dial.last_error);
                false
            }
            Ok(None) => {
                dial.conn = Some(conn);
                if let Some(session) = self.sessions.get_mut(&conn) {
                    session.waiting.push_back(key);
                }
                true
            }
            Ok(Some(stream)) => {
                self.ask_on(key, conn, stream);
                true
            }
        }
    }

    /// An agent granted streams: dials that waited for one are asked, in their order.
    pub(super) fn on_streams_available(&mut self, conn: ConnId) {
        while let Some(key) = self.sessions.get_mut(&conn).and_then(|session| session.waiting.pop_front()) {
            let waits = self
                .tunnels
                .get(key)
                .is_some_and(|tunnel| tunnel.stream.is_none() && tunnel.conn() == Some(conn));
            if !waits {
                continue;
            }
            match self.open_stream(conn) {
                Ok(Some(stream)) => self.on_stream_for(key, conn, stream),
                Ok(None) => {
                    if let Some(session) = self.sessions.get_mut(&conn) {
                        session.waiting.push_front(key);
                    }
                    return;
                }
                Err(_) => self.move_dial(key, "the agent's connection ended"),
            }
        }
    }

    /// The stream that a dial, or another shard's, has waited for.
    fn on_stream_for(&mut self, key: Key, conn: ConnId, stream: StreamId) {
        if self.tunnels.get(key).is_some_and(|tunnel| matches!(tunnel.phase, Phase::Relayed(_))) {
            self.join_relayed(key, conn, stream);
        } else {
            self.ask_on(key, conn, stream);
        }
    }

    fn ask_on(&mut self, key: Key, conn: ConnId, stream: StreamId) {
        let dial_id = self.dial_next;
        self.dial_next += 1;
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Phase::Dialing(dial) = &mut tunnel.phase else { return };
        dial.conn = Some(conn);
        dial.response = FrameReader::new();
        dial.header = dial_header(dial, dial_id, self.now).into_iter().collect();
        tunnel.stream = Some((conn, stream));
        self.by_stream.insert((conn, stream), key);
        self.on_tunnel_joined(conn);
        self.queue(key);
    }

    /// Writes the header and looks for the answer.
    pub(super) fn pump_dial(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Some((conn, stream)) = tunnel.stream else { return };
        let Phase::Dialing(dial) = &mut tunnel.phase else { return };
        if !dial.header.is_empty() {
            let mut header = std::mem::take(&mut dial.header);
            match self.write_stream(conn, stream, &mut header) {
                Ok(WriteState::Took | WriteState::Blocked) => {}
                // The code comes with the reset, or not at all: either way the agent does not want it.
                Ok(WriteState::Stopped(_)) => header.clear(),
                Err(_) => return,
            }
            if let Some(dial) = self.pending(key) {
                dial.header = header;
            }
        }
        match self.look_for_response(key) {
            Look::Nothing => {}
            Look::Response(response) => self.on_response(key, response),
            Look::Failed(error) => self.move_dial(key, &error),
        }
    }

    fn look_for_response(&mut self, key: Key) -> Look {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return Look::Nothing };
        let Some((conn, stream)) = tunnel.stream else { return Look::Nothing };
        if !matches!(tunnel.phase, Phase::Dialing(_)) || !tunnel.readable {
            return Look::Nothing;
        }
        let mut chunks = Vec::new();
        let state = self.read_stream(conn, stream, MESSAGE_BYTES_MAX, &mut chunks);
        let Some(tunnel) = self.tunnels.get_mut(key) else { return Look::Nothing };
        let Phase::Dialing(dial) = &mut tunnel.phase else { return Look::Nothing };
        for chunk in chunks {
            dial.response.push(chunk);
        }
        let ended = match state {
            Ok(ReadState::More) => None,
            Ok(ReadState::Blocked) => {
                tunnel.readable = false;
                None
            }
            Ok(ReadState::Finished) => {
                tunnel.readable = false;
                tunnel.egress.on_stream_end();
                Some("the agent closed the stream without an answer".to_owned())
            }
            Ok(ReadState::Reset(code)) => Some(format!("the agent reset the stream: {}", code.text())),
            Err(_) => Some("the agent's connection ended".to_owned()),
        };
        match dial.response.poll().and_then(|message| message.map(DialResponse::decode).transpose()) {
            Ok(Some(response)) => Look::Response(response),
            Ok(None) => ended.map_or(Look::Nothing, Look::Failed),
            Err(error) => Look::Failed(format!("the agent's answer is not valid: {error}")),
        }
    }

    fn on_response(&mut self, key: Key, response: DialResponse) {
        if let Err(error) = response.into_result() {
            if error.class.is_the_agents_own() && self.has_other_candidate(key, false) {
                return self.move_dial(key, &error.text);
            }
            let answer = Answer::dial_error(&error.text);
            return self.answer_dial(key, DialOutcome::ErrorResponse, answer, &error.text);
        }
        self.report_dial(key, DialOutcome::Established, "");
        self.stats.dials_pending -= 1;
        self.stats.tunnels_established += 1;
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Phase::Dialing(dial) = std::mem::replace(&mut tunnel.phase, Phase::Open) else { return };
        tunnel.deadline = None;
        if tunnel.call.is_none() {
            tunnel.egress.answer_and_hold(Answer::established().into_bytes());
        }
        for piece in dial.response.into_rest() {
            tunnel.egress.push(piece);
        }
        if !self.establish_call(key) {
            return self.close_tunnel(key, Close::Reset, Some(ResetCode::Cancelled));
        }
        self.expect_orphan(key);
        self.queue(key);
    }

    /// The agent cannot answer any more: another is asked, if there is one and time.
    pub(super) fn move_dial(&mut self, key: Key, error: &str) {
        let Some(conn) = self.tunnels.get(key).and_then(super::tunnel::Tunnel::conn) else { return };
        let tried = self.connection_key(conn);
        self.detach_stream(key, ResetCode::Cancelled);
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        tunnel.egress = crate::stream::egress::Egress::default();
        let Phase::Dialing(dial) = &mut tunnel.phase else { return };
        dial.conn = None;
        dial.tried.push(tried);
        error.clone_into(&mut dial.last_error);
        self.stats.dials_moved += 1;
        self.ask_an_agent(key);
    }

    /// Another shard passed this dial on to a connection of this one, which may have ended or fallen silent since.
    pub(super) fn ask_chosen(&mut self, key: Key, chosen: ConnectionKey) {
        let conn = ConnId { index: chosen.index, generation: chosen.generation };
        let session = self.sessions.get(&conn);
        let ready = session.is_some_and(super::session::Session::is_ready);
        let doubtful =
            self.quic.is_suspect(conn) || session.is_some_and(super::session::Session::is_draining);
        if !ready || doubtful {
            let Some(dial) = self.pending(key) else { return };
            dial.tried.push(chosen);
            "the agent's connection ended".clone_into(&mut dial.last_error);
            if !ready || self.choose_agent(key, true).is_some() {
                return self.ask_an_agent(key);
            }
            if let Some(dial) = self.pending(key) {
                dial.tried.pop();
            }
        }
        if !self.ask(key, conn) {
            self.ask_an_agent(key);
        }
    }

    /// A connection became suspect: its pending dials move where somebody healthier is; the others wait on.
    pub(super) fn move_dials_from_suspect(&mut self, conn: ConnId) {
        for key in self.tunnels_on(conn) {
            if self.has_other_candidate(key, true) {
                self.move_dial(key, "the agent does not answer");
            }
        }
    }

    /// An agent's connection is there, or another shard has one: dials that wait for an agent that does not answer may
    /// go there.
    pub(super) fn move_dials_from_suspects(&mut self) {
        if self.stats.dials_pending == 0 {
            return;
        }
        let suspects: Vec<ConnId> =
            self.sessions.keys().copied().filter(|conn| self.quic.is_suspect(*conn)).collect();
        suspects.into_iter().for_each(|conn| self.move_dials_from_suspect(conn));
    }

    /// Whether a dial that is with an agent could be with another.
    fn has_other_candidate(&mut self, key: Key, healthy_only: bool) -> bool {
        let Some(conn) = self.tunnels.get(key).and_then(super::tunnel::Tunnel::conn) else { return false };
        self.has_candidate_beside(key, self.connection_key(conn), healthy_only)
    }

    /// Whether a dial could be with another agent than this.
    fn has_candidate_beside(&mut self, key: Key, present: ConnectionKey, healthy_only: bool) -> bool {
        let Some(dial) = self.pending(key) else { return false };
        dial.tried.push(present);
        let elsewhere = self.choose_agent(key, healthy_only).is_some();
        if let Some(dial) = self.pending(key) {
            dial.tried.pop();
        }
        elsewhere
    }

    pub(super) fn on_dial_timeout(&mut self, key: Key) {
        self.answer_dial(key, DialOutcome::Timeout, Answer::timeout(), "timed out waiting for backend dial");
    }

    /// The frontend went away before there was an answer.
    pub(super) fn abandon_dial(&mut self, key: Key) {
        self.report_dial(key, DialOutcome::FrontendClose, "the frontend closed the connection");
        self.close_tunnel(key, Close::Reset, Some(ResetCode::Cancelled));
    }

    pub(super) fn answer_dial(&mut self, key: Key, outcome: DialOutcome, answer: Answer, error: &str) {
        self.report_dial(key, outcome, error);
        self.stats.dials_pending -= 1;
        if !self.refuse_call(key, outcome, &answer, error) {
            self.refuse(key, answer.into_bytes());
        }
    }

    pub(super) fn report_dial(&mut self, key: Key, outcome: DialOutcome, error: &str) {
        let (shard, now) = (self.config.id, self.now);
        let Some(dial) = self.pending(key) else { return };
        let event = Event::DialFinished {
            outcome,
            duration: now.saturating_duration_since(dial.started),
            target: dial.raw_target.clone(),
            frontend: dial.frontend.clone(),
            agent: dial.conn.map(|conn| {
                let own = ConnectionKey { shard, index: conn.index, generation: conn.generation };
                remote_of_conn(conn).unwrap_or(own)
            }),
            error: error.to_owned(),
        };
        self.mailbox.send_or_drop(event);
    }

    fn pending(&mut self, key: Key) -> Option<&mut PendingDial> {
        match &mut self.tunnels.get_mut(key)?.phase {
            Phase::Dialing(dial) | Phase::Moving(dial, _) => Some(dial),
            _ => None,
        }
    }
}

/// The stream header of a dial; `None` cannot be: the target was parsed and so fits.
fn dial_header(dial: &PendingDial, dial_id: u64, now: std::time::Instant) -> Option<Bytes> {
    let left = dial.deadline.saturating_duration_since(now).min(AGENT_DIAL_TIME_MAX);
    let request = DialRequest {
        network: Network::Tcp,
        address: dial.raw_target.clone(),
        dial_id,
        deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
        traceparent: String::new(),
    };
    StreamHeader::dial(request).to_frame().ok()
}
