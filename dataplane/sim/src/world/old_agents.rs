//! Old agents: Konnectivity's Go agent as a script of the world, on a host of its own. One call of
//! `/AgentService/Connect` over HTTP/2, TLS and TCP; packets both ways; no half-close, and no flow control for one
//! connection alone.
//!
//! Deliberately absent: its dial timeout, its identifiers and its token.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use adit_dataplane::http2::{Call, Event, StreamId};
use adit_dataplane::konnectivity::{Message, MessageReader, Packet};
use adit_io::Close;
use bytes::{Buf, Bytes};
use rustls_pki_types::ServerName;

use super::cases::{TARGETS_IP, TARGETS_NAME};
use super::options::{OldAgentPlan, Options};
use super::pki::{SERVER_NAME, pki};
use super::{SERVER_IP, SERVER_PORT};
use crate::clock::{SimTime, nanos};
use crate::net::{HostId, SimNet};
use crate::pipe::Readable;
use crate::script::{Channel, Heard, Wire};

/// Their scripts, from this number on; those of tunnels stay far below, and hostile peers' far above.
const FIRST_SCRIPT: u32 = 1 << 22;
/// Before it connects again.
const AGAIN_NS: u64 = 1_000_000_000;
/// Payload of one DATA, as of Go's agent.
const DATA_BYTES_MAX: usize = 4 * 1024;
/// What waits for the server, at which nothing is read from targets.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// A connection to a target.
#[derive(Debug)]
struct Connection {
    wire: Wire,
    /// The dial to answer, and when.
    answer: Option<(SimTime, i64)>,
    /// What the target has not taken.
    waiting: VecDeque<Bytes>,
    /// The server has closed it.
    closing: bool,
}

#[derive(Debug)]
struct OldAgent {
    id: String,
    host: HostId,
    script: u32,
    plan: OldAgentPlan,
    channel: Option<(Channel, StreamId)>,
    connect_at: SimTime,
    reader: MessageReader,
    waiting: VecDeque<Bytes>,
    connections: BTreeMap<i64, Connection>,
    last_id: i64,
}

/// All of a world.
#[derive(Debug, Default)]
pub(super) struct OldAgents(Vec<OldAgent>);

impl OldAgents {
    pub(super) fn new(net: &mut SimNet, options: &Options) -> Self {
        let agents = options.old_agents.iter().zip(0..).map(|(plan, index)| {
            let host = net.add_host(&[IpAddr::V4(Ipv4Addr::new(10, 3, 0, index + 1))], None);
            let script = FIRST_SCRIPT + u32::from(index);
            net.wake_script(script, 1_000_000);
            OldAgent {
                // They are counted behind the others.
                id: format!("agent-{}", options.agents + usize::from(index)),
                host,
                script,
                plan: *plan,
                channel: None,
                connect_at: SimTime(0),
                reader: MessageReader::new(),
                waiting: VecDeque::new(),
                connections: BTreeMap::new(),
                last_id: 0,
            }
        });
        Self(agents.collect())
    }

    /// Steps the agent with this script, if it is one.
    pub(super) fn step(&mut self, net: &mut SimNet, script: u32) {
        let index = script.checked_sub(FIRST_SCRIPT).map(|index| index as usize);
        if let Some(agent) = index.and_then(|index| self.0.get_mut(index)) {
            agent.step(net);
        }
    }
}

impl OldAgent {
    fn step(&mut self, net: &mut SimNet) {
        if self.plan.cut_at_ns.is_some_and(|at| at <= net.time().0) {
            self.plan.cut_at_ns = None;
            self.leave(net, Close::Reset);
        }
        if self.channel.is_none() && self.connect_at <= net.time() {
            self.connect(net);
        }
        self.serve_targets(net);
        self.pump(net);
        // What was heard is done now, and what came of that is said.
        self.serve_targets(net);
        self.pump(net);
        self.look_at_time(net);
    }

