//! Start, stop, and what is left behind.

use std::time::{Duration, Instant};

use adit_bench::client as bytes;
use adit_bench::target::{Request, Target};
use tokio::net::UnixStream;

use crate::support::client::connect;
use crate::support::metrics::get;
use crate::support::process::Process;
use crate::support::tunnel::{Options, Tunnel, server_args};
use crate::support::{PATIENCE, soon, until};

async fn target() -> Target {
    Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port")
}

over_each_transport!(
    sigterm_stops_both_ends_cleanly_when_nothing_runs,
    a_drain_lets_a_tunnel_finish_and_takes_nothing_new,
    a_drain_ends_at_its_deadline,
);

async fn sigterm_stops_both_ends_cleanly_when_nothing_runs(transport: &'static str) {
    let mut tunnel = Tunnel::over(transport).await;
    let socket = tunnel.socket();
    let begun = Instant::now();
    tunnel.agents[0].process.signal("TERM");
    assert!(tunnel.agents[0].process.ended(PATIENCE).await.success());
    tunnel.wait_for_agents(0).await;
    tunnel.server.process.signal("TERM");
    assert!(tunnel.server.process.ended(PATIENCE).await.success());
    assert!(begun.elapsed() < Duration::from_secs(10), "an idle drain took {:?}", begun.elapsed());
    assert!(!socket.exists(), "the socket file is left behind");
}

async fn a_drain_lets_a_tunnel_finish_and_takes_nothing_new(transport: &'static str) {
    let mut tunnel = Tunnel::over(transport).await;
    let target = target().await;
    let mut stream = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    soon("request", bytes::request(&mut stream, Request::Source { seed: 7, bytes: 32 << 20 }))
        .await
        .expect("sent");
    tunnel.server.process.signal("TERM");
    tunnel.server.process.logged(&["draining"]).await;
    until("readiness to flip", PATIENCE, || async {
        let (status, body) = get(tunnel.server.health, "/readyz").await;
        (status == 500 && body.contains("draining")).then_some(())
    })
    .await;
    until("the listener to close", PATIENCE, || async {
        UnixStream::connect(tunnel.socket()).await.is_err().then_some(())
    })
    .await;
    soon("the rest", bytes::receive(&mut stream, 7, 32 << 20))
        .await
        .expect("every byte of the running tunnel");
    drop(stream);
    assert!(tunnel.server.process.ended(PATIENCE).await.success());
}

async fn a_drain_ends_at_its_deadline(transport: &'static str) {
    let flags = vec!["--graceful-shutdown-timeout=1s".to_owned()];
    let mut tunnel = Tunnel::start(Options { server_flags: flags, transport, ..Options::default() }).await;
    let target = target().await;
    let _held = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    let begun = Instant::now();
    tunnel.server.process.signal("TERM");
    assert!(tunnel.server.process.ended(PATIENCE).await.success());
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(4), "the drain took {took:?}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once_with_status_1() {
    let mut tunnel = Tunnel::with_agents(1).await;
    let target = target().await;
    let _held = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    tunnel.server.process.signal("TERM");
    tunnel.server.process.logged(&["draining"]).await;
    tunnel.server.process.signal("INT");
    assert_eq!(tunnel.server.process.ended(Duration::from_secs(3)).await.code(), Some(1));
}

#[tokio::test]
async fn a_killed_servers_socket_is_replaced_and_a_live_ones_is_not() {
    let mut tunnel = Tunnel::with_agents(0).await;
    let mut second = Process::start(&server_args(&tunnel.dir, &tunnel.options, 0));
    assert_eq!(second.ended(PATIENCE).await.code(), Some(1));
    second.logged(&["another process answers"]).await;
    tunnel.server.process.signal("KILL");
    tunnel.server.process.ended(PATIENCE).await;
    tunnel.restart_server().await;
    assert!(UnixStream::connect(tunnel.socket()).await.is_ok());
}

#[tokio::test]
async fn an_end_of_standard_input_ends_the_process_where_that_was_asked_for() {
    let tunnel = Tunnel::with_agents(0).await;
    let socket = tunnel.socket();
    let Tunnel { server, dir: _dir, .. } = tunnel;
    let mut process = server.process;
    process.close_stdin();
    assert!(process.ended(PATIENCE).await.success());
    assert!(!socket.exists());
}
