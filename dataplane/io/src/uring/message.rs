//! What a sendmsg points to: memory at a fixed address for as long as the operation is outstanding, and used again
//! for the next one.

use std::fmt;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ptr::NonNull;

use bytes::Bytes;

use crate::net::addr::{Family, RawAddr};
use crate::net::cmsg::{self, SendControl, SendInfo};
use crate::op::{Op, Transmit};

/// A heap value whose address does not change and may be known to the kernel. Unlike a `Box`, moving it claims
/// nothing about who else reads the value.
pub(super) struct Stable<T>(NonNull<T>);

impl<T> Stable<T> {
    pub(super) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    pub(super) const fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// Only while no operation that points here is outstanding.
    pub(super) fn get_mut(&mut self) -> &mut T {
        // SAFETY: the value was leaked from a Box, lives until drop, and `&mut self` is the only way to it; the
        // kernel has no business with it at this time (see above).
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Stable<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from Box::leak and is freed once, here.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl<T> fmt::Debug for Stable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stable").field(&self.0).finish()
    }
}

/// An empty `struct msghdr`. Its fields differ between C libraries, so it is not built field by field.
fn empty_header() -> libc::msghdr {
    // SAFETY: all fields are pointers and integers, for which zero is null and nothing (recvmsg(2)).
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// A header that says how much room a multishot recvmsg leaves for name and control data. The kernel reads only
/// these two lengths, when the operation is submitted.
pub(super) fn receive_header(name_bytes: usize, control_bytes: usize) -> libc::msghdr {
    let mut header = empty_header();
    header.msg_namelen = libc::socklen_t::try_from(name_bytes).expect("an address is short");
    // musl has a narrower type here than glibc.
    header.msg_controllen = control_bytes as _;
    header
}

fn piece(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// A vectored send on a stream.
pub(super) struct VectorMessage {
    header: libc::msghdr,
    pieces: [libc::iovec; Op::SEND_PIECES_MAX],
}

impl VectorMessage {
    pub(super) fn new() -> Self {
        const NOTHING: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self { header: empty_header(), pieces: [NOTHING; Op::SEND_PIECES_MAX] }
    }

    /// Points to `data`, and to itself: neither may move or go until the operation has completed. (The bytes
    /// behind a [`Bytes`] do not move with it.) What exceeds [`Op::SEND_PIECES_MAX`] is left out, which is a short
    /// send.
    pub(super) fn point_at(&mut self, data: &[Bytes]) -> *const libc::msghdr {
        let count = data.len().min(self.pieces.len());
        for (to, from) in self.pieces.iter_mut().zip(data) {
            *to = piece(from);
        }
        self.header.msg_iov = self.pieces.as_mut_ptr();
        self.header.msg_iovlen = count as _;
        &raw const self.header
    }
}

/// A train of datagrams.
pub(super) struct DatagramMessage {
    header: libc::msghdr,
    piece: libc::iovec,
    name: RawAddr,
    control: SendControl,
}

impl DatagramMessage {
    pub(super) fn new() -> Self {
        Self { header: empty_header(), piece: piece(&[]), name: RawAddr::EMPTY, control: SendControl::EMPTY }
    }

    /// As [`VectorMessage::point_at`], for the train's buffer.
    pub(super) fn point_at(&mut self, transmit: &Transmit, family: Family) -> *const libc::msghdr {
        self.name = RawAddr::encode(transmit.peer, family);
        self.piece = piece(&transmit.buffer);
        let control_bytes = cmsg::encode(&send_info(transmit), transmit.peer.ip(), &mut self.control);
        self.header.msg_name = self.name.as_ptr().cast_mut().cast();
        self.header.msg_namelen = self.name.len();
        self.header.msg_iov = &raw mut self.piece;
        self.header.msg_iovlen = 1;
        self.header.msg_control =
            if control_bytes == 0 { std::ptr::null_mut() } else { self.control.0.as_mut_ptr().cast() };
        self.header.msg_controllen = control_bytes as _;
        &raw const self.header
    }
}

/// A destination for connect(2).
pub(super) fn destination(addr: SocketAddr) -> RawAddr {
    RawAddr::encode(addr, Family::of(&addr))
}

fn send_info(transmit: &Transmit) -> SendInfo {
    // A single datagram needs no segmentation, and a segment longer than 64 KiB is a single datagram.
    let segment_bytes = if transmit.segment_bytes < transmit.buffer.len() {
        u16::try_from(transmit.segment_bytes).ok().filter(|bytes| *bytes > 0)
    } else {
        None
    };
    SendInfo { segment_bytes, ecn: transmit.ecn, local_ip: transmit.local_ip }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_pointed_at_in_order() {
        let data = [Bytes::from_static(b"ab"), Bytes::from_static(b"cde")];
        let mut message = Stable::new(VectorMessage::new());
        message.get_mut().point_at(&data);
        let message = message.get_mut();
        assert_eq!(message.header.msg_iovlen, 2);
        assert_eq!(message.pieces[1].iov_base.cast_const().cast(), data[1].as_ptr());
        assert_eq!(message.pieces[1].iov_len, 3);
        assert_eq!(message.header.msg_iov.cast_const(), message.pieces.as_ptr());
    }

    #[test]
    fn a_single_datagram_asks_for_no_segmentation() {
        let mut transmit = Transmit {
            buffer: vec![0; 1200],
            segment_bytes: 1200,
            peer: "127.0.0.1:1".parse().unwrap(),
            local_ip: None,
            ecn: None,
            zero_copy: false,
        };
        assert_eq!(send_info(&transmit).segment_bytes, None);
        transmit.segment_bytes = 100;
        assert_eq!(send_info(&transmit).segment_bytes, Some(100));
        let mut message = DatagramMessage::new();
        message.point_at(&transmit, Family::V4);
        assert!(message.header.msg_controllen != 0);
        transmit.segment_bytes = usize::MAX;
        message.point_at(&transmit, Family::V4);
        assert!(message.header.msg_control.is_null());
    }
}
