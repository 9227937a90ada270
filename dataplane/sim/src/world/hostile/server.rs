//! A hostile server: one that an agent's authority has certified, and that opens streams to the agent for as long as it
//! is granted any, with a byte on each and never a dial. It takes one connection and refuses every other.

use std::collections::VecDeque;
use std::sync::Arc;

use adit_dataplane::quic::{ClusterKeys, ConnId, Quic, QuicConfig, QuicEvent, StreamId};
use adit_dataplane::wire::{CloseCode, ControlMessage, FrameReader, Welcome};
use adit_io::Datagrams;
use bytes::{Bytes, BytesMut};

use super::HOSTILE_SERVER;
use crate::clock::SimTime;
use crate::net::{HostId, SimNet, SimSocket, UdpItem};
use crate::rng::Prng;
use crate::world::node::StoppedWallClock;
use crate::world::pki::pki;

/// Streams that it opens before it lets its packets go.
const STREAMS_AT_ONCE: u64 = 1_000;
/// Before it opens more, while it is granted more.
const PAUSE_NS: u64 = 200_000;

/// What a hostile server came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostileServerOutcome {
    /// When it had an agent.
    pub welcome_at: Option<SimTime>,
    /// Streams that it opened, the control stream is the agent's.
    pub streams: u64,
    /// Connections that it lost before it left.
    pub lost: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Server {
    script: u32,
    leaves_at: SimTime,
    socket: SimSocket,
    quic: Quic,
    agent: Option<ConnId>,
    control: Option<StreamId>,
    heard: FrameReader,
    /// Frames of the agent so far: the header of the control stream, Hello.
    frames: usize,
    pub(super) outcome: HostileServerOutcome,
}

impl Server {
    pub(super) fn new(net: &mut SimNet, host: HostId, seed: u64, script: u32, leaves_at: SimTime) -> Self {
        let socket = net.bind_udp(host, HOSTILE_SERVER).expect("nobody else has it");
        net.own_by_script(socket, script);
        let mut quic_seed = [0; 32];
        Prng::new(seed, "hostile server").fill(&mut quic_seed);
        let config = QuicConfig {
            shard: 0,
            shards: 1,
            generation: 0,
            seed: quic_seed,
            keys: ClusterKeys::derive(b"a key of the simulator", "hostile server"),
            server: Some(Arc::clone(&pki().server)),
            client: None,
            mtu_max_bytes: 1_452,
            gso_segments_max: 1,
            time_source: Some(Arc::new(StoppedWallClock)),
        };
        Self {
            script,
            leaves_at,
            socket,
            quic: Quic::new(&config).expect("the configuration is valid"),
            agent: None,
            control: None,
            heard: FrameReader::new(),
            frames: 0,
            outcome: HostileServerOutcome::default(),
        }
    }

    /// Takes in what came, opens what it can, and asks to be woken for the rest. From its time on it does nothing.
    pub(super) fn step(&mut self, net: &mut SimNet) {
        let (now, time) = (net.clock().now(), net.time());
        if time >= self.leaves_at {
            return;
        }
        let received: Vec<UdpItem> = match net.udp_mut(self.socket) {
            Some(udp) => {
                udp.queued_bytes = 0;
                udp.queue.drain(..).collect()
            }
            None => Vec::new(),
        };
        for item in received {
            let UdpItem::Datagram { data, from: peer, .. } = item else { continue };
            let stride = data.len().max(1);
            let data = BytesMut::from(&data[..]);
            self.quic.handle_datagrams(now, Datagrams { data, stride, peer, local_ip: None, ecn: None });
        }
        if self.quic.next_timeout().is_some_and(|at| at <= now) {
            self.quic.handle_timeouts(now);
        }
        while let Some(event) = self.quic.poll_event() {
            self.on_event(net, event);
        }
        let opened = self.open_many();
        while let Ok(transmit) = self.quic.poll_transmit(now, Vec::new()) {
            net.send_datagram(self.socket, transmit.peer, None, None, Bytes::from(transmit.buffer));
        }
        let more_at = (opened > 0).then(|| time.plus_ns(PAUSE_NS));
        let timeout = self.quic.next_timeout().map(|at| net.clock().time_of(at));
        if let Some(at) = [more_at, timeout].into_iter().flatten().min() {
            net.wake_script(self.script, at.0.saturating_sub(time.0).max(1_000));
        }
    }

    fn on_event(&mut self, net: &SimNet, event: QuicEvent) {
        match event {
            QuicEvent::Connected { conn, .. } if self.agent.is_none() => self.agent = Some(conn),
            QuicEvent::Connected { conn, .. } => {
                self.quic.close(net.clock().now(), conn, CloseCode::Full, "one is enough");
            }
            QuicEvent::Opened { conn, stream } if Some(conn) == self.agent => {
                self.control = Some(stream);
                self.greet(net.time());
            }
            QuicEvent::Readable { conn, .. } if Some(conn) == self.agent => self.greet(net.time()),
            QuicEvent::Lost { conn, .. } if Some(conn) == self.agent => {
                self.outcome.lost += 1;
                self.agent = None;
            }
            _ => {}
        }
    }

    /// Says Welcome once the agent has said Hello.
    fn greet(&mut self, time: SimTime) {
        let (Some(agent), Some(control)) = (self.agent, self.control) else { return };
        let mut chunks = Vec::new();
        let _ = self.quic.read(agent, control, usize::MAX, &mut chunks);
        chunks.into_iter().for_each(|chunk| self.heard.push(chunk));
        while let Ok(Some(_)) = self.heard.poll() {
            self.frames += 1;
        }
        if self.frames < 2 || self.outcome.welcome_at.is_some() {
            return;
        }
        let welcome = Welcome {
            server_id: "hostile".to_owned(),
            instance_id: vec![6, 6],
            server_count: 1,
            shards: 1,
            features: 0,
            version: "sim".to_owned(),
        };
        let frame = ControlMessage::Welcome(welcome).to_frame().expect("a short Welcome");
        let _ = self.quic.write(agent, control, &mut VecDeque::from([frame]));
        self.outcome.welcome_at = Some(time);
    }

    /// Opens streams, the first byte of a header on each.
    fn open_many(&mut self) -> u64 {
        let Some(agent) = self.agent.filter(|_| self.outcome.welcome_at.is_some()) else { return 0 };
        let mut opened = 0;
        while opened < STREAMS_AT_ONCE
            && let Ok(Some(stream)) = self.quic.open(agent)
        {
            let _ = self.quic.write(agent, stream, &mut VecDeque::from([Bytes::from_static(&[0])]));
            opened += 1;
        }
        self.outcome.streams += opened;
        opened
    }
}
