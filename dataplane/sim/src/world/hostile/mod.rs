//! Hostile peers: certified clients of the server that do everything slowly, or far too much of it, beside honest
//! agents; and a certified server that does so to an agent. Each is a script of the world with a QUIC endpoint of its
//! own, on a host that nobody else is on.
//!
//! Not here: frames and packets that no QUIC implementation would send; those are in the data plane's own tests
//! (`dataplane/tests/hostile`).

mod greedy;
mod peer;
mod server;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::options::{HostileKind, Options};
use crate::clock::SimTime;
use crate::net::SimNet;

use peer::Peer;
pub use peer::{Ended, Visit};
pub use server::HostileServerOutcome;
use server::Server;

/// Where they all come from, each from a port of its own.
const HOSTILE_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 66, 0, 2));

/// Where the hostile server is.
pub(super) const HOSTILE_SERVER: SocketAddr = SocketAddr::new(HOSTILE_IP, 8091);
/// Its script.
const SERVER_SCRIPT: u32 = FIRST_SCRIPT - 1;
/// Scripts from this number on are hostile peers; those of tunnels stay far below.
const FIRST_SCRIPT: u32 = 1 << 24;

/// What became of one hostile peer.
#[derive(Clone, Debug)]
pub struct HostileOutcome {
    /// What it did.
    pub kind: HostileKind,
    /// Each time that it came.
    pub visits: Vec<Visit>,
}

/// All of a world.
#[derive(Debug, Default)]
pub(super) struct Hostiles {
    peers: Vec<Peer>,
    server: Option<Server>,
}

impl Hostiles {
    pub(super) fn new(net: &mut SimNet, options: &Options) -> Self {
        let (seed, plans) = (options.seed, &options.hostiles);
        if plans.is_empty() && options.hostile_server.is_none() {
            return Self::default();
        }
        let host = net.add_host(&[HOSTILE_IP], None);
        let peers = plans.iter().zip(FIRST_SCRIPT..).map(|(plan, script)| {
            net.wake_script(script, plan.at_ns);
            Peer::new(net, host, seed, script, *plan)
        });
        let peers = peers.collect();
        let server = options
            .hostile_server
            .map(|plan| Server::new(net, host, seed, SERVER_SCRIPT, SimTime(plan.until_ns)));
        Self { peers, server }
    }

    /// Steps the peer with this script, if it is one.
    pub(super) fn step(&mut self, net: &mut SimNet, script: u32) {
        if let Some(server) = self.server.as_mut().filter(|_| script == SERVER_SCRIPT) {
            server.step(net);
        }
        let index = script.checked_sub(FIRST_SCRIPT).map(|index| index as usize);
        if let Some(peer) = index.and_then(|index| self.peers.get_mut(index)) {
            peer.step(net);
        }
    }

    pub(super) fn server_outcome(&self) -> HostileServerOutcome {
        self.server.as_ref().map(|server| server.outcome).unwrap_or_default()
    }

    pub(super) fn outcomes(&self) -> Vec<HostileOutcome> {
        self.peers.iter().map(Peer::outcome).collect()
    }
}
