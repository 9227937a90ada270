//! Malformed transport parameters (RUSTSEC-2026-0037: a panic before anybody had a name): refused with a reason.

use adit_dataplane::quic::LostKind;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::peer::{Peer, generous, id};
use crate::pki::Pki;
use crate::victim::{Victim, address};
use crate::wire::{self, parameter, parameters};

/// RFC 9000 section 20.1.
const TRANSPORT_PARAMETER_ERROR: u64 = 0x08;

/// How a first flight with these parameters fared: whether the server refused it.
fn refused(pki: &Pki, entries: Vec<u8>) -> bool {
    let mut victim = Victim::server(&pki.server);
    let mut peer = Peer::client(&pki.agent, 7, entries);
    for datagram in peer.pending() {
        victim.hear(address(1), &datagram);
    }
    while let Some((_, datagram)) = victim.sent.pop_front() {
        peer.receive(&datagram);
    }
    // A first flight in one packet never becomes a connection; in two it becomes one that is lost. Told it is anyhow.
    let rejected = victim.quic.endpoint_counts().rejected == 1;
    let told = victim.rejections();
    assert_eq!(told.len(), usize::from(rejected));
    if let Some(reason) = victim.lost().or_else(|| told.first().map(|(_, reason)| reason)) {
        assert!(matches!(reason.kind, LostKind::Protocol | LostKind::TlsLocal), "{reason}");
        assert!(!reason.text.is_empty());
    }
    let refused = rejected || victim.lost().is_some();
    assert_eq!(peer.closed().is_some(), refused, "{:?}", peer.closed());
    assert!(peer.closed().is_none_or(|(code, _)| code == TRANSPORT_PARAMETER_ERROR), "{:?}", peer.closed());
    assert!(victim.peak < 1024 * 1024, "{} bytes", victim.peak);
    victim.assert_nothing_is_left();
    refused
}

/// RFC 9000 section 18.2, parameter by parameter.
#[test]
fn every_parameter_out_of_its_range_is_refused() {
    let pki = Pki::new();
    let own = || (0x0f, id(7));
    assert!(!refused(&pki, generous(&id(7), &[])), "the honest ones are taken");
    let over = 1 << 60 | 1;
    let mut bad: Vec<(&str, Vec<u8>)> = vec![
        ("no source ID", parameters(&[parameter(0x04, 1)])),
        ("another's source ID", parameters(&[(0x0f, id(8))])),
        ("a source ID too long", parameters(&[(0x0f, vec![1; 21])])),
        ("a payload below 1200", parameters(&[own(), parameter(0x03, 1199)])),
        ("streams over 2^60", parameters(&[own(), parameter(0x08, over)])),
        ("unidirectional streams over 2^60", parameters(&[own(), parameter(0x09, over)])),
        ("a delay exponent over 20", parameters(&[own(), parameter(0x0a, 21)])),
        ("a delay of 2^14", parameters(&[own(), parameter(0x0b, 1 << 14)])),
        ("fewer than two IDs", parameters(&[own(), parameter(0x0e, 1)])),
        ("a client's original ID", parameters(&[own(), (0x00, id(1))])),
        ("a client's reset token", parameters(&[own(), (0x02, vec![1; 16])])),
        ("a client's retry ID", parameters(&[own(), (0x10, id(1))])),
        ("a client's preferred address", parameters(&[own(), (0x0d, vec![1; 49])])),
        ("a flag with a value", parameters(&[own(), (0x0c, vec![1])])),
    ];
    // Every parameter twice, and every one with a length that its integer does not have.
    for id in [0x01, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0e, 0x20] {
        let value = if id == 0x03 { 1400 } else { 2 };
        bad.push(("twice", parameters(&[own(), parameter(id, value), parameter(id, value)])));
        bad.push(("too short", parameters(&[own(), (id, vec![0x80, 0])])));
        bad.push(("too long", parameters(&[own(), (id, vec![5, 5])])));
        bad.push(("empty", parameters(&[own(), (id, Vec::new())])));
    }
    for (what, entries) in bad {
        assert!(refused(&pki, entries.clone()), "{what} was taken: {entries:x?}");
    }
}

#[test]
fn parameters_cut_anywhere_are_refused_or_whole() {
    let pki = Pki::new();
    let whole = generous(&id(7), &[parameter(0x0e, 4), parameter(0x0b, 25), parameter(0xff04_de1b, 1000)]);
    let mut counts = [0; 2];
    for cut in 0..whole.len() {
        counts[usize::from(refused(&pki, whole[..cut].to_vec()))] += 1;
    }
    // Between two parameters a cut is an honest list, if the source ID is in it.
    assert!(counts[1] > whole.len() / 2 && counts[0] < 12, "{counts:?}");
}

/// Lengths that point beyond the end, and integers at their limits, wherever they may stand.
#[test]
fn mutated_parameters_bring_nothing_down() {
    let pki = Pki::new();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let more = [(0x02, vec![1; 16]), (0x0d, vec![1; 49]), parameter(0x2ab2, 0), parameter(0xff04_de1b, 1)];
    let mut refusals = 0;
    for _ in 0..600 {
        let extra = more.len() * usize::from(rng.random_bool(0.3));
        let mut bytes = generous(&id(7), &more[..extra]);
        for _ in 0..rng.random_range(1..5) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..5) {
                0 => bytes[at] = rng.random(),
                1 => bytes[at] = [0, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xff][rng.random_range(0..8)],
                2 => bytes.truncate(at.max(1)),
                3 => {
                    let mut tail = vec![0; rng.random_range(0..20)];
                    rng.fill_bytes(&mut tail);
                    bytes.extend(tail);
                }
                _ => wire::varint(&mut bytes, ((1 << 62) - 1) >> rng.random_range(0..60)),
            }
        }
        refusals += u32::from(refused(&pki, bytes));
    }
    assert!(refusals > 100, "only {refusals} were refused");
}
