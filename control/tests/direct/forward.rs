//! `adit forward`: a local port into the tunnel.

use std::net::SocketAddr;

use adit_bench::client as bytes;
use adit_bench::target::Target;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::ports::ReservedPort;
use crate::support::process::Process;
use crate::support::soon;
use crate::support::tunnel::Tunnel;

async fn forward(tunnel: &Tunnel, target: &str) -> (Process, SocketAddr) {
    let socket = tunnel.socket().display().to_string();
    let args = ["forward", "--uds-name", &socket, "--target", target].map(str::to_owned);
    let process = Process::start(&args);
    let line = process.logged(&["forwarding "]).await;
    let address = line.split(' ').nth(1).and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    (process, address)
}

#[tokio::test]
async fn a_local_port_reaches_the_target_with_both_ends_kept() {
    let tunnel = Tunnel::with_agents(1).await;
    let target = Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let (_process, local) = forward(&tunnel, &target.local_addr().to_string()).await;
    let dial = || async { TcpStream::connect(local).await.expect("it listens") };
    soon("echo", async { bytes::echo(&mut dial().await, 1, 200_000).await }).await.expect("echo");
    soon("half-close", async { bytes::half_close(&mut dial().await, 2, 1 << 20).await })
        .await
        .expect("half-close");
    soon("finish first", async { bytes::finish_first(&mut dial().await, 3, 1 << 20).await })
        .await
        .expect("finish");
}

#[tokio::test]
async fn the_proxys_error_is_shown_and_the_local_connection_is_reset() {
    let tunnel = Tunnel::with_agents(1).await;
    let reserved = ReservedPort::new();
    let closed = reserved.address();
    let (process, local) = forward(&tunnel, &closed.to_string()).await;
    let mut stream = TcpStream::connect(local).await.expect("it listens");
    let mut nothing = Vec::new();
    let ended = soon("the reset", stream.read_to_end(&mut nothing)).await;
    assert!(ended.is_err() && nothing.is_empty(), "{ended:?}");
    process.logged(&["502", "connection refused"]).await;
}
