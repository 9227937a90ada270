//! Drain: nothing new, the old may finish, at the deadline it is cut; and no dial fails that another agent could serve.

use std::time::{Duration, Instant};

use adit_bench::client as bytes;
use adit_bench::target::{Request, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::client::{connect, raw, try_connect};
use crate::support::metrics::get;
use crate::support::tunnel::{Options, Tunnel};
use crate::support::{PATIENCE, soon, until};

async fn target() -> Target {
    Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port")
}

over_each_transport!(
    no_dial_fails_while_an_agent_drains_on_io_uring_or_what_there_is,
    no_dial_fails_while_an_agent_drains_on_epoll,
    the_last_agent_that_drains_refuses_with_a_reason,
    an_agents_drain_ends_at_its_deadline_and_cuts_both_ends,
    what_a_client_has_not_read_when_the_agent_has_sent_it_all_is_not_lost,
);

/// Dials while one of two agents drains, with a download running on each.
async fn no_dial_fails_while_an_agent_drains(transport: &'static str, io: &'static str) {
    let mut tunnel = Tunnel::start(Options { agents: 2, io, transport, ..Options::default() }).await;
    let (target, socket) = (target().await, tunnel.socket());
    let to = target.local_addr().to_string();
    let mut running = Vec::new();
    let mut on = [0, 0];
    while on.contains(&0) {
        assert!(running.len() < 64, "64 dials and none on one of two agents: {on:?}");
        let mut stream = connect(&socket, &to).await.expect("a tunnel");
        let request = Request::Source { seed: 7, bytes: 16 << 20 };
        soon("request", bytes::request(&mut stream, request)).await.expect("sent");
        running.push(stream);
        for (open, agent) in on.iter_mut().zip(&tunnel.agents) {
            *open = agent.metrics().await.sum("adit_tunnels_open", "");
        }
    }
    // Many dials are under way at any moment, so that some cross the announcement.
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut dialing = tokio::task::JoinSet::new();
    for seed in 0..8 {
        let (socket, to, stop) = (socket.clone(), to.clone(), std::sync::Arc::clone(&stop));
        dialing.spawn(async move {
            let mut dials = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut stream =
                    connect(&socket, &to).await.expect("a tunnel while one of two agents drains");
                soon("echo", bytes::echo(&mut stream, seed, 1_000)).await.expect("echo");
                dials += 1;
            }
            dials
        });
    }
    tunnel.agents[0].process.signal("TERM");
    tunnel.agents[0].process.logged(&["draining"]).await;
    let (status, body) = get(tunnel.agents[0].health, "/readyz").await;
    assert!(status == 503 && body.contains("draining"), "{status} {body}");
    for stream in &mut running {
        soon("the rest", bytes::receive(stream, 7, 16 << 20)).await.expect("every byte of a running tunnel");
    }
    drop(running);
    assert!(tunnel.agents[0].process.ended(PATIENCE).await.success());
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut dials = 0;
    while let Some(done) = dialing.join_next().await {
        dials += done.expect("no dial failed");
    }
    assert!(dials > 8, "{dials} dials");
    let failed = tunnel.server.metrics().await.sum("adit_dials_total", "outcome=\"error_response\"");
    assert_eq!(failed, 0);
}

async fn no_dial_fails_while_an_agent_drains_on_io_uring_or_what_there_is(transport: &'static str) {
    no_dial_fails_while_an_agent_drains(transport, "auto").await;
}

async fn no_dial_fails_while_an_agent_drains_on_epoll(transport: &'static str) {
    no_dial_fails_while_an_agent_drains(transport, "epoll").await;
}

async fn the_last_agent_that_drains_refuses_with_a_reason(transport: &'static str) {
    let tunnel = Tunnel::over(transport).await;
    let (target, socket) = (target().await, tunnel.socket());
    let to = target.local_addr().to_string();
    let mut running = connect(&socket, &to).await.expect("a tunnel");
    tunnel.agents[0].process.signal("TERM");
    tunnel.agents[0].process.logged(&["draining"]).await;
    let refusal = connect(&socket, &to).await.expect_err("nothing new");
    assert!((500..600).contains(&refusal.status), "{refusal:?}");
    assert!(refusal.reason.contains("the agent is draining"), "{refusal:?}");
    soon("echo", bytes::echo(&mut running, 1, 100_000)).await.expect("what ran goes on");
}

