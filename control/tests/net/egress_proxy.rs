//! Agents whose only way out is an HTTP proxy. In namespaces, because what is on loopback is never asked of a proxy.

use std::net::SocketAddr;

use crate::support::flows::Flows;
use crate::support::proxy::{Proxy, Rule};
use crate::support::world::{Case, PORT, SERVER, TARGET, World};

/// The proxy is on the server's host: what comes from its own addresses comes through it.
const PROXY: &str = "10.77.0.1:3128";
/// Where further ones are, one after the other: what the one before has left does not stand in the way.
const FURTHER: [&str; 3] = ["10.77.0.1:3129", "10.77.0.1:3130", "10.77.0.1:3131"];
/// A name and a password, in words and as RFC 7617 has them.
const PASSWORD: &str = "open-sesame";
const CREDENTIALS: &str = "Basic YWxhZGRpbjpvcGVuLXNlc2FtZQ==";

fn proxy(world: &World, rule: Rule) -> Proxy {
    proxy_at(world, PROXY, rule)
}

fn proxy_at(world: &World, at: &str, rule: Rule) -> Proxy {
    Proxy::start(&world.server_net, at.parse::<SocketAddr>().expect("an address"), rule)
}

/// Lets the agent reach nothing of the server but the proxy.
fn block_all_but_the_proxy(world: &World) {
    world.server_net.nft(&format!(
        "flush ruleset\ntable inet adit {{\nchain incoming {{\ntype filter hook input priority 0;\n\
         iifname \"w0\" udp dport {PORT} drop\niifname \"w0\" tcp dport {PORT} drop\n}}\n}}\n"
    ));
}

/// A server, and an agent's environment; no agent yet.
async fn world(case: Case, environment: &[&str]) -> World {
    let mut world = World::start_server(case, 1).await;
    world.agent_environment = environment.iter().map(|&variable| variable.to_owned()).collect();
    world
}

/// Neither the password nor what stands for it is in a log.
fn assert_kept_secret(log: &str) {
    let encoded = CREDENTIALS.strip_prefix("Basic ").expect("it begins so");
    assert!(!log.contains(PASSWORD) && !log.contains(encoded), "{log}");
}

/// The proxy is the only way: everything goes through it, and it is told who asks.
pub(crate) async fn an_agent_goes_through_the_proxy(case: Case) {
    let mut world = world(case, &["HTTPS_PROXY=http://aladdin:open-sesame@10.77.0.1:3128"]).await;
    let proxy = proxy(&world, Rule::Credentials(CREDENTIALS));
    block_all_but_the_proxy(&world);
    world.start_agents_with(&[]).await;
    let mut flows = Flows::start(&world.socket(), TARGET, 1).await;
    flows.go_on("the start through a proxy").await;
    flows.finish().await;
    world.settle().await;
    let (asked, made) = proxy.counts();
    assert!(made >= 1 && asked == made, "{made} tunnels of {asked} requests");
    let connected = world.server.process.logged(&["agent connected"]).await;
    assert!(connected.contains(&format!("\"remote\":\"{SERVER}:")), "not through the proxy: {connected}");
    let log = world.agents[0].process.log();
    assert!(log.contains("\"egress_proxy\":\"10.77.0.1:3128\""), "{log}");
    assert_kept_secret(&log);
    assert_kept_secret(&world.server.process.log());
}

/// What the proxy refuses is told, with what to do about it, and without what was wrong.
pub(crate) async fn a_proxy_that_refuses_is_told_of(case: Case) {
    let (plain, named) = ("http://", "http://aladdin:open-sesame@");
    let wants = "the proxy wants a name and a password (407";
    let refusals = [
        (Rule::Credentials(CREDENTIALS), plain, wants, "write them in HTTPS_PROXY"),
        (Rule::Credentials("Basic other"), named, wants, "write them in HTTPS_PROXY"),
        (Rule::Closed, plain, "the proxy makes no tunnel (403", "let it CONNECT to the server"),
    ];
    let mut world = world(case, &[]).await;
    for ((rule, variable, reason, remedy), at) in refusals.into_iter().zip(FURTHER) {
        let proxy = proxy_at(&world, at, rule);
        world.agent_environment = vec![format!("HTTPS_PROXY={variable}{at}")];
        world.further_flags(&["--transport=tcp"]);
        let agent = world.spawn_agent(0, "agent");
        agent.logged(&["cannot connect to the server", reason, remedy]).await;
        assert_kept_secret(&agent.log());
        assert_eq!(proxy.counts().1, 0);
    }
    assert_eq!(world.server_metrics().await.sum("adit_agents", ""), 0);
}

/// A server that `NO_PROXY` names is reached without the proxy.
pub(crate) async fn no_proxy_goes_around_the_proxy(case: Case) {
    for exception in [SERVER, "10.77.0.0/16"] {
        let no_proxy = format!("NO_PROXY=example.com,{exception}");
        let mut world = world(case, &["HTTPS_PROXY=http://10.77.0.1:3128", &no_proxy]).await;
        let proxy = proxy(&world, Rule::Open);
        world.start_agents_with(&["--transport=tcp"]).await;
        Flows::start(&world.socket(), TARGET, 1).await.finish().await;
        world.settle().await;
        assert_eq!(proxy.counts(), (0, 0), "{exception}");
    }
}
