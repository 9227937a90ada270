//! Socket options and queries that the drivers and [`super::bind_udp`] need, each a safe cover of one call.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::SockRef;

/// Segments in one `UDP_SEGMENT` send that every kernel with the option accepts (`UDP_MAX_SEGMENTS` in
/// include/linux/udp.h: 64 until Linux 6.9, 128 since).
pub(crate) const GSO_SEGMENTS_MAX: usize = 64;

/// Sets an option whose value is an `int`.
pub(crate) fn set_int(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: i32,
) -> io::Result<()> {
    #[allow(clippy::cast_possible_truncation, reason = "4")]
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed, thus open; `value` lives across the call and `len` is its size, so
    // setsockopt(2) reads nothing else.
    let rc = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an option whose value is an `int`.
pub(crate) fn get_int(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    #[allow(clippy::cast_possible_truncation, reason = "4")]
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed, thus open; both pointers name locals that live across the call, and
    // getsockopt(2) writes at most `len` bytes, the size of `value`.
    let rc = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) };
    if rc == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Sends small writes at once (`TCP_NODELAY`, tcp(7)).
pub(crate) fn set_nodelay(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).set_tcp_nodelay(true)
}

/// Makes the coming close(2) send a reset and drop what was not sent (`SO_LINGER` with zero time, socket(7)).
pub(crate) fn reset_on_close(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).set_linger(Some(Duration::ZERO))
}

/// Takes the pending error of a socket (`SO_ERROR`, socket(7)): the result of a non-blocking connect(2), or what
/// a poll(2) with POLLERR is about. `None` when there is none.
pub(crate) fn take_error(fd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    get_int(fd, libc::SOL_SOCKET, libc::SO_ERROR).map(|errno| (errno != 0).then_some(errno))
}

/// Bytes sent that the other end has not taken (`SIOCOUTQ`, tcp(7), unix(7)).
pub(crate) fn unsent_bytes(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed, thus open; SIOCOUTQ (= TIOCOUTQ) writes one int, and `bytes` is one
    // that lives across the call.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Whether the kernel segments UDP sends (`UDP_SEGMENT`, udp(7), Linux 4.18). Asks a socket of its own.
pub(crate) fn gso_supported() -> bool {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).is_ok_and(|socket| {
        use std::os::fd::AsFd;
        get_int(socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT).is_ok()
    })
}

/// Whether the kernel merges received datagrams (`UDP_GRO`, udp(7), Linux 5.0). Asks a socket of its own.
pub(crate) fn gro_supported() -> bool {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).is_ok_and(|socket| {
        use std::os::fd::AsFd;
        set_int(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1).is_ok()
    })
}

/// Whether received datagrams are merged on this socket.
pub(crate) fn udp_gro(fd: BorrowedFd<'_>) -> bool {
    get_int(fd, libc::SOL_UDP, libc::UDP_GRO).is_ok_and(|on| on != 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn unsent_bytes_of_a_unix_socket_are_what_the_reader_left() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        assert_eq!(unsent_bytes(a.as_fd()).unwrap(), 0);
        a.write_all(&[7; 100]).unwrap();
        assert!(unsent_bytes(a.as_fd()).unwrap() >= 100);
        b.read_exact(&mut [0; 100]).unwrap();
        assert_eq!(unsent_bytes(a.as_fd()).unwrap(), 0);
    }

    #[test]
    fn reset_on_close_is_seen_by_the_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        set_nodelay(ours.as_fd()).unwrap();
        assert!(ours.nodelay().unwrap());
        reset_on_close(ours.as_fd()).unwrap();
        drop(ours);
        assert_eq!(theirs.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(take_error(theirs.as_fd()).unwrap(), None);
    }

    #[test]
    fn this_kernel_segments_and_merges() {
        // Linux 5.0 and later; the drivers need more than that anyway.
        assert!(gso_supported());
        assert!(gro_supported());
    }
}
