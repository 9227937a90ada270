//! Handshakes by the thousand: first proof of address, then refusal; the limits are those of `limits.rs`.

use adit_io::Datagrams;
use bytes::BytesMut;

use super::pki::{self, Authority};
use super::world::{MS, SECOND, World, addr, config};
use crate::limits;
use crate::quic::{LostKind, Quic, QuicConfig};

/// A server and two clients: one that floods, one that is honest. The flooder's address is that of node 0.
const FLOODER: usize = 0;
const HONEST: usize = 1;
const SERVER: usize = 2;

fn world() -> World {
    let authority = Authority::new("ca");
    let client = pki::client(None, &authority);
    let mut world = World::new(1);
    for seed in [1, 2] {
        world.add(&QuicConfig { client: Some(client.clone()), ..config(seed) });
    }
    world.add(&QuicConfig { server: Some(pki::server(&authority.server(), None)), ..config(3) });
    world
}

fn is_retry(datagram: &[u8]) -> bool {
    datagram[0] & 0xf0 == 0xf0
}

#[test]
fn above_a_number_of_handshakes_addresses_must_be_proved() {
    let mut world = world();
    // The flooder's address is forged: nothing sent to it arrives anywhere.
    world.link.passes = |_, to, _| to != addr(1);
    for _ in 0..limits::HANDSHAKES_BEFORE_RETRY + 100 {
        world.connect(FLOODER, SERVER);
    }
    world.run_for(50 * MS);
    assert_eq!(world.quic(SERVER).half_open(), limits::HANDSHAKES_BEFORE_RETRY);
    assert!(world.quic(SERVER).endpoint_counts().retried >= 100);
    assert_eq!(world.quic(SERVER).endpoint_counts().refused, 0);

    // Who answers from where it claims to be gets in regardless: one round trip later than usual.
    let before = world.elapsed();
    world.connect(HONEST, SERVER);
    world.run_until(|world| world.connected_at(HONEST).is_some(), SECOND);
    assert_eq!(world.elapsed() - before, 4 * world.link.delay);

    // The forged ones are gone after the deadline, and so is the demand.
    world.run_for(limits::HANDSHAKE_TIME_MAX);
    assert_eq!(world.quic(SERVER).half_open(), 0);
    world.assert_nothing_is_left();
}

#[test]
fn above_the_limit_handshakes_are_refused() {
    let mut world = world();
    // The flooder proves its address, and then leaves every handshake open.
    world.link.passes = |_, to, datagram| to != addr(1) || is_retry(datagram);
    // Not all at once: answers that wait are bounded, too.
    for _ in 0..limits::HANDSHAKES_MAX / 64 {
        for _ in 0..64 {
            world.connect(FLOODER, SERVER);
        }
        world.run_for(MS);
    }
    world.run_until(|world| world.nodes[SERVER].quic.half_open() == limits::HANDSHAKES_MAX, 5 * SECOND);
    let conn = world.connect(HONEST, SERVER);
    world.run_until(|world| world.lost(HONEST, conn).is_some(), SECOND);
    let (_, reason) = world.lost(HONEST, conn).unwrap();
    assert_eq!((reason.kind, reason.retry), (LostKind::Refused, true));
    assert!(world.quic(SERVER).endpoint_counts().refused >= 1);
    assert_eq!(world.quic(SERVER).half_open(), limits::HANDSHAKES_MAX);

    world.run_for(limits::HANDSHAKE_TIME_MAX);
    let conn = world.connect(HONEST, SERVER);
    world.run_until(|world| world.connected_at(HONEST) == Some(conn), SECOND);
    world.assert_nothing_is_left();
}

/// RFC 9000 section 6: an unknown version is answered with those that are known.
#[test]
fn an_unknown_version_is_answered_with_ours() {
    let mut world = world();
    let mut initial = vec![0xc0, 0x0a, 0x0b, 0x0c, 0x0d, 8];
    initial.extend_from_slice(&[1; 8]);
    initial.push(8);
    initial.extend_from_slice(&[2; 8]);
    initial.resize(1200, 0);
    let now = world.now;
    let datagrams = Datagrams {
        data: BytesMut::from(&initial[..]),
        stride: 1200,
        peer: addr(1),
        local_ip: None,
        ecn: None,
    };
    world.quic(SERVER).handle_datagrams(now, datagrams);
    let answer = world.quic(SERVER).poll_transmit(now, Vec::new()).unwrap();
    assert_eq!(answer.buffer[1..5], [0; 4], "version negotiation");
    assert!(answer.buffer.chunks(4).len() > 0 && answer.buffer.ends_with(&1u32.to_be_bytes()));
    assert_eq!(answer.peer, addr(1));
    assert!(world.quic(SERVER).is_empty());
}

/// A server that speaks only something else.
#[test]
fn no_version_in_common_is_said_so() {
    let mut world = world();
    let conn = world.connect(FLOODER, SERVER);
    let now = world.now;
    let initial = world.quic(FLOODER).poll_transmit(now, Vec::new()).unwrap().buffer;
    // Long header: flags, version, destination ID with its length, source ID with its length.
    let destination = initial[6..14].to_vec();
    let source = initial[15..23].to_vec();
    let mut answer = vec![0x80, 0, 0, 0, 0, 8];
    answer.extend_from_slice(&source);
    answer.push(8);
    answer.extend_from_slice(&destination);
    answer.extend_from_slice(&0x6b33_43cfu32.to_be_bytes());
    let datagrams = Datagrams {
        stride: answer.len(),
        data: BytesMut::from(&answer[..]),
        peer: addr(3),
        local_ip: None,
        ecn: None,
    };
    world.quic(FLOODER).handle_datagrams(now, datagrams);
    world.settle();
    let (_, reason) = world.lost(FLOODER, conn).unwrap();
    assert_eq!((reason.kind, reason.retry), (LostKind::VersionMismatch, false));
    world.assert_nothing_is_left();
}

/// Nothing that arrives may bring an endpoint down or leave anything behind.
#[test]
fn garbage_is_dropped() {
    use rand::{Rng, RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let authority = Authority::new("ca");
    let config = QuicConfig { server: Some(pki::server(&authority.server(), None)), shards: 3, ..config(3) };
    let mut quic = Quic::new(&config).unwrap();
    let mut now = std::time::Instant::now();
    for _ in 0..20_000 {
        now += MS;
        let mut data = BytesMut::zeroed(rng.random_range(1..1600));
        rng.fill_bytes(&mut data);
        if rng.random_bool(0.3) {
            // A long header of version 1, so that more than the version is looked at.
            let head = [0xc0 | data[0] & 0x3f, 0, 0, 0, 1, 8];
            let length = head.len().min(data.len());
            data[..length].copy_from_slice(&head[..length]);
        }
        let stride = rng.random_range(1..1600);
        quic.handle_datagrams(now, Datagrams { data, stride, peer: addr(9), local_ip: None, ecn: None });
        while quic.poll_event().is_some() {}
        while quic.poll_transmit(now, Vec::new()).is_ok() {}
        while quic.poll_stray().is_some() {}
    }
    assert!(quic.is_empty(), "{quic:?}");
}
