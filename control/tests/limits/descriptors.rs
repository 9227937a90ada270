//! Descriptors, and places in the table of sockets that is sized to them.

use std::process::Command;
use std::time::{Duration, Instant};

use adit_bench::client as bytes;
use adit_bench::target::{Request, Target};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::support::client::{Refusal, connect};
use crate::support::process::Process;
use crate::support::tunnel::{Member, Options, Tunnel, agent_args, server_args};
use crate::support::{PATIENCE, soon, until};

async fn target() -> Target {
    Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port")
}

/// Sets the soft limit of a running process.
fn set_limit(process: &Process, descriptors: usize) {
    let pid = process.pid().to_string();
    let limit = format!("--nofile={descriptors}:");
    let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    assert!(status.expect("prlimit(1) is there").success());
}

/// Leaves a process little more than what it has open.
fn leave_few(process: &Process) {
    set_limit(process, process.descriptors() + 4);
}

type Dial = JoinHandle<Result<UnixStream, Refusal>>;

fn dial(tunnel: &Tunnel, to: &str) -> Dial {
    let (socket, to) = (tunnel.socket(), to.to_owned());
    tokio::spawn(async move { connect(&socket, &to).await })
}

/// A conversation that has begun and is continued later.
async fn begin(tunnel: &Tunnel, to: &str) -> UnixStream {
    let mut stream = connect(&tunnel.socket(), to).await.expect("a tunnel");
    soon("a request", bytes::request(&mut stream, Request::Echo)).await.expect("sent");
    go_on(&mut stream, 0).await;
    stream
}

/// Another piece of it.
async fn go_on(stream: &mut UnixStream, seed: u64) {
    let (mut reader, mut writer) = stream.split();
    let both = async {
        tokio::try_join!(bytes::send(&mut writer, seed, 50_000), bytes::receive(&mut reader, seed, 50_000))
    };
    soon("a running stream", both).await.expect("what runs is not disturbed");
}

/// A server of one shard (each has a table of its own) that starts under this limit, and an agent.
async fn server_under(limit: &str, io: &'static str) -> Tunnel {
    let server_flags = vec!["--shards=1".to_owned()];
    let mut tunnel = Tunnel::start(Options { agents: 0, io, server_flags, ..Options::default() }).await;
    tunnel.server.process.signal("KILL");
    tunnel.server.process.ended(PATIENCE).await;
    let args = server_args(&tunnel.dir, &tunnel.options, tunnel.agent_port);
    let prefix = ["prlimit", limit].map(str::to_owned);
    tunnel.server = Member::started(Process::start_under(&prefix, &args)).await;
    tunnel.server.process.logged(&["listening", "frontends"]).await;
    tunnel.add_agent("agent-0").await;
    tunnel
}

async fn a_server_without_descriptors(io: &'static str) {
    // An accept of io_uring keeps the limit that it was begun under, so this one is there from the start.
    let tunnel = server_under("--nofile=40:", io).await;
    let target = target().await;
    let to = target.local_addr().to_string();
    let mut running = begin(&tunnel, &to).await;
    let dials: Vec<Dial> = (0..40).map(|_| dial(&tunnel, &to)).collect();
    let line = tunnel.server.process.logged(&["no descriptor is left", "accepting a frontend"]).await;
    assert!(line.contains("LimitNOFILE"), "{line}");
    go_on(&mut running, 1).await;
    set_limit(&tunnel.server.process, 1024);
    for dial in dials {
        // They waited in the listener's queue.
        let mut stream = dial.await.expect("a task of ours").expect("a tunnel once there are descriptors");
        soon("echo", bytes::echo(&mut stream, 1, 1_000)).await.expect("echo");
    }
    go_on(&mut running, 2).await;
    assert!(tunnel.server.metrics().await.sum("adit_accept_errors_total", "") > 0);
}

#[tokio::test]
async fn a_server_without_descriptors_lets_frontends_wait_on_io_uring_or_what_there_is() {
    a_server_without_descriptors("auto").await;
}

#[tokio::test]
async fn a_server_without_descriptors_lets_frontends_wait_on_epoll() {
    a_server_without_descriptors("epoll").await;
}

async fn an_agent_without_descriptors(io: &'static str) {
    let mut tunnel = Tunnel::start(Options { io, ..Options::default() }).await;
    let target = target().await;
    let to = target.local_addr().to_string();
    let mut running = begin(&tunnel, &to).await;
    leave_few(&tunnel.agents[0].process);
    let mut taken = Vec::new();
    let refusal = loop {
        assert!(taken.len() < 40, "40 tunnels with little more than 4 descriptors");
        match connect(&tunnel.socket(), &to).await {
            Ok(stream) => taken.push(stream),
            Err(refusal) => break refusal,
        }
    };
    assert!((500..600).contains(&refusal.status), "{refusal:?}");
    assert!(refusal.reason.contains("too many open files"), "{refusal:?}");
    let line = tunnel.agents[0].process.logged(&["no descriptor is left", "connecting to a target"]).await;
    assert!(line.contains("LimitNOFILE"), "{line}");
    go_on(&mut running, 1).await;
    // Where another agent can serve, nobody is refused.
    tunnel.add_agent("spare").await;
    for seed in 0..20 {
        let mut stream = connect(&tunnel.socket(), &to).await.expect("a tunnel through the other agent");
        soon("echo", bytes::echo(&mut stream, seed, 1_000)).await.expect("echo");
    }
    set_limit(&tunnel.agents[0].process, 1024);
    let spare = tunnel.agents.pop().expect("just added");
    spare.process.signal("KILL");
    drop(spare);
    tunnel.wait_for_agents(1).await;
    let mut stream = connect(&tunnel.socket(), &to).await.expect("a tunnel once there are descriptors");
    soon("echo", bytes::echo(&mut stream, 1, 1_000)).await.expect("echo");
    go_on(&mut running, 2).await;
}

