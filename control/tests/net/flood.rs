//! A flood of handshakes from addresses that nobody answers for.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use adit_bench::client as bytes;
use adit_dataplane::quic::{ClusterKeys, Quic, QuicConfig, tls};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::support::flows::Flows;
use crate::support::netns::Netns;
use crate::support::world::{Case, PORT, SERVER, TARGET, World};
use crate::tunnels::client::connect;
use crate::tunnels::{PATIENCE, soon, until};

/// Handshakes in each wave: more than the server lets in without a proof of their address, on every shard.
const WAVE: u16 = 400;
/// How long a half-open handshake is kept, and a while.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(15);

/// First packets of clients, each another client's, as quinn-proto makes them.
struct Initials(Quic);

impl Initials {
    fn new(world: &World) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(world.certificates().join("ca.crt")).expect("a certificate");
        roots.add(ca).expect("a CA");
        let config = QuicConfig {
            shard: 0,
            shards: 1,
            generation: 0,
            seed: [7; 32],
            keys: ClusterKeys::derive(&[7; 32], "flood"),
            server: None,
            client: Some(tls::client_config(roots, None).expect("roots")),
            mtu_max_bytes: 1200,
            gso_segments_max: 1,
            time_source: None,
        };
        Self(Quic::new(&config).expect("a configuration"))
    }

    /// All datagrams of the next client's first flight.
    fn next(&mut self) -> Vec<Vec<u8>> {
        let (now, server) = (Instant::now(), SocketAddr::new(SERVER.parse().expect("an address"), PORT));
        self.0.connect(now, server, SERVER, None).expect("room for a connection");
        std::iter::from_fn(|| self.0.poll_transmit(now, Vec::new()).ok().map(|transmit| transmit.buffer))
            .collect()
    }
}

/// A namespace beside the agents' that owns a network of addresses, and counters of what it and the server exchange.
fn flooder(world: &World) -> Netns {
    let net = Netns::new("flood");
    world.server_net.wire(&net, "flood", "10.98.0.1/24", "10.98.0.2/24");
    net.ip(&["route", "add", "local", "10.99.0.0/16", "dev", "lo"]);
    net.ip(&["route", "add", SERVER, "via", "10.98.0.1"]);
    world.server_net.ip(&["route", "add", "10.99.0.0/16", "via", "10.98.0.2"]);
    world.server_net.nft(
        "table inet adit {\ncounter came {\n}\ncounter went {\n}\n\
         chain incoming {\ntype filter hook input priority 0;\nip saddr 10.99.0.0/16 counter name came\n}\n\
         chain outgoing {\ntype filter hook output priority 0;\nip daddr 10.99.0.0/16 counter name went\n}\n}\n",
    );
    // Whoever it is that the addresses belong to does not answer, not even that it knows of nothing.
    net.nft("table inet adit {\nchain incoming {\ntype filter hook input priority 0;\nudp sport 8091 drop\n}\n}\n");
    net
}

/// One first flight from each of so many addresses and ports.
fn wave(net: &Netns, initials: &mut Initials, number: u8) {
    for client in 0..WAVE {
        let [high, low] = client.to_be_bytes();
        let from = SocketAddr::from((Ipv4Addr::new(10, 99, number * 2 + high, low), 1024 + client * 7));
        let socket = net.within(|| UdpSocket::bind(from)).expect("an address of this namespace");
        for datagram in initials.next() {
            // The device may be full: then it is a slower flood.
            let _ = socket.send_to(&datagram, (SERVER, PORT));
        }
    }
}

/// Nobody who proves where they are is kept out, running streams are not disturbed, and what goes out towards
/// addresses that proved nothing is at most three times what came from them (RFC 9000 section 8).
pub(crate) async fn a_flood_of_handshakes_keeps_nobody_out_and_is_not_amplified(case: Case) {
    let mut world = World::start(case, 2).await;
    let net = flooder(&world);
    let mut initials = Initials::new(&world);
    world.agents[1].kill().await;
    world.wait_for_agents(1).await;
    let mut flows = Flows::start(&world.socket(), TARGET, 1).await;
    wave(&net, &mut initials, 0);
    let metrics = until("somebody to have to prove an address", PATIENCE, || async {
        let metrics = world.server_metrics().await;
        (metrics.sum("adit_handshakes_total", "answer=\"retried\"") > 0).then_some(metrics)
    })
    .await;
    let under_way = metrics.sum("adit_handshakes_under_way", "");
    assert!((1..=64 * u64::from(case.shards)).contains(&under_way), "{under_way} handshakes are under way");
    // An agent comes in the middle of it, and dials go on.
    world.agents[1] = world.start_agent(1).await;
    wave(&net, &mut initials, 1);
    world.wait_for_agents_within(2, Duration::from_secs(10)).await;
    for seed in 0..10 {
        wave(&net, &mut initials, 2 + seed);
        let mut stream = connect(&world.socket(), TARGET).await.expect("a tunnel during a flood");
        soon("echo", bytes::echo(&mut stream, u64::from(seed), 10_000)).await.expect("echo during a flood");
    }
    until("the half-open handshakes to be forgotten", FORGOTTEN_WITHIN, || async {
        (world.server_metrics().await.sum("adit_handshakes_under_way", "") == 0).then_some(())
    })
    .await;
    let (came, went) = (world.server_net.counted("came"), world.server_net.counted("went"));
    // What counts is the payload of UDP; a train that goes out is one packet here, so its headers count for less.
    let payload = came.bytes - 28 * came.packets;
    assert!(came.packets > u64::from(WAVE) * 6 && went.packets > 0, "{came:?} {went:?}");
    assert!(went.bytes <= 3 * payload, "{came:?} {went:?}");
    flows.go_on("a flood").await;
    flows.finish().await;
    world.settle().await;
}
