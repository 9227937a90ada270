//! The demo's processes and files: made in a directory that goes away, started in order, always stopped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tempfile::TempDir;

use super::children::Process;
use super::target::Addresses;
use super::work::tls_client;
use crate::certs::{Authority, LOCAL_NAMES, Pair, Purpose, write_new};
use crate::config::cli::{DemoFlags, driver_word};

/// The agents' names. Two, so that the choice between them is real.
const AGENTS: [&str; 2] = ["agent-a", "agent-b"];
/// Throw-away certificates are valid for a day.
const VALID: Duration = Duration::from_secs(86_400);

/// Everything that must be stopped and removed at the end.
#[derive(Debug)]
pub(crate) struct Cluster {
    dir: TempDir,
    target_ca: String,
    other_ca: String,
    processes: Vec<Process>,
    agent_port: u16,
    target: Option<Addresses>,
    ports: Vec<Ports>,
}

/// Where one of adit's processes answers.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    /// `server`, `agent-a`, `agent-b`.
    pub(crate) name: String,
    /// `server` or `agent`.
    pub(crate) role: &'static str,
    /// Its process.
    pub(crate) pid: u32,
    /// Its health port.
    pub(crate) health: SocketAddr,
    /// Its admin port.
    pub(crate) admin: SocketAddr,
}

/// What the work needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The server's Unix socket.
    pub(crate) socket: PathBuf,
    /// The targets.
    pub(crate) target: Addresses,
    /// Trusts the target's CA.
    pub(crate) trusting: Arc<ClientConfig>,
    /// Trusts another CA alone.
    pub(crate) mistrusting: Arc<ClientConfig>,
    /// Server first, then the agents.
    pub(crate) ports: Vec<Ports>,
}

impl Cluster {
    /// Makes the directory and the certificates.
    ///
    /// # Errors
    /// The text to show.
    pub(crate) fn new() -> Result<Self, String> {
        let dir = tempfile::Builder::new()
            .prefix("adit-demo-")
            .tempdir()
            .map_err(|e| format!("cannot make a temporary directory: {e}"))?;
        let (target_ca, other_ca) = certificates(dir.path()).map_err(|e| e.to_string())?;
        Ok(Self {
            dir,
            target_ca,
            other_ca,
            processes: Vec::new(),
            agent_port: 0,
            target: None,
            ports: Vec::new(),
        })
    }

    /// A file of the demo's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Starts target, server and agents, and waits until both agents are connected.
    ///
    /// # Errors
    /// The text to show, with the log of the process that did not start.
    pub(crate) async fn start(&mut self, flags: &DemoFlags) -> Result<(), String> {
        let args = ["demo-target", "--cert", &self.arg("target.crt"), "--key", &self.arg("target.key")];
        let target = self.spawn("target", args.map(str::to_owned).to_vec())?;
        let line = target.output().await?;
        self.target =
            Some(serde_json::from_str(&line).map_err(|e| format!("the target said {line:?}: {e}"))?);
        self.start_server(flags).await?;
        for name in AGENTS {
            self.start_agent(name, flags)?;
        }
        for index in 0..AGENTS.len() {
            let agent = &mut self.processes[index + 2];
            agent.logged("connected to the server").await?;
            let (health, admin) = (agent.address("health").await?, agent.address("admin").await?);
            self.ports.push(Ports { name: agent.name.clone(), role: "agent", pid: agent.pid, health, admin });
        }
        self.processes[1].logged("\"agent_id\":\"agent-a\"").await?;
        self.processes[1].logged("\"agent_id\":\"agent-b\"").await
    }

    async fn start_server(&mut self, flags: &DemoFlags) -> Result<(), String> {
        let mut args: Vec<String> =
            ["server", "--server-id=demo", "--agent-bind-address=127.0.0.1", "--agent-port=0"]
                .into_iter()
                .chain(["--health-bind-address=127.0.0.1", "--health-port=0", "--admin-port=0"])
                .map(str::to_owned)
                .collect();
        args.push(format!("--uds-name={}", self.arg("frontend.sock")));
        args.push(format!("--cluster-cert={}", self.arg("server.crt")));
        args.push(format!("--cluster-key={}", self.arg("server.key")));
        args.push(format!("--cluster-ca-cert={}", self.arg("ca.crt")));
        args.extend(common(flags));
        let server = self.spawn("server", args)?;
        let agents = server.address("agents").await?;
        let (health, admin) = (server.address("health").await?, server.address("admin").await?);
        server.logged("frontends").await?;
        let pid = server.pid;
        self.agent_port = agents.port();
        self.ports.push(Ports { name: "server".to_owned(), role: "server", pid, health, admin });
        Ok(())
    }

