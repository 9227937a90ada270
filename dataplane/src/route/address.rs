//! Where a dial goes, as a CONNECT's request-target or a dial request says it: `host:port`.
//!
//! Strict on purpose: the server routes by what this module understands, the agent's policy checks what this module
//! understands, and a resolver that understood more (`0x7f.1`, `2130706433`) would be a way around both. What a
//! resolver could take for an address in any other spelling is therefore refused, not looked up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::limits::TARGET_BYTES_MAX;

/// Longest name without its final dot (RFC 1035 section 2.3.4, as text).
const NAME_BYTES_MAX: usize = 253;
/// Longest part of a name (RFC 1035 section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// The host of a [`Target`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address. IPv4-mapped IPv6 addresses stay what they are; policy sees through them.
    Ip(IpAddr),
    /// A name: lower case; a final dot, which tells a resolver not to try search domains, is kept.
    Name(String),
}

/// A host and a port to dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where to.
    pub host: Host,
    /// Which port. Never 0.
    pub port: u16,
}

/// Why text is not a [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing there, or nothing before the port.
    #[error("missing host in address")]
    MissingHost,
    /// No colon, or nothing behind it.
    #[error("missing port in address")]
    MissingPort,
    /// An IPv6 address without brackets.
    #[error("too many colons in address")]
    TooManyColons,
    /// A bracket is missing or out of place.
    #[error("brackets do not match in address")]
    Brackets,
    /// What is in brackets is not an IPv6 address.
    #[error("not an IPv6 address")]
    NotIpv6,
    /// A zone (`%eth0`): it means something on one machine only.
    #[error("zone in address")]
    Zone,
    /// The port is not a decimal number from 1 to 65535 without leading zeros.
    #[error("invalid port")]
    Port,
    /// The whole, the name or a part of it is too long.
    #[error("address too long")]
    TooLong,
    /// Not a name by RFC 1123 (`_` is allowed, too): letters, digits, `-`, `_`, between dots.
    #[error("invalid character in host name")]
    Character,
    /// The last part of the name is a number: an address in a spelling other than four decimal numbers.
    #[error("numeric host that is not an IP address")]
    Numeric,
}

impl Target {
    /// Reads `host:port`: an IPv4 address of four decimal numbers, an IPv6 address in brackets, or a name.
    ///
    /// # Errors
    ///
    /// [`TargetError`] for everything else.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.len() > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        if let Some(bracketed) = text.strip_prefix('[') {
            let (address, port) = bracketed.split_once(']').ok_or(TargetError::Brackets)?;
            let port = port.strip_prefix(':').ok_or(TargetError::MissingPort)?;
            if address.contains('%') {
                return Err(TargetError::Zone);
            }
            let address = Ipv6Addr::from_str(address).map_err(|_| TargetError::NotIpv6)?;
            return Ok(Self { host: Host::Ip(IpAddr::V6(address)), port: parse_port(port)? });
        }
        let (host, port) = text.rsplit_once(':').ok_or(TargetError::MissingPort)?;
        if host.contains(':') {
            return Err(if host.contains('[') { TargetError::Brackets } else { TargetError::TooManyColons });
        }
        Ok(Self { host: parse_host(host)?, port: parse_port(port)? })
    }
}

impl fmt::Display for Target {
    /// As [`Target::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            Host::Ip(IpAddr::V4(address)) => write!(f, "{address}:{port}"),
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{port}"),
            Host::Name(name) => write!(f, "{name}:{port}"),
        }
    }
}

fn parse_port(text: &str) -> Result<u16, TargetError> {
    if text.is_empty() {
        return Err(TargetError::MissingPort);
    }
    // `u16::from_str` also takes a sign and leading zeros.
    if text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(TargetError::Port);
    }
    text.parse().map_err(|_| TargetError::Port)
}

fn parse_host(text: &str) -> Result<Host, TargetError> {
    if let Ok(address) = Ipv4Addr::from_str(text) {
        return Ok(Host::Ip(IpAddr::V4(address)));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(TargetError::MissingHost);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(TargetError::TooLong);
    }
    for label in name.split('.') {
        if label.len() > LABEL_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if label.is_empty() || label.starts_with('-') || label.ends_with('-') || !label.bytes().all(inner) {
            return Err(TargetError::Character);
        }
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if is_number(last) {
        return Err(TargetError::Numeric);
    }
    Ok(Host::Name(text.to_ascii_lowercase()))
}

/// Whether inet_aton(3) could read this as the last part of an address. No name in use ends in such a part: top
/// level domains are not numeric (RFC 3696 section 2).
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
        || label.bytes().all(|b| b.is_ascii_digit())
}
