//! Links between hosts, and what happens to them on its own: blackholes, rebound NAT mappings, an MTU that
//! shrinks and grows, hosts that change their address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Event, HostId, SimNet};
use crate::clock::SimTime;
use crate::tally::Family;

/// A change of the network.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chaos {
    Blackhole,
    Rebind,
    ShrinkMtu,
    GrowMtu,
}

/// One direction between two hosts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    /// When the bottleneck has sent everything that queues before it.
    pub(super) free_at: SimTime,
    /// Until when nothing gets through.
    pub(super) black_until: SimTime,
}

/// What paths carried between two changes of their MTU.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    /// The largest UDP payload that they would have carried.
    pub(crate) mtu_bytes: usize,
    /// The largest that each host had carried.
    pub(crate) largest_bytes: BTreeMap<HostId, usize>,
}

#[derive(Debug)]
pub(super) struct Links {
    /// Since each change of the path MTU; the last is the present one. Never empty.
    carried: Vec<Carried>,
    links: BTreeMap<(HostId, HostId), Link>,
}

impl Links {
    pub(super) fn new(mtu_bytes: usize) -> Self {
        let mut links = Self { carried: Vec::new(), links: BTreeMap::new() };
        links.set_mtu(mtu_bytes);
        links
    }

    fn mtu_bytes(&self) -> usize {
        self.carried.last().map_or(0, |now| now.mtu_bytes)
    }

    fn set_mtu(&mut self, mtu_bytes: usize) {
        if self.carried.is_empty() || mtu_bytes != self.mtu_bytes() {
            self.carried.push(Carried { mtu_bytes, ..Carried::default() });
        }
    }
}

impl SimNet {
    pub(super) fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        self.links.links.entry((from, to)).or_default()
    }

    /// Whether a datagram of this size fits the path. One that does is remembered.
    pub(super) fn fits_path(&mut self, from: HostId, bytes: usize) -> bool {
        let Some(now) = self.links.carried.last_mut().filter(|now| bytes <= now.mtu_bytes) else {
            return false;
        };
        let largest = now.largest_bytes.entry(from).or_default();
        *largest = bytes.max(*largest);
        true
    }

    /// What was carried under each path MTU, the present one last.
    pub(crate) fn carried(&self) -> &[Carried] {
        &self.links.carried
    }

    pub(super) fn heal_links(&mut self) {
        self.links.set_mtu(self.links.mtu_bytes().min(self.faults.net.mtu_bytes));
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
        if let Some(when) = net.mtu_grow {
            self.chaos_in(when, Chaos::GrowMtu);
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
                if to < self.links.mtu_bytes() {
                    self.links.set_mtu(to);
                    self.hit(Family::MtuShrunk);
                }
            }
            Chaos::GrowMtu => {
                let net = &self.faults.net;
                if net.mtu_grow.is_some() && self.links.mtu_bytes() < net.mtu_bytes {
                    self.links.set_mtu(net.mtu_bytes);
                    self.hit(Family::MtuGrown);
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

    /// Gives a host another address in the place of one it had: what is sent to the old one from now on reaches nobody.
    /// Its streams to targets go on, as those do that a node has with its own pods.
    pub fn change_ip(&mut self, host: HostId, old: IpAddr, new: IpAddr) {
        self.host_of_ip.remove(&old);
        self.host_of_ip.insert(new, host);
        for ip in self.hosts[host.0].ips.iter_mut().filter(|ip| **ip == old) {
            *ip = new;
        }
        self.hit(Family::AddressChanged);
        self.note("address", host.0 as u64, 0);
    }

    /// Lets nothing through from one host to another until a moment.
    pub fn blackhole(&mut self, from: HostId, to: HostId, until: SimTime) {
        self.link(from, to).black_until = until;
    }

    /// Changes the largest UDP payload that paths carry.
    pub fn set_path_mtu(&mut self, mtu_bytes: usize) {
        self.links.set_mtu(mtu_bytes);
    }
}
