//! Sessions: what two peers say on the control stream, from Hello to drain.

use std::collections::VecDeque;
use std::time::Instant;

use adit_io::DatagramDriver;
use bytes::Bytes;
use rustc_hash::FxHashSet;

use super::Shard;
use super::timers::Timer;
use crate::config::Role;
use crate::limits::{AGENT_STREAMS_INITIAL, HELLO_TIME_MAX, MESSAGE_BYTES_MAX};
use crate::port::{ConnectionKey, Event, Verdict};
use crate::quic::{ConnId, ReadState, StreamId};
use crate::stream::table::Key;
use crate::wire::{
    CloseCode, ControlMessage, Drain, FrameReader, Hello, Kind, ResetCode, StreamHeader, Welcome, WireError,
    clean_text,
};

/// How far two peers have come.
#[derive(Debug)]
enum State {
    /// The QUIC handshake is under way.
    Handshake,
    /// Server: the control stream's header and Hello are awaited. Agent: Welcome is.
    Greeting,
    /// Server: control is asked.
    Verdict,
    /// Dials may go.
    Ready,
    /// Closed by this end; what still arrives is ignored.
    Closing,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Session {
    state: State,
    /// Agent: which of its connections this is.
    pub(super) index: u32,
    control: Option<StreamId>,
    header_seen: bool,
    reader: FrameReader,
    out: VecDeque<Bytes>,
    deadline: Option<Instant>,
    /// The peer takes nothing new.
    draining: bool,
    /// This end takes nothing new, and the peer was told so on the control stream.
    said_drain: bool,
    /// Server: control was told of it.
    presented: bool,
    /// Who the peer says that it is: a server's or an agent's id. To be believed of a session that is ready.
    pub(super) peer_id: String,
    /// Which process of it.
    pub(super) peer_instance: Vec<u8>,
    /// Agent: replaced by a newer connection; closed when its last tunnel ends.
    pub(super) lame: bool,
    /// Tunnels on it.
    pub(super) tunnels: u32,
    /// Streams that were ended and are not acknowledged to their end: closing the connection would lose them. Keys
    /// are ours or bounded by what was granted.
    pub(super) finishing: FxHashSet<StreamId>,
    /// Server: dials that wait for a stream, oldest first. Bounded by the tunnel table.
    pub(super) waiting: VecDeque<Key>,
}

impl Session {
    pub(super) fn new(index: u32) -> Self {
        Self {
            state: State::Handshake,
            index,
            control: None,
            header_seen: false,
            reader: FrameReader::new(),
            out: VecDeque::new(),
            deadline: None,
            draining: false,
            said_drain: false,
            presented: false,
            peer_id: String::new(),
            peer_instance: Vec::new(),
            lame: false,
            tunnels: 0,
            finishing: FxHashSet::default(),
            waiting: VecDeque::new(),
        }
    }

    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    pub(super) const fn is_draining(&self) -> bool {
        self.draining
    }

    /// The peer takes nothing new.
    pub(super) const fn on_drain(&mut self) {
        self.draining = true;
    }

    /// Whether nothing of it is left at this end.
    fn is_empty(&self) -> bool {
        self.tunnels == 0 && self.finishing.is_empty() && self.waiting.is_empty()
    }

    /// Whether the peer still has to say that it has nothing left: it may have received what it has not read, and would
    /// lose that if the connection was closed.
    pub(super) const fn awaits_the_peer(&self) -> bool {
        self.is_ready() && self.said_drain && !self.draining
    }

    /// Whether its peer says more of it than the peer's protocol does by itself.
    pub(super) const fn has_control(&self) -> bool {
        self.control.is_some()
    }

    pub(super) const fn was_presented(&self) -> bool {
        self.presented
    }

    pub(super) const fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing)
    }
}

const fn timer_key(conn: ConnId) -> Key {
    Key { index: conn.index, generation: conn.generation }
}

impl<D: DatagramDriver> Shard<D> {
    /// The QUIC handshake ended well.
    pub(super) fn on_session_connected(&mut self, conn: ConnId) {
        let agent = matches!(self.config.role, Role::Agent(_));
        let session = self.sessions.entry(conn).or_insert_with(|| Session::new(0));
        session.state = State::Greeting;
        if agent {
            let Ok(Some(stream)) = self.open_stream(conn) else {
                return self.close_session(conn, CloseCode::Protocol, "the server grants no control stream");
            };
            let Role::Agent(role) = &self.config.role else { return };
            let Some(session) = self.sessions.get_mut(&conn) else { return };
            let hello = Hello { connection_index: session.index, ..role.hello.clone() };
            session.control = Some(stream);
            session.header_seen = true;
            session.out.extend(StreamHeader::control().to_frame());
            session.out.extend(ControlMessage::Hello(hello).to_frame());
            self.pump_session(conn);
        } else {
            self.set_session_deadline(conn, self.now + HELLO_TIME_MAX);
        }
    }

