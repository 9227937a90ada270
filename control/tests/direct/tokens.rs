//! Agents that are known by a service account's token: with an API that reviews it, over QUIC and over TCP.

use adit_bench::client as bytes;
use adit_bench::target::Target;

use crate::support::api::{AUDIENCE, Answer, Api, NAMESPACE, SERVICE_ACCOUNT, user};
use crate::support::client::connect;
use crate::support::process::Process;
use crate::support::soon;
use crate::support::tunnel::{Options, Tunnel, agent_args};

const TOKEN: &str = "eyJ.an-agents.token";

over_each_transport!(
    the_service_accounts_token_makes_an_agent,
    every_other_token_is_refused_and_both_sides_say_why,
    a_renewed_token_is_shown_at_the_next_attempt,
);

/// A server that asks this API, and how its agents are reached.
async fn server(api: &Api, transport: &'static str) -> Tunnel {
    let server_flags = api.server_flags();
    Tunnel::start(Options { agents: 0, transport, server_flags, ..Options::default() }).await
}

/// What makes an agent show a token and no certificate.
fn token_flags(path: &std::path::Path) -> Vec<String> {
    vec![
        "--agent-cert=".to_owned(),
        "--agent-key=".to_owned(),
        format!("--service-account-token-path={}", path.display()),
    ]
}

async fn the_service_accounts_token_makes_an_agent(transport: &'static str) {
    let api = Api::start().await;
    api.says(TOKEN, user(NAMESPACE, SERVICE_ACCOUNT));
    let mut tunnel = server(&api, transport).await;
    tunnel.options.agent_flags = token_flags(&api.token_file("token", &format!("{TOKEN}\n")));
    tunnel.add_agent("node-1").await;
    let target = Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let mut stream = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    soon("echo", bytes::echo(&mut stream, 1, 100_000)).await.expect("echo");
    let asked = api.asked();
    assert!(!asked.is_empty());
    for review in asked {
        assert_eq!(
            (review["spec"]["token"].as_str(), review["spec"]["audiences"][0].as_str()),
            (Some(TOKEN), Some(AUDIENCE))
        );
    }
    for log in [tunnel.server.process.log(), tunnel.agents[0].process.log()] {
        assert!(!log.contains(TOKEN) && !log.contains("the-askers-own"), "{log}");
    }
}

async fn every_other_token_is_refused_and_both_sides_say_why(transport: &'static str) {
    let api = Api::start().await;
    api.says("of-another-account", user(NAMESPACE, "default"));
    api.says("of-another-namespace", user("default", SERVICE_ACCOUNT));
    api.says("while-the-api-fails", Answer::Status(500));
    api.says("while-the-api-is-silent", Answer::Silence);
    let tunnel = server(&api, transport).await;
    let table = [
        ("of-another-account", "the token is of system:serviceaccount:kube-system:default"),
        ("of-another-namespace", "the token is of system:serviceaccount:default:konnectivity-agent"),
        ("of-nobody", "the token was not authenticated: invalid bearer token"),
        ("while-the-api-fails", "the token could not be reviewed: somebody pulled the plug (status 500)"),
        ("while-the-api-is-silent", "did not review the token within"),
    ];
    let agents: Vec<(Process, &str)> = table
        .iter()
        .map(|(token, reason)| {
            let mut options = tunnel.options.clone();
            options.agent_flags = token_flags(&api.token_file(token, token));
            (Process::start(&agent_args(&tunnel.dir, &options, tunnel.agent_port, token)), *reason)
        })
        .collect();
    // One that the server would know elsewhere: here it shows nothing.
    let certified = Process::start(&agent_args(&tunnel.dir, &tunnel.options, tunnel.agent_port, "certified"));
    for (agent, reason) in agents.iter().chain([&(certified, "no token")]) {
        agent.logged(&["cannot connect to the server", reason]).await;
        tunnel.server.process.logged(&["agent refused", reason, "\"remedy\""]).await;
    }
    assert_eq!(tunnel.server.metrics().await.sum("adit_agents", ""), 0);
}

async fn a_renewed_token_is_shown_at_the_next_attempt(transport: &'static str) {
    let api = Api::start().await;
    api.says("new", user(NAMESPACE, SERVICE_ACCOUNT));
    let tunnel = server(&api, transport).await;
    let mut options = tunnel.options.clone();
    options.agent_flags = token_flags(&api.token_file("token", "old"));
    let agent = Process::start(&agent_args(&tunnel.dir, &options, tunnel.agent_port, "node-1"));
    agent.logged(&["cannot connect to the server", "not authenticated"]).await;
    api.token_file("token", "new");
    agent.logged(&["the agent has a new token"]).await;
    agent.logged(&["connected to the server\""]).await;
    tunnel.wait_for_agents(1).await;
}

/// An API that comes back: whoever was refused meanwhile is back by itself.
#[tokio::test]
async fn agents_are_back_when_the_api_is() {
    let api = Api::start().await;
    api.says(TOKEN, Answer::Status(500));
    let tunnel = server(&api, "auto").await;
    let mut options = tunnel.options.clone();
    options.agent_flags = token_flags(&api.token_file("token", TOKEN));
    let agent = Process::start(&agent_args(&tunnel.dir, &options, tunnel.agent_port, "node-1"));
    agent.logged(&["cannot connect to the server", "could not be reviewed"]).await;
    api.says(TOKEN, user(NAMESPACE, SERVICE_ACCOUNT));
    agent.logged(&["connected to the server\""]).await;
    tunnel.wait_for_agents(1).await;
}
