//! The virtual network: nodes at addresses, one link between all of them, one clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use adit_io::{Datagrams, Transmit};
use bytes::BytesMut;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::pki::{self, Authority, SERVER_NAME};
use super::pump::Pump;
use crate::limits;
use crate::quic::{ClusterKeys, ConnId, LostReason, Quic, QuicConfig, QuicEvent, TimeSource};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A wall clock that stands still.
struct Epoch;

impl TimeSource for Epoch {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_900_000_000)
    }
}

/// What the link does to datagrams.
pub(super) struct Link {
    pub(super) delay: Duration,
    /// Added to the delay, at random: datagrams overtake each other.
    pub(super) jitter: Duration,
    pub(super) loss: f64,
    pub(super) duplication: f64,
    /// Larger datagrams vanish.
    pub(super) mtu_bytes: usize,
    /// Which datagrams from where to where pass at all.
    pub(super) passes: fn(from: SocketAddr, to: SocketAddr, datagram: &[u8]) -> bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: 5 * MS,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            mtu_bytes: usize::MAX,
            passes: |_, _, _| true,
        }
    }
}

/// A train as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Train {
    pub(super) at: Duration,
    pub(super) peer: SocketAddr,
    pub(super) bytes: usize,
    pub(super) segment_bytes: usize,
    pub(super) segments: usize,
}

pub(super) struct Node {
    pub(super) addr: SocketAddr,
    pub(super) quic: Quic,
    pub(super) log: Vec<(Duration, QuicEvent)>,
    pub(super) trains: Vec<Train>,
    pub(super) pump: Pump,
    /// Knows of another way to its peers: gives none up that is silent.
    pub(super) holds: bool,
    buffer: Vec<u8>,
}

pub(super) struct World {
    start: Instant,
    pub(super) now: Instant,
    pub(super) link: Link,
    pub(super) nodes: Vec<Node>,
    rng: ChaCha20Rng,
    sequence: u64,
    flying: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    steps_without_time: u32,
}

pub(super) fn config(seed: u8) -> QuicConfig {
    QuicConfig {
        shard: 0,
        shards: 1,
        generation: 0,
        seed: [seed; 32],
        keys: ClusterKeys::derive(b"a private key", "test"),
        server: None,
        client: None,
        mtu_max_bytes: 1452,
        gso_segments_max: 64,
        time_source: Some(Arc::new(Epoch)),
    }
}

pub(super) fn addr(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 8091))
}

