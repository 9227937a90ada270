//! Binding a UDP socket with everything that QUIC wants of it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, SockRef, Socket, Type};

use super::options::set_int;
use super::socket::{OwnedSocket, SocketKind};

/// What may differ between UDP sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpOptions {
    /// Let several sockets share the address (`SO_REUSEPORT`, socket(7)), one per shard.
    pub reuse_port: bool,
    /// Receive buffer to ask for. What was granted: [`OwnedSocket::receive_buffer_bytes`].
    pub receive_buffer_bytes: Option<usize>,
    /// Send buffer to ask for. What was granted: [`OwnedSocket::send_buffer_bytes`].
    pub send_buffer_bytes: Option<usize>,
    /// Let the kernel merge received datagrams (`UDP_GRO`). A kernel without it is no error:
    /// [`OwnedSocket::gro_enabled`] tells.
    pub gro: bool,
}

/// Binds a UDP socket and returns it with the address it got.
///
/// `[::]` listens on both families. Datagrams are sent with don't-fragment set and without regard to the kernel's
/// idea of the path MTU (`IP_PMTUDISC_PROBE`: QUIC probes for itself, RFC 9000 section 14.3); ECN and the local
/// address are reported for each datagram; ICMP errors go to the error queue (`IP_RECVERR`).
///
/// # Errors
/// As socket(2), setsockopt(2) and bind(2): an address in use or not of this host, a family that is switched off.
pub fn bind_udp(addr: SocketAddr, options: &UdpOptions) -> io::Result<(OwnedSocket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM.nonblocking().cloexec(), None)?;
    if let IpAddr::V6(ip) = addr.ip() {
        socket.set_only_v6(!ip.is_unspecified())?;
        configure_v6(socket.as_fd())?;
    }
    // On a dual-stack socket the IPv4 half has options of its own.
    if addr.is_ipv4() || addr.ip().is_unspecified() {
        configure_v4(socket.as_fd())?;
    }
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        request_buffer(&socket, bytes, Buffer::Receive)?;
    }
    if let Some(bytes) = options.send_buffer_bytes {
        request_buffer(&socket, bytes, Buffer::Send)?;
    }
    if options.gro {
        match set_int(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1) {
            Err(error) if error.raw_os_error() != Some(libc::ENOPROTOOPT) => return Err(error),
            _ => {}
        }
    }
    socket.bind(&addr.into())?;
    let socket = OwnedSocket::from_nonblocking(socket.into(), SocketKind::Udp);
    let local = socket.local_addr().ok_or_else(|| io::Error::other("a bound UDP socket has no address"))?;
    Ok((socket, local))
}

fn configure_v4(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    set_int(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
    set_int(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    set_int(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)
}

fn configure_v6(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
    set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
    set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)
}

#[derive(Clone, Copy)]
enum Buffer {
    Receive,
    Send,
}

/// Asks for a buffer size; the kernel silently grants less (`net.core.rmem_max`, `wmem_max`). With the capability
/// `CAP_NET_ADMIN` the `FORCE` option goes past that, and without it is refused, which is no error here.
fn request_buffer(socket: &Socket, bytes: usize, which: Buffer) -> io::Result<()> {
    let (granted, forced) = match which {
        Buffer::Receive => {
            socket.set_recv_buffer_size(bytes)?;
            (SockRef::from(socket).recv_buffer_size()?, libc::SO_RCVBUFFORCE)
        }
        Buffer::Send => {
            socket.set_send_buffer_size(bytes)?;
            (SockRef::from(socket).send_buffer_size()?, libc::SO_SNDBUFFORCE)
        }
    };
    if granted < bytes {
        let wanted = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
        let _ = set_int(socket.as_fd(), libc::SOL_SOCKET, forced, wanted);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    use super::super::{error_queue, options};
    use super::*;

    const GRO: UdpOptions = UdpOptions {
        reuse_port: false,
        receive_buffer_bytes: Some(200_000),
        send_buffer_bytes: Some(200_000),
        gro: true,
    };

    #[test]
    fn options_are_set_on_both_families() {
        let (socket, local) = bind_udp("[::]:0".parse().unwrap(), &GRO).unwrap();
        assert_ne!(local.port(), 0);
        assert!(socket.gro_enabled());
        assert!(socket.receive_buffer_bytes().unwrap() >= 200_000);
        assert!(socket.send_buffer_bytes().unwrap() >= 200_000);
        for (level, name, value) in [
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
            (libc::IPPROTO_IP, libc::IP_RECVERR, 1),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0),
        ] {
            assert_eq!(options::get_int(socket.as_fd(), level, name).unwrap(), value, "{level}/{name}");
        }
    }

    #[test]
    fn reuse_port_lets_a_second_socket_in() {
        let options = UdpOptions { reuse_port: true, ..UdpOptions::default() };
        let (_first, local) = bind_udp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let (_second, same) = bind_udp(local, &options).unwrap();
        assert_eq!(local, same);
        assert_eq!(bind_udp(local, &UdpOptions::default()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    /// Sends to a port that nobody holds and waits for the report of it.
    fn unreachable_port_is_reported(bind: &str, target: &str) {
        let closed = {
            let held = UdpSocket::bind(target).unwrap();
            held.local_addr().unwrap()
        };
        let (socket, _) = bind_udp(bind.parse().unwrap(), &UdpOptions::default()).unwrap();
        let sender = UdpSocket::try_from(socket).unwrap();
        let mapped = match (sender.local_addr().unwrap().is_ipv6(), closed.ip()) {
            (true, IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), closed.port()),
            _ => closed,
        };
        sender.send_to(b"anyone?", mapped).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let reported = loop {
            if let Some(reported) = error_queue::next_unreachable(sender.as_fd()).unwrap() {
                break reported;
            }
            assert!(Instant::now() < deadline, "no report of {closed}");
        };
        assert_eq!(reported, (closed, libc::ECONNREFUSED));
        assert_eq!(error_queue::next_unreachable(sender.as_fd()).unwrap(), None);
        // The emptied queue leaves no pending error behind.
        assert_eq!(options::take_error(sender.as_fd()).unwrap(), None);
    }

    #[test]
    fn unreachable_port_is_reported_over_v4() {
        unreachable_port_is_reported("127.0.0.1:0", "127.0.0.1:0");
    }

    #[test]
    fn unreachable_port_is_reported_over_v6() {
        unreachable_port_is_reported("[::1]:0", "[::1]:0");
    }

    #[test]
    fn unreachable_port_is_reported_over_v4_from_a_dual_stack_socket() {
        unreachable_port_is_reported("[::]:0", "127.0.0.1:0");
    }
}
