//! Addresses that no tunnel should reach by default, in every spelling that leads to them.
//!
//! An IPv6 address may carry an IPv4 address that a translator or a tunnel interface would deliver to; such an
//! address is judged by what it carries as well as by itself. Deliberately absent: loopback and private networks,
//! which agents are there to reach.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is special.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpecialAddress {
    /// 0.0.0.0/8 and ::, which Linux takes for the machine itself (RFC 1122 section 3.2.1.3).
    Unspecified,
    /// 169.254.0.0/16 (RFC 3927) and fe80::/10 (RFC 4291).
    LinkLocal,
    /// A cloud's instance metadata service or its like, which hands out credentials.
    Metadata,
    /// 224.0.0.0/4 (RFC 5771) and ff00::/8 (RFC 4291).
    Multicast,
    /// 255.255.255.255 (RFC 919).
    Broadcast,
}

impl fmt::Display for SpecialAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified address",
            Self::LinkLocal => "link-local address",
            Self::Metadata => "metadata address",
            Self::Multicast => "multicast address",
            Self::Broadcast => "broadcast address",
        })
    }
}

/// EC2 and most others; Alibaba Cloud; Azure's WireServer; Oracle Cloud's first service.
const METADATA_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// EC2; Google Cloud.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

impl SpecialAddress {
    /// What is special about an address, or about an IPv4 address that it carries.
    #[must_use]
    pub fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Option<Self> {
        if METADATA_V4.contains(&ip) {
            Some(Self::Metadata)
        } else if ip.octets()[0] == 0 {
            Some(Self::Unspecified)
        } else if ip.is_link_local() {
            Some(Self::LinkLocal)
        } else if ip.is_multicast() {
            Some(Self::Multicast)
        } else if ip.is_broadcast() {
            Some(Self::Broadcast)
        } else {
            None
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Option<Self> {
        if METADATA_V6.contains(&ip) {
            Some(Self::Metadata)
        } else if ip.is_unspecified() {
            Some(Self::Unspecified)
        } else if ip.is_loopback() {
            // Before it is taken for the IPv4-compatible form of 0.0.0.1.
            None
        } else if ip.is_unicast_link_local() {
            Some(Self::LinkLocal)
        } else if ip.is_multicast() {
            Some(Self::Multicast)
        } else {
            carried(ip).into_iter().flatten().find_map(Self::of_v4).or_else(|| Self::of_local_nat64(ip))
        }
    }

    /// 64:ff9b:1::/48 (RFC 8215) carries an IPv4 address in one of four places, and only the translator knows in
    /// which (RFC 6052 section 2.2). Only what would be an attack in one of them counts: the zeros of another
    /// place are no sign of 0.0.0.0.
    fn of_local_nat64(ip: Ipv6Addr) -> Option<Self> {
        if ip.segments()[..3] != [0x64, 0xff9b, 1] {
            return None;
        }
        let b = ip.octets();
        [
            [b[6], b[7], b[9], b[10]],
            [b[7], b[9], b[10], b[11]],
            [b[9], b[10], b[11], b[12]],
            [b[12], b[13], b[14], b[15]],
        ]
        .into_iter()
        .filter_map(|octets| Self::of_v4(Ipv4Addr::from(octets)))
        .find(|special| matches!(special, Self::LinkLocal | Self::Metadata))
    }
}

/// The IPv4 addresses that an IPv6 address carries at a known place.
fn carried(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let segments = ip.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    let last = v4(segments[6], segments[7]);
    match segments {
        // IPv4-compatible, IPv4-mapped (RFC 4291 section 2.5.5), IPv4-translated (RFC 2765 section 2.1).
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => [Some(last), None],
        // NAT64 (RFC 6052 section 2.1).
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => [Some(last), None],
        // 6to4 (RFC 3056 section 2).
        [0x2002, high, low, ..] => [Some(v4(high, low)), isatap(segments, last)],
        // Teredo: the server, and the client with every bit turned round (RFC 4380 section 4).
        [0x2001, 0, high, low, _, _, x, y] => [Some(v4(high, low)), Some(v4(!x, !y))],
        _ => [isatap(segments, last), None],
    }
}

/// The address in an ISATAP interface identifier (RFC 5214 section 6.1), under any prefix.
fn isatap(segments: [u16; 8], last: Ipv4Addr) -> Option<Ipv4Addr> {
    (matches!(segments[4], 0 | 0x200) && segments[5] == 0x5efe).then_some(last)
}
