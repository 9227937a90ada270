//! Datagrams between hosts: delay, loss, duplication, reordering, corruption, MTU, queues, NAT, ICMP.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use adit_dataplane::quic::SHARD_BITS;
use adit_io::Ecn;
use bytes::Bytes;

use super::sockets::Udp;
use super::{Event, HostId, Owner, SimNet, SimSocket, SocketKind};
use crate::tally::Family;

/// EADDRINUSE, errno(3).
const EADDRINUSE: i32 = 98;
/// ECONNREFUSED, errno(3): what a port-unreachable means (ip(7)).
pub(crate) const ECONNREFUSED: i32 = 111;
/// Bytes that wait in a UDP socket, at most (socket(7), `SO_RCVBUF`).
const RECEIVE_QUEUE_BYTES_MAX: usize = 1 << 20;

/// A datagram under way.
#[derive(Clone, Debug)]
pub(crate) struct Flying {
    /// As the receiver will see it.
    pub(crate) from: SocketAddr,
    /// As the sender addressed it.
    pub(crate) to: SocketAddr,
    pub(crate) from_host: HostId,
    pub(crate) sender: SimSocket,
    pub(crate) data: Bytes,
    pub(crate) ecn: Option<Ecn>,
}

/// What a UDP socket's receiver finds.
#[derive(Debug)]
pub(crate) enum UdpItem {
    Datagram { data: Bytes, from: SocketAddr, to: IpAddr, ecn: Option<Ecn> },
    Unreachable { peer: SocketAddr, errno: i32 },
}

impl SimNet {
    /// A bound UDP socket; port 0 takes a free one.
    ///
    /// # Errors
    /// EADDRINUSE when the address is taken on that host.
    pub fn bind_udp(&mut self, host: HostId, addr: SocketAddr) -> Result<SimSocket, i32> {
        let port = if addr.port() == 0 { self.ephemeral_port(host) } else { addr.port() };
        let addr = SocketAddr::new(addr.ip(), port);
        let taken = self.udp_bound.get(&(host, port)).is_some_and(|bound| {
            bound.iter().any(|socket| self.udp(*socket).is_some_and(|udp| udp.addr.ip() == addr.ip()))
        });
        if taken {
            return Err(EADDRINUSE);
        }
        Ok(self.join_udp(host, addr))
    }

    /// One more UDP socket on an address that others of the host may have (`SO_REUSEPORT`): datagrams go to the one
    /// whose place in the order of joining is the shard in their connection ID.
    pub fn join_udp(&mut self, host: HostId, addr: SocketAddr) -> SimSocket {
        let udp = Udp { addr, queue: VecDeque::new(), queued_bytes: 0, pending_error: None };
        let socket = self.sockets.insert(host, Owner::Detached, SocketKind::Udp(udp));
        if let Some(entry) = self.sockets.get_mut(socket) {
            entry.local = Some(addr);
        }
        self.udp_bound.entry((host, addr.port())).or_default().push(socket);
        socket
    }

    /// Which of the sockets that share an address gets this datagram: the steering program's answer, or now and then
    /// another, as before the program is attached and while sockets join.
    fn steer(&mut self, sockets: &[SimSocket], data: &[u8]) -> Option<SimSocket> {
        let [first, _, ..] = sockets else { return sockets.first().copied() };
        if self.net_rng.chance(self.faults.net.misdirect) {
            self.hit(Family::Misdirected);
            return Some(*self.net_rng.pick(sockets));
        }
        let long = data.first().is_some_and(|byte| byte & 0x80 != 0);
        let offset = if long { SHARD_BITS.long_header_offset } else { SHARD_BITS.short_header_offset };
        let Some(byte) = data.get(usize::from(offset)) else { return Some(*first) };
        Some(sockets[usize::from(byte & SHARD_BITS.mask) % sockets.len()])
    }

    pub(crate) fn udp(&self, socket: SimSocket) -> Option<&Udp> {
        match &self.sockets.get(socket)?.kind {
            SocketKind::Udp(udp) => Some(udp),
            _ => None,
        }
    }

