//! Agents that come, go and are killed, and servers that come back.

use std::time::{Duration, Instant};

use adit_bench::client as bytes;
use adit_bench::target::Target;
use tokio::io::AsyncReadExt as _;

use crate::support::client::{connect, try_connect};
use crate::support::ports::ReservedPort;
use crate::support::process::Process;
use crate::support::tunnel::{Options, Tunnel, agent_args, certificates};
use crate::support::{PATIENCE, soon, until};

async fn target() -> Target {
    Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port")
}

over_each_transport!(
    after_a_server_restart_idle_and_busy_agents_are_back_within_six_seconds,
    an_agent_of_another_ca_is_refused_and_both_sides_say_so,
    a_server_of_another_ca_or_name_is_not_believed,
);

#[tokio::test]
async fn dials_spread_over_the_agents() {
    let tunnel = Tunnel::with_agents(2).await;
    let target = target().await;
    for _ in 0..40 {
        drop(connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel"));
    }
    for agent in &tunnel.agents {
        let dialed = agent.metrics().await.sum("adit_io_operations_total", "op=\"connect\"");
        assert!(dialed > 0, "one agent had no dial of 40");
    }
}

#[tokio::test]
async fn an_agent_that_is_killed_costs_no_new_dial() {
    let mut tunnel = Tunnel::with_agents(2).await;
    let target = target().await;
    let to = target.local_addr().to_string();
    let socket = tunnel.socket();
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(connect(&socket, &to).await.expect("a tunnel"));
    }
    let killed = tunnel.agents.remove(0);
    killed.process.signal("KILL");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let dialed = Instant::now();
        let mut stream = connect(&socket, &to).await.expect("a tunnel while an agent is dead");
        let took = dialed.elapsed();
        assert!(took < Duration::from_secs(2), "a dial took {took:?}");
        soon("echo", bytes::echo(&mut stream, 1, 1000)).await.expect("echo");
    }
    tunnel.wait_for_agents(1).await;
    // Tunnels of the dead agent end; the others live.
    let mut ended = 0;
    for mut stream in held {
        let mut byte = [0; 1];
        match tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await {
            Ok(_) => ended += 1,
            Err(_) => {
                soon("echo", bytes::echo(&mut stream, 2, 1000)).await.expect("a live agent's tunnel lives")
            }
        }
    }
    let left = until("only live tunnels", Duration::from_secs(10), || async {
        let open = tunnel.server.metrics().await.sum("adit_tunnels_open", "");
        (open == 0).then_some(open)
    });
    left.await;
    assert!(ended <= 10);
}

async fn after_a_server_restart_idle_and_busy_agents_are_back_within_six_seconds(transport: &'static str) {
    let mut tunnel = Tunnel::start(Options { agents: 2, transport, ..Options::default() }).await;
    let target = target().await;
    let to = target.local_addr().to_string();
    let mut busy = connect(&tunnel.socket(), &to).await.expect("a tunnel");
    soon(
        "request",
        bytes::request(&mut busy, adit_bench::target::Request::Source { seed: 1, bytes: 1 << 30 }),
    )
    .await
    .expect("request");
    tunnel.server.process.signal("KILL");
    tunnel.server.process.ended(PATIENCE).await;
    drop(busy);
    tunnel.restart_server().await;
    let begun = Instant::now();
    tunnel.wait_for_agents(2).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(6), "the agents were back after {took:?}");
    let mut stream = connect(&tunnel.socket(), &to).await.expect("a tunnel after the restart");
    soon("echo", bytes::echo(&mut stream, 1, 10_000)).await.expect("echo");
}

async fn an_agent_of_another_ca_is_refused_and_both_sides_say_so(transport: &'static str) {
    let tunnel = Tunnel::start(Options { agents: 0, transport, ..Options::default() }).await;
    let foreign = certificates().await;
    std::fs::copy(tunnel.dir.path().join("ca.crt"), foreign.path().join("ca.crt")).expect("a copy");
    let args = agent_args(&foreign, &tunnel.options, tunnel.agent_port, "stranger");
    let agent = Process::start(&args);
    let line = agent.logged(&["cannot connect to the server", "--cluster-ca-cert"]).await;
    assert!(line.contains("WARN"), "{line}");
    let line = tunnel.server.process.logged(&["an agent could not connect", "--cluster-ca-cert"]).await;
    assert!(line.contains("\"remote\":\"127.0.0.1:"), "{line}");
    assert_eq!(tunnel.server.metrics().await.sum("adit_agents", ""), 0);
}

