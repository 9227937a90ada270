//! One hostile peer: a quinn-proto client driven by hand, which comes again when it was thrown out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_dataplane::wire::{ControlMessage, FrameReader, Hello, StreamHeader};
use bytes::{Bytes, BytesMut};
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, ConnectionId, DatagramEvent, Dir, Endpoint,
    EndpointConfig, Event, StreamId, TransportConfig,
};

use super::greedy::Greedy;
use super::{HOSTILE_IP, HostileOutcome};
use crate::clock::SimTime;
use crate::net::{HostId, SimNet, SimSocket, UdpItem};
use crate::rng::Prng;
use crate::tally::Family;
use crate::world::options::{HostileKind, HostilePlan};
use crate::world::pki::{SERVER_NAME, pki};
use crate::world::{SERVER_IP, SERVER_PORT};

/// Streams that a greedy peer opens before it lets its packets go.
const STREAMS_AT_ONCE: u64 = 1_000;
/// What keeps the connection of an idle one alive.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// How a visit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server closed it with this application code and reason.
    Closed(u64, String),
    /// The server closed it with this transport code (RFC 9000 section 20.1).
    Refused(u64),
    /// Anything else: a stateless reset, silence.
    Lost(String),
}

/// One connection, or an attempt at one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// When it began.
    pub began_at: SimTime,
    /// When the QUIC handshake was over for the peer.
    pub connected_at: Option<SimTime>,
    /// When the server said Welcome.
    pub welcome_at: Option<SimTime>,
    /// Streams that it opened beside the control stream.
    pub streams: u64,
    /// How it ended for the peer, and when.
    pub ended: Option<(SimTime, Ended)>,
}

/// See the module.
#[derive(Debug)]
pub(in crate::world) struct Peer {
    script: u32,
    plan: HostilePlan,
    rng: Prng,
    socket: SimSocket,
    /// When it comes, or comes again.
    comes_at: SimTime,
    connection: Option<Box<Quic>>,
    visits: Vec<Visit>,
    /// Datagrams that it has not let go yet.
    held_back: VecDeque<Bytes>,
    /// When it lets the next one go.
    sends_at: SimTime,
}

/// The connection of one visit.
struct Quic {
    endpoint: Endpoint,
    handle: ConnectionHandle,
    inner: Connection,
    control: Option<StreamId>,
    /// What of its header and Hello it has not said yet.
    unsaid: Bytes,
    says_at: SimTime,
    heard: FrameReader,
}

impl std::fmt::Debug for Quic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quic").field("unsaid", &self.unsaid.len()).finish_non_exhaustive()
    }
}

impl Peer {
    pub(super) fn new(net: &mut SimNet, host: HostId, seed: u64, script: u32, plan: HostilePlan) -> Self {
        let socket = net.bind_udp(host, SocketAddr::new(HOSTILE_IP, 0)).expect("a free port");
        net.own_by_script(socket, script);
        Self {
            script,
            plan,
            rng: Prng::new(seed, &format!("hostile {script}")),
            socket,
            comes_at: SimTime(plan.at_ns),
            connection: None,
            visits: Vec::new(),
            held_back: VecDeque::new(),
            sends_at: SimTime(0),
        }
    }

    pub(super) fn outcome(&self) -> HostileOutcome {
        HostileOutcome { kind: self.plan.kind, visits: self.visits.clone() }
    }

    const fn leaves_at(&self) -> SimTime {
        SimTime(self.plan.until_ns)
    }

    /// Takes in what came, does its worst, and asks to be woken for what it waits for.
    pub(super) fn step(&mut self, net: &mut SimNet) {
        let now = net.time();
        if now >= self.leaves_at() {
            // Without a word, as a host that is switched off.
            self.connection = None;
            return;
        }
        if self.connection.is_none() && now >= self.comes_at {
            self.come(net);
        }
        self.hear(net);
        self.misbehave(net);
        self.speak(net);
        if let Some(at) = self.next_at(net) {
            net.wake_script(self.script, at.0.saturating_sub(now.0).max(1_000));
        }
    }

