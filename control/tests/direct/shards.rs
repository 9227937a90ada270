//! Several shards in one server: the work is shared, connections cross once, bytes never do.

use std::time::Duration;

use adit_bench::client as bytes;
use adit_bench::target::Target;

use crate::support::client::connect;
use crate::support::metrics::Metrics;
use crate::support::tunnel::{Options, Tunnel};
use crate::support::{PATIENCE, soon, until};

const TUNNELS: u64 = 60;
const BYTES: u64 = 1 << 20;

async fn two_shards(io: &'static str, agent_flags: &[&str]) -> (Tunnel, Target) {
    let options = Options {
        agents: 2,
        io,
        server_flags: vec!["--shards=2".to_owned()],
        agent_flags: agent_flags.iter().map(|&flag| flag.to_owned()).collect(),
        ..Options::default()
    };
    let tunnel = Tunnel::start(options).await;
    let target = Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    (tunnel, target)
}

/// Tunnels at once, with bytes both ways, all of them checked.
async fn work(tunnel: &Tunnel, target: &Target) {
    let (socket, to) = (tunnel.socket(), target.local_addr().to_string());
    let conversations = (0..TUNNELS).map(|number| {
        let (socket, to) = (socket.clone(), to.clone());
        tokio::spawn(async move {
            let mut stream = connect(&socket, &to).await.expect("a tunnel");
            match number % 3 {
                0 => bytes::echo(&mut stream, number, BYTES).await.expect("echo"),
                1 => bytes::upload(&mut stream, number, BYTES).await.expect("upload"),
                _ => bytes::half_close(&mut stream, number, BYTES).await.expect("half-close"),
            };
        })
    });
    for conversation in conversations.collect::<Vec<_>>() {
        soon("a conversation", conversation).await.expect("no panic");
    }
    until("every conversation to end", PATIENCE, || async { (target.stats().open == 0).then_some(()) }).await;
    assert_eq!(target.stats().wrong, 0);
}

fn of_shard(metrics: &Metrics, family: &str, shard: u8) -> u64 {
    metrics.sum(family, &format!("shard=\"{shard}\""))
}

/// No shard has more than 60 % of what both have.
fn assert_shared(metrics: &Metrics, family: &str) {
    let (first, second) = (of_shard(metrics, family, 0), of_shard(metrics, family, 1));
    assert!(
        first > 0 && second > 0 && first.max(second) * 10 <= (first + second) * 6,
        "{family}: {first} and {second}"
    );
}

async fn shards_share_the_work(io: &'static str) {
    let (tunnel, target) = two_shards(io, &[]).await;
    // Each agent has a connection to each shard.
    until("four connections", PATIENCE, || async {
        let metrics = tunnel.server.metrics().await;
        (0..2).all(|shard| of_shard(&metrics, "adit_sessions_ready", shard) == 2).then_some(())
    })
    .await;
    work(&tunnel, &target).await;
    let metrics = tunnel.server.metrics().await;
    assert_eq!(metrics.sum("adit_tunnels_established_total", ""), TUNNELS);
    for family in [
        "adit_tunnels_established_total",
        "adit_tunnel_to_stream_bytes_total",
        "adit_tunnel_to_socket_bytes_total",
    ] {
        assert_shared(&metrics, family);
    }
    // Every shard had a connection to the agent that was chosen: nothing was handed over.
    assert_eq!(metrics.sum("adit_dials_handed_over_total", ""), 0);
    assert_eq!(metrics.sum("adit_frontends_dealt_total", ""), TUNNELS / 2);
    assert_eq!(metrics.sum("adit_stray_datagrams_total", ""), 0);
}

#[tokio::test]
async fn two_shards_share_the_work_on_io_uring_or_what_there_is() {
    shards_share_the_work("auto").await;
}

#[tokio::test]
async fn two_shards_share_the_work_on_epoll() {
    shards_share_the_work("epoll").await;
}

async fn a_dial_goes_to_the_shard_of_its_agent(io: &'static str) {
    let (tunnel, target) = two_shards(io, &["--connections=1"]).await;
    work(&tunnel, &target).await;
    let metrics = tunnel.server.metrics().await;
    assert_eq!(metrics.sum("adit_tunnels_established_total", ""), TUNNELS);
    let (dealt, handed) =
        (metrics.sum("adit_frontends_dealt_total", ""), metrics.sum("adit_dials_handed_over_total", ""));
    assert!(handed > 0, "with one connection for each agent some dials are the other shard's");
    assert!(dealt + handed <= 2 * TUNNELS, "{dealt} dealt and {handed} handed over");
    assert_eq!(metrics.sum("adit_dials_handed_back_total", ""), 0);

    // Sixty times as many bytes, and not one message more.
    let mut stream = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    let before = tunnel.server.metrics().await;
    soon("upload", bytes::upload(&mut stream, 1, 60 * BYTES)).await.expect("upload");
    let after = tunnel.server.metrics().await;
    for family in ["adit_frontends_dealt_total", "adit_dials_handed_over_total", "adit_stray_datagrams_total"]
    {
        assert_eq!(before.sum(family, ""), after.sum(family, ""), "{family}");
    }
}

#[tokio::test]
async fn a_dial_goes_to_the_shard_of_its_agent_on_io_uring_or_what_there_is() {
    a_dial_goes_to_the_shard_of_its_agent("auto").await;
}

#[tokio::test]
async fn a_dial_goes_to_the_shard_of_its_agent_on_epoll() {
    a_dial_goes_to_the_shard_of_its_agent("epoll").await;
}

#[tokio::test]
async fn an_agent_of_several_shards_spreads_its_connections() {
    let options = Options {
        server_flags: vec!["--shards=2".to_owned()],
        agent_flags: vec!["--shards=2".to_owned(), "--connections=4".to_owned()],
        ..Options::default()
    };
    let tunnel = Tunnel::start(options).await;
    until("two connections to each shard", PATIENCE, || async {
        let (server, agent) = (tunnel.server.metrics().await, tunnel.agents[0].metrics().await);
        [&server, &agent]
            .iter()
            .all(|metrics| (0..2).all(|shard| of_shard(metrics, "adit_sessions_ready", shard) == 2))
            .then_some(())
    })
    .await;
    let target = Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    work(&tunnel, &target).await;
}

#[tokio::test]
async fn an_unknown_number_of_shards_is_refused_with_what_to_write() {
    for flag in ["--shards=0", "--shards=33", "--shards=many", "--connections=0"] {
        let (status, _, stderr) = crate::support::process::run(&["agent", flag]).await;
        assert!(!status.success());
        assert!(stderr.contains("write auto, or 1 to 32"), "{flag}: {stderr}");
    }
}

#[tokio::test]
async fn a_port_that_another_server_holds_is_refused_although_shards_share_theirs() {
    let (tunnel, _) = two_shards("auto", &[]).await;
    let options = Options { server_flags: vec!["--shards=2".to_owned()], ..Options::default() };
    let dir = crate::support::tunnel::certificates().await;
    let args = crate::support::tunnel::server_args(&dir, &options, tunnel.agent_port);
    let mut second = crate::support::process::Process::start(&args);
    assert!(!second.ended(Duration::from_secs(10)).await.success());
    second.logged(&["--agent-port", "in use"]).await;
}
