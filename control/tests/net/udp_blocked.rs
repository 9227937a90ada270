//! Networks that let no UDP through, from the beginning or from one moment to the next: tunnels go over TCP, and over
//! QUIC again once they may.

use std::time::{Duration, Instant};

use crate::support::flows::{Flows, carry, idle};
use crate::support::world::{Case, PORT, TARGET, World};
use crate::tunnels::until;

/// How soon after UDP is gone there are dials again.
const OVER_TCP_WITHIN: Duration = Duration::from_secs(5);
/// How soon an agent is that starts where there is none.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// How soon after UDP is back new dials go over QUIC.
const OVER_QUIC_WITHIN: Duration = Duration::from_secs(60);
/// How long UDP is gone where no tunnel is to be cut: longer than `UNANSWERED_TIME_MAX`, 5 s, after which a peer that
/// is nowhere else is given up, and shorter than `HELD_TIME_MAX`, 30 s, for which one is awaited that is there over
/// TCP.
const GONE: Duration = Duration::from_secs(9);
const SURVIVED: Duration = Duration::from_secs(27);

/// No datagram of the tunnel arrives at either end from now on. The ends may send what they like, as they may before a
/// firewall on the way; what the agent sends is counted.
async fn block(world: &World) {
    let chain = |port: &str| {
        format!("chain incoming {{\ntype filter hook input priority 0;\nudp {port} {PORT} drop\n}}\n")
    };
    let at_server = format!("flush ruleset\ntable inet adit {{\n{}}}\n", chain("dport"));
    let at_agent = format!(
        "flush ruleset\ntable inet adit {{\ncounter udp_sent {{\n}}\ncounter tcp_sent {{\n}}\n{}\
         chain outgoing {{\ntype filter hook output priority 0;\n\
         udp dport {PORT} counter name udp_sent\ntcp dport {PORT} counter name tcp_sent\n}}\n}}\n",
        chain("sport")
    );
    let (server, agent) = (&world.server_net, &world.agent_nets[0]);
    tokio::join!(server.nft_beside(at_server), agent.nft_beside(at_agent));
}

fn unblock(world: &World) {
    world.server_net.heal();
    world.agent_nets[0].heal();
}

/// Packets that the agent sent since UDP was blocked: datagrams, and segments of TCP.
fn sent(world: &World) -> (u64, u64) {
    let count = |name| world.agent_nets[0].counted(name).packets;
    (count("udp_sent"), count("tcp_sent"))
}

/// What the server has over a transport.
async fn over(world: &World, family: &str, transport: &str) -> u64 {
    world.server_metrics().await.sum(family, &format!("transport=\"{transport}\""))
}

/// Waits until new dials go over QUIC, whichever of the server's shards they come to.
async fn until_dials_go_over_quic(world: &World) {
    until("new dials to go over QUIC", OVER_QUIC_WITHIN, || async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = over(world, "adit_session_tunnels", "quic").await;
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(idle(&world.socket(), TARGET).await);
        }
        let now = over(world, "adit_session_tunnels", "quic").await;
        for stream in streams {
            carry(stream).await;
        }
        (now >= before + 4).then_some(())
    })
    .await;
}

