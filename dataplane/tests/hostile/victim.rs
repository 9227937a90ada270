//! The production endpoint under attack, with its clock, its traffic and its memory counted.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dataplane::quic::{ClusterKeys, ConnId, LostReason, Quic, QuicConfig, QuicEvent};
use adit_io::Datagrams;
use adit_io::conformance::allocations::held_bytes;
use bytes::BytesMut;
use rustls::{ClientConfig, ServerConfig};

use crate::peer::Peer;

const BUFFER_BYTES: usize = 64 * 1024;

/// A peer's address; the number goes into the port and the last byte.
pub(crate) fn address(number: u64) -> SocketAddr {
    let bytes = number.to_be_bytes();
    SocketAddr::from(([198, 18, bytes[5], bytes[7]], 1024 + u16::from(bytes[6])))
}

/// See the module.
pub(crate) struct Victim {
    pub(crate) quic: Quic,
    pub(crate) now: Instant,
    pub(crate) sent: VecDeque<(SocketAddr, Vec<u8>)>,
    pub(crate) events: Vec<QuicEvent>,
    /// Bytes in and out, by peer address.
    pub(crate) traffic: BTreeMap<SocketAddr, (u64, u64)>,
    /// What the endpoint holds on the heap, from when it was made.
    pub(crate) held: isize,
    /// The most of it after any datagram.
    pub(crate) peak: isize,
    buffer: Vec<u8>,
}

impl Victim {
    fn new(server: Option<Arc<ServerConfig>>, client: Option<Arc<ClientConfig>>) -> Self {
        let config = QuicConfig {
            shard: 0,
            shards: 1,
            generation: 0,
            seed: [9; 32],
            keys: ClusterKeys::derive(b"a private key", "test"),
            server,
            client,
            mtu_max_bytes: 1452,
            gso_segments_max: 16,
            time_source: None,
        };
        Self {
            quic: Quic::new(&config).unwrap(),
            now: Instant::now(),
            sent: VecDeque::new(),
            events: Vec::new(),
            traffic: BTreeMap::new(),
            held: 0,
            peak: 0,
            buffer: Vec::with_capacity(BUFFER_BYTES),
        }
    }

    pub(crate) fn server(tls: &Arc<ServerConfig>) -> Self {
        Self::new(Some(Arc::clone(tls)), None)
    }

    pub(crate) fn agent(tls: &Arc<ClientConfig>) -> Self {
        Self::new(None, Some(Arc::clone(tls)))
    }

    /// Does something to the endpoint and counts what it holds afterwards.
    pub(crate) fn counted<T>(&mut self, work: impl FnOnce(&mut Quic, Instant) -> T) -> T {
        let before = held_bytes();
        let result = work(&mut self.quic, self.now);
        self.held += held_bytes() - before;
        self.peak = self.peak.max(self.held);
        result
    }

    /// A datagram arrives, in memory of its own, and what is due is done.
    pub(crate) fn hear(&mut self, peer: SocketAddr, datagram: &[u8]) {
        self.only_hear(peer, datagram);
        self.speak();
    }

    /// A datagram arrives, and nobody has time to send what comes of it.
    pub(crate) fn only_hear(&mut self, peer: SocketAddr, datagram: &[u8]) {
        self.traffic.entry(peer).or_default().0 += datagram.len() as u64;
        self.counted(|quic, now| {
            let data = BytesMut::from(datagram);
            let stride = data.len();
            quic.handle_datagrams(now, Datagrams { data, stride, peer, local_ip: None, ecn: None });
        });
    }

    /// Reports and sends all that is due.
    pub(crate) fn speak(&mut self) {
        loop {
            while let Some(event) = self.counted(|quic, _| quic.poll_event()) {
                self.events.push(event);
            }
            let buffer = std::mem::take(&mut self.buffer);
            match self.counted(|quic, now| quic.poll_transmit(now, buffer)) {
                Ok(transmit) => {
                    assert!(transmit.buffer.capacity() <= BUFFER_BYTES);
                    let traffic = self.traffic.entry(transmit.peer).or_default();
                    traffic.1 += transmit.buffer.len() as u64;
                    for datagram in transmit.buffer.chunks(transmit.segment_bytes) {
                        self.sent.push_back((transmit.peer, datagram.to_vec()));
                    }
                    self.buffer = transmit.buffer;
                    self.buffer.clear();
                }
                Err(buffer) => {
                    self.buffer = buffer;
                    return;
                }
            }
        }
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while let Some(at) = self.quic.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.counted(Quic::handle_timeouts);
            self.speak();
            steps += 1;
            assert!(steps < 2_000_000, "a timer that is always due");
        }
        self.now = end;
    }

    /// Exchanges with the peer until neither has anything to say.
    pub(crate) fn talk(&mut self, peer: &mut Peer, from: SocketAddr) {
        loop {
            let datagrams = peer.pending();
            if datagrams.is_empty() && self.sent.is_empty() {
                return;
            }
            for datagram in datagrams {
                self.hear(from, &datagram);
            }
            while let Some((to, datagram)) = self.sent.pop_front() {
                if to == from {
                    peer.receive(&datagram);
                }
            }
        }
    }

    /// The connection that was reported last.
    pub(crate) fn connected(&self) -> Option<ConnId> {
        self.events.iter().rev().find_map(|event| match event {
            QuicEvent::Connected { conn, .. } => Some(*conn),
            _ => None,
        })
    }

    /// Why the last connection ended.
    pub(crate) fn lost(&self) -> Option<&LostReason> {
        self.events.iter().rev().find_map(|event| match event {
            QuicEvent::Lost { reason, .. } => Some(reason),
            _ => None,
        })
    }

    /// Whose first packets became no connection, and why, as far as it was told.
    pub(crate) fn rejections(&self) -> Vec<(SocketAddr, LostReason)> {
        let rejected = |event: &QuicEvent| match event {
            QuicEvent::Rejected { remote, reason } => Some((*remote, reason.clone())),
            _ => None,
        };
        self.events.iter().filter_map(rejected).collect()
    }

    /// Everything ends, nothing is left, and the memory is back to where it was, tables apart.
    pub(crate) fn assert_nothing_is_left(&mut self) {
        let open: Vec<ConnId> = self.quic.connections().collect();
        for id in open {
            self.counted(|quic, now| quic.close(now, id, adit_dataplane::wire::CloseCode::NoError, "over"));
        }
        self.speak();
        self.wait(Duration::from_secs(120));
        self.events.clear();
        assert!(self.quic.is_empty(), "{:?}", self.quic);
        assert_eq!((self.quic.open_connections(), self.quic.half_open()), (0, 0));
    }
}