    fn connect(&mut self, net: &mut SimNet) {
        self.connect_at = net.time().plus_ns(AGAIN_NS);
        let Ok(socket) = net.connect_tcp(self.host, SocketAddr::new(SERVER_IP, SERVER_PORT)) else { return };
        net.own_by_script(socket, self.script);
        let name = ServerName::try_from(SERVER_NAME).expect("a valid name");
        let wire = Wire::tls(net, socket, Arc::clone(&pki().old_agent), name);
        let mut channel = Channel::client(net, wire);
        let call = Call {
            scheme: "https",
            authority: SERVER_NAME,
            path: "/AgentService/Connect",
            user_agent: "grpc-go/adit-sim",
            metadata: &[("agentid", &self.id), ("agentidentifiers", "")],
        };
        let stream = channel.http2.open(call).expect("a new connection has room for a call");
        self.channel = Some((channel, stream));
    }

    /// Everything is lost: its connections to targets are closed.
    fn leave(&mut self, net: &mut SimNet, how: Close) {
        if let Some((channel, _)) = self.channel.take() {
            channel.close(net, how);
        }
        self.connect_at = net.time().plus_ns(AGAIN_NS);
        self.reader = MessageReader::new();
        self.waiting.clear();
        for connection in std::mem::take(&mut self.connections).into_values() {
            connection.wire.close(net, Close::Reset);
        }
    }

    /// Whether it does not read what the server says.
    fn has_stopped(&self, now: SimTime) -> bool {
        self.plan.stops.is_some_and(|(from_ns, for_ns)| (from_ns..from_ns + for_ns).contains(&now.0))
    }

    fn pump(&mut self, net: &mut SimNet) {
        let (now, stopped) = (net.clock().now(), self.has_stopped(net.time()));
        loop {
            let Some((channel, stream)) = &mut self.channel else { return };
            let stream = *stream;
            channel.http2.on_time(now);
            let Some(event) = channel.http2.poll_event(now) else {
                while let Some(piece) = self.waiting.front_mut() {
                    let taken = channel.http2.send(stream, piece.clone()).unwrap_or(0);
                    piece.advance(taken);
                    if !piece.is_empty() {
                        break;
                    }
                    self.waiting.pop_front();
                }
                channel.flush(net);
                let heard = if stopped { Heard::Nothing } else { channel.receive(net) };
                match heard {
                    Heard::Something => continue,
                    Heard::Nothing => return,
                    Heard::Gone => return self.leave(net, Close::Graceful),
                }
            };
            match event {
                Event::Data { bytes, .. } => {
                    channel.http2.credit(stream, bytes.len());
                    self.on_bytes(net, bytes);
                }
                Event::Finished { .. } | Event::Reset { .. } | Event::Ended(_) => {
                    channel.flush(net);
                    return self.leave(net, Close::Graceful);
                }
                _ => {}
            }
        }
    }

    fn say(&mut self, packet: &Packet) {
        let Message { head, payload } = packet.to_message().expect("what agents say is within the limits");
        self.waiting.extend([head, payload].into_iter().filter(|piece| !piece.is_empty()));
    }

    fn on_bytes(&mut self, net: &mut SimNet, bytes: Bytes) {
        let pushed = self.reader.push(bytes);
        while let Ok(Some(message)) = self.reader.poll() {
            match Packet::decode(message) {
                Ok(packet) => self.on_packet(net, packet),
                Err(error) => net.violation(format!("an old agent was sent a bad packet: {error}")),
            }
        }
        if let Err(error) = pushed {
            net.violation(format!("an old agent was sent bad framing: {error}"));
        }
    }

    fn on_packet(&mut self, net: &mut SimNet, packet: Packet) {
        match packet {
            Packet::DialReq { random, address, .. } => self.dial(net, random, &address),
            Packet::Data { connect_id, data } => match self.connections.get_mut(&connect_id) {
                Some(connection) if connection.answer.is_some() => {
                    net.violation(format!("DATA for connection {connect_id} before its dial was answered"));
                }
                Some(connection) => connection.waiting.push_back(data),
                // It has said CLOSE_RSP meanwhile.
                None => {}
            },
            Packet::CloseReq { connect_id } => {
                if let Some(connection) = self.connections.get_mut(&connect_id) {
                    connection.closing = true;
                }
            }
            Packet::DialCls { .. } | Packet::Drain => {}
            other => net.violation(format!("an old agent was sent {}", other.name())),
        }
    }

