//! Control messages (cmsg(3)) of UDP sockets, written and read as bytes without casts.
//!
//! Out: `UDP_SEGMENT`, the ECN codepoint and the local address to send from. In: `UDP_GRO`, ECN, the local address
//! sent to, and the extended error of the error queue. Whatever else comes is skipped.
//!
//! The layout is that of the kernel on every Linux: `struct cmsghdr { size_t len; int level; int type; }`, data
//! after it, each message padded to the size of a `size_t` (include/linux/socket.h).

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::addr::plain_ip;
use crate::op::Ecn;

const ALIGN: usize = size_of::<usize>();
const HEADER_BYTES: usize = size_of::<usize>() + 2 * size_of::<libc::c_int>();
const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGN));

const fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

const fn space(data_bytes: usize) -> usize {
    HEADER_BYTES + padded(data_bytes)
}

/// Room for everything that [`encode`] may write: segment size, traffic class, IPv6 packet info.
pub(crate) const SEND_CONTROL_BYTES: usize = space(2) + space(4) + space(20);
/// Room for everything that a socket of [`super::bind_udp`] reports of a datagram: segment size, traffic class, and
/// (on a dual-stack socket, for an IPv4 datagram) packet info of both families.
pub(crate) const RECEIVE_CONTROL_BYTES: usize = space(4) + 2 * space(4) + space(12) + space(20);

/// Control data for one sendmsg(2) or recvmsg(2), aligned as the kernel wants it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct Control<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Control<N> {
    /// All zero.
    pub(crate) const EMPTY: Self = Self([0; N]);
}

/// Control data of a send.
pub(crate) type SendControl = Control<SEND_CONTROL_BYTES>;
/// Control data of a receive.
pub(crate) type ReceiveControl = Control<RECEIVE_CONTROL_BYTES>;

/// What a send says about its datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SendInfo {
    /// Bytes per datagram; `None` for a single one.
    pub(crate) segment_bytes: Option<u16>,
    /// The codepoint to mark with.
    pub(crate) ecn: Option<Ecn>,
    /// The local address to send from.
    pub(crate) local_ip: Option<IpAddr>,
}

/// Writes the control data of a send to `peer` and returns its length.
///
/// The kernel takes IPv4 options for an IPv4 destination and IPv6 options for an IPv6 one, whatever the family of
/// the socket (`ip_cmsg_send`, `ip6_datagram_send_ctl`). A local address of the other family is left out.
pub(crate) fn encode(info: &SendInfo, peer: IpAddr, control: &mut SendControl) -> usize {
    let peer = peer.to_canonical();
    let mut writer = Writer { bytes: &mut control.0, len: 0 };
    if let Some(segment_bytes) = info.segment_bytes {
        writer.put(libc::SOL_UDP, libc::UDP_SEGMENT, &segment_bytes.to_ne_bytes());
    }
    if let Some(ecn) = info.ecn {
        let (level, name) = match peer {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        writer.put(level, name, &i32::from(ecn as u8).to_ne_bytes());
    }
    match (info.local_ip.map(|ip| ip.to_canonical()), peer) {
        (Some(IpAddr::V4(local)), IpAddr::V4(_)) => {
            // struct in_pktinfo { int ifindex; struct in_addr spec_dst; struct in_addr addr; }, ip(7): on a send
            // spec_dst is the source address.
            let mut data = [0; 12];
            data[4..8].copy_from_slice(&local.octets());
            writer.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &data);
        }
        (Some(IpAddr::V6(local)), IpAddr::V6(_)) => {
            // struct in6_pktinfo { struct in6_addr addr; int ifindex; }, ipv6(7).
            let mut data = [0; 20];
            data[..16].copy_from_slice(&local.octets());
            writer.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
        }
        _ => {}
    }
    writer.len
}

/// What the kernel says about received datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReceiveInfo {
    /// Bytes per datagram, where several were merged.
    pub(crate) stride: Option<usize>,
    /// How they were marked.
    pub(crate) ecn: Option<Ecn>,
    /// The local address they were sent to.
    pub(crate) local_ip: Option<IpAddr>,
    /// From the error queue: what happened to a datagram that was sent.
    pub(crate) error: Option<ExtendedError>,
}

/// The part of `struct sock_extended_err` that is used (ip(7), `IP_RECVERR`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExtendedError {
    /// `ee_errno`.
    pub(crate) errno: i32,
    /// `ee_origin`: `SO_EE_ORIGIN_LOCAL`, `_ICMP` or `_ICMP6`.
    pub(crate) origin: u8,
}