    fn come(&mut self, net: &mut SimNet) {
        let honest = QuicClientConfig::try_from(Arc::clone(&pki().agent)).expect("TLS 1.3 is configured");
        let mut config = match self.plan.kind {
            HostileKind::Greedy { .. } => ClientConfig::new(Arc::new(Greedy(Arc::new(honest)))),
            _ => ClientConfig::new(Arc::new(honest)),
        };
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(None).mtu_discovery_config(None).keep_alive_interval(Some(KEEP_ALIVE));
        config.transport_config(Arc::new(transport));
        let (mut seed, mut id) = ([0; 32], [0; 8]);
        self.rng.fill(&mut seed);
        self.rng.fill(&mut id);
        config.initial_dst_cid_provider(Arc::new(move || ConnectionId::new(&id)));
        let mut endpoint = EndpointConfig::default();
        endpoint.rng_seed(Some(seed));
        let mut endpoint = Endpoint::new(Arc::new(endpoint), None, true, None);
        let server = SocketAddr::new(SERVER_IP, SERVER_PORT);
        let (handle, inner) = endpoint
            .connect(net.clock().now(), config, server, SERVER_NAME)
            .expect("the configuration is valid");
        self.connection = Some(Box::new(Quic {
            endpoint,
            handle,
            inner,
            control: None,
            unsaid: self.hello(),
            says_at: SimTime(0),
            heard: FrameReader::new(),
        }));
        self.held_back.clear();
        net.hit(Family::HostileVisit);
        self.visits.push(Visit {
            began_at: net.time(),
            connected_at: None,
            welcome_at: None,
            streams: 0,
            ended: None,
        });
    }

    /// The header of the control stream, and Hello.
    fn hello(&self) -> Bytes {
        let hello = Hello {
            agent_id: format!("hostile-{}", self.script),
            instance_id: self.script.to_le_bytes().to_vec(),
            connection_index: 0,
            identifiers: String::new(),
            token: String::new(),
            version: "sim".to_owned(),
            features: 0,
        };
        let header = StreamHeader::control().to_frame().expect("a short header");
        let hello = ControlMessage::Hello(hello).to_frame().expect("a short Hello");
        [header, hello].concat().into()
    }

    /// Takes what the socket has; a deaf one throws it away.
    fn hear(&mut self, net: &mut SimNet) {
        let (now, time) = (net.clock().now(), net.time());
        let mut received = Vec::new();
        if let Some(udp) = net.udp_mut(self.socket) {
            received.extend(udp.queue.drain(..));
            udp.queued_bytes = 0;
        }
        let Some(quic) = &mut self.connection else { return };
        for item in received {
            let UdpItem::Datagram { data, from, .. } = item else { continue };
            if self.plan.kind == HostileKind::Deaf {
                continue;
            }
            let (data, mut response) = (BytesMut::from(&data[..]), Vec::new());
            if let Some(DatagramEvent::ConnectionEvent(_, event)) =
                quic.endpoint.handle(now, from, None, None, data, &mut response)
            {
                quic.inner.handle_event(event);
            }
        }
        if quic.inner.poll_timeout().is_some_and(|at| at <= now) {
            quic.inner.handle_timeout(now);
        }
        while let Some(event) = quic.inner.poll_endpoint_events() {
            if let Some(event) = quic.endpoint.handle_event(quic.handle, event) {
                quic.inner.handle_event(event);
            }
        }
        let Some(visit) = self.visits.last_mut() else { return };
        let mut ended = None;
        while let Some(event) = quic.inner.poll() {
            match event {
                Event::Connected => visit.connected_at = Some(time),
                Event::ConnectionLost { reason } => ended = Some(Ended::from(reason)),
                _ => {}
            }
        }
        if let Some(ended) = ended {
            if !matches!(ended, Ended::Lost(_)) {
                net.hit(Family::HostileThrownOut);
            }
            visit.ended = Some((time, ended));
            self.connection = None;
            self.comes_at = time.plus_ns(self.plan.again_ns);
        }
    }

