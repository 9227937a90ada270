//! An agent's dials: read what the server wants, decide whether it may be had, connect, answer.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_io::{Close, DatagramDriver, Op, OpError, SocketId};

use super::Shard;
use super::token::Purpose;
use super::tunnel::{AgentDial, Phase, Tunnel};
use crate::limits::{AGENT_DIAL_TIME_MAX, HELLO_TIME_MAX, MESSAGE_BYTES_MAX, SOCKET_WAIT_MAX};
use crate::port::{Event, ResolveError, ResolveKey};
use crate::quic::{ConnId, ReadState, StreamId};
use crate::route::{Host, Target};
use crate::stream::dial::{AttemptIndex, Attempts, DialStep};
use crate::stream::table::Key;
use crate::wire::{
    DialError, DialRequest, DialResponse, ErrorClass, FrameReader, Kind, ResetCode, StreamHeader, WireError,
};

impl<D: DatagramDriver> Shard<D> {
    /// The server opened a stream.
    pub(super) fn on_dial_stream(&mut self, conn: ConnId, stream: StreamId) {
        let mut tunnel = Tunnel::new(Phase::Header(FrameReader::new()));
        tunnel.stream = Some((conn, stream));
        tunnel.readable = true;
        let Ok(key) = self.tunnels.insert(tunnel) else {
            self.reset_stream(conn, stream, ResetCode::Full);
            self.stop_stream(conn, stream, ResetCode::Full);
            return;
        };
        self.by_stream.insert((conn, stream), key);
        self.on_tunnel_joined(conn);
        self.set_deadline(key, self.now + HELLO_TIME_MAX);
        self.queue(key);
    }

    pub(super) fn pump_header(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Some((conn, stream)) = tunnel.stream else { return };
        if !matches!(tunnel.phase, Phase::Header(_)) || !tunnel.readable {
            return;
        }
        let mut chunks = Vec::new();
        let state = self.read_stream(conn, stream, MESSAGE_BYTES_MAX, &mut chunks);
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Phase::Header(reader) = &mut tunnel.phase else { return };
        for chunk in chunks {
            reader.push(chunk);
        }
        let ended = match state {
            Ok(ReadState::More) => false,
            Ok(ReadState::Blocked) => {
                tunnel.readable = false;
                false
            }
            Ok(ReadState::Finished) => {
                tunnel.readable = false;
                tunnel.egress.on_stream_end();
                true
            }
            Ok(ReadState::Reset(_)) | Err(_) => {
                return self.close_tunnel(key, Close::Reset, Some(ResetCode::Cancelled));
            }
        };
        match reader.poll().and_then(|message| message.map(StreamHeader::decode).transpose()) {
            Ok(Some(header)) => {
                let reader = std::mem::take(reader);
                self.on_header(key, header, reader.into_rest());
            }
            Ok(None) if ended => self.close_tunnel(key, Close::Reset, Some(ResetCode::Protocol)),
            Ok(None) => {}
            Err(error) => self.refuse_header(key, &error),
        }
    }

    /// What cannot be served is refused on its stream; the connection goes on.
    fn refuse_header(&mut self, key: Key, error: &WireError) {
        match error.dial_refusal() {
            Some(response) => self.answer_server(key, response),
            None => self.close_tunnel(key, Close::Reset, Some(error.reset_code())),
        }
    }

    fn on_header(&mut self, key: Key, header: StreamHeader, early: VecDeque<bytes::Bytes>) {
        let (Kind::Dial, Some(request)) = (header.kind, header.dial) else {
            return self.close_tunnel(key, Close::Reset, Some(ResetCode::UnknownKind));
        };
        if self.drain.is_draining() {
            let text = format!("dial tcp {}: operation was canceled: the agent is draining", request.address);
            return self.answer_server(key, DialResponse::error(DialError::new(ErrorClass::Canceled, &text)));
        }
        match Target::parse(&request.address) {
            Ok(target) => self.dial(key, target, &request, early),
            Err(error) => {
                let refusal = DialError::address(&request.address, &error);
                self.answer_server(key, DialResponse::error(refusal));
            }
        }
    }

    fn dial(&mut self, key: Key, target: Target, request: &DialRequest, early: VecDeque<bytes::Bytes>) {
        let time = match request.deadline_ms {
            0 => AGENT_DIAL_TIME_MAX,
            ms => Duration::from_millis(u64::from(ms)).min(AGENT_DIAL_TIME_MAX),
        };
        self.set_deadline(key, self.now + time);
        let mut dial = Box::new(AgentDial { deadline: self.now + time, target, question: None, early });
        match dial.target.host.clone() {
            Host::Ip(ip) => self.connect(key, dial, &[ip]),
            Host::Name(name) => {
                let question = ResolveKey(self.resolve_next);
                self.resolve_next += 1;
                self.resolving.insert(question, key);
                dial.question = Some(question);
                if let Some(tunnel) = self.tunnels.get_mut(key) {
                    tunnel.phase = Phase::Resolving(dial);
                }
                self.mailbox.send(Event::Resolve { key: question, name });
            }
        }
    }

    pub(super) fn on_resolved(&mut self, question: ResolveKey, result: Result<Vec<IpAddr>, ResolveError>) {
        // An answer may come twice, or after its dial was given up.
        let Some(key) = self.resolving.remove(&question) else { return };
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        if !matches!(tunnel.phase, Phase::Resolving(_)) {
            return;
        }
        let Phase::Resolving(dial) = std::mem::replace(&mut tunnel.phase, Phase::Lingering) else { return };
        match result {
            Ok(addresses) if !addresses.is_empty() => self.connect(key, dial, &addresses),
            Ok(_) => {
                let error = format!("lookup {}: no such host", dial.target);
                self.answer_server(key, DialResponse::error(DialError::lookup(&error)));
            }
            Err(error) => self.answer_server(key, DialResponse::error(DialError::lookup(&error))),
        }
    }