#[tokio::test]
async fn an_agent_without_descriptors_refuses_and_says_so_on_io_uring_or_what_there_is() {
    an_agent_without_descriptors("auto").await;
}

#[tokio::test]
async fn an_agent_without_descriptors_refuses_and_says_so_on_epoll() {
    an_agent_without_descriptors("epoll").await;
}

/// So few that the table of sockets has its least size, 64.
const FEW: [&str; 2] = ["prlimit", "--nofile=192:"];

fn few() -> Vec<String> {
    FEW.map(str::to_owned).to_vec()
}

async fn an_agent_whose_socket_table_is_full(io: &'static str) {
    let mut tunnel = Tunnel::start(Options { agents: 0, io, ..Options::default() }).await;
    let args = agent_args(&tunnel.dir, &tunnel.options, tunnel.agent_port, "small");
    tunnel.agents.push(Member::started(Process::start_under(&few(), &args)).await);
    tunnel.wait_for_agents(1).await;
    let target = target().await;
    let to = target.local_addr().to_string();
    let mut running = Vec::new();
    let refusal = loop {
        assert!(running.len() < 70, "70 tunnels with 64 places");
        match connect(&tunnel.socket(), &to).await {
            Ok(mut stream) => {
                soon("a request", bytes::request(&mut stream, Request::Echo)).await.expect("sent");
                running.push(stream);
            }
            Err(refusal) => break refusal,
        }
    };
    assert!(running.len() > 50, "{} tunnels with 64 places", running.len());
    assert!((500..600).contains(&refusal.status), "{refusal:?}");
    assert!(refusal.reason.contains("too many open files"), "{refusal:?}");
    // Dials that wait for a place do not hold up what runs.
    let dials: Vec<Dial> = (0..8).map(|_| dial(&tunnel, &to)).collect();
    let begun = Instant::now();
    for stream in &mut running {
        go_on(stream, 1).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "what runs took {:?}", begun.elapsed());
    for dial in dials {
        dial.await.expect("a task of ours").expect_err("there is no place");
    }
    running.truncate(10);
    until("places to be free again", PATIENCE, || async { connect(&tunnel.socket(), &to).await.ok() }).await;
    for stream in &mut running {
        go_on(stream, 2).await;
    }
}

#[tokio::test]
async fn an_agent_whose_socket_table_is_full_refuses_on_io_uring_or_what_there_is() {
    an_agent_whose_socket_table_is_full("auto").await;
}

#[tokio::test]
async fn an_agent_whose_socket_table_is_full_refuses_on_epoll() {
    an_agent_whose_socket_table_is_full("epoll").await;
}

async fn a_server_whose_socket_table_is_full(io: &'static str) {
    let tunnel = server_under(FEW[1], io).await;
    let target = target().await;
    let to = target.local_addr().to_string();
    let mut running = Vec::new();
    let mut waiting: Vec<Dial> = Vec::new();
    // One after the other: of many that come at once io_uring accepts more than have a place, and closes the rest.
    while waiting.is_empty() {
        assert!(running.len() < 70, "70 tunnels with 64 places");
        let mut next = dial(&tunnel, &to);
        match tokio::time::timeout(Duration::from_secs(1), &mut next).await {
            Ok(done) => {
                let mut stream = done.expect("a task of ours").expect("a tunnel");
                soon("a request", bytes::request(&mut stream, Request::Echo)).await.expect("sent");
                running.push(stream);
            }
            Err(_) => waiting.push(next),
        }
    }
    assert!(running.len() > 50, "{} tunnels with 64 places", running.len());
    tunnel.server.process.logged(&["no descriptor is left", "accepting a frontend"]).await;
    waiting.push(dial(&tunnel, &to));
    for stream in &mut running {
        go_on(stream, 1).await;
    }
    // The places of some are for those who wait.
    running.truncate(10);
    for dial in waiting {
        dial.await.expect("a task of ours").expect("a tunnel once there are places");
    }
    for stream in &mut running {
        go_on(stream, 2).await;
    }
}

#[tokio::test]
async fn a_server_whose_socket_table_is_full_lets_frontends_wait_on_io_uring_or_what_there_is() {
    a_server_whose_socket_table_is_full("auto").await;
}

#[tokio::test]
async fn a_server_whose_socket_table_is_full_lets_frontends_wait_on_epoll() {
    a_server_whose_socket_table_is_full("epoll").await;
}
