//! What the readers of the kernel's control messages and socket addresses must hold to, whatever the bytes (see
//! `adit-fuzz`). The kernel does not lie, but who trusts its lengths reads past the end when a size is wrong elsewhere.
//!
//! The corpora are made of little-endian, 64-bit structures, so they are replayed where those are the platform's.
#![cfg(all(target_endian = "little", target_pointer_width = "64"))]

use std::net::{IpAddr, SocketAddr};

use adit_fuzz::{Fate, Suite, Target};

use super::{ALIGN, Control, HEADER_BYTES, Messages, ReceiveInfo, decode, padded};
use crate::net::addr::{self, Family, RawAddr};

const SUITE: Suite = Suite {
    corpora: concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus"),
    targets: &[
        Target { name: "cmsg", run: control_messages, tokens: HEADERS },
        Target { name: "sockaddr", run: socket_address, tokens: FAMILIES },
    ],
};

/// Lengths that are right, none, or wrong; and the levels and types that are read: `UDP_GRO`, `IP_TOS`, `IPV6_TCLASS`,
/// `IP_PKTINFO`, `IPV6_PKTINFO`, `IP_RECVERR`, `IPV6_RECVERR`; `SO_TIMESTAMP`, which is not.
const HEADERS: &[&str] = &[
    "\x10\0\0\0\0\0\0\0",
    "\x11\0\0\0\0\0\0\0",
    "\x14\0\0\0\0\0\0\0",
    "\x1c\0\0\0\0\0\0\0",
    "\x24\0\0\0\0\0\0\0",
    "\0\0\0\0\0\0\0\0",
    "\x0f\0\0\0\0\0\0\0",
    "\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f",
    "\x11\0\0\0\x68\0\0\0",
    "\0\0\0\0\x01\0\0\0",
    "\x29\0\0\0\x43\0\0\0",
    "\0\0\0\0\x08\0\0\0",
    "\x29\0\0\0\x32\0\0\0",
    "\0\0\0\0\x0b\0\0\0",
    "\x29\0\0\0\x19\0\0\0",
    "\x01\0\0\0\x1d\0\0\0",
];
const FAMILIES: &[&str] = &["\x02\0", "\x0a\0", "\x01\0", "\0\0\0\0\0\0\0\0\0\0\u{7f}\u{7f}"];

/// Most bytes of an input for which every cut and every misalignment is tried, and the C macros are asked.
const SMALL_BYTES_MAX: usize = 512;

#[test]
fn every_seed_fares_as_its_name_says() {
    SUITE.replay();
}

#[test]
fn every_corpus_belongs_to_a_target() {
    SUITE.match_corpora();
}

#[test]
fn mutated_seeds_break_nothing() {
    SUITE.mutate();
}

/// Taken where every message is whole, partial where some are, refused where the first is not.
fn control_messages(input: &[u8]) -> Fate {
    let whole = decode(input);
    check(&whole);
    let mut messages = Messages { rest: input };
    let read: Vec<_> = messages.by_ref().collect();
    assert_eq!(decode(&input[..input.len() - messages.rest.len()]), whole, "what is not whole was read");
    if input.len() <= SMALL_BYTES_MAX {
        cut_anywhere(input, &read);
        aligned_anyhow(input, &whole);
        if messages.rest.is_empty() && input.len().is_multiple_of(ALIGN) {
            assert_eq!(c_messages(input), read, "the C macros read it otherwise");
        }
    }
    match (messages.rest.is_empty(), read.is_empty()) {
        (true, _) => Fate::Taken,
        (false, false) => Fate::Partial,
        (false, true) => Fate::Refused,
    }
}

/// What is believed is possible.
fn check(info: &ReceiveInfo) {
    assert!(info.stride.is_none_or(|stride| (1..=i32::MAX.unsigned_abs() as usize).contains(&stride)));
    assert!(info.local_ip.is_none_or(|ip| ip == ip.to_canonical()), "a v4-mapped address");
}

/// Control data that is cut (`MSG_CTRUNC`) yields what the messages say that are whole, and nothing else.
fn cut_anywhere(input: &[u8], read: &[(libc::c_int, libc::c_int, &[u8])]) {
    let mut end = 0;
    let mut ends: Vec<_> = read
        .iter()
        .map(|(.., data)| {
            let needed = end + HEADER_BYTES + data.len();
            end += padded(HEADER_BYTES + data.len());
            needed
        })
        .collect();
    ends.push(usize::MAX);
    for cut in 0..=input.len() {
        let whole = ends.iter().position(|end| *end > cut).unwrap_or(0);
        assert_eq!(Messages { rest: &input[..cut] }.count(), whole, "cut at {cut}");
        check(&decode(&input[..cut]));
    }
}

/// It does not matter where in memory the bytes lie.
fn aligned_anyhow(input: &[u8], whole: &ReceiveInfo) {
    let mut room = Control::<{ SMALL_BYTES_MAX + ALIGN }>::EMPTY;
    for offset in 0..ALIGN {
        room.0[offset..offset + input.len()].copy_from_slice(input);
        assert_eq!(decode(&room.0[offset..offset + input.len()]), *whole, "{offset} bytes off");
    }
}

/// The messages as the macros of cmsg(3) find them, in data whose lengths have been checked.
fn c_messages(input: &[u8]) -> Vec<(libc::c_int, libc::c_int, &[u8])> {
    let mut room = Control::<SMALL_BYTES_MAX>::EMPTY;
    room.0[..input.len()].copy_from_slice(input);
    // SAFETY: a msghdr is plain data, for which all zero is "nothing": no name, no iovec, no control.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_control = room.0.as_mut_ptr().cast();
    header.msg_controllen = input.len() as _;
    let base = room.0.as_ptr() as usize;
    let mut found = Vec::new();
    // SAFETY: `header` names `input.len()` bytes of `room`, which lives to the end of this function.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !at.is_null() {
        // SAFETY: the caller has walked these bytes and found them to be whole messages, padded, so a header that a
        // macro gives lies within them; `room` is aligned for it.
        let message = unsafe { at.read() };
        // SAFETY: as above: the data begins within the bytes, or at their end.
        let data = unsafe { libc::CMSG_DATA(at) } as usize - base;
        #[allow(clippy::unnecessary_cast, reason = "musl has a narrower type here than glibc")]
        let end = at as usize - base + message.cmsg_len as usize;
        found.push((message.cmsg_level, message.cmsg_type, &input[data..end]));
        // SAFETY: as above.
        at = unsafe { libc::CMSG_NXTHDR(&raw const header, at) };
    }
    found
}

/// An address that is read is written again as it was, up to what is not part of who the peer is.
fn socket_address(input: &[u8]) -> Fate {
    let Some(address) = addr::decode(input) else { return Fate::Refused };
    assert_eq!(address.ip(), address.ip().to_canonical());
    for family in [Family::V4, Family::V6] {
        let again = RawAddr::encode(address, family).decode();
        assert_eq!(again.map(without_scope), Some(without_scope(address)));
    }
    Fate::Taken
}

/// A v4-mapped address with a scope is IPv4, which has none.
fn without_scope(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip(), address.port())
}
