//! A server and agents, each in a namespace of its own, and the wires between them.
//!
//! ```text
//!   server 10.77.0.1 ──w0── 10.77.0.2 agent 0
//!          10.77.1.1 ──w1── 10.77.1.2 agent 1
//!
//!   server 10.78.0.1 ──out── 10.78.0.2 nat 10.79.0.1 ──in── 10.79.0.2 agent
//! ```
//!
//! Every agent's namespace has a target on the same loopback address, so that any agent may serve a dial.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit_bench::target::{Stats, Target};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::netns::Netns;
use crate::tunnels::metrics::{Metrics, get_over};
use crate::tunnels::process::Process;
use crate::tunnels::tunnel::{Options, agent_args, certificates_for, server_args};
use crate::tunnels::{PATIENCE, soon, until};

/// The server's address, for agents and in its certificate.
pub(crate) const SERVER: &str = "10.77.0.1";
/// The server's port for agents, of UDP and TCP: it is alone in its namespace.
pub(crate) const PORT: u16 = 8091;
/// Where the target of every agent's namespace listens.
pub(crate) const TARGET: &str = "127.0.0.1:7000";

/// What a test is run with: everything is, on each driver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// `--io`.
    pub(crate) io: &'static str,
    /// `--shards` of the server.
    pub(crate) shards: u32,
}

/// A process in a namespace, and where it answers in there.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) process: Process,
    admin: SocketAddr,
}

impl Node {
    async fn start(net: &Netns, args: &[String]) -> Self {
        Self::started(Process::start_under(&net.prefix(), args)).await
    }

    async fn started(process: Process) -> Self {
        let admin = process.address("admin").await;
        Self { process, admin }
    }

    /// Kills it as the kernel would when memory is short.
    pub(crate) async fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.ended(PATIENCE).await;
    }
}

/// Everything. Processes end before their namespaces do: fields are dropped in this order.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: Node,
    pub(crate) agents: Vec<Node>,
    targets: Vec<Target>,
    options: Options,
    /// Variables of the agents' environment, as `NAME=value`.
    pub(crate) agent_environment: Vec<String>,
    dir: TempDir,
    pub(crate) server_net: Netns,
    pub(crate) agent_nets: Vec<Netns>,
    /// Between the server and its only agent, where there is one.
    pub(crate) nat: Option<Netns>,
}

impl World {
    /// A server with so many agents, each on a wire of its own.
    pub(crate) async fn start(case: Case, agents: usize) -> Self {
        let mut world = Self::start_server(case, agents).await;
        world.start_agents().await;
        world
    }

    /// The same, with agents that stay on QUIC whatever becomes of it: for what is said of QUIC alone.
    pub(crate) async fn start_over_quic(case: Case, agents: usize) -> Self {
        let mut world = Self::start_server(case, agents).await;
        world.start_agents_with(&["--transport=quic"]).await;
        world
    }

    /// The same, without the agents: their namespaces are there, and nothing runs in them but targets.
    pub(crate) async fn start_server(case: Case, agents: usize) -> Self {
        let server_net = Netns::new("server");
        let agent_nets: Vec<Netns> = (0..agents).map(|_| Netns::new("agent")).collect();
        for (index, agent) in agent_nets.iter().enumerate() {
            let (here, there) = (format!("10.77.{index}.1/24"), format!("10.77.{index}.2/24"));
            server_net.wire(agent, &format!("w{index}"), &here, &there);
            if index > 0 {
                agent.ip(&["route", "add", SERVER, "via", &format!("10.77.{index}.1")]);
            }
        }
        Self::populate(case, server_net, agent_nets, None).await
    }

    /// A server and an agent behind an address translation.
    pub(crate) async fn start_behind_nat(case: Case) -> Self {
        let (server_net, nat, agent) = (Netns::new("server"), Netns::new("nat"), Netns::new("agent"));
        server_net.wire(&nat, "out", "10.78.0.1/24", "10.78.0.2/24");
        server_net.ip(&["addr", "add", &format!("{SERVER}/32"), "dev", "out"]);
        nat.wire(&agent, "in", "10.79.0.1/24", "10.79.0.2/24");
        nat.ip(&["route", "add", SERVER, "via", "10.78.0.1"]);
        agent.ip(&["route", "add", "default", "via", "10.79.0.1"]);
        let forward = nat.try_run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"], "");
        forward.unwrap_or_else(|error| panic!("{error}"));
        translate(&nat, "2000-2999");
        let mut world = Self::populate(case, server_net, vec![agent], Some(nat)).await;
        world.start_agents().await;
        world
    }

    async fn populate(case: Case, server_net: Netns, agent_nets: Vec<Netns>, nat: Option<Netns>) -> Self {
        let mut options =
            Options { agents: 0, server_ip: SERVER, server_host: SERVER, io: case.io, ..Options::default() };
        options.server_flags.push(format!("--shards={}", case.shards));
        let dir = certificates_for(&[SERVER]).await;
        let mut targets = Vec::new();
        for net in &agent_nets {
            let listener =
                net.within(|| std::net::TcpListener::bind(TARGET)).expect("a new namespace's port");
            targets.push(Target::serve(listener).expect("a listener"));
        }
        let server = Node::start(&server_net, &server_args(&dir, &options, PORT)).await;
        server.process.logged(&["listening", "frontends"]).await;
        Self {
            server,
            agents: Vec::new(),
            targets,
            options,
            agent_environment: Vec::new(),
            dir,
            server_net,
            agent_nets,
            nat,
        }
    }

