//! Socket addresses as the kernel lays them out (ip(7), ipv6(7)), read and written as bytes without casts.
//!
//! A dual-stack socket names an IPv4 peer by its v4-mapped address (RFC 4291 section 2.5.5.2). Above this module
//! that form does not exist: it is decoded to plain IPv4, and encoded again for a socket of the IPv6 family.

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The family of a socket, which decides how an IPv4 address must be written for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`, dual-stack or not.
    V6,
}

impl Family {
    /// The family of the socket that is bound to this address.
    pub(crate) const fn of(local: &SocketAddr) -> Self {
        match local {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }
}

const STORAGE_BYTES: usize = size_of::<libc::sockaddr_storage>();
// libc's families are `c_int` and the field is a `u16`; the values are 2 and 10.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const AF_INET: u16 = libc::AF_INET as u16;
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const AF_INET6: u16 = libc::AF_INET6 as u16;

/// A `struct sockaddr_storage` and how much of it is in use.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct RawAddr {
    bytes: [u8; STORAGE_BYTES],
    len: libc::socklen_t,
}

const _: () = assert!(align_of::<RawAddr>() >= align_of::<libc::sockaddr_storage>());

impl RawAddr {
    /// Room for the kernel to write any address into; [`Self::len`] is the capacity until it did.
    #[allow(clippy::cast_possible_truncation, reason = "128")]
    pub(crate) const EMPTY: Self = Self { bytes: [0; STORAGE_BYTES], len: STORAGE_BYTES as libc::socklen_t };

    /// `addr` as a socket of `family` wants it. An IPv6 address for an IPv4 socket is written as it is; the
    /// kernel refuses it (`EAFNOSUPPORT`).
    pub(crate) fn encode(addr: SocketAddr, family: Family) -> Self {
        let mut raw = Self::EMPTY;
        match (addr, family) {
            (SocketAddr::V4(v4), Family::V4) => {
                raw.put(offset_of!(libc::sockaddr_in, sin_family), &AF_INET.to_ne_bytes());
                raw.put(offset_of!(libc::sockaddr_in, sin_port), &v4.port().to_be_bytes());
                raw.put(offset_of!(libc::sockaddr_in, sin_addr), &v4.ip().octets());
                raw.set_len(size_of::<libc::sockaddr_in>());
            }
            (SocketAddr::V4(v4), Family::V6) => {
                raw.put_v6(&SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0));
            }
            (SocketAddr::V6(v6), _) => raw.put_v6(&v6),
        }
        raw
    }

    /// The address in here; `None` when it is not of the internet families or not complete.
    pub(crate) fn decode(&self) -> Option<SocketAddr> {
        let len = usize::try_from(self.len).ok()?;
        decode(self.bytes.get(..len)?)
    }

    /// For the `msg_name`/`sockaddr *` argument of a system call.
    pub(crate) const fn as_ptr(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    /// As [`Self::as_ptr`], for the kernel to write [`Self::len`] bytes to.
    pub(crate) const fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        self.bytes.as_mut_ptr().cast()
    }

    /// Bytes in use.
    pub(crate) const fn len(&self) -> libc::socklen_t {
        self.len
    }

    /// For the `socklen_t *` argument of accept4(2) and getsockname(2).
    pub(crate) const fn len_mut(&mut self) -> &mut libc::socklen_t {
        &mut self.len
    }

    /// What the kernel says it wrote (`msg_namelen`), at most the capacity.
    pub(crate) fn set_len(&mut self, len: usize) {
        #[allow(clippy::cast_possible_truncation, reason = "at most 128")]
        {
            self.len = len.min(STORAGE_BYTES) as libc::socklen_t;
        }
    }

    fn put_v6(&mut self, v6: &SocketAddrV6) {
        self.put(offset_of!(libc::sockaddr_in6, sin6_family), &AF_INET6.to_ne_bytes());
        self.put(offset_of!(libc::sockaddr_in6, sin6_port), &v6.port().to_be_bytes());
        self.put(offset_of!(libc::sockaddr_in6, sin6_addr), &v6.ip().octets());
        self.put(offset_of!(libc::sockaddr_in6, sin6_scope_id), &v6.scope_id().to_ne_bytes());
        self.set_len(size_of::<libc::sockaddr_in6>());
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }
}

impl std::fmt::Debug for RawAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.decode().fmt(f)
    }
}

/// Reads a `struct sockaddr` of the internet families from its bytes. `None` when it is another family or short.
/// The flow label is dropped: it is not part of who the peer is.
pub(crate) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    match u16::from_ne_bytes(field(bytes, 0)?) {
        AF_INET => {
            let port = u16::from_be_bytes(field(bytes, offset_of!(libc::sockaddr_in, sin_port))?);
            let octets: [u8; 4] = field(bytes, offset_of!(libc::sockaddr_in, sin_addr))?;
            Some(SocketAddr::new(Ipv4Addr::from(octets).into(), port))
        }
        AF_INET6 => {
            let port = u16::from_be_bytes(field(bytes, offset_of!(libc::sockaddr_in6, sin6_port))?);
            let octets: [u8; 16] = field(bytes, offset_of!(libc::sockaddr_in6, sin6_addr))?;
            let scope_id = u32::from_ne_bytes(field(bytes, offset_of!(libc::sockaddr_in6, sin6_scope_id))?);
            Some(match plain_ip(Ipv6Addr::from(octets)) {
                IpAddr::V4(v4) => SocketAddr::new(v4.into(), port),
                IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, scope_id).into(),
            })
        }
        _ => None,
    }
}

/// A v4-mapped address as the IPv4 address it stands for; any other as it is.
pub(crate) fn plain_ip(v6: Ipv6Addr) -> IpAddr {
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_addr() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.into(), port)),
            (any::<[u8; 16]>(), any::<u16>(), any::<u32>())
                .prop_map(|(ip, port, scope)| { SocketAddrV6::new(ip.into(), port, 0, scope).into() }),
        ]
    }

    #[test]
    fn dual_stack_socket_names_v4_peers_plainly() {
        let v4: SocketAddr = "192.0.2.7:8091".parse().unwrap();
        let raw = RawAddr::encode(v4, Family::V6);
        assert_eq!(usize::try_from(raw.len()).unwrap(), size_of::<libc::sockaddr_in6>());
        assert_eq!(raw.bytes[8..24], Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets());
        assert_eq!(raw.decode(), Some(v4));
    }

    proptest! {
        #[test]
        fn encoding_round_trips(addr in any_addr(), dual_stack: bool) {
            let family = if dual_stack { Family::V6 } else { Family::V4 };
            let decoded = RawAddr::encode(addr, family).decode().unwrap();
            prop_assert_eq!(decoded.ip(), addr.ip().to_canonical());
            prop_assert_eq!(decoded.port(), addr.port());
            if let (SocketAddr::V6(before), SocketAddr::V6(after)) = (addr, decoded) {
                prop_assert_eq!(before.scope_id(), after.scope_id());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn short_addresses_are_refused(addr in any_addr(), keep in 0usize..16) {
            let raw = RawAddr::encode(addr, Family::of(&addr));
            let needed = if addr.is_ipv4() { 8 } else { 28 };
            prop_assert_eq!(decode(&raw.bytes[..keep]).is_some(), keep >= needed);
        }
    }
}
