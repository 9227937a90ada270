//! A UDP socket's error queue (recvmsg(2) with `MSG_ERRQUEUE`, ip(7) `IP_RECVERR`): which datagrams did not arrive.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::addr::RawAddr;
use super::cmsg::{self, Control};

/// Room for a `struct sock_extended_err`, the offender's address, and the packet info that a dual-stack socket adds.
const CONTROL_BYTES: usize = 256;

/// Takes the next report off the queue: the peer that a datagram was sent to, and the errno. `None` when the queue
/// is empty.
///
/// Only what came by ICMP and says that the peer was not reached is given out. Reports of this host (`EMSGSIZE` of
/// a send that failed anyway) and "fragmentation needed", which is the business of path-MTU probing, are skipped:
/// taking them off the queue is all they need. Emptying the queue also clears the pending error that would fail
/// the next send.
///
/// # Errors
/// As recvmsg(2), except that an empty queue is none.
pub(crate) fn next_unreachable(fd: BorrowedFd<'_>) -> io::Result<Option<(SocketAddr, i32)>> {
    loop {
        let Some((peer, info)) = receive(fd)? else { return Ok(None) };
        if let (Some(peer), Some(error)) = (peer, info.error)
            && matches!(error.origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6)
            && error.errno != libc::EMSGSIZE
        {
            return Ok(Some((peer, error.errno)));
        }
    }
}

fn receive(fd: BorrowedFd<'_>) -> io::Result<Option<(Option<SocketAddr>, cmsg::ReceiveInfo)>> {
    let mut name = RawAddr::EMPTY;
    let mut control = Control::<CONTROL_BYTES>::EMPTY;
    // SAFETY: a msghdr is plain data, for which all zero is "nothing": no name, no iovec, no control.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = name.len();
    header.msg_control = control.0.as_mut_ptr().cast();
    // musl has a narrower type here than glibc.
    header.msg_controllen = CONTROL_BYTES as _;
    // SAFETY: the descriptor is borrowed, thus open. `header` names two live local buffers with their sizes and no
    // iovec: the payload of the failed datagram is cut off (MSG_TRUNC), which is of no interest.
    let rc =
        unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if rc < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    name.set_len(usize::try_from(header.msg_namelen).unwrap_or(0));
    let control_bytes = (header.msg_controllen as usize).min(CONTROL_BYTES);
    Ok(Some((name.decode(), cmsg::decode(&control.0[..control_bytes]))))
}
