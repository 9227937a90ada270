//! Locked memory, which io_uring charges its rings to.

use std::process::Command;
use std::time::Duration;

use adit_bench::client as bytes;
use adit_bench::target::Target;

use crate::support::client::connect;
use crate::support::process::Process;
use crate::support::soon;
use crate::support::tunnel::{Options, Tunnel, agent_args, certificates};

/// Too little for the smallest ring.
const LITTLE: &str = "--memlock=16384";

/// Starts under the limit, without the capability that would lift it.
fn prefix() -> Vec<String> {
    let mut prefix = Vec::new();
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if is_root {
        prefix.extend(["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]);
    }
    prefix.extend(["prlimit", LITTLE]);
    prefix.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn without_locked_memory_io_uring_is_refused_with_the_remedy() {
    let dir = certificates().await;
    let options = Options { io: "uring", ..Options::default() };
    let mut agent = Process::start_under(&prefix(), &agent_args(&dir, &options, 8091, "locked-out"));
    assert_eq!(agent.ended(Duration::from_secs(20)).await.code(), Some(1), "{}", agent.log());
    agent.logged(&["RLIMIT_MEMLOCK", "LimitMEMLOCK"]).await;
}

#[tokio::test]
async fn without_locked_memory_auto_falls_back_to_epoll_says_why_and_serves() {
    let tunnel = Tunnel::with_agents(0).await;
    let args = agent_args(&tunnel.dir, &tunnel.options, tunnel.agent_port, "modest");
    let agent = Process::start_under(&prefix(), &args);
    agent.logged(&["without io_uring", "RLIMIT_MEMLOCK"]).await;
    tunnel.wait_for_agents(1).await;
    let target = Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let mut stream = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    soon("echo", bytes::echo(&mut stream, 1, 1_000_000)).await.expect("echo");
}
