//! How large a UDP payload this host's interfaces carry: what to advertise as `max_udp_payload_size` (RFC 9000
//! section 18.2) and where path-MTU probing may stop.
//!
//! Says nothing about the rest of the path: probing finds that out.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use super::addr;
use super::options::get_int;

/// Largest UDP payload that is ever answered, in bytes.
pub const PAYLOAD_BYTES_MAX: u16 = 65_468;
/// IPv4 and UDP headers (RFC 791, RFC 768).
const HEADERS_V4_BYTES: u32 = 20 + 8;
/// IPv6 and UDP headers (RFC 8200, RFC 768).
const HEADERS_V6_BYTES: u32 = 40 + 8;

/// UDP payload in bytes that fits into the MTU of the route towards `remote` as this host knows it: the egress
/// interface's, or less where the kernel has learnt of a smaller path (`IP_MTU`, ip(7); `IPV6_MTU`, ipv6(7)). At
/// most [`PAYLOAD_BYTES_MAX`]. Sends nothing.
///
/// # Errors
/// `ENETUNREACH` and the like when there is no route; as socket(2) otherwise.
pub fn egress_payload_bytes(remote: SocketAddr) -> io::Result<u16> {
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port().max(1));
    let unspecified: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((unspecified, 0))?;
    socket.connect(remote)?;
    let (mtu, headers) = match remote {
        SocketAddr::V4(_) => (get_int(socket.as_fd(), libc::IPPROTO_IP, libc::IP_MTU)?, HEADERS_V4_BYTES),
        SocketAddr::V6(_) => (get_int(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU)?, HEADERS_V6_BYTES),
    };
    Ok(payload_bytes(u32::try_from(mtu).unwrap_or(0), headers))
}

/// UDP payload in bytes that fits into the largest MTU among the interfaces that a socket bound to `local` listens
/// on: the one that has the address, or all that are up when it is unspecified. At most [`PAYLOAD_BYTES_MAX`].
///
/// # Errors
/// [`io::ErrorKind::AddrNotAvailable`] when no interface that is up has the address; as getifaddrs(3) and
/// netdevice(7) otherwise.
pub fn listen_payload_bytes(local: IpAddr) -> io::Result<u16> {
    let local = local.to_canonical();
    // A socket bound to [::] is reached over IPv4 too, and its headers are shorter.
    let headers = if local.is_ipv4() || local.is_unspecified() { HEADERS_V4_BYTES } else { HEADERS_V6_BYTES };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .or_else(|_| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)))?;
    let mut largest = None;
    Interfaces::list()?.for_each(|name, addr| {
        if !local.is_unspecified() && addr != Some(local) {
            return;
        }
        // An interface may vanish between the two calls: then nobody listens on it.
        if let Ok(mtu) = interface_mtu(&socket, name) {
            largest = largest.max(Some(mtu));
        }
    });
    largest.map(|mtu| payload_bytes(mtu, headers)).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            format!("no interface that is up has the address {local}"),
        )
    })
}

fn payload_bytes(mtu: u32, headers: u32) -> u16 {
    u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX).min(PAYLOAD_BYTES_MAX)
}

/// `SIOCGIFMTU`, netdevice(7).
fn interface_mtu(socket: &UdpSocket, name: &CStr) -> io::Result<u32> {
    // SAFETY: an ifreq is plain data; all zero is an empty name and an empty union.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.to_bytes_with_nul();
    if bytes.len() > request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = from.cast_signed() as libc::c_char;
    }
    // SAFETY: the descriptor is open; SIOCGIFMTU reads the NUL-terminated name and writes `ifr_mtu`, both inside
    // the `ifreq` that lives across the call.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut request) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFMTU succeeded, so this is the member of the union that was written; any bits are an int.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(u32::try_from(mtu).unwrap_or(0))
}

/// The list that getifaddrs(3) allocates.
struct Interfaces(Option<NonNull<libc::ifaddrs>>);

impl Interfaces {
    fn list() -> io::Result<Self> {
        let mut head = std::ptr::null_mut();
        // SAFETY: getifaddrs(3) writes one pointer to where it is told, a live local.
        let rc = unsafe { libc::getifaddrs(&raw mut head) };
        if rc == 0 { Ok(Self(NonNull::new(head))) } else { Err(io::Error::last_os_error()) }
    }

    /// Calls `visit` with the name of each interface that is up, once for each of its addresses and once without
    /// an internet address (its link-layer entry).
    fn for_each(&self, mut visit: impl FnMut(&CStr, Option<IpAddr>)) {
        let mut next = self.0;
        while let Some(entry) = next {
            // SAFETY: each entry is initialised, and valid until freeifaddrs(3), which only Drop calls.
            let entry = unsafe { entry.as_ref() };
            next = NonNull::new(entry.ifa_next);
            if entry.ifa_flags & libc::IFF_UP.cast_unsigned() == 0 {
                continue;
            }
            // SAFETY: getifaddrs(3): `ifa_name` points to the NUL-terminated name, of the entry's lifetime.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            // SAFETY: `ifa_addr` is null or of the entry's lifetime.
            let addr = unsafe { internet_addr(entry.ifa_addr) };
            visit(name, addr);
        }
    }
}

impl Drop for Interfaces {
    fn drop(&mut self) {
        if let Some(head) = self.0 {
            // SAFETY: the head of a list from getifaddrs(3), freed once.
            unsafe { libc::freeifaddrs(head.as_ptr()) };
        }
    }
}

/// # Safety
/// `sockaddr` is null or points to a socket address as long as its family says.
unsafe fn internet_addr(sockaddr: *const libc::sockaddr) -> Option<IpAddr> {
    if sockaddr.is_null() {
        return None;
    }
    // SAFETY: not null, so by contract at least a family is there.
    let family = unsafe { (*sockaddr).sa_family };
    let len = match i32::from(family) {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    // SAFETY: by contract an address of this family, which is `len` bytes of plain data.
    let bytes = unsafe { std::slice::from_raw_parts(sockaddr.cast::<u8>(), len) };
    addr::decode(bytes).map(|addr| addr.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_carries_the_most() {
        assert_eq!(egress_payload_bytes("127.0.0.1:8091".parse().unwrap()).unwrap(), PAYLOAD_BYTES_MAX);
        assert_eq!(egress_payload_bytes("[::1]:0".parse().unwrap()).unwrap(), PAYLOAD_BYTES_MAX);
        assert_eq!(egress_payload_bytes("[::ffff:127.0.0.1]:1".parse().unwrap()).unwrap(), PAYLOAD_BYTES_MAX);
        assert_eq!(listen_payload_bytes("127.0.0.1".parse().unwrap()).unwrap(), PAYLOAD_BYTES_MAX);
        // Loopback is among all interfaces.
        assert_eq!(listen_payload_bytes("::".parse().unwrap()).unwrap(), PAYLOAD_BYTES_MAX);
    }

    #[test]
    fn address_of_another_host_is_an_error() {
        // TEST-NET-1, RFC 5737.
        let error = listen_payload_bytes("192.0.2.1".parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn headers_are_subtracted() {
        assert_eq!(payload_bytes(1500, HEADERS_V4_BYTES), 1472);
        assert_eq!(payload_bytes(1500, HEADERS_V6_BYTES), 1452);
        assert_eq!(payload_bytes(65_536, HEADERS_V4_BYTES), PAYLOAD_BYTES_MAX);
        assert_eq!(payload_bytes(1_000_000, HEADERS_V4_BYTES), PAYLOAD_BYTES_MAX);
        assert_eq!(payload_bytes(0, HEADERS_V4_BYTES), 0);
    }
}