    pub(super) fn set_session_deadline(&mut self, conn: ConnId, at: Instant) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.deadline = Some(at);
            self.timers.set(at, Timer::Session(timer_key(conn)));
        }
    }

    pub(super) fn on_session_timer(&mut self, key: Key) {
        let conn = ConnId { index: key.index, generation: key.generation };
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if session.deadline.is_none_or(|deadline| deadline > self.now) {
            return;
        }
        session.deadline = None;
        if session.is_ready() || session.is_closing() {
            return;
        }
        let text = match session.state {
            State::Verdict => "control did not decide in time",
            State::Handshake => "the handshake did not end in time",
            _ if matches!(self.config.role, Role::Agent(_)) => "no Welcome in time",
            _ => "no Hello in time",
        };
        self.close_session(conn, CloseCode::HelloTimeout, text);
    }

    /// The peer opened a stream on a server: the first is the control stream, another is not for it to open.
    pub(super) fn on_control_stream(&mut self, conn: ConnId, stream: StreamId) {
        match self.sessions.get_mut(&conn) {
            Some(session) if session.control.is_none() => {
                session.control = Some(stream);
                self.pump_session(conn);
            }
            _ => {
                self.reset_stream(conn, stream, ResetCode::UnknownKind);
                self.stop_stream(conn, stream, ResetCode::UnknownKind);
            }
        }
    }

    pub(super) fn is_control_stream(&self, conn: ConnId, stream: StreamId) -> bool {
        self.sessions.get(&conn).is_some_and(|session| session.control == Some(stream))
    }

    /// Writes what is to be said and hears what was said.
    pub(super) fn pump_session(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let Some(stream) = session.control else { return };
        if session.is_closing() || !self.write_session(conn) {
            return;
        }
        loop {
            let mut chunks = Vec::new();
            let state = self.read_stream(conn, stream, MESSAGE_BYTES_MAX, &mut chunks);
            let Some(session) = self.sessions.get_mut(&conn) else { return };
            for chunk in chunks {
                session.reader.push(chunk);
            }
            if let Err(error) = self.hear(conn) {
                return self.close_session(conn, error.close_code(), &error.to_string());
            }
            match state {
                Ok(ReadState::More) => {}
                Ok(ReadState::Blocked) | Err(_) => return,
                Ok(ReadState::Finished | ReadState::Reset(_)) => {
                    return self.close_session(conn, CloseCode::Protocol, "the control stream ended");
                }
            }
        }
    }

    /// Writes what is to be said. False when nobody will have it.
    fn write_session(&mut self, conn: ConnId) -> bool {
        let Some(session) = self.sessions.get_mut(&conn) else { return false };
        let Some(stream) = session.control else { return false };
        if session.out.is_empty() {
            return true;
        }
        let mut out = std::mem::take(&mut session.out);
        let state = self.write_stream(conn, stream, &mut out);
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.out = out;
        }
        state.is_ok()
    }

    fn hear(&mut self, conn: ConnId) -> Result<(), WireError> {
        loop {
            let Some(session) = self.sessions.get_mut(&conn) else { return Ok(()) };
            if session.is_closing() {
                return Ok(());
            }
            let Some(message) = session.reader.poll()? else { return Ok(()) };
            if !session.header_seen {
                session.header_seen = true;
                if StreamHeader::decode(message)?.kind != Kind::Control {
                    return Err(WireError::Unexpected("stream kind"));
                }
                continue;
            }
            match ControlMessage::decode(message)? {
                Some(message) => self.on_control_message(conn, message)?,
                None if matches!(session.state, State::Greeting) => {
                    return Err(WireError::Unexpected("first message"));
                }
                None => {}
            }
        }
    }

    fn on_control_message(&mut self, conn: ConnId, message: ControlMessage) -> Result<(), WireError> {
        let agent = matches!(self.config.role, Role::Agent(_));
        let Some(session) = self.sessions.get_mut(&conn) else { return Ok(()) };
        match (message, &session.state) {
            (ControlMessage::Hello(hello), State::Greeting) if !agent => {
                self.present(conn, Box::new(hello));
            }
            (ControlMessage::Welcome(welcome), State::Greeting) if agent => self.on_welcome(conn, welcome),
            (ControlMessage::Drain(_), State::Ready) => {
                session.draining = true;
                self.on_less(conn);
            }
            // A token is reviewed when a connection begins; counts are looked at when there are several servers.
            (ControlMessage::Token(_) | ControlMessage::ServerCount(_), State::Ready) => {}
            (message, _) => return Err(WireError::Unexpected(message.name())),
        }
        Ok(())
    }

    /// An agent has said who it is: control decides.
    pub(super) fn present(&mut self, conn: ConnId, hello: Box<Hello>) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.state = State::Verdict;
        session.presented = true;
        session.peer_id.clone_from(&hello.agent_id);
        session.peer_instance.clone_from(&hello.instance_id);
        self.set_session_deadline(conn, self.now + HELLO_TIME_MAX);
        let (Some(remote), Some(transport)) = (self.remote_of(conn), self.transport_of(conn)) else { return };
        let event = Event::AgentPresented {
            connection: self.connection_key(conn),
            hello,
            certificates: self.certificates_of(conn),
            remote,
            transport,
        };
        self.mailbox.send(event);
    }

    pub(super) fn on_welcome(&mut self, conn: ConnId, welcome: Welcome) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.state = State::Ready;
        session.deadline = None;
        session.peer_id.clone_from(&welcome.server_id);
        session.peer_instance.clone_from(&welcome.instance_id);
        let index = session.index;
        self.quic.welcome(conn, AGENT_STREAMS_INITIAL);
        self.stats.sessions_ready += 1;
        let (Some(remote), Some(transport)) = (self.remote_of(conn), self.transport_of(conn)) else { return };
        let welcome = Box::new(welcome);
        self.on_link_ready(conn, index, &welcome);
        if self.sessions.get(&conn).is_some_and(Session::is_ready) {
            self.mailbox.send(Event::ServerReady { index, welcome, remote, transport });
        }
    }

    /// Control decided about an agent.
    pub(super) fn on_verdict(&mut self, connection: ConnectionKey, verdict: Verdict) {
        let conn = ConnId { index: connection.index, generation: connection.generation };
        // It may be gone, or control may say the same twice.
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if connection.shard != self.config.id || !matches!(session.state, State::Verdict) {
            return;
        }
        match verdict {
            Verdict::Accept(welcome) => {
                session.state = State::Ready;
                session.deadline = None;
                let has_control = session.control.is_some();
                self.stats.sessions_ready += 1;
                if has_control {
                    session.out.extend(ControlMessage::Welcome(welcome).to_frame());
                    self.quic.welcome(conn, 0);
                    self.pump_session(conn);
                } else {
                    self.welcome_over_carrier(conn, &welcome);
                }
                self.move_dials_from_suspects();
            }
            Verdict::Refuse(reason) => {
                self.stats.sessions_refused += 1;
                self.close_session(conn, CloseCode::Refused, &reason);
            }
        }
    }

    /// Tells every ready peer that this end takes nothing new.
    pub(super) fn announce_drain(&mut self, deadline: Instant) {
        let left = deadline.saturating_duration_since(self.now).as_millis();
        let deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
        let ready: Vec<ConnId> =
            self.sessions.iter().filter(|(_, session)| session.is_ready()).map(|(conn, _)| *conn).collect();
        for conn in ready {
            self.say_drain(conn, Drain { deadline_ms, reason: String::new() });
        }
    }

    /// Tells a peer to open no more streams on this connection: another has taken its place.
    pub(super) fn ask_for_no_more(&mut self, conn: ConnId) {
        self.say_drain(conn, Drain { deadline_ms: 0, reason: "replaced by a newer connection".to_owned() });
    }

    fn say_drain(&mut self, conn: ConnId, drain: Drain) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if std::mem::replace(&mut session.said_drain, session.control.is_some()) {
            return;
        }
        if session.control.is_some() {
            session.out.extend(ControlMessage::Drain(drain).to_frame());
            self.write_session(conn);
        } else {
            self.drain_carrier(conn);
        }
    }

    pub(super) fn close_session(&mut self, conn: ConnId, code: CloseCode, reason: &str) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if session.is_closing() {
            return;
        }
        match session.state {
            State::Ready => self.stats.sessions_ready -= 1,
            _ if code == CloseCode::Protocol || code == CloseCode::HelloTimeout => {
                self.stats.sessions_refused += 1;
            }
            _ => {}
        }
        session.state = State::Closing;
        let reason = clean_text(reason, crate::limits::REASON_PHRASE_BYTES_MAX);
        self.close_link(conn, code, &reason);
    }

    pub(super) fn on_tunnel_joined(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.tunnels += 1;
        }
    }

    pub(super) fn on_tunnel_left(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.tunnels = session.tunnels.saturating_sub(1);
        self.on_less(conn);
    }

    /// A stream was ended; until the peer has all of it, its connection must stay.
    pub(super) fn on_stream_ending(&mut self, conn: ConnId, stream: StreamId) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.finishing.insert(stream);
        }
    }

    /// The peer has all of a stream, or wants no more of it.
    pub(super) fn on_stream_settled(&mut self, conn: ConnId, stream: StreamId) {
        if let Some(session) = self.sessions.get_mut(&conn)
            && session.finishing.remove(&stream)
        {
            self.on_less(conn);
        }
    }

    /// Another connection takes this one's place: it ends with its last tunnel.
    pub(super) fn make_lame(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.lame = true;
            self.on_less(conn);
        }
    }

    /// There may be nothing left on a connection that takes nothing new: then the peer is told so, and where the peer
    /// has said the same a connection that was replaced is closed.
    fn on_less(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(&conn) else { return };
        if !session.is_ready() || !session.is_empty() {
            return;
        }
        if session.lame && !session.awaits_the_peer() {
            self.close_session(conn, CloseCode::NoError, "replaced by a newer connection");
        } else if session.draining && session.has_control() {
            self.say_drain(conn, Drain { deadline_ms: 0, reason: "nothing is left".to_owned() });
        }
    }
}
