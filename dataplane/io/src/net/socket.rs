//! A kernel socket that no driver holds.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use socket2::{Domain, SockRef, Type};

use super::{addr::RawAddr, options};

/// What a socket is, as far as a driver treats it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketKind {
    /// A connected TCP socket (or one that is being connected).
    TcpStream,
    /// A listening TCP socket.
    TcpListener,
    /// A connected Unix stream socket.
    UnixStream,
    /// A listening Unix stream socket.
    UnixListener,
    /// A UDP socket.
    Udp,
}

impl SocketKind {
    /// Whether bytes flow on it as a stream.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::TcpStream | Self::UnixStream)
    }

    /// Whether it accepts connections.
    #[must_use]
    pub const fn is_listener(self) -> bool {
        matches!(self, Self::TcpListener | Self::UnixListener)
    }
}

/// A kernel socket outside any driver, in non-blocking mode: [`crate::Driver::Socket`] of both kernel drivers.
///
/// Comes from the standard library's types and goes back into them (`TryFrom`; the error is the socket itself
/// when it is of another kind). What comes back is still non-blocking. Dropping it closes the descriptor.
#[derive(Debug)]
pub struct OwnedSocket {
    fd: OwnedFd,
    kind: SocketKind,
}

impl OwnedSocket {
    /// Takes a descriptor of known kind, and makes it non-blocking and close-on-exec.
    pub(crate) fn new(fd: OwnedFd, kind: SocketKind) -> Self {
        let socket = SockRef::from(&fd);
        // fcntl(2) has no reason to fail on a descriptor that is open, and OwnedFd is.
        socket.set_nonblocking(true).expect("an owned socket can be made non-blocking");
        socket.set_cloexec(true).expect("an owned socket can be made close-on-exec");
        Self { fd, kind }
    }

    /// Takes a descriptor that the caller knows to be a non-blocking, close-on-exec socket of this kind, e.g.
    /// from accept4(2) with `SOCK_NONBLOCK | SOCK_CLOEXEC`.
    pub(crate) const fn from_nonblocking(fd: OwnedFd, kind: SocketKind) -> Self {
        Self { fd, kind }
    }

    /// Takes any descriptor and asks the kernel what it is (`SO_DOMAIN`, `SO_TYPE`, `SO_ACCEPTCONN`, socket(7)).
    ///
    /// # Errors
    /// `ENOTSOCK` when it is no socket; [`io::ErrorKind::Unsupported`] for a kind that adit has no use for.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = SockRef::from(&fd);
        let (domain, socket_type) = (socket.domain()?, socket.r#type()?);
        let listening = socket.is_listener()?;
        let kind = match (domain, socket_type, listening) {
            (Domain::IPV4 | Domain::IPV6, Type::STREAM, false) => SocketKind::TcpStream,
            (Domain::IPV4 | Domain::IPV6, Type::STREAM, true) => SocketKind::TcpListener,
            (Domain::IPV4 | Domain::IPV6, Type::DGRAM, _) => SocketKind::Udp,
            (Domain::UNIX, Type::STREAM, false) => SocketKind::UnixStream,
            (Domain::UNIX, Type::STREAM, true) => SocketKind::UnixListener,
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither TCP, UDP nor Unix stream")),
        };
        Ok(Self::new(fd, kind))
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> SocketKind {
        self.kind
    }

    /// The local address (getsockname(2)), where it has one in the internet families.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        let mut raw = RawAddr::EMPTY;
        // SAFETY: the descriptor is open; the pointers name a live buffer and its capacity, which is what
        // getsockname(2) wants, and it writes at most that many bytes.
        let rc = unsafe { libc::getsockname(self.raw_fd(), raw.as_mut_ptr(), raw.len_mut()) };
        if rc == 0 { raw.decode() } else { None }
    }

    /// The receive buffer that the kernel granted, in bytes of its own accounting (`SO_RCVBUF`, socket(7): twice
    /// what was asked for, unless `net.core.rmem_max` is less).
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn receive_buffer_bytes(&self) -> io::Result<usize> {
        SockRef::from(&self.fd).recv_buffer_size()
    }

    /// The send buffer that the kernel granted; see [`Self::receive_buffer_bytes`].
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn send_buffer_bytes(&self) -> io::Result<usize> {
        SockRef::from(&self.fd).send_buffer_size()
    }

    /// Whether received datagrams may come coalesced (`UDP_GRO`, udp(7)). False on anything but UDP.
    #[must_use]
    pub fn gro_enabled(&self) -> bool {
        self.kind == SocketKind::Udp && options::udp_gro(self.as_fd())
    }

    // Above this crate no descriptor exists (R10): there it goes through the standard library's types.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// For a system call that does not outlive the borrow.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

macro_rules! convert {
    ($($std:ty => $kind:ident),+ $(,)?) => {$(
        impl From<$std> for OwnedSocket {
            fn from(socket: $std) -> Self {
                Self::new(socket.into(), SocketKind::$kind)
            }
        }

        impl TryFrom<OwnedSocket> for $std {
            type Error = OwnedSocket;

            fn try_from(socket: OwnedSocket) -> Result<Self, OwnedSocket> {
                if socket.kind == SocketKind::$kind { Ok(socket.fd.into()) } else { Err(socket) }
            }
        }
    )+};
}

convert! {
    TcpStream => TcpStream,
    TcpListener => TcpListener,
    UnixStream => UnixStream,
    UnixListener => UnixListener,
    UdpSocket => Udp,
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};

    use super::*;

    #[test]
    fn every_kind_is_recognised_from_its_descriptor() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let (unix, _peer) = UnixStream::pair().unwrap();
        for (fd, kind) in [
            (OwnedFd::from(tcp), SocketKind::TcpListener),
            (stream.into(), SocketKind::TcpStream),
            (udp.into(), SocketKind::Udp),
            (unix.into(), SocketKind::UnixStream),
        ] {
            assert_eq!(OwnedSocket::from_fd(fd).unwrap().kind(), kind);
        }
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(OwnedSocket::from_fd(file.into()).is_err());
    }

    #[test]
    fn goes_back_into_the_type_it_came_from_and_stays_non_blocking() {
        let (a, _b) = UnixStream::pair().unwrap();
        let socket = OwnedSocket::from(a);
        assert_eq!(socket.local_addr(), None);
        let socket = TcpStream::try_from(socket).unwrap_err();
        let mut back = UnixStream::try_from(socket).unwrap();
        assert_eq!(back.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn local_addr_is_that_of_the_standard_library() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = udp.local_addr().unwrap();
        assert_eq!(OwnedSocket::from(udp).local_addr(), Some(addr));
    }
}
