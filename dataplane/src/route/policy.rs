//! What an agent may dial: one pure function over an address that is already resolved. The address that was checked
//! is the one to dial; nothing here ever sees a name.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::beginning;
use super::special::SpecialAddress;

/// What an agent may dial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DestinationPolicy {
    /// Everything that Konnectivity's agent would reach, except [`SpecialAddress`]es. Loopback is allowed.
    #[default]
    Compat,
    /// What one of the rules names, and nothing else. A [`SpecialAddress`] is allowed only by a rule for exactly
    /// that address, so that `0.0.0.0/0` does not open the metadata service; unspecified, multicast and broadcast
    /// addresses are never allowed.
    Allow(Vec<AllowRule>),
}

/// Why a destination is not dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// The address is special.
    Special(SpecialAddress),
    /// No rule names it.
    NoRule,
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Special(special) => special.fmt(f),
            Self::NoRule => f.write_str("not among the allowed destinations"),
        }
    }
}

/// A destination that is not dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{ip} port {port}: {reason}")]
pub struct Denied {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
    /// Why.
    pub reason: DenyReason,
}

impl DestinationPolicy {
    /// Whether an agent may dial this address.
    ///
    /// # Errors
    ///
    /// [`Denied`] if it may not.
    pub fn check(&self, ip: IpAddr, port: u16) -> Result<(), Denied> {
        let denied = |reason| Err(Denied { ip, port, reason });
        let special = SpecialAddress::of(ip);
        match (self, special) {
            (Self::Compat, None) => Ok(()),
            (Self::Compat, Some(special)) => denied(DenyReason::Special(special)),
            (Self::Allow(rules), None) => {
                let named = rules.iter().any(|rule| rule.contains(ip, port));
                if named { Ok(()) } else { denied(DenyReason::NoRule) }
            }
            (Self::Allow(rules), Some(special)) => {
                let may_be_named = matches!(special, SpecialAddress::LinkLocal | SpecialAddress::Metadata);
                let named = rules.iter().any(|rule| rule.is_one_address() && rule.contains(ip, port));
                if may_be_named && named { Ok(()) } else { denied(DenyReason::Special(special)) }
            }
        }
    }
}

/// Destinations that are allowed: a network and a range of ports. Written `10.0.0.0/8`, `10.1.2.3:10250`,
/// `[fd00::/8]:1-1023`, `fd00::1`; without a port, every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowRule {
    network: IpAddr,
    prefix_bits: u8,
    ports: RangeInclusive<u16>,
}

/// Why text is not an [`AllowRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowRuleError {
    /// Not an address or a network in CIDR notation.
    #[error("{0:?} is not an address or a network like 10.0.0.0/8")]
    Network(String),
    /// Bits are set behind the prefix, so that it is not clear what is meant.
    #[error("{0:?} has bits set behind its prefix")]
    HostBits(String),
    /// Not a port or a range of ports.
    #[error("{0:?} is not a port or a range like 1-1023")]
    Ports(String),
}

impl AllowRule {
    pub(super) fn contains(&self, ip: IpAddr, port: u16) -> bool {
        let ip = canonical(ip);
        bits_of(ip) == bits_of(self.network)
            && prefix_of(ip, self.prefix_bits) == prefix_of(self.network, self.prefix_bits)
            && self.ports.contains(&port)
    }

    fn is_one_address(&self) -> bool {
        self.prefix_bits == bits_of(self.network)
    }
}

impl FromStr for AllowRule {
    type Err = AllowRuleError;

    fn from_str(text: &str) -> Result<Self, AllowRuleError> {
        let bad_network = || AllowRuleError::Network(beginning(text));
        let (network, ports) = match text.strip_prefix('[') {
            Some(rest) => {
                let (network, after) = rest.split_once(']').ok_or_else(bad_network)?;
                let ports = if after.is_empty() {
                    None
                } else {
                    Some(after.strip_prefix(':').ok_or_else(bad_network)?)
                };
                (network, ports)
            }
            None if text.matches(':').count() == 1 => {
                text.split_once(':').map(|(network, ports)| (network, Some(ports))).ok_or_else(bad_network)?
            }
            None => (text, None),
        };
        let (address, prefix) = match network.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (network, None),
        };
        let address = canonical(address.parse().map_err(|_| bad_network())?);
        let prefix_bits = match prefix {
            None => bits_of(address),
            Some(prefix) if prefix.bytes().all(|b| b.is_ascii_digit()) => {
                prefix.parse().ok().filter(|bits| *bits <= bits_of(address)).ok_or_else(bad_network)?
            }
            Some(_) => return Err(bad_network()),
        };
        if as_bits(address) != prefix_of(address, prefix_bits) {
            return Err(AllowRuleError::HostBits(beginning(text)));
        }
        Ok(Self { network: address, prefix_bits, ports: parse_ports(ports)? })
    }
}

fn parse_ports(text: Option<&str>) -> Result<RangeInclusive<u16>, AllowRuleError> {
    let Some(text) = text else { return Ok(1..=u16::MAX) };
    let bad_ports = || AllowRuleError::Ports(beginning(text));
    let port = |text: &str| -> Option<u16> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|port| *port != 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first).ok_or_else(bad_ports)?, port(last).ok_or_else(bad_ports)?);
    if first <= last { Ok(first..=last) } else { Err(bad_ports()) }
}

/// An IPv4-mapped address as the IPv4 address that it is to the kernel.
fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

const fn bits_of(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// An address as the upper bits of a number.
fn as_bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The first bits of an address, the others 0.
fn prefix_of(ip: IpAddr, prefix_bits: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0);
    as_bits(ip) & mask
}