/// Reads control data as received. Truncated or meaningless data yields what could be read before it.
pub(crate) fn decode(control: &[u8]) -> ReceiveInfo {
    let mut info = ReceiveInfo::default();
    for (level, kind, data) in (Messages { rest: control }) {
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                info.stride = read_int(data).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
            }
            // A dual-stack socket may be told of an IPv4 datagram in both families' terms; they agree.
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                info.ecn = data.first().and_then(|first| {
                    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "one octet")]
                    let class = read_int(data).map_or(*first, |n| n as u8);
                    Ecn::from_bits(class)
                });
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // ipi_addr, the destination in the header; ipi_spec_dst would be the address of the route.
                if let Some(octets) = read::<4>(data, 8) {
                    info.local_ip = Some(Ipv4Addr::from(octets).into());
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let Some(octets) = read::<16>(data, 0) {
                    info.local_ip = Some(plain_ip(Ipv6Addr::from(octets)));
                }
            }
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                if let (Some(errno), Some(&origin)) = (read_int(data), data.get(4)) {
                    info.error = Some(ExtendedError { errno, origin });
                }
            }
            _ => {}
        }
    }
    info
}

struct Writer<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        let message = &mut self.bytes[self.len..self.len + space(data.len())];
        let (header, body) = message.split_at_mut(HEADER_BYTES);
        header[..ALIGN].copy_from_slice(&(HEADER_BYTES + data.len()).to_ne_bytes());
        header[ALIGN..ALIGN + 4].copy_from_slice(&level.to_ne_bytes());
        header[ALIGN + 4..].copy_from_slice(&kind.to_ne_bytes());
        body[..data.len()].copy_from_slice(data);
        body[data.len()..].fill(0);
        self.len += space(data.len());
    }
}

/// Walks control data message by message; ends at the first that does not fit.
struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = (libc::c_int, libc::c_int, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from_ne_bytes(read(self.rest, 0)?);
        let level = libc::c_int::from_ne_bytes(read(self.rest, ALIGN)?);
        let kind = libc::c_int::from_ne_bytes(read(self.rest, ALIGN + 4)?);
        let data = self.rest.get(HEADER_BYTES..len)?;
        // The last message need not be padded. `len` is at most the slice's length, so this cannot overflow.
        self.rest = self.rest.get(padded(len)..).unwrap_or(&[]);
        Some((level, kind, data))
    }
}

fn read_int(data: &[u8]) -> Option<libc::c_int> {
    read(data, 0).map(libc::c_int::from_ne_bytes)
}