async fn an_agents_drain_ends_at_its_deadline_and_cuts_both_ends(transport: &'static str) {
    let agent_flags = vec!["--graceful-shutdown-timeout=1s".to_owned()];
    let mut tunnel = Tunnel::start(Options { agent_flags, transport, ..Options::default() }).await;
    let target = target().await;
    let mut held = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    soon("request", bytes::request(&mut held, Request::Stall)).await.expect("sent");
    let begun = Instant::now();
    tunnel.agents[0].process.signal("TERM");
    let mut byte = [0; 1];
    // A Unix socket shows a reset as an end, unless bytes of ours were left unread (unix(7)).
    let cut = soon("the cut", held.read(&mut byte)).await;
    assert!(matches!(cut, Ok(0) | Err(_)), "{cut:?}");
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(4), "cut after {took:?}");
    let line = tunnel.agents[0].process.logged(&["drained", "tunnels_cut"]).await;
    assert!(line.contains("\"tunnels_cut\":1"), "{line}");
    assert!(tunnel.agents[0].process.ended(PATIENCE).await.success());
    until("the target to be rid of it", Duration::from_secs(5), || async {
        (target.stats().open == 0).then_some(())
    })
    .await;
}

/// The agent's part of a tunnel is over once the server has everything; the client's is not.
async fn what_a_client_has_not_read_when_the_agent_has_sent_it_all_is_not_lost(transport: &'static str) {
    let mut tunnel = Tunnel::over(transport).await;
    let target = target().await;
    let mut slow = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    // More than the sockets hold, and less than the windows between the ends.
    let bytes = 700 * 1024;
    soon("request", bytes::request(&mut slow, Request::Source { seed: 7, bytes })).await.expect("sent");
    slow.shutdown().await.expect("the client's end");
    until("the agent to have sent everything", PATIENCE, || async {
        let agent = tunnel.agents[0].metrics().await;
        (target.stats().accepted == 1 && agent.sum("adit_tunnels_open", "") == 0).then_some(())
    })
    .await;
    let agent = &mut tunnel.agents[0].process;
    agent.signal("TERM");
    agent.logged(&["draining"]).await;
    soon("the rest", bytes::receive(&mut slow, 7, bytes)).await.expect("every byte");
    soon("the end", bytes::end(&mut slow)).await.expect("the target's end");
    assert!(tunnel.agents[0].process.ended(PATIENCE).await.success());
}

#[tokio::test]
async fn a_connection_that_has_not_asked_when_the_server_drains_is_told_so() {
    let mut tunnel = Tunnel::with_agents(1).await;
    let (target, socket) = (target().await, tunnel.socket());
    let mut running = connect(&socket, &target.local_addr().to_string()).await.expect("a tunnel");
    let mut early = tokio::net::UnixStream::connect(&socket).await.expect("the server listens");
    // Whoever is answered was accepted, and so was everybody before.
    assert_eq!(raw(&socket, b"GET / HTTP/1.1\r\n\r\n").await.status, 405);
    tunnel.server.process.signal("TERM");
    tunnel.server.process.logged(&["draining"]).await;
    until("the listener to close", PATIENCE, || async {
        try_connect(&socket, "127.0.0.1:1").await.is_err().then_some(())
    })
    .await;
    let request = format!("CONNECT {} HTTP/1.1\r\n\r\n", target.local_addr());
    early.write_all(request.as_bytes()).await.expect("it is still open");
    let mut answer = String::new();
    soon("the answer", early.read_to_string(&mut answer)).await.expect("an orderly end");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("the server is draining"), "{answer}");
    soon("echo", bytes::echo(&mut running, 1, 100_000)).await.expect("what ran goes on");
    drop(running);
    assert!(tunnel.server.process.ended(PATIENCE).await.success());
}

#[tokio::test]
async fn an_agents_second_signal_ends_it_at_once_with_status_1() {
    let mut tunnel = Tunnel::with_agents(1).await;
    let target = target().await;
    let _held = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    let agent = &mut tunnel.agents[0].process;
    agent.signal("TERM");
    agent.logged(&["draining"]).await;
    agent.signal("TERM");
    assert_eq!(agent.ended(Duration::from_secs(3)).await.code(), Some(1));
}