    /// Starts the agents with further flags.
    pub(crate) async fn start_agents_with(&mut self, flags: &[&str]) {
        self.further_flags(flags);
        self.start_agents().await;
    }

    /// Flags of agents that are started from now on.
    pub(crate) fn further_flags(&mut self, flags: &[&str]) {
        self.options.agent_flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    }

    async fn start_agents(&mut self) {
        for index in 0..self.agent_nets.len() {
            let agent = self.start_agent(index).await;
            self.agents.push(agent);
            self.agents[index].process.logged(&["connected to the server"]).await;
        }
        self.wait_for_agents(self.agents.len()).await;
    }

    /// Starts the agent of a namespace.
    pub(crate) async fn start_agent(&self, index: usize) -> Node {
        Node::started(self.spawn_agent(index, &format!("agent-{index}"))).await
    }

    /// Starts an agent in a namespace and does not wait for it to say anything.
    pub(crate) fn spawn_agent(&self, index: usize, id: &str) -> Process {
        let args = agent_args(&self.dir, &self.options, PORT, id);
        let mut prefix = self.agent_nets[index].prefix();
        prefix.push("env".to_owned());
        prefix.extend(self.agent_environment.iter().cloned());
        Process::start_under(&prefix, &args)
    }

    /// Starts the server again.
    pub(crate) async fn restart_server(&mut self) {
        self.server = Node::start(&self.server_net, &server_args(&self.dir, &self.options, PORT)).await;
        self.server.process.logged(&["listening", "frontends"]).await;
    }

    /// The server's Unix socket: files are not part of a network namespace.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("frontend.sock")
    }

    /// Where the test's certificates are.
    pub(crate) fn certificates(&self) -> &Path {
        self.dir.path()
    }

    /// The server's metrics.
    pub(crate) async fn server_metrics(&self) -> Metrics {
        Metrics::parse(&ask(&self.server_net, self.server.admin, "/metrics").await)
    }

    /// An agent's metrics.
    pub(crate) async fn agent_metrics(&self, index: usize) -> Metrics {
        Metrics::parse(&ask(&self.agent_nets[index], self.agents[index].admin, "/metrics").await)
    }

    /// Waits until the server counts so many agents.
    pub(crate) async fn wait_for_agents(&self, count: usize) {
        self.wait_for_agents_within(count, PATIENCE).await;
    }

    /// The same, with a limit that is part of a promise.
    pub(crate) async fn wait_for_agents_within(&self, count: usize, limit: Duration) {
        until(&format!("{count} agents"), limit, || async {
            (self.server_metrics().await.sum("adit_agents", "") == count as u64).then_some(())
        })
        .await;
    }

    /// What the targets of all namespaces have seen together.
    pub(crate) fn targets(&self) -> Stats {
        self.targets.iter().map(Target::stats).fold(Stats::default(), |sum, one| Stats {
            accepted: sum.accepted + one.accepted,
            open: sum.open + one.open,
            checked_bytes: sum.checked_bytes + one.checked_bytes,
            wrong: sum.wrong + one.wrong,
        })
    }

    /// Waits until nobody has sent a datagram for a tenth of a second.
    pub(crate) async fn no_datagram_under_way(&self) {
        let sent = || async {
            let label = "op=\"send_datagrams";
            let mut sent = self.server_metrics().await.sum("adit_io_operations_total", label);
            for index in 0..self.agents.len() {
                sent += self.agent_metrics(index).await.sum("adit_io_operations_total", label);
            }
            sent
        };
        until("nobody to send anything", PATIENCE, || async {
            let before = sent().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            (before == sent().await).then_some(())
        })
        .await;
    }

    /// Waits until neither end has a tunnel left.
    pub(crate) async fn settle(&self) {
        until("no tunnel to be left", PATIENCE, || async {
            let mut open = self.server_metrics().await.sum("adit_tunnels_open", "");
            for index in 0..self.agents.len() {
                open += self.agent_metrics(index).await.sum("adit_tunnels_open", "");
            }
            (open == 0 && self.targets().open == 0).then_some(())
        })
        .await;
    }
}

/// Translates what leaves towards the server to one of these ports, and forgets what was translated before.
pub(crate) fn translate(nat: &Netns, ports: &str) {
    nat.nft(&format!(
        "flush ruleset\ntable inet adit {{\nchain outgoing {{\ntype nat hook postrouting priority 100;\n\
         oifname \"out\" udp dport {PORT} masquerade to :{ports}\n}}\n}}\n"
    ));
    nat.try_run("conntrack", &["-F"], "").unwrap_or_else(|error| panic!("{error}"));
}

async fn ask(net: &Netns, address: SocketAddr, path: &str) -> (u16, String) {
    let socket = net.within(TcpSocket::new_v4).expect("a socket");
    let stream = soon("a connection", socket.connect(address)).await.expect("it listens");
    get_over(stream, path).await
}
