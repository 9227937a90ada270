//! `--proxy-strategies` and `--agent-identifiers`, from a CONNECT to the agent that dials.

use adit_bench::target::Target;

use crate::support::client::connect;
use crate::support::metrics::get;
use crate::support::tunnel::{Options, Tunnel};
use crate::support::{PATIENCE, until};

/// How often each agent has dialed.
async fn dialed(tunnel: &Tunnel) -> Vec<u64> {
    let mut all = Vec::new();
    for agent in &tunnel.agents {
        all.push(agent.metrics().await.sum("adit_io_operations_total", "op=\"connect\""));
    }
    all
}

/// Which agents serve ten dials.
async fn who_dials(tunnel: &Tunnel, target: &str) -> Vec<usize> {
    let before = dialed(tunnel).await;
    for _ in 0..10 {
        drop(connect(&tunnel.socket(), target).await.expect("a tunnel"));
    }
    let after = dialed(tunnel).await;
    (0..before.len()).filter(|agent| before[*agent] != after[*agent]).collect()
}

#[tokio::test]
async fn a_server_by_destination_is_ready_with_the_first_identifier_and_dials_go_where_identifiers_say() {
    let server_flags = vec!["--proxy-strategies=destHost,defaultRoute,default".to_owned()];
    let mut tunnel = Tunnel::start(Options { agents: 1, server_flags, ..Options::default() }).await;
    let health = tunnel.server.health;
    let (status, missing) = get(health, "/readyz").await;
    assert_eq!(status, 500, "{missing}");
    for word in ["connected (1)", "ipv4=, ipv6= or host=", "--agent-identifiers", "destHost"] {
        assert!(missing.contains(word), "{word:?} is not in {missing:?}");
    }

    tunnel.options.agent_flags = vec!["--agent-identifiers=default-route=true".to_owned()];
    tunnel.add_agent("gateway").await;
    assert_eq!(get(health, "/readyz").await.0, 500, "a default route is not what destHost goes by");
    tunnel.options.agent_flags = vec!["--agent-identifiers=ipv4=127.0.0.1&host=LocalHost".to_owned()];
    tunnel.add_agent("node").await;
    until("the server to be ready", PATIENCE, || async {
        (get(health, "/readyz").await == (200, "ok".to_owned())).then_some(())
    })
    .await;

    let target = Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let port = target.local_addr().port();
    // A name goes by its text, in which case matters, and not by the address that it has.
    for (host, expected) in [("127.0.0.1", 2), ("LocalHost", 2), ("localhost", 1)] {
        assert_eq!(who_dials(&tunnel, &format!("{host}:{port}")).await, [expected], "{host}");
    }

    // Without the agent of that host, the next strategy's take over; the server is not ready again.
    let node = tunnel.agents.pop().expect("three agents");
    node.process.signal("KILL");
    tunnel.wait_for_agents(2).await;
    assert_eq!(who_dials(&tunnel, &format!("127.0.0.1:{port}")).await, [1]);
    assert_eq!(get(health, "/readyz").await.0, 500);
}
