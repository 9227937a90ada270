//! Links between hosts, and what happens to them on its own: blackholes, rebound NAT mappings, a shrinking MTU.

use std::collections::BTreeMap;

use super::{Event, HostId, SimNet};
use crate::clock::SimTime;
use crate::tally::Family;

/// A change of the network.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chaos {
    Blackhole,
    Rebind,
    ShrinkMtu,
}

/// One direction between two hosts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    /// When the bottleneck has sent everything that queues before it.
    pub(super) free_at: SimTime,
    /// Until when nothing gets through.
    pub(super) black_until: SimTime,
}

#[derive(Debug)]
pub(super) struct Links {
    pub(super) mtu_bytes: usize,
    links: BTreeMap<(HostId, HostId), Link>,
}

impl Links {
    pub(super) const fn new(mtu_bytes: usize) -> Self {
        Self { mtu_bytes, links: BTreeMap::new() }
    }
}

impl SimNet {
    pub(super) fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        self.links.links.entry((from, to)).or_default()
    }

    pub(super) const fn path_mtu(&self) -> usize {
        self.links.mtu_bytes
    }

    pub(super) fn heal_links(&mut self) {
        self.links.mtu_bytes = self.links.mtu_bytes.min(self.faults.net.mtu_bytes);
        for link in self.links.links.values_mut() {
            *link = Link::default();
        }
    }

    pub(super) fn schedule_chaos(&mut self) {
        let net = self.faults.net.clone();
        if let Some((every, _)) = net.blackhole {
            self.chaos_in(every, Chaos::Blackhole);
        }
        if let Some(every) = net.rebind {
            self.chaos_in(every, Chaos::Rebind);
        }
        if let Some((when, _)) = net.mtu_shrink {
            self.chaos_in(when, Chaos::ShrinkMtu);
        }
    }

    fn chaos_in(&mut self, span: crate::rng::Span, chaos: Chaos) {
        let after = self.net_rng.span(span);
        self.schedule_in(after, Event::Chaos(chaos));
    }

    pub(super) fn chaos(&mut self, chaos: Chaos) {
        self.note("chaos", chaos as u64, 0);
        match chaos {
            Chaos::Blackhole => {
                let Some((every, lasts)) = self.faults.net.blackhole else { return };
                let until = self.time().plus_ns(self.net_rng.span(lasts));
                let count = self.links.links.len();
                if count > 0 {
                    let chosen = self.net_rng.below_size(count);
                    if let Some(link) = self.links.links.values_mut().nth(chosen) {
                        link.black_until = until;
                    }
                }
                self.chaos_in(every, chaos);
            }
            Chaos::Rebind => {
                let Some(every) = self.faults.net.rebind else { return };
                if !self.nat.is_empty() {
                    self.rebind_nat();
                }
                self.chaos_in(every, chaos);
            }
            Chaos::ShrinkMtu => {
                let Some((_, to)) = self.faults.net.mtu_shrink else { return };
                if to < self.links.mtu_bytes {
                    self.links.mtu_bytes = to;
                    self.hit(Family::MtuShrunk);
                }
            }
        }
    }

    /// Forgets every mapping of the hosts behind NAT: their next datagrams leave from new outer ports, and what is
    /// sent to the old ones is dropped.
    pub fn rebind_nat(&mut self) {
        self.nat.clear();
        self.hit(Family::NatRebind);
        self.note("rebind", 0, 0);
    }

    /// Lets nothing through from one host to another until a moment.
    pub fn blackhole(&mut self, from: HostId, to: HostId, until: SimTime) {
        self.link(from, to).black_until = until;
    }

    /// Changes the largest UDP payload that paths carry.
    pub fn set_path_mtu(&mut self, mtu_bytes: usize) {
        self.links.mtu_bytes = mtu_bytes;
    }
}