/// UDP is gone while tunnels run and dials go on: dials go over TCP soon, what ran over QUIC goes on when it is back,
/// what was begun over TCP goes on beside it, and at last everything new goes over QUIC again.
pub(crate) async fn dials_go_over_tcp_soon_and_no_tunnel_is_cut(case: Case) {
    let world = World::start(case, 1).await;
    let mut over_quic = Flows::start(&world.socket(), TARGET, 1).await;
    assert_eq!(over(&world, "adit_session_tunnels", "tcp").await, 0);
    block(&world).await;
    let blocked = Instant::now();
    let mut over_tcp = Vec::new();
    while over_tcp.len() < 4 {
        over_tcp.push(idle(&world.socket(), TARGET).await);
    }
    let took = blocked.elapsed();
    assert!(over(&world, "adit_session_tunnels", "tcp").await >= 4);
    assert!(took < OVER_TCP_WITHIN, "the first dials without UDP took {took:?}");
    while blocked.elapsed() < GONE {
        carry(idle(&world.socket(), TARGET).await).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    unblock(&world);
    assert!(blocked.elapsed() < SURVIVED, "too slow for this test: UDP was gone for {:?}", blocked.elapsed());
    over_quic.go_on("UDP was back").await;
    until_dials_go_over_quic(&world).await;
    for stream in over_tcp {
        carry(stream).await;
    }
    over_quic.go_on("dials were back on QUIC").await;
    over_quic.finish().await;
    world.settle().await;
    let log = world.agents[0].process.log();
    assert!(!log.contains("no answer for"), "a connection was given up: {log}");
}

/// An agent that starts without UDP is connected over TCP soon; when there is UDP, new dials go over QUIC, and what was
/// begun over TCP goes on to its end, with which the connection over TCP ends.
pub(crate) async fn an_agent_that_starts_without_udp_moves_to_quic_and_cuts_nothing(case: Case) {
    let mut world = World::start_server(case, 1).await;
    block(&world).await;
    let begun = Instant::now();
    world.start_agents_with(&[]).await;
    assert!(begun.elapsed() < CONNECTED_WITHIN, "connected after {:?}", begun.elapsed());
    world.agents[0].process.logged(&["connected to the server", "\"transport\":\"tcp\""]).await;
    let mut over_tcp = Flows::start(&world.socket(), TARGET, 1).await;
    assert_eq!(over(&world, "adit_session_tunnels", "tcp").await, 4);
    unblock(&world);
    until_dials_go_over_quic(&world).await;
    over_tcp.go_on("dials were on QUIC").await;
    assert_eq!(over(&world, "adit_session_tunnels", "tcp").await, 4);
    over_tcp.finish().await;
    // Each connection of an agent of several looks by itself.
    until("the connections over TCP to end", OVER_QUIC_WITHIN, || async {
        (over(&world, "adit_sessions_ready", "tcp").await == 0).then_some(())
    })
    .await;
    let mut flows = Flows::start(&world.socket(), TARGET, 1).await;
    flows.go_on("the connection over TCP ended").await;
    flows.finish().await;
    world.settle().await;
}

/// Whoever says `--transport quic` wants no TCP, and is told what is missing.
pub(crate) async fn an_agent_that_is_to_use_quic_alone_stays_down_until_there_is_udp(case: Case) {
    let mut world = World::start_server(case, 1).await;
    world.start_agents_with(&["--transport=quic"]).await;
    block(&world).await;
    world.wait_for_agents(0).await;
    // It tries again and again, and each attempt is QUIC's.
    let told = |what: &str| world.agents[0].process.log().lines().filter(|line| line.contains(what)).count();
    until("attempts to fail", Duration::from_secs(30), || async {
        (told("cannot connect to the server") >= 2).then_some(())
    })
    .await;
    let connected = told("connected to the server");
    let (udp, tcp) = sent(&world);
    assert!(udp > 0 && tcp == 0, "{udp} datagrams and {tcp} segments");
    assert_eq!(world.server_metrics().await.sum("adit_agents", ""), 0);
    unblock(&world);
    // An attempt that was about to be given up may have shown the server an agent for a moment.
    until("the agent to be back", Duration::from_secs(30), || async {
        (told("connected to the server") > connected).then_some(())
    })
    .await;
    Flows::start(&world.socket(), TARGET, 1).await.finish().await;
    world.settle().await;
}

/// Whoever says `--transport tcp` sends no datagram, not even to see whether it could.
pub(crate) async fn an_agent_that_is_to_use_tcp_alone_sends_no_datagram(case: Case) {
    let mut world = World::start_server(case, 1).await;
    block(&world).await;
    world.start_agents_with(&["--transport=tcp"]).await;
    let mut flows = Flows::start(&world.socket(), TARGET, 1).await;
    flows.go_on("the start over TCP").await;
    // The server comes back: the way is looked for again.
    world.server.kill().await;
    flows.cut(Duration::from_secs(5)).await;
    world.restart_server().await;
    world.wait_for_agents(1).await;
    Flows::start(&world.socket(), TARGET, 1).await.finish().await;
    world.settle().await;
    let (udp, tcp) = sent(&world);
    assert!(udp == 0 && tcp > 0, "{udp} datagrams and {tcp} segments");
}