    /// What it came for.
    fn misbehave(&mut self, net: &SimNet) {
        let time = net.time();
        let (Some(quic), Some(visit)) = (&mut self.connection, self.visits.last_mut()) else { return };
        if visit.connected_at.is_none() {
            return;
        }
        match self.plan.kind {
            HostileKind::Deaf | HostileKind::Halting { .. } | HostileKind::Mute => {}
            HostileKind::Dripping { every_ns } => {
                if time >= quic.says_at {
                    quic.say(1);
                    quic.says_at = time.plus_ns(every_ns);
                }
            }
            HostileKind::Greedy { welcome } => {
                quic.say(if welcome { usize::MAX } else { 1 });
                if visit.welcome_at.is_none() && quic.is_welcome() {
                    visit.welcome_at = Some(time);
                }
                if !welcome || visit.welcome_at.is_some() {
                    visit.streams += quic.open_many();
                }
            }
        }
    }

    /// Lets packets go: all there are, or one now and then.
    fn speak(&mut self, net: &mut SimNet) {
        let (now, time) = (net.clock().now(), net.time());
        if let Some(quic) = &mut self.connection {
            let mut buffer = Vec::new();
            while quic.inner.poll_transmit(now, 1, &mut buffer).is_some() {
                self.held_back.push_back(Bytes::from(std::mem::take(&mut buffer)));
            }
        }
        let server = SocketAddr::new(SERVER_IP, SERVER_PORT);
        while time >= self.sends_at
            && let Some(datagram) = self.held_back.pop_front()
        {
            net.send_datagram(self.socket, server, None, None, datagram);
            if let HostileKind::Halting { every_ns } = self.plan.kind {
                self.sends_at = time.plus_ns(every_ns);
            }
        }
    }

    fn next_at(&mut self, net: &SimNet) -> Option<SimTime> {
        let Some(quic) = &mut self.connection else { return Some(self.comes_at) };
        let timeout = quic.inner.poll_timeout().map(|at| net.clock().time_of(at));
        let sends_at = (!self.held_back.is_empty()).then_some(self.sends_at);
        let dripping = matches!(self.plan.kind, HostileKind::Dripping { .. });
        let connected = self.visits.last().is_some_and(|visit| visit.connected_at.is_some());
        let says_at = (dripping && connected).then_some(quic.says_at);
        [timeout, sends_at, says_at, Some(self.leaves_at())].into_iter().flatten().min()
    }
}

impl Quic {
    /// Says at most so many more bytes of its header and Hello.
    fn say(&mut self, most: usize) {
        let control = match self.control {
            Some(control) => control,
            None => {
                let Some(control) = self.inner.streams().open(Dir::Bi) else { return };
                *self.control.insert(control)
            }
        };
        let next = &self.unsaid[..most.min(self.unsaid.len())];
        if let Ok(said) = self.inner.send_stream(control).write(next) {
            let _ = self.unsaid.split_to(said);
        }
    }

    /// Whether the server has said anything: the first thing is Welcome.
    fn is_welcome(&mut self) -> bool {
        let Some(control) = self.control else { return false };
        let mut receiving = self.inner.recv_stream(control);
        if let Ok(mut chunks) = receiving.read(true) {
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                self.heard.push(chunk.bytes);
            }
            let _ = chunks.finalize();
        }
        matches!(self.heard.poll(), Ok(Some(_)))
    }

    /// Opens streams, a byte on each; returns how many.
    fn open_many(&mut self) -> u64 {
        let mut opened = 0;
        while opened < STREAMS_AT_ONCE
            && let Some(stream) = self.inner.streams().open(Dir::Bi)
        {
            let _ = self.inner.send_stream(stream).write(b"m");
            opened += 1;
        }
        opened
    }
}

impl From<ConnectionError> for Ended {
    fn from(reason: ConnectionError) -> Self {
        match reason {
            ConnectionError::ApplicationClosed(close) => Self::Closed(
                close.error_code.into_inner(),
                String::from_utf8_lossy(&close.reason).into_owned(),
            ),
            ConnectionError::ConnectionClosed(close) => Self::Refused(u64::from(close.error_code)),
            other => Self::Lost(other.to_string()),
        }
    }
}
