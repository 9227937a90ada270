//! Steering datagrams to shards: a classic BPF program on a reuseport group that reads the shard out of the QUIC
//! connection ID.
//!
//! Classic BPF needs no privilege (`SO_ATTACH_REUSEPORT_CBPF`, socket(7), Linux 4.5; eBPF does). The program sees each
//! datagram from its first payload byte on. What it cannot decide (too short, or a socket that has not joined yet) the
//! kernel spreads by its hash of addresses, and the shard that gets it checks the owner once more. Deliberately absent:
//! any knowledge of connection IDs beyond the place and the mask of the shard bits, which the caller gives.

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use super::socket::{OwnedSocket, SocketKind};

/// Where a datagram says to which shard it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardBits {
    /// Offset of the byte in a datagram that begins with a short header (RFC 9000 section 17.3): the first byte of its
    /// destination connection ID.
    pub short_header_offset: u8,
    /// The same for a long header (RFC 9000 section 17.2).
    pub long_header_offset: u8,
    /// The bits of that byte that carry the shard.
    pub mask: u8,
}

/// The form bit of the first byte of a QUIC packet: set for long headers (RFC 9000 section 17.2).
const LONG_HEADER: u32 = 0x80;

/// Lets the kernel give each datagram to the socket of its shard, in the reuseport group that `socket` belongs to: the
/// byte that `bits` names, masked, modulo `shards`. The sockets' numbers are the order in which they were bound.
///
/// # Errors
/// As setsockopt(2): `EINVAL` for a socket without `SO_REUSEPORT`; a kernel without the option says `ENOPROTOOPT`.
pub fn steer_to_shards(socket: &OwnedSocket, shards: u8, bits: ShardBits) -> io::Result<()> {
    if socket.kind() != SocketKind::Udp || shards == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "steering is for UDP sockets and at least one shard",
        ));
    }
    let mut program = program(shards, bits);
    #[allow(clippy::cast_possible_truncation, reason = "eight instructions, 16 bytes")]
    let (len, filter_len) =
        (size_of::<libc::sock_fprog>() as libc::socklen_t, program.len() as libc::c_ushort);
    let filter = libc::sock_fprog { len: filter_len, filter: program.as_mut_ptr() };
    // SAFETY: the descriptor is open; `filter` and the program it points to live across the call, `len` is the size of
    // the former and `filter.len` the number of instructions of the latter. The kernel copies both (socket(7)).
    let rc = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            len,
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `(byte & mask) % shards`, the byte's place by the header form. A load beyond the datagram's end yields 0.
fn program(shards: u8, bits: ShardBits) -> [libc::sock_filter; 8] {
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    [
        op(LOAD_BYTE, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 2, LONG_HEADER),
        op(LOAD_BYTE, 0, 0, u32::from(bits.long_header_offset)),
        op(libc::BPF_JMP | libc::BPF_JA, 0, 0, 1),
        op(LOAD_BYTE, 0, 0, u32::from(bits.short_header_offset)),
        op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, u32::from(bits.mask)),
        op(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, u32::from(shards)),
        op(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
    ]
}

fn op(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    #[allow(clippy::cast_possible_truncation, reason = "codes of classic BPF have 16 bits")]
    let code = code as u16;
    libc::sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::super::{UdpOptions, bind_udp};
    use super::*;

    const BITS: ShardBits = ShardBits { short_header_offset: 1, long_header_offset: 6, mask: 0x1f };

    fn group(shards: u8) -> Vec<UdpSocket> {
        let options = UdpOptions { reuse_port: true, ..UdpOptions::default() };
        let (first, address) = bind_udp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let mut sockets = vec![first];
        sockets.extend((1..shards).map(|_| bind_udp(address, &options).unwrap().0));
        steer_to_shards(&sockets[0], shards, BITS).unwrap();
        sockets
            .into_iter()
            .map(|socket| {
                let socket = UdpSocket::try_from(socket).unwrap();
                socket.set_nonblocking(false).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                socket
            })
            .collect()
    }

    #[test]
    fn every_shard_byte_reaches_its_socket_from_any_sender() {
        for shards in [1, 2, 3, 5] {
            let sockets = group(shards);
            let to = sockets[0].local_addr().unwrap();
            for byte in 0..=u8::MAX {
                // A new sender each time: neither address nor port decides.
                let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
                let owner = usize::from((byte & 0x1f) % shards);
                let short = [0x40, byte, 1, 2, 3, 4, 5, 6, 7, 8];
                let long = [0xc0, 0, 0, 0, 1, 8, byte, 1, 2, 3, 4, 5, 6, 7];
                for datagram in [&short[..], &long[..]] {
                    sender.send_to(datagram, to).unwrap();
                    let mut got = [0; 64];
                    let (len, _) = sockets[owner].recv_from(&mut got).unwrap();
                    assert_eq!(&got[..len], datagram, "byte {byte:#x} of {shards}");
                }
            }
        }
    }

    #[test]
    fn a_datagram_too_short_to_say_goes_to_the_first_socket() {
        let sockets = group(3);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for datagram in [&[][..], &[0x40], &[0xc0, 1, 2]] {
            sender.send_to(datagram, sockets[0].local_addr().unwrap()).unwrap();
            assert_eq!(sockets[0].recv_from(&mut [0; 8]).unwrap().0, datagram.len());
        }
    }

    #[test]
    fn what_cannot_be_steered_is_an_error() {
        let (alone, _) = bind_udp("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
        assert!(steer_to_shards(&alone, 0, BITS).is_err());
        let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(steer_to_shards(&stream.into(), 2, BITS).is_err());
    }
}
