//! Leases by which servers say that they are there, and agents that count them.

use crate::support::api::Api;
use crate::support::process::Process;
use crate::support::tunnel::{Options, Tunnel, agent_args};
use crate::support::{PATIENCE, until};

/// Of the server that these tests start.
const LEASE: &str = "konnectivity-proxy-server-direct";
const LONG_AGO: &str = "2020-01-01T00:00:00.000000Z";
/// For as long as a test takes, and longer.
const LONG_FROM_NOW: &str = "2200-01-01T00:00:00.000000Z";

async fn server(api: &Api) -> Tunnel {
    let server_flags = vec!["--enable-lease-controller".to_owned(), api.kubeconfig_flag()];
    Tunnel::start(Options { agents: 0, server_flags, ..Options::default() }).await
}

/// Waits until a lease is there, or is not.
async fn lease(api: &Api, name: &str, is_there: bool) {
    until(&format!("lease {name}: {is_there}"), PATIENCE, || async {
        (api.lease(name).is_some() == is_there).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_keeps_a_lease_removes_those_of_the_dead_and_takes_its_own_back() {
    let api = Api::start().await;
    api.write_lease("konnectivity-proxy-server-dead", LONG_AGO);
    api.write_lease("konnectivity-proxy-server-alive", LONG_FROM_NOW);
    let mut tunnel = server(&api).await;
    lease(&api, LEASE, true).await;
    lease(&api, "konnectivity-proxy-server-dead", false).await;
    lease(&api, "konnectivity-proxy-server-alive", true).await;
    let own = api.lease(LEASE).expect("it is there");
    assert_eq!(own["spec"]["holderIdentity"], "direct");
    assert_eq!(own["spec"]["leaseDurationSeconds"], 30);
    assert_eq!(own["metadata"]["labels"]["k8s-app"], "konnectivity-server");
    tunnel.server.process.logged(&["the lease is kept"]).await;
    tunnel.server.process.signal("TERM");
    assert!(tunnel.server.process.ended(PATIENCE).await.success());
    assert_eq!(api.lease(LEASE), None);
}

/// One that was killed has left its lease behind: its successor goes on with it.
#[tokio::test]
async fn a_restarted_server_goes_on_with_its_lease() {
    let api = Api::start().await;
    api.write_lease(LEASE, LONG_AGO);
    let tunnel = server(&api).await;
    until("the lease to be renewed", PATIENCE, || async {
        let own = api.lease(LEASE)?;
        (own["spec"]["renewTime"] != LONG_AGO && own["spec"]["holderIdentity"] == "direct").then_some(())
    })
    .await;
    tunnel.server.process.logged(&["the lease is kept"]).await;
}

/// Over TCP, as behind a load balancer: while there is one lease the agent is content with one server, and looks for
/// the second once there are two.
#[tokio::test]
async fn an_agent_looks_for_as_many_servers_as_there_are_leases() {
    let api = Api::start().await;
    api.write_lease("konnectivity-proxy-server-a", LONG_FROM_NOW);
    api.write_lease("konnectivity-proxy-server-dead", LONG_AGO);
    let options = Options {
        agents: 0,
        transport: "tcp",
        agent_flags: vec![
            "--count-server-leases".to_owned(),
            "--connections=1".to_owned(),
            "--sync-interval=100ms".to_owned(),
            api.kubeconfig_flag(),
        ],
        ..Options::default()
    };
    let tunnel = Tunnel::start(options.clone()).await;
    let agent = Process::start(&agent_args(&tunnel.dir, &options, tunnel.agent_port, "node-1"));
    agent.logged(&["servers by their leases", "\"servers\":1"]).await;
    tunnel.wait_for_agents(1).await;
    let enough = "there are connections enough to this server";
    assert!(!tunnel.server.process.log().contains(enough), "it looks for a second server");
    api.write_lease("konnectivity-proxy-server-b", LONG_FROM_NOW);
    agent.logged(&["servers by their leases", "\"servers\":2"]).await;
    tunnel.server.process.logged(&[enough]).await;
}
