//! The system calls of the driver as safe functions over its own types.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bytes::Bytes;
use socket2::{Domain, Socket, Type};

use crate::buf::{SlotIndex, SlotPool};
use crate::net::addr::{Family, RawAddr};
use crate::net::cmsg::{self, ReceiveControl, ReceiveInfo, SendControl, SendInfo};
use crate::net::options;
use crate::op::{Op, Transmit};

/// Datagram trains taken with one recvmmsg(2). A train is up to 64 KiB: more would not save much.
pub(super) const TRAINS_PER_CALL: usize = 8;

const NOTHING: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

fn empty_header() -> libc::msghdr {
    // SAFETY: all fields are pointers and integers, for which zero is null and nothing (recvmsg(2)).
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// recv(2) into `buffer`: how many of its bytes were written; 0 at the end of the stream.
pub(super) fn recv(fd: BorrowedFd<'_>, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    // SAFETY: the descriptor is open; the kernel writes at most `buffer.len()` bytes to `buffer`.
    check(unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) })
}

/// sendmsg(2) of `data` in order: how many bytes were taken. What exceeds [`Op::SEND_PIECES_MAX`] is left out, which
/// is a short send.
pub(super) fn send(fd: BorrowedFd<'_>, data: &[Bytes]) -> io::Result<usize> {
    let mut pieces = [NOTHING; Op::SEND_PIECES_MAX];
    for (to, from) in pieces.iter_mut().zip(data) {
        *to = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    }
    let mut header = empty_header();
    header.msg_iov = pieces.as_mut_ptr();
    header.msg_iovlen = data.len().min(pieces.len()) as _;
    // SAFETY: the descriptor is open; `header` points to as many iovecs as it says, each of them to bytes that are
    // borrowed across the call and only read by it.
    check(unsafe {
        libc::sendmsg(fd.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
    })
}

/// sendmsg(2) of a train, segmented by the kernel if it is more than one datagram.
///
/// # Errors
/// As sendmsg(2) and udp(7); `EMSGSIZE` also for segments that no datagram could have.
pub(super) fn send_train(fd: BorrowedFd<'_>, transmit: &Transmit, family: Family) -> io::Result<()> {
    let segment_bytes = if transmit.segments() > 1 {
        let bytes = u16::try_from(transmit.segment_bytes);
        Some(bytes.map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?)
    } else {
        None
    };
    let info = SendInfo { segment_bytes, ecn: transmit.ecn, local_ip: transmit.local_ip };
    let mut control = SendControl::EMPTY;
    let control_bytes = cmsg::encode(&info, transmit.peer.ip(), &mut control);
    let mut name = RawAddr::encode(transmit.peer, family);
    let buffer = &transmit.buffer;
    let mut piece = libc::iovec { iov_base: buffer.as_ptr().cast_mut().cast(), iov_len: buffer.len() };
    let mut header = empty_header();
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = name.len();
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    if control_bytes > 0 {
        header.msg_control = control.0.as_mut_ptr().cast();
        // musl has a narrower type here than glibc.
        header.msg_controllen = control_bytes as _;
    }
    // SAFETY: the descriptor is open; name, iovec, control data and the buffer behind the iovec live across the
    // call, have the lengths given, and are only read.
    check(unsafe {
        libc::sendmsg(fd.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
    })
    .map(drop)
}

/// One train as it was received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Train {
    /// Bytes written to its buffer.
    pub(super) len: usize,
    /// Who sent it; `None` if that is no internet address.
    pub(super) peer: Option<SocketAddr>,
    /// What the kernel says about it.
    pub(super) info: ReceiveInfo,
    /// It did not fit into the buffer (`MSG_TRUNC`).
    pub(super) truncated: bool,
}

/// recvmmsg(2): fills as many of the taken `slots` of `pool` as there are trains, from the first, and describes them
/// in `trains`. Gives their number.
pub(super) fn recv_trains(
    fd: BorrowedFd<'_>,
    pool: &mut SlotPool,
    slots: &[SlotIndex],
    trains: &mut [Train; TRAINS_PER_CALL],
) -> io::Result<usize> {
    let count = slots.len().min(TRAINS_PER_CALL);
    let mut pieces = [NOTHING; TRAINS_PER_CALL];
    let mut names = [RawAddr::EMPTY; TRAINS_PER_CALL];
    let mut controls = [ReceiveControl::EMPTY; TRAINS_PER_CALL];
    let mut headers = [libc::mmsghdr { msg_hdr: empty_header(), msg_len: 0 }; TRAINS_PER_CALL];
    for at in 0..count {
        let buffer = pool.writable(slots[at]);
        pieces[at] = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let header = &mut headers[at].msg_hdr;
        header.msg_name = names[at].as_mut_ptr().cast();
        header.msg_namelen = names[at].len();
        header.msg_iov = &raw mut pieces[at];
        header.msg_iovlen = 1;
        header.msg_control = controls[at].0.as_mut_ptr().cast();
        header.msg_controllen = controls[at].0.len() as _;
    }
    let vlen = libc::c_uint::try_from(count).expect("at most TRAINS_PER_CALL");
    // SAFETY: the descriptor is open; the first `vlen` headers point to names, control buffers and iovecs of the
    // lengths given. Names, controls and iovecs are locals that live across the call; the slots are taken, each of
    // them once, and stay where they are while `pool` is borrowed. No timeout.
    let received = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr(),
            vlen,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for at in 0..received {
        let libc::mmsghdr { msg_hdr: header, msg_len } = headers[at];
        names[at].set_len(usize::try_from(header.msg_namelen).unwrap_or(0));
        #[allow(clippy::unnecessary_cast, reason = "musl has a narrower type here than glibc")]
        let control_bytes = (header.msg_controllen as usize).min(controls[at].0.len());
        trains[at] = Train {
            len: usize::try_from(msg_len).unwrap_or(0),
            peer: names[at].decode(),
            info: cmsg::decode(&controls[at].0[..control_bytes]),
            truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        };
    }
    Ok(received)
}

/// accept4(2): a connection in non-blocking, close-on-exec mode, and its peer where that is an internet address.
pub(super) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let mut peer = RawAddr::EMPTY;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the descriptor is open; the kernel writes at most as many bytes of address as the length says, which
    // is the capacity of `peer`, and then the length.
    let accepted = unsafe { libc::accept4(fd.as_raw_fd(), peer.as_mut_ptr(), peer.len_mut(), flags) };
    if accepted < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok((unsafe { OwnedFd::from_raw_fd(accepted) }, peer.decode()))
}

/// Begins to open a TCP connection to `addr` with `TCP_NODELAY`. Whether it succeeds shows when the socket becomes
/// writable (connect(2), `EINPROGRESS`), also if it already has.
pub(super) fn connect(addr: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), None)?;
    options::set_nodelay(std::os::fd::AsFd::as_fd(&socket))?;
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}