    pub(crate) fn udp_mut(&mut self, socket: SimSocket) -> Option<&mut Udp> {
        match &mut self.sockets.get_mut(socket)?.kind {
            SocketKind::Udp(udp) => Some(udp),
            _ => None,
        }
    }

    pub(super) fn unbind_udp(&mut self, host: HostId, port: u16, socket: SimSocket) {
        if let Some(bound) = self.udp_bound.get_mut(&(host, port)) {
            bound.retain(|other| *other != socket);
            if bound.is_empty() {
                self.udp_bound.remove(&(host, port));
            }
        }
    }

    /// The address that a datagram leaves with.
    fn source(
        &mut self,
        host: HostId,
        bound: SocketAddr,
        local_ip: Option<IpAddr>,
        to: IpAddr,
        same_host: bool,
    ) -> SocketAddr {
        let mut ip = local_ip.unwrap_or_else(|| bound.ip());
        if ip.is_unspecified() {
            let ips = &self.hosts[host.0].ips;
            ip = if to.is_loopback() {
                to
            } else {
                ips.iter().copied().find(|own| own.is_ipv4() == to.is_ipv4()).unwrap_or(ip)
            };
        }
        let inner = SocketAddr::new(ip, bound.port());
        match self.hosts[host.0].nat_ip {
            Some(outer) if !same_host => match self.nat.get(&inner) {
                Some(mapped) => *mapped,
                None => {
                    let mapped = SocketAddr::new(outer, self.ephemeral_port(host));
                    self.nat.insert(inner, mapped);
                    mapped
                }
            },
            _ => inner,
        }
    }

    /// Puts one datagram on its way. The caller has checked that the socket is a UDP socket.
    pub(crate) fn send_datagram(
        &mut self,
        sender: SimSocket,
        to: SocketAddr,
        local_ip: Option<IpAddr>,
        ecn: Option<Ecn>,
        data: Bytes,
    ) {
        let Some((host, bound)) = self.sockets.get(sender).map(|entry| (entry.host, entry.local)) else {
            return;
        };
        let Some(bound) = bound else { return };
        // The outer address of a host behind NAT leads to it only through a mapping.
        let inner = self.nat.iter().find(|(_, outer)| **outer == to).map(|(inner, _)| *inner);
        let destination = inner.unwrap_or(to);
        let target = self.host_at(host, destination.ip());
        let same_host = target == Some(host);
        let from = self.source(host, bound, local_ip, to.ip(), same_host);
        self.note("send", sender.trace_id(), data.len() as u64);
        let Some(target) = target else {
            self.note("no such host", sender.trace_id(), 0);
            return;
        };
        let flying = Flying { from, to: destination, from_host: host, sender, data, ecn };
        if same_host {
            self.schedule_in(1_000, Event::Datagram(Box::new(flying)));
        } else {
            self.cross(flying, to, target);
        }
    }