    /// Connects to those of the addresses that policy allows: what was checked is what is dialed.
    fn connect(&mut self, key: Key, dial: Box<AgentDial>, addresses: &[IpAddr]) {
        let port = dial.target.port;
        let mut denied = None;
        let mut allowed = Vec::with_capacity(addresses.len());
        for ip in addresses {
            match self.policy.check(*ip, port) {
                Ok(()) => allowed.push(SocketAddr::new(*ip, port)),
                Err(reason) => denied = denied.or(Some(reason)),
            }
        }
        if allowed.is_empty() {
            self.stats.destinations_denied += 1;
            let error = match denied {
                Some(denied) => DialError::denied(&denied),
                None => DialError::lookup(&format!("lookup {}: no such host", dial.target)),
            };
            return self.answer_server(key, DialResponse::error(error));
        }
        if let Some(tunnel) = self.tunnels.get_mut(key) {
            tunnel.phase = Phase::Connecting(dial, Attempts::new(allowed, self.now));
            self.step_attempts(key);
        }
    }

    fn step_attempts(&mut self, key: Key) {
        loop {
            let Some(tunnel) = self.tunnels.get_mut(key) else { return };
            let Phase::Connecting(dial, attempts) = &mut tunnel.phase else { return };
            let deadline = dial.deadline;
            match attempts.step(self.now) {
                DialStep::Connect(attempt, addr) => {
                    self.submit(Op::Connect { addr }, Purpose::Connect(attempt), key);
                }
                DialStep::WaitUntil(at) => return self.wait_for_attempts(key, at.min(deadline)),
                DialStep::Wait => return self.wait_for_attempts(key, deadline),
                DialStep::Failed(addr, error) => {
                    let error = DialError::connect(addr, error);
                    if error.class == ErrorClass::TooManyOpenFiles {
                        self.mailbox
                            .send_or_drop(Event::OutOfDescriptors { doing: "connecting to a target" });
                    }
                    return self.answer_server(key, DialResponse::error(error));
                }
            }
        }
    }

    /// Looks again at that time; sooner where there is no place for a socket.
    fn wait_for_attempts(&mut self, key: Key, until: Instant) {
        let short = self.is_connect_refused(key);
        self.set_deadline(key, if short { until.min(self.now + SOCKET_WAIT_MAX) } else { until });
    }

    /// The dial's time is over, or the next address is to be tried.
    pub(super) fn on_agent_dial_timer(&mut self, key: Key) {
        if self.is_connect_refused(key) {
            return self.fail_refused_connects(key);
        }
        let Some(tunnel) = self.tunnels.get(key) else { return };
        let (deadline, text) = match &tunnel.phase {
            Phase::Resolving(dial) => (dial.deadline, dial.target.to_string()),
            Phase::Connecting(dial, attempts) => (dial.deadline, attempts.first_address().to_string()),
            _ => return,
        };
        if self.now < deadline {
            return self.step_attempts(key);
        }
        self.answer_server(key, DialResponse::error(DialError::timeout(&text)));
    }

    pub(super) fn on_connected(
        &mut self,
        key: Key,
        attempt: AttemptIndex,
        result: Result<SocketId, OpError>,
    ) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        if matches!(tunnel.phase, Phase::Reaching(_)) {
            return self.on_server_reached(key, result);
        }
        let Phase::Connecting(_, attempts) = &mut tunnel.phase else {
            if let Ok(socket) = result {
                self.driver.close(socket, Close::Reset);
            }
            return;
        };
        let socket = match result {
            Ok(socket) => socket,
            Err(error) => {
                attempts.on_failed(attempt, error);
                return self.step_attempts(key);
            }
        };
        let address = attempts.address(attempt).unwrap_or_else(|| attempts.first_address());
        attempts.on_failed(attempt, OpError::Cancelled);
        self.cancel_connects(key);
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Phase::Connecting(dial, _) = std::mem::replace(&mut tunnel.phase, Phase::Open) else { return };
        tunnel.socket = Some(socket);
        tunnel.deadline = None;
        for piece in dial.early {
            tunnel.egress.push(piece);
        }
        if let Ok(frame) = DialResponse::ok(address).to_frame() {
            tunnel.ingress.on_bytes(frame);
        }
        self.stats.tunnels_established += 1;
        self.queue(key);
    }

    /// Cancels what still connects. An attempt that succeeds all the same is closed when it completes.
    pub(super) fn cancel_connects(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get(key) else { return };
        let Phase::Connecting(_, attempts) = &tunnel.phase else { return };
        let running: Vec<AttemptIndex> = attempts.running().collect();
        for attempt in running {
            self.cancel(Purpose::Connect(attempt), key);
        }
    }

    /// Nobody waits for the name any more; control may still answer.
    pub(super) fn forget_question(&mut self, key: Key) {
        if let Some(tunnel) = self.tunnels.get(key)
            && let Phase::Resolving(dial) = &tunnel.phase
            && let Some(question) = dial.question
        {
            self.resolving.remove(&question);
        }
    }

    /// Answers a dial that came to nothing, and ends its stream.
    fn answer_server(&mut self, key: Key, response: DialResponse) {
        self.cancel_connects(key);
        self.forget_question(key);
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        tunnel.phase = Phase::Lingering;
        tunnel.deadline = None;
        if let Ok(frame) = response.to_frame() {
            tunnel.ingress.on_bytes(frame);
        }
        tunnel.ingress.on_end();
        self.queue(key);
    }
}
