//! A server and agents, started and connected.

use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use super::metrics::Metrics;
use super::process::{Process, run};
use super::until;

/// How a tunnel is started.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Agents, called `agent-0` and so on.
    pub(crate) agents: usize,
    /// Address on which the server listens for agents, and under which they know it.
    pub(crate) server_ip: &'static str,
    /// What the agents are told as `--proxy-server-host`.
    pub(crate) server_host: &'static str,
    /// `--io`.
    pub(crate) io: &'static str,
    /// The agents' `--transport`; `auto` is what they have without it.
    pub(crate) transport: &'static str,
    /// Further flags of the server.
    pub(crate) server_flags: Vec<String>,
    /// Further flags of the agents.
    pub(crate) agent_flags: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            agents: 1,
            server_ip: "127.0.0.1",
            server_host: "127.0.0.1",
            io: "auto",
            transport: "auto",
            server_flags: Vec::new(),
            agent_flags: Vec::new(),
        }
    }
}

/// A process and where it answers.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) process: Process,
    pub(crate) health: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Member {
    /// Once it has said where it answers.
    pub(crate) async fn started(process: Process) -> Self {
        let (health, admin) = (process.address("health").await, process.address("admin").await);
        Self { process, health, admin }
    }

    /// Its metrics.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::scrape(self.admin).await
    }
}

/// Server, agents and their directory.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) server: Member,
    pub(crate) agents: Vec<Member>,
    pub(crate) agent_port: u16,
    pub(crate) options: Options,
    pub(crate) dir: TempDir,
}

impl Tunnel {
    /// Starts everything and waits until the server has every agent.
    pub(crate) async fn start(options: Options) -> Self {
        let dir = certificates().await;
        let server = Member::started(Process::start(&server_args(&dir, &options, 0))).await;
        let agent_port = server.process.address("agents").await.port();
        server.process.logged(&["listening", "frontends"]).await;
        let mut tunnel = Self { server, agents: Vec::new(), agent_port, options, dir };
        for number in 0..tunnel.options.agents {
            tunnel.add_agent(&format!("agent-{number}")).await;
        }
        tunnel
    }

    /// With these defaults and so many agents.
    pub(crate) async fn with_agents(agents: usize) -> Self {
        Self::start(Options { agents, ..Options::default() }).await
    }

    /// With one agent, whose connections are of this kind.
    pub(crate) async fn over(transport: &'static str) -> Self {
        Self::start(Options { transport, ..Options::default() }).await
    }

    /// Starts another agent and waits until the server has it.
    pub(crate) async fn add_agent(&mut self, id: &str) {
        let args = agent_args(&self.dir, &self.options, self.agent_port, id);
        let agent = Member::started(Process::start(&args)).await;
        agent.process.logged(&["connected to the server"]).await;
        self.agents.push(agent);
        let want = self.agents.len();
        self.wait_for_agents(want).await;
    }

    /// Waits until the server counts so many agents.
    pub(crate) async fn wait_for_agents(&self, count: usize) {
        until(&format!("{count} agents"), super::PATIENCE, || async {
            (self.server.metrics().await.sum("adit_agents", "") == count as u64).then_some(())
        })
        .await;
    }

    /// Starts the server again on the port that it had.
    pub(crate) async fn restart_server(&mut self) {
        let args = server_args(&self.dir, &self.options, self.agent_port);
        self.server = Member::started(Process::start(&args)).await;
        self.server.process.logged(&["listening", "frontends"]).await;
    }

    /// The server's Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("frontend.sock")
    }
}

/// A directory with a set of `adit certs`.
pub(crate) async fn certificates() -> TempDir {
    certificates_for(&[]).await
}

/// The same, for a server that has further names or addresses.
pub(crate) async fn certificates_for(hosts: &[&str]) -> TempDir {
    let dir = tempfile::Builder::new().prefix("adit-test-").tempdir().expect("a temporary directory");
    let out = dir.path().display().to_string();
    let mut args = vec!["certs", "--out", &out];
    args.extend(hosts.iter().flat_map(|host| ["--host", host]));
    let (status, _, stderr) = run(&args).await;
    assert!(status.success(), "{stderr}");
    dir
}

/// The server's flags; agent port 0 is any free one.
pub(crate) fn server_args(dir: &TempDir, options: &Options, agent_port: u16) -> Vec<String> {
    let file = |name: &str| dir.path().join(name).display().to_string();
    let mut args = vec![
        "server".to_owned(),
        "--server-id=direct".to_owned(),
        format!("--uds-name={}", file("frontend.sock")),
        format!("--cluster-cert={}", file("server.crt")),
        format!("--cluster-key={}", file("server.key")),
        format!("--cluster-ca-cert={}", file("ca.crt")),
        format!("--agent-bind-address={}", options.server_ip),
        format!("--agent-port={agent_port}"),
        "--health-bind-address=127.0.0.1".to_owned(),
        "--health-port=0".to_owned(),
        "--admin-port=0".to_owned(),
    ];
    args.extend(shared(options));
    args.extend(options.server_flags.iter().cloned());
    args
}

/// An agent's flags.
pub(crate) fn agent_args(dir: &TempDir, options: &Options, server_port: u16, id: &str) -> Vec<String> {
    let file = |name: &str| dir.path().join(name).display().to_string();
    let mut args = vec![
        "agent".to_owned(),
        format!("--agent-id={id}"),
        format!("--proxy-server-host={}", options.server_host),
        format!("--proxy-server-port={server_port}"),
        format!("--agent-cert={}", file("agent.crt")),
        format!("--agent-key={}", file("agent.key")),
        format!("--ca-cert={}", file("ca.crt")),
        "--health-server-host=127.0.0.1".to_owned(),
        "--health-server-port=0".to_owned(),
        "--admin-server-port=0".to_owned(),
    ];
    if options.transport != "auto" {
        args.push(format!("--transport={}", options.transport));
    }
    args.extend(shared(options));
    args.extend(options.agent_flags.iter().cloned());
    args
}

fn shared(options: &Options) -> [String; 4] {
    [
        format!("--io={}", options.io),
        "--log-format=json".to_owned(),
        "--log-level=debug".to_owned(),
        "--until-stdin-closes".to_owned(),
    ]
}