async fn a_server_of_another_ca_or_name_is_not_believed(transport: &'static str) {
    let tunnel = Tunnel::start(Options { agents: 0, transport, ..Options::default() }).await;
    let foreign = certificates().await;
    for file in ["agent.crt", "agent.key"] {
        std::fs::copy(tunnel.dir.path().join(file), foreign.path().join(file)).expect("a copy");
    }
    let agent = Process::start(&agent_args(&foreign, &tunnel.options, tunnel.agent_port, "careful"));
    agent.logged(&["cannot connect to the server", "--ca-cert"]).await;
    let options = Options { server_host: "127.0.0.2", ..tunnel.options.clone() };
    let bound = Options { agents: 0, server_ip: "127.0.0.2", ..Options::default() };
    let tunnel = Tunnel::start(bound).await;
    let agent = Process::start(&agent_args(&tunnel.dir, &options, tunnel.agent_port, "exact"));
    agent.logged(&["cannot connect to the server", "--proxy-server-host"]).await;
}

#[tokio::test]
async fn an_agent_waits_for_a_server_that_is_not_there_yet() {
    let dir = certificates().await;
    let reserved = ReservedPort::new();
    let free = reserved.address();
    let options = Options::default();
    let agent = Process::start(&agent_args(&dir, &options, free.port(), "early"));
    agent.logged(&["cannot connect to the server"]).await;
    let args = crate::support::tunnel::server_args(&dir, &options, free.port());
    let server = Process::start(&args);
    server.logged(&["agent connected", "early"]).await;
    agent.logged(&["connected to the server"]).await;
    let socket = dir.path().join("frontend.sock");
    let target = target().await;
    until("a tunnel", PATIENCE, || async {
        try_connect(&socket, &target.local_addr().to_string()).await.ok()?.ok()
    })
    .await;
}

#[tokio::test]
async fn an_agent_whose_servers_name_is_unknown_keeps_asking() {
    let dir = certificates().await;
    let options = Options { server_host: "no-such-host.invalid", ..Options::default() };
    let agent = Process::start(&agent_args(&dir, &options, 8091, "lost"));
    agent.logged(&["cannot resolve --proxy-server-host", "no-such-host.invalid"]).await;
    let health = agent.address("health").await;
    agent.logged(&["cannot resolve --proxy-server-host", "what was known stays"]).await;
    assert_eq!(crate::support::metrics::get(health, "/readyz").await.0, 503);
}

/// What scanners send, and what is left of an agent's packet that something on the way has changed.
#[tokio::test]
async fn packets_of_no_agent_are_logged_with_address_and_remedy_and_counted() {
    let tunnel = Tunnel::with_agents(0).await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    // An Initial of version 1 (RFC 9000 section 17.2.2): two IDs of 8 bytes, no token, and rubbish as its payload.
    let mut packet =
        vec![0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0x44, 0xa0];
    packet.resize(26 + 0x4a0, 0xa5);
    // Under the keys that follow from the ID a quarter of them have a valid first byte (RFC 9000 section 17.2), and
    // only those count as attempts.
    for number in 0..60 {
        packet[6] = number;
        socket.send_to(&packet, ("127.0.0.1", tunnel.agent_port)).expect("sent");
    }
    let line = tunnel.server.process.logged(&["an agent could not connect", "authentication failed"]).await;
    let address = format!("\"remote\":\"{}\"", socket.local_addr().expect("an address"));
    assert!(line.contains(&address) && line.contains("WARN"), "{line}");
    assert!(line.contains("\"remedy\":\"what came is not what an adit agent sends"), "{line}");
    let counted = until("all are counted", Duration::from_secs(10), || async {
        let metrics = tunnel.server.metrics().await;
        let rejected = metrics.sum("adit_handshakes_total", "answer=\"rejected\"");
        let refused = metrics.sum("adit_peers_refused_total", "");
        (rejected == refused && refused > 0).then_some(refused)
    });
    assert!(counted.await <= 60);
    assert!(tunnel.server.process.log().matches("an agent could not connect").count() <= 10);
}