    fn start_agent(&mut self, name: &str, flags: &DemoFlags) -> Result<(), String> {
        let mut args = vec![
            "agent".to_owned(),
            format!("--agent-id={name}"),
            "--proxy-server-host=127.0.0.1".to_owned(),
            format!("--proxy-server-port={}", self.agent_port),
            "--health-server-host=127.0.0.1".to_owned(),
            "--health-server-port=0".to_owned(),
            "--admin-server-port=0".to_owned(),
            format!("--agent-cert={}", self.arg(&format!("{name}.crt"))),
            format!("--agent-key={}", self.arg(&format!("{name}.key"))),
            format!("--ca-cert={}", self.arg("ca.crt")),
        ];
        args.extend(common(flags));
        self.spawn(name, args).map(drop)
    }

    fn spawn(&mut self, name: &str, args: Vec<String>) -> Result<&mut Process, String> {
        self.processes.push(Process::start(name, &args)?);
        Ok(self.processes.last_mut().expect("it was just added"))
    }

    /// Who is who, for a person.
    pub(crate) fn picture(&self) -> String {
        let pid = |name: &str| self.processes.iter().find(|p| p.name == name).map_or(0, |p| p.pid);
        format!(
            "\n  this process ──CONNECT, Unix socket──▶ server {} ◀══QUIC, mutual TLS══ agents {}, {} \
             ──TCP──▶ target {}\n",
            pid("server"),
            pid("agent-a"),
            pid("agent-b"),
            pid("target")
        )
    }

    /// What the work needs.
    ///
    /// # Errors
    /// The text to show.
    pub(crate) fn places(&self) -> Result<Places, String> {
        Ok(Places {
            socket: self.path("frontend.sock"),
            target: self.target.ok_or("the target is not running")?,
            trusting: tls_client(&self.target_ca)?,
            mistrusting: tls_client(&self.other_ca)?,
            ports: self.ports.clone(),
        })
    }

    /// Resolves when a process ends, which none should.
    pub(crate) async fn any_ended(&mut self) -> String {
        let mut watches: Vec<_> =
            self.processes.iter_mut().map(|process| Box::pin(process.ended())).collect();
        std::future::poll_fn(|context| {
            watches
                .iter_mut()
                .map(|watch| watch.as_mut().poll(context))
                .find(std::task::Poll::is_ready)
                .unwrap_or(std::task::Poll::Pending)
        })
        .await
    }

    /// Stops everything, agents first, so that nobody logs the loss of another.
    pub(crate) async fn stop(mut self) {
        while let Some(process) = self.processes.pop() {
            process.stop().await;
        }
    }
}

/// Flags that server and agents share.
fn common(flags: &DemoFlags) -> Vec<String> {
    let mut args = vec![
        format!("--io={}", driver_word(flags.io.io)),
        "--log-format=json".to_owned(),
        "--until-stdin-closes".to_owned(),
    ];
    args.extend(flags.io.mtu_max.map(|bytes| format!("--mtu-max={bytes}")));
    args
}

/// Three CAs: the cluster's, the target's, and one that nothing was signed with; PEM of the latter two.
fn certificates(dir: &Path) -> Result<(String, String), crate::certs::CertsError> {
    let write = |name: &str, pair: &Pair| {
        write_new(&dir.join(format!("{name}.crt")), &pair.certificate, 0o644)?;
        write_new(&dir.join(format!("{name}.key")), &pair.key, 0o600)
    };
    let cluster = Authority::new("adit demo cluster CA", VALID)?;
    write_new(&dir.join("ca.crt"), &cluster.pair.certificate, 0o644)?;
    write("server", &cluster.sign("adit-server", Purpose::Server, &LOCAL_NAMES)?)?;
    for name in AGENTS {
        write(name, &cluster.sign(name, Purpose::Client, &[])?)?;
    }
    let target = Authority::new("adit demo target CA", VALID)?;
    write("target", &target.sign("adit-target", Purpose::Server, &LOCAL_NAMES)?)?;
    write_new(&dir.join("target-ca.crt"), &target.pair.certificate, 0o644)?;
    let other = Authority::new("adit demo other CA", VALID)?;
    Ok((target.pair.certificate, other.pair.certificate))
}