/// Places of the two nodes of [`World::pair`].
pub(super) const AGENT: usize = 0;
pub(super) const SERVER: usize = 1;

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let start = Instant::now();
        Self {
            start,
            now: start,
            link: Link::default(),
            nodes: Vec::new(),
            rng: ChaCha20Rng::seed_from_u64(seed),
            sequence: 0,
            flying: BTreeMap::new(),
            steps_without_time: 0,
        }
    }

    /// An agent and a server that trust each other.
    pub(super) fn pair(seed: u64, change: impl Fn(&mut QuicConfig)) -> Self {
        let authority = Authority::new("an authority");
        let mut agent = config(1);
        agent.client = Some(pki::client(Some(&authority.agent()), &authority));
        let mut server = config(2);
        server.server = Some(pki::server(&authority.server(), Some(&authority)));
        change(&mut agent);
        change(&mut server);
        let mut world = Self::new(seed);
        world.add(&agent);
        world.add(&server);
        world
    }

    pub(super) fn add(&mut self, config: &QuicConfig) -> usize {
        let place = self.nodes.len();
        self.nodes.push(Node {
            addr: addr(u8::try_from(place + 1).unwrap()),
            quic: Quic::new(config).unwrap(),
            log: Vec::new(),
            trains: Vec::new(),
            pump: Pump::default(),
            holds: false,
            buffer: Vec::with_capacity(64 * 1024),
        });
        place
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(super) fn quic(&mut self, node: usize) -> &mut Quic {
        &mut self.nodes[node].quic
    }

    pub(super) fn connect(&mut self, from: usize, to: usize) -> ConnId {
        let remote = self.nodes[to].addr;
        let now = self.now;
        self.quic(from).connect(now, remote, SERVER_NAME, None).unwrap()
    }

    /// Connects the pair and returns both names of the connection.
    pub(super) fn connected(&mut self) -> (ConnId, ConnId) {
        let agent = self.connect(AGENT, SERVER);
        self.run_until(|world| world.connected_at(SERVER).is_some(), 10 * SECOND);
        let server = self.connected_at(SERVER).unwrap();
        (agent, server)
    }

    /// As [`Self::connected`], and both sides lift their limits.
    pub(super) fn welcomed(&mut self) -> (ConnId, ConnId) {
        let (agent, server) = self.connected();
        self.quic(SERVER).welcome(server, 0);
        self.quic(AGENT).welcome(agent, limits::AGENT_STREAMS_INITIAL);
        self.run_for(50 * MS);
        (agent, server)
    }

    /// The last connection that `node` reported as connected.
    pub(super) fn connected_at(&self, node: usize) -> Option<ConnId> {
        self.nodes[node].log.iter().rev().find_map(|(_, event)| match event {
            QuicEvent::Connected { conn, .. } => Some(*conn),
            _ => None,
        })
    }

    /// When and why a connection was reported lost; fails if that was twice.
    pub(super) fn lost(&self, node: usize, id: ConnId) -> Option<(Duration, LostReason)> {
        let mut lost = self.nodes[node].log.iter().filter_map(|(at, event)| match event {
            QuicEvent::Lost { conn, reason } if *conn == id => Some((*at, reason.clone())),
            _ => None,
        });
        let first = lost.next();
        assert_eq!(lost.next(), None, "reported lost twice");
        first
    }

    pub(super) fn saw(&self, node: usize, wanted: impl Fn(&QuicEvent) -> bool) -> Option<Duration> {
        self.nodes[node].log.iter().find(|(_, event)| wanted(event)).map(|(at, _)| *at)
    }

    /// Reports, pumped streams and trains of every node, until nobody has anything to do now.
    pub(super) fn settle(&mut self) {
        for place in 0..self.nodes.len() {
            let elapsed = self.elapsed();
            let node = &mut self.nodes[place];
            loop {
                while let Some(event) = node.quic.poll_event() {
                    node.pump.on_event(&mut node.quic, &event);
                    if let QuicEvent::Silent { conn } = event
                        && !node.holds
                    {
                        node.quic.give_up(self.now, conn);
                    }
                    node.log.push((elapsed, event));
                }
                match node.quic.poll_transmit(self.now, std::mem::take(&mut node.buffer)) {
                    Ok(transmit) => {
                        node.trains.push(Train {
                            at: elapsed,
                            peer: transmit.peer,
                            bytes: transmit.buffer.len(),
                            segment_bytes: transmit.segment_bytes,
                            segments: transmit.segments(),
                        });
                        let from = node.addr;
                        let buffer = send(
                            &self.link,
                            &mut self.rng,
                            &mut self.sequence,
                            &mut self.flying,
                            self.now,
                            from,
                            transmit,
                        );
                        node.buffer = buffer;
                    }
                    Err(buffer) => {
                        node.buffer = buffer;
                        break;
                    }
                }
            }
        }
    }

    /// One step of time, at most to `end`; false when the world stands still until then.
    fn step(&mut self, end: Instant) -> bool {
        self.settle();
        let timeouts = self.nodes.iter().filter_map(|node| node.quic.next_timeout());
        let arrivals = self.flying.keys().next().map(|&(at, _)| at);
        let next = timeouts.chain(arrivals).min();
        let Some(next) = next.filter(|&next| next <= end) else {
            self.now = end;
            self.settle();
            return false;
        };
        self.steps_without_time = if next > self.now { 0 } else { self.steps_without_time + 1 };
        assert!(self.steps_without_time < 10_000, "somebody is due for ever at {:?}", self.elapsed());
        self.now = self.now.max(next);
        self.deliver();
        for node in &mut self.nodes {
            if node.quic.next_timeout().is_some_and(|at| at <= self.now) {
                node.quic.handle_timeouts(self.now);
            }
        }
        true
    }

    /// Hands over what arrives now; neighbours of one sender and size come coalesced, as the kernel would.
    fn deliver(&mut self) {
        let mut trains: Vec<(SocketAddr, SocketAddr, usize, BytesMut)> = Vec::new();
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (from, to, datagram) = entry.remove();
            match trains.last_mut() {
                Some((f, t, stride, data))
                    if *f == from
                        && *t == to
                        && datagram.len() <= *stride
                        && data.len() % *stride == 0
                        && data.len() + datagram.len() <= 65_535 =>
                {
                    data.extend_from_slice(&datagram);
                }
                _ => trains.push((from, to, datagram.len(), BytesMut::from(&datagram[..]))),
            }
        }
        for (peer, to, stride, data) in trains {
            let datagrams = Datagrams { data, stride, peer, local_ip: Some(to.ip()), ecn: None };
            if let Some(node) = self.nodes.iter_mut().find(|node| node.addr == to) {
                node.quic.handle_datagrams(self.now, datagrams);
            }
        }
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Runs until the condition holds.
    #[track_caller]
    pub(super) fn run_until(&mut self, done: impl Fn(&Self) -> bool, at_most: Duration) {
        let end = self.now + at_most;
        loop {
            self.settle();
            if done(self) {
                return;
            }
            let goes_on = self.step(end);
            if !goes_on {
                self.settle();
                assert!(done(self), "not within {at_most:?} of virtual time");
                return;
            }
        }
    }

    /// Closes everything and checks that nothing is left behind.
    pub(super) fn assert_nothing_is_left(&mut self) {
        for place in 0..self.nodes.len() {
            let open: Vec<_> = self.nodes[place].quic.connections().collect();
            for id in open {
                let now = self.now;
                self.quic(place).close(now, id, crate::wire::CloseCode::NoError, "the test is over");
            }
        }
        self.run_for(60 * SECOND);
        for (place, node) in self.nodes.iter().enumerate() {
            assert!(node.quic.is_empty(), "node {place} kept {:?}", node.quic);
            assert_eq!((node.quic.open_connections(), node.quic.half_open()), (0, 0));
            assert_eq!(node.quic.next_timeout(), None);
        }
    }
}

/// Puts the datagrams of a train on the link, and gives its buffer back.
fn send(
    link: &Link,
    rng: &mut ChaCha20Rng,
    sequence: &mut u64,
    flying: &mut BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    now: Instant,
    from: SocketAddr,
    transmit: Transmit,
) -> Vec<u8> {
    assert!(transmit.buffer.len() <= limits::TRAIN_BYTES_MAX, "a train that no UDP socket takes");
    assert!(!transmit.buffer.is_empty());
    for datagram in transmit.buffer.chunks(transmit.segment_bytes) {
        let copies = 1 + usize::from(link.duplication > 0.0 && rng.random_bool(link.duplication));
        for _ in 0..copies {
            let lost = link.loss > 0.0 && rng.random_bool(link.loss);
            if lost || datagram.len() > link.mtu_bytes || !(link.passes)(from, transmit.peer, datagram) {
                continue;
            }
            let late = link.jitter.mul_f64(rng.random_range(0.0..1.0));
            *sequence += 1;
            flying.insert((now + link.delay + late, *sequence), (from, transmit.peer, datagram.to_vec()));
        }
    }
    transmit.buffer
}
