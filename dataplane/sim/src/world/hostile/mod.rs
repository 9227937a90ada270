//! Hostile peers: certified clients of the server that do everything slowly, or far too much of it, beside honest
//! agents. Each is a script of the world with a QUIC connection of its own, from a host that the agents do not share.
//!
//! Not here: frames and packets that no QUIC implementation would send; those are in the data plane's own tests
//! (`dataplane/tests/hostile`).

mod greedy;
mod peer;

use std::net::{IpAddr, Ipv4Addr};

use super::options::{HostileKind, HostilePlan};
use crate::net::SimNet;

use peer::Peer;
pub use peer::{Ended, Visit};

/// Where they all come from, each from a port of its own.
const HOSTILE_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 66, 0, 2));

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
}

impl Hostiles {
    pub(super) fn new(net: &mut SimNet, seed: u64, plans: &[HostilePlan]) -> Self {
        if plans.is_empty() {
            return Self::default();
        }
        let host = net.add_host(&[HOSTILE_IP], None);
        let peers = plans.iter().zip(FIRST_SCRIPT..).map(|(plan, script)| {
            net.wake_script(script, plan.at_ns);
            Peer::new(net, host, seed, script, *plan)
        });
        Self { peers: peers.collect() }
    }

    /// Steps the peer with this script, if it is one.
    pub(super) fn step(&mut self, net: &mut SimNet, script: u32) {
        let index = script.checked_sub(FIRST_SCRIPT).map(|index| index as usize);
        if let Some(peer) = index.and_then(|index| self.peers.get_mut(index)) {
            peer.step(net);
        }
    }

    pub(super) fn outcomes(&self) -> Vec<HostileOutcome> {
        self.peers.iter().map(Peer::outcome).collect()
    }
}