fn read<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_ecn() -> impl Strategy<Value = Option<Ecn>> {
        (0u8..4).prop_map(Ecn::from_bits)
    }

    fn any_ip() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    /// What the kernel would report to the receiver, in its own layout.
    fn as_received(info: &ReceiveInfo, out: &mut [u8]) -> usize {
        let mut writer = Writer { bytes: out, len: 0 };
        if let Some(stride) = info.stride {
            writer.put(libc::SOL_UDP, libc::UDP_GRO, &i32::try_from(stride).unwrap().to_ne_bytes());
        }
        match info.local_ip {
            Some(IpAddr::V4(ip)) => {
                let mut data = [0; 12];
                data[8..].copy_from_slice(&ip.octets());
                writer.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &data);
                writer.put(libc::IPPROTO_IP, libc::IP_TOS, &[info.ecn.map_or(0, |ecn| ecn as u8)]);
            }
            Some(IpAddr::V6(ip)) => {
                let mut data = [0; 20];
                data[..16].copy_from_slice(&ip.octets());
                writer.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
                let class = info.ecn.map_or(0, |ecn| i32::from(ecn as u8));
                writer.put(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class.to_ne_bytes());
            }
            None => {}
        }
        writer.len
    }

    #[test]
    fn layout_is_that_of_the_c_macros() {
        // SAFETY: this macro only computes.
        let len = unsafe { libc::CMSG_LEN(2) };
        // SAFETY: so does this one.
        let aligned = unsafe { libc::CMSG_SPACE(2) };
        assert_eq!(usize::try_from(len).unwrap(), HEADER_BYTES + 2);
        assert_eq!(usize::try_from(aligned).unwrap(), space(2));
        assert_eq!(size_of::<libc::cmsghdr>(), HEADER_BYTES);
        assert_eq!(size_of::<libc::in_pktinfo>(), 12);
        assert_eq!(size_of::<libc::in6_pktinfo>(), 20);
    }

    #[test]
    fn mapped_peer_takes_ipv4_options() {
        let info = SendInfo { ecn: Some(Ecn::Ect0), ..SendInfo::default() };
        let mut control = SendControl::EMPTY;
        let len = encode(&info, "::ffff:192.0.2.1".parse().unwrap(), &mut control);
        let (level, kind, _) = Messages { rest: &control.0[..len] }.next().unwrap();
        assert_eq!((level, kind), (libc::IPPROTO_IP, libc::IP_TOS));
    }

    proptest! {
        #[test]
        fn arbitrary_control_data_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode(&bytes);
            let messages = Messages { rest: &bytes }.count();
            prop_assert!(messages <= bytes.len() / HEADER_BYTES + 1);
        }

        #[test]
        fn plausible_headers_with_wrong_lengths_never_panic(
            len in prop_oneof![0usize..64, Just(usize::MAX), Just(usize::MAX - 7)],
            which in 0usize..6,
            tail in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let (level, kind) = [
                (libc::SOL_UDP, libc::UDP_GRO),
                (libc::IPPROTO_IP, libc::IP_TOS),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
                (libc::IPPROTO_IP, libc::IP_PKTINFO),
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
                (libc::IPPROTO_IP, libc::IP_RECVERR),
            ][which];
            let mut bytes = len.to_ne_bytes().to_vec();
            bytes.extend(level.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(tail);
            let _ = decode(&bytes);
        }

        /// A length that lies ends the walk: what came before it stands, and nothing behind it is believed.
        #[test]
        fn a_hostile_length_ends_the_walk(
            lie in prop_oneof![0usize..HEADER_BYTES, 1000usize.., Just(usize::MAX), Just(usize::MAX - ALIGN + 1)],
            stride in 1usize..65_536,
            ip in any::<[u8; 4]>(),
        ) {
            let sent = ReceiveInfo { stride: Some(stride), local_ip: Some(ip.into()), ..ReceiveInfo::default() };
            let mut control = ReceiveControl::EMPTY;
            let len = as_received(&sent, &mut control.0);
            let second = space(4);
            control.0[second..second + ALIGN].copy_from_slice(&lie.to_ne_bytes());
            let read = decode(&control.0[..len]);
            prop_assert_eq!(read, ReceiveInfo { stride: Some(stride), ..ReceiveInfo::default() });
            // The first length lies: nothing is read at all.
            control.0[..ALIGN].copy_from_slice(&lie.to_ne_bytes());
            prop_assert_eq!(decode(&control.0[..len]), ReceiveInfo::default());
        }

        #[test]
        fn encoded_options_are_read_back(
            segment_bytes in proptest::option::of(1u16..),
            ecn in any_ecn(),
            local_ip in proptest::option::of(any_ip()),
            peer in any_ip(),
        ) {
            let mut control = SendControl::EMPTY;
            let len = encode(&SendInfo { segment_bytes, ecn, local_ip }, peer, &mut control);
            prop_assert!(len <= SEND_CONTROL_BYTES);
            let messages: Vec<_> = Messages { rest: &control.0[..len] }.collect();
            let find = |level, kind| messages.iter().find(|m| m.0 == level && m.1 == kind).map(|m| m.2);

            let segment = find(libc::SOL_UDP, libc::UDP_SEGMENT);
            let segment = segment.map(|data| u16::from_ne_bytes(data.try_into().unwrap()));
            prop_assert_eq!(segment, segment_bytes);
            prop_assert_eq!(decode(&control.0[..len]).ecn, ecn);
            let (v4, v6) = (find(libc::IPPROTO_IP, libc::IP_PKTINFO), find(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO));
            match (local_ip.map(|ip| ip.to_canonical()), peer.to_canonical()) {
                (Some(IpAddr::V4(ip)), IpAddr::V4(_)) => prop_assert_eq!(&v4.unwrap()[4..8], &ip.octets()),
                (Some(IpAddr::V6(ip)), IpAddr::V6(_)) => prop_assert_eq!(&v6.unwrap()[..16], &ip.octets()),
                _ => prop_assert!(v4.is_none() && v6.is_none()),
            }
        }

        #[test]
        fn reports_of_the_kernel_are_read(
            stride in proptest::option::of(1usize..65_536),
            ecn in any_ecn(),
            local_ip in any_ip(),
        ) {
            let sent = ReceiveInfo { stride, ecn, local_ip: Some(local_ip), error: None };
            let mut control = ReceiveControl::EMPTY;
            let len = as_received(&sent, &mut control.0);
            let expected = ReceiveInfo { local_ip: Some(local_ip.to_canonical()), ..sent };
            prop_assert_eq!(decode(&control.0[..len]), expected);
            // Cut anywhere, it must not panic and must not invent.
            for cut in 0..len {
                let part = decode(&control.0[..cut]);
                prop_assert!(part.stride.is_none() || part.stride == stride);
                prop_assert!(part.ecn.is_none() || part.ecn == ecn);
            }
        }
    }
}
