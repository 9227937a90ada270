//! Health, readiness and metrics.

use crate::support::metrics::get;
use crate::support::tunnel::Tunnel;
use crate::support::{PATIENCE, until};

#[tokio::test]
async fn readiness_follows_the_other_side() {
    let mut tunnel = Tunnel::with_agents(0).await;
    let health = tunnel.server.health;
    assert_eq!(get(health, "/healthz").await, (200, "ok".to_owned()));
    assert_eq!(get(health, "/livez").await, (200, "ok".to_owned()));
    assert_eq!(get(health, "/readyz").await, (500, "no connection to any proxy agent".to_owned()));
    tunnel.add_agent("agent-0").await;
    until("the server to be ready", PATIENCE, || async {
        (get(health, "/readyz").await == (200, "ok".to_owned())).then_some(())
    })
    .await;
    let agent = tunnel.agents[0].health;
    until("the agent to be ready", PATIENCE, || async {
        (get(agent, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    let (_, verbose) = get(agent, "/readyz?verbose").await;
    assert_eq!(verbose, "[+]ping ok\n[+]server-connected ok\ncheck passed\n");
    tunnel.server.process.signal("KILL");
    tunnel.server.process.ended(PATIENCE).await;
    until("the agent to be not ready", PATIENCE, || async {
        let (status, body) = get(agent, "/readyz").await;
        (status == 503 && body.contains("[-]server-connected failed: no servers connected")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn metrics_are_on_both_ports_and_name_the_driver() {
    let tunnel = Tunnel::with_agents(1).await;
    for (member, peers) in [(&tunnel.server, "adit_agents"), (&tunnel.agents[0], "adit_servers")] {
        for port in [member.admin, member.health] {
            let metrics = crate::support::metrics::Metrics::scrape(port).await;
            assert_eq!(metrics.sum(peers, ""), 1);
            assert_eq!(metrics.sum("adit_io_driver", "shard=\"0\""), 1);
            for family in
                ["adit_build_info", "adit_io_operations_total", "adit_tunnels_open", "adit_path_mtu_bytes"]
            {
                assert!(metrics.has(family), "{family}");
            }
        }
        assert_eq!(get(member.admin, "/healthz").await.0, 404);
        assert_eq!(get(member.health, "/nothing").await.0, 404);
    }
    assert!(tunnel.server.metrics().await.has("adit_dial_duration_seconds_bucket"));
}
