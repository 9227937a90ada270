//! Bytes through a tunnel: all of them, in order, and ends as they were.

use std::net::SocketAddr;
use std::time::Duration;

use adit_bench::client as bytes;
use adit_bench::target::{Request, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::client::connect;
use crate::support::tunnel::{Options, Tunnel};
use crate::support::{soon, until};

async fn target(at: &str) -> Target {
    Target::start(at.parse::<SocketAddr>().expect("an address")).await.expect("a free port")
}

/// Every conversation that a target knows, through one tunnel each.
async fn every_conversation(tunnel: &Tunnel, target: &Target) {
    let to = target.local_addr().to_string();
    let socket = tunnel.socket();
    let dial = || async { connect(&socket, &to).await.expect("a tunnel") };
    soon("echo", async { bytes::echo(&mut dial().await, 1, 300_000).await }).await.expect("echo");
    soon("upload", async { bytes::upload(&mut dial().await, 2, 8 << 20).await }).await.expect("upload");
    soon("download", async { bytes::download(&mut dial().await, 3, 8 << 20).await }).await.expect("download");
    soon("half-close", async { bytes::half_close(&mut dial().await, 4, 1 << 20).await })
        .await
        .expect("half-close");
    soon("finish first", async { bytes::finish_first(&mut dial().await, 5, 1 << 20).await })
        .await
        .expect("finish first");
    until("every conversation to end", Duration::from_secs(10), || async {
        (target.stats().open == 0).then_some(())
    })
    .await;
    assert_eq!(target.stats().wrong, 0);
}

over_each_transport!(
    every_byte_and_every_end_arrives_on_io_uring_or_what_there_is,
    every_byte_and_every_end_arrives_on_epoll,
    ipv6_carries_the_tunnel_and_reaches_the_target,
    a_server_first_target_speaks_after_the_200,
    a_reset_of_the_target_is_not_an_orderly_end,
    a_client_that_vanishes_before_the_end_resets_the_target,
    a_stopped_reader_costs_only_itself,
);

async fn every_byte_and_every_end_arrives_on_io_uring_or_what_there_is(transport: &'static str) {
    let tunnel = Tunnel::over(transport).await;
    every_conversation(&tunnel, &target("127.0.0.1:0").await).await;
}

async fn every_byte_and_every_end_arrives_on_epoll(transport: &'static str) {
    let tunnel = Tunnel::start(Options { io: "epoll", transport, ..Options::default() }).await;
    every_conversation(&tunnel, &target("127.0.0.1:0").await).await;
}

#[tokio::test]
async fn small_datagrams_carry_the_same_bytes() {
    let mtu = vec!["--mtu-max=1200".to_owned()];
    let options = Options { server_flags: mtu.clone(), agent_flags: mtu, ..Options::default() };
    let tunnel = Tunnel::start(options).await;
    every_conversation(&tunnel, &target("127.0.0.1:0").await).await;
}

async fn ipv6_carries_the_tunnel_and_reaches_the_target(transport: &'static str) {
    let options = Options { server_ip: "::1", server_host: "::1", transport, ..Options::default() };
    let tunnel = Tunnel::start(options).await;
    every_conversation(&tunnel, &target("[::1]:0").await).await;
}

#[tokio::test]
async fn a_name_of_both_families_finds_the_server_whichever_it_listens_on() {
    // localhost is 127.0.0.1 and, on most hosts, ::1; the server has only the one.
    let options = Options { server_host: "localhost", ..Options::default() };
    let tunnel = Tunnel::start(options).await;
    let target = target("127.0.0.1:0").await;
    let named = format!("localhost:{}", target.local_addr().port());
    let mut stream = connect(&tunnel.socket(), &named).await.expect("a tunnel to a name");
    soon("echo", bytes::echo(&mut stream, 1, 10_000)).await.expect("echo");
}

async fn a_server_first_target_speaks_after_the_200(transport: &'static str) {
    let tunnel = Tunnel::over(transport).await;
    let target =
        Target::start_greeting("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let mut stream = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    soon("greeting", bytes::greeting(&mut stream)).await.expect("greeting");
    soon("echo", bytes::echo(&mut stream, 1, 10_000)).await.expect("echo");
}

async fn a_reset_of_the_target_is_not_an_orderly_end(transport: &'static str) {
    let tunnel = Tunnel::over(transport).await;
    let target = target("127.0.0.1:0").await;
    let mut stream = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    // A Unix socket shows a reset only if bytes of ours were left unread (unix(7)): leave some.
    soon("request", bytes::request(&mut stream, Request::Reset { bytes: 1000 })).await.expect("request");
    let (mut read, mut write) = stream.split();
    let reading = async {
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.map(|_| got.len())
    };
    let writing = async {
        while write.write_all(&[0; 4096]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let (read, ()) = soon("the reset", async { tokio::join!(reading, writing) }).await;
    if let Ok(length) = read {
        assert!(length <= 1000, "{length} bytes of 1000");
    }
    until("nothing to stay open", Duration::from_secs(10), || async {
        (tunnel.server.metrics().await.sum("adit_tunnels_open", "") == 0).then_some(())
    })
    .await;
}

async fn a_client_that_vanishes_before_the_end_resets_the_target(transport: &'static str) {
    let tunnel = Tunnel::over(transport).await;
    let target = target("127.0.0.1:0").await;
    let mut stream = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    let request = Request::Source { seed: 1, bytes: 1 << 40 };
    soon("request", bytes::request(&mut stream, request)).await.expect("request");
    let mut some = vec![0; 100_000];
    soon("the first bytes", stream.read_exact(&mut some)).await.expect("bytes");
    drop(stream);
    until("the target to be rid of it", Duration::from_secs(10), || async {
        let open = tunnel.agents[0].metrics().await.sum("adit_tunnels_open", "");
        (target.stats().open == 0 && open == 0).then_some(())
    })
    .await;
}

async fn a_stopped_reader_costs_only_itself(transport: &'static str) {
    let tunnel = Tunnel::over(transport).await;
    let target = target("127.0.0.1:0").await;
    let to = target.local_addr().to_string();
    let mut stopped = Vec::new();
    for _ in 0..20 {
        // Asks for more than every window and buffer on the way holds, and reads none of it.
        let mut stream = connect(&tunnel.socket(), &to).await.expect("a tunnel");
        let request = Request::Source { seed: 1, bytes: 64 << 20 };
        soon("request", bytes::request(&mut stream, request)).await.expect("request");
        stopped.push(stream);
    }
    until("the readers to be noticed as stopped", Duration::from_secs(10), || async {
        let received = tunnel.agents[0].metrics().await.sum("adit_io_stream_received_bytes_total", "");
        (received >= 20 << 20).then_some(())
    })
    .await;
    for round in 0..20 {
        let mut stream = connect(&tunnel.socket(), &to).await.expect("a tunnel beside stopped readers");
        soon("echo", bytes::echo(&mut stream, round, 100_000)).await.expect("echo beside stopped readers");
    }
    drop(stopped);
    until("nothing to stay open", Duration::from_secs(10), || async {
        let open = tunnel.server.metrics().await.sum("adit_tunnels_open", "")
            + tunnel.agents[0].metrics().await.sum("adit_tunnels_open", "");
        (open == 0).then_some(())
    })
    .await;
}