    /// Takes a datagram over the link to another host, or loses it there.
    fn cross(&mut self, mut flying: Flying, addressed: SocketAddr, target: HostId) {
        let net = self.faults.net.clone();
        let now = self.time();
        let bytes = flying.data.len();
        if self.net_rng.chance(net.unreachable_forged) {
            let event = Event::Unreachable { socket: flying.sender, peer: addressed, forged: true };
            self.schedule_in(net.delay.max_ns, event);
        }
        if !self.fits_path(flying.from_host, bytes) {
            return self.drop_datagram(Family::DatagramAboveMtu, bytes);
        }
        if self.link(flying.from_host, target).black_until > now {
            return self.drop_datagram(Family::Blackhole, bytes);
        }
        if self.net_rng.chance(net.loss) {
            return self.drop_datagram(Family::DatagramLost, bytes);
        }
        let mut leave = now;
        if let Some((rate, queue_bytes)) = net.rate {
            let link = self.link(flying.from_host, target);
            let start = link.free_at.max(now);
            let backlog = u128::from(start.0 - now.0) * u128::from(rate) / 1_000_000_000;
            if backlog + bytes as u128 > u128::from(queue_bytes.max(2 * 1_500)) && backlog > 0 {
                return self.drop_datagram(Family::QueueOverflow, bytes);
            }
            leave = start.plus_ns(bytes as u64 * 1_000_000_000 / rate.max(1));
            link.free_at = leave;
            if backlog * 2 > u128::from(queue_bytes) && flying.ecn.is_some() {
                flying.ecn = Some(Ecn::Ce);
            }
        }
        if self.net_rng.chance(net.ecn_wrong) {
            let wrong = [None, Some(Ecn::Ect0), Some(Ecn::Ect1), Some(Ecn::Ce)];
            let drawn = *self.net_rng.pick(&wrong);
            if drawn != flying.ecn {
                flying.ecn = drawn;
                self.hit(Family::EcnWrong);
            }
        }
        if self.net_rng.chance(net.corrupt) && bytes > 0 {
            let mut copy = flying.data.to_vec();
            let at = self.net_rng.below_size(bytes);
            copy[at] ^= 1 << self.net_rng.below(8);
            flying.data = Bytes::from(copy);
            self.hit(Family::DatagramCorrupted);
        }
        if self.net_rng.chance(net.duplicate) {
            let again = leave.plus_ns(self.net_rng.span(net.delay));
            self.schedule(again, Event::Datagram(Box::new(flying.clone())));
            self.hit(Family::DatagramDuplicated);
        }
        let mut arrive = leave.plus_ns(self.net_rng.span(net.delay));
        if self.net_rng.chance(net.reorder) {
            arrive = arrive.plus_ns(self.net_rng.span(net.reorder_delay));
            self.hit(Family::DatagramReordered);
        }
        self.schedule(arrive, Event::Datagram(Box::new(flying)));
    }

    fn drop_datagram(&mut self, why: Family, bytes: usize) {
        self.hit(why);
        self.note("drop", why as u64, bytes as u64);
    }

    pub(super) fn datagram_arrives(&mut self, flying: Flying) {
        let Some(host) = self.host_at(flying.from_host, flying.to.ip()) else { return };
        let takes = |socket: &SimSocket| {
            self.udp(*socket)
                .is_some_and(|udp| udp.addr.ip().is_unspecified() || udp.addr.ip() == flying.to.ip())
        };
        let bound: Vec<SimSocket> = self
            .udp_bound
            .get(&(host, flying.to.port()))
            .map(|sockets| sockets.iter().copied().filter(takes).collect())
            .unwrap_or_default();
        let Some(socket) = self.steer(&bound, &flying.data) else {
            self.note("unbound", u64::from(flying.to.port()), flying.data.len() as u64);
            // The sender learns of it by the address that it used.
            let back = self.faults.net.delay;
            let after = self.net_rng.span(back);
            self.schedule_in(
                after,
                Event::Unreachable { socket: flying.sender, peer: flying.to, forged: false },
            );
            return;
        };
        self.note("arrive", socket.trace_id(), flying.data.len() as u64);
        let bytes = flying.data.len();
        let Some(udp) = self.udp_mut(socket) else { return };
        udp.pending_error = None;
        if udp.queued_bytes + bytes > RECEIVE_QUEUE_BYTES_MAX {
            return self.drop_datagram(Family::QueueOverflow, bytes);
        }
        udp.queued_bytes += bytes;
        udp.queue.push_back(UdpItem::Datagram {
            data: flying.data,
            from: flying.from,
            to: flying.to.ip(),
            ecn: flying.ecn,
        });
        self.poke(socket);
    }

    pub(super) fn unreachable_arrives(&mut self, socket: SimSocket, peer: SocketAddr, forged: bool) {
        self.note("unreachable", socket.trace_id(), u64::from(peer.port()));
        let Some(udp) = self.udp_mut(socket) else { return };
        udp.pending_error = Some(ECONNREFUSED);
        udp.queue.push_back(UdpItem::Unreachable { peer, errno: ECONNREFUSED });
        self.hit(if forged { Family::UnreachableForged } else { Family::PortUnreachable });
        self.poke(socket);
    }
}
