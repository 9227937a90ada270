//! A host that floods the server with first packets: each a real Initial from a port of its own, and never an answer
//! to what comes back. What comes back waits in the sockets and is counted at the end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use adit_dataplane::quic::{ClusterKeys, Quic, QuicConfig};
use bytes::Bytes;

use super::pki::{SERVER_NAME, pki};
use super::{SERVER_IP, SERVER_PORT, World};
use crate::net::{HostId, SimSocket, UdpItem};

/// Where the flood comes from.
pub(super) const FLOOD_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 66, 0, 1));
/// The first byte of a Retry, without its unused bits (RFC 9000 section 17.2.5).
const RETRY: u8 = 0xf0;

/// The host, and the sockets it has sent from with the bytes that left each.
#[derive(Debug)]
pub(super) struct Flood {
    pub(super) host: HostId,
    pub(super) sent: Vec<(SimSocket, usize)>,
}

/// What a flood came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloodOutcome {
    /// Handshakes begun, each from an address of its own.
    pub begun: u64,
    /// Those that the server answered with its own flight: it held a connection for each.
    pub accepted: u64,
    /// Those that were asked to prove their address.
    pub retried: u64,
    /// Addresses that were sent more than three times what they sent (RFC 9000 section 8.1).
    pub amplified: u64,
    /// Handshakes under way at the server when it was last asked.
    pub under_way: u64,
}

impl World {
    /// Begins one more handshake that nobody will go on with.
    pub(super) fn flood_once(&mut self) {
        let Some(flood) = &mut self.flood else { return };
        let now = self.clock.now();
        let mut seed = [0; 32];
        self.rng.fill(&mut seed);
        let config = QuicConfig {
            shard: 0,
            shards: 1,
            generation: 0,
            seed,
            keys: ClusterKeys::derive(b"a key of the simulator", "hostile"),
            server: None,
            client: Some(Arc::clone(&pki().agent)),
            mtu_max_bytes: 1_200,
            gso_segments_max: 1,
            time_source: None,
        };
        let mut quic = Quic::new(&config).expect("the configuration is valid");
        let to = SocketAddr::new(SERVER_IP, SERVER_PORT);
        quic.connect(now, to, SERVER_NAME, None).expect("a new endpoint has room");
        let mut net = self.net.borrow_mut();
        let socket = net.bind_udp(flood.host, SocketAddr::new(FLOOD_IP, 0)).expect("a free port");
        let mut bytes = 0;
        while let Ok(transmit) = quic.poll_transmit(now, Vec::new()) {
            bytes += transmit.buffer.len();
            net.send_datagram(socket, to, None, None, Bytes::from(transmit.buffer));
        }
        flood.sent.push((socket, bytes));
    }

    /// What has come back so far.
    pub(super) fn flood_outcome(&self) -> FloodOutcome {
        let reports = self.server.reports.iter().flatten();
        let under_way = reports.map(|report| report.handshakes_under_way).sum();
        let mut outcome = FloodOutcome { under_way, ..FloodOutcome::default() };
        let net = self.net.borrow();
        for (socket, sent) in self.flood.iter().flat_map(|flood| &flood.sent) {
            outcome.begun += 1;
            let Some(udp) = net.udp(*socket) else { continue };
            outcome.amplified += u64::from(udp.queued_bytes > 3 * sent);
            if let Some(UdpItem::Datagram { data, .. }) = udp.queue.front() {
                let retry = data.first().is_some_and(|byte| byte & RETRY == RETRY);
                outcome.retried += u64::from(retry);
                outcome.accepted += u64::from(!retry);
            }
        }
        outcome
    }
}