    fn dial(&mut self, net: &mut SimNet, random: i64, address: &str) {
        let address = address.replace(TARGETS_NAME, &TARGETS_IP.to_string());
        let connected = match address.parse() {
            Ok(at) => net
                .connect_tcp(self.host, at)
                .map_err(|_| format!("dial tcp {at}: connect: connection refused")),
            Err(_) => Err(format!("dial tcp: lookup {address}: no such host")),
        };
        match connected {
            Ok(socket) => {
                net.own_by_script(socket, self.script);
                self.last_id += 1;
                let at = net.time().plus_ns(net.net_rng.span(self.plan.answers_after));
                let connection = Connection {
                    wire: Wire::plain(socket),
                    answer: Some((at, random)),
                    waiting: VecDeque::new(),
                    closing: false,
                };
                self.connections.insert(self.last_id, connection);
            }
            Err(error) => self.say(&Packet::DialRsp { random, connect_id: 0, error }),
        }
    }

    fn serve_targets(&mut self, net: &mut SimNet) {
        let ids: Vec<i64> = self.connections.keys().copied().collect();
        for connect_id in ids {
            if self.serve_target(net, connect_id)
                && let Some(connection) = self.connections.remove(&connect_id)
            {
                connection.wire.close(net, Close::Graceful);
                self.say(&Packet::CloseRsp { connect_id, error: String::new() });
            }
        }
    }

    /// Moves bytes both ways. Whether the connection is over.
    fn serve_target(&mut self, net: &mut SimNet, connect_id: i64) -> bool {
        let Some(connection) = self.connections.get_mut(&connect_id) else { return false };
        if let Some((at, random)) = connection.answer {
            if at > net.time() {
                return false;
            }
            connection.answer = None;
            self.say(&Packet::DialRsp { random, connect_id, error: String::new() });
        }
        let Some(connection) = self.connections.get_mut(&connect_id) else { return false };
        while let Some(piece) = connection.waiting.front_mut() {
            match connection.wire.writable(net) {
                Ok(0) => break,
                Ok(room) => {
                    let part = piece.split_to(piece.len().min(room));
                    connection.wire.write(net, part);
                }
                Err(_) => return true,
            }
            if piece.is_empty() {
                connection.waiting.pop_front();
            }
        }
        if connection.closing && connection.waiting.is_empty() {
            return true;
        }
        self.read_target(net, connect_id)
    }

    /// What a target says, as long as there is room for it. Whether it has ended.
    fn read_target(&mut self, net: &mut SimNet, connect_id: i64) -> bool {
        while self.waiting.iter().map(Bytes::len).sum::<usize>() < WAITING_BYTES_MAX {
            let Some(connection) = self.connections.get_mut(&connect_id) else { return false };
            match connection.wire.readable(net) {
                Ok(Readable::Bytes(waiting)) => {
                    let mut data = Vec::new();
                    let max = waiting.min(DATA_BYTES_MAX);
                    connection.wire.read(net, max, |piece| data.extend_from_slice(piece));
                    self.say(&Packet::Data { connect_id, data: Bytes::from(data) });
                }
                Ok(Readable::Nothing) => return false,
                Ok(Readable::End | Readable::Failed(_)) | Err(_) => return true,
            }
        }
        false
    }

    fn look_at_time(&self, net: &mut SimNet) {
        let now = net.time();
        let http2 = self.channel.as_ref().and_then(|(channel, _)| channel.http2.deadline());
        let http2 = http2.map(|at| now.plus_ns(nanos(at.saturating_duration_since(net.clock().now()))));
        let connect = self.channel.is_none().then_some(self.connect_at);
        let answers = self.connections.values().filter_map(|connection| Some(connection.answer?.0)).min();
        let cut = self.plan.cut_at_ns.map(SimTime);
        let reads = self.plan.stops.map(|(from_ns, for_ns)| SimTime(from_ns + for_ns)).filter(|at| *at > now);
        if let Some(at) = [http2, connect, answers, cut, reads].into_iter().flatten().min() {
            net.wake_script(self.script, at.0.saturating_sub(now.0).max(1_000));
        }
    }
}
