//! `adit server`: opens what it listens on, starts the shards, and decides about agents.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dataplane::config::{Role, ServerRole};
use adit_dataplane::port::{
    Command, ConnectionKey, DialOutcome, Event, ListenerKind, PeerTransport, ShardId, Token, Verdict,
};
use adit_dataplane::quic::{ClusterKeys, QuicConfig, tls};
use adit_dataplane::route::Strategy;
use adit_dataplane::stream::tls::ClientName;
use adit_dataplane::wire::{Hello, Welcome};
use adit_io::net::OwnedSocket;

use crate::admin::{Readiness, http};
use crate::agent_port::{self, AgentPort};
use crate::agents::registry::Registry;
use crate::agents::remedy::{Side, remedy};
use crate::config::cli::driver_word;
use crate::config::values::protocol_names;
use crate::config::{AgentAuth, ServerConfig, TcpFrontends};
use crate::kubernetes::keep::Kept;
use crate::kubernetes::reviews::Reviews;
use crate::logging::Restraint;
use crate::metrics::{Dials, outcome_word};
use crate::shards::ShardPlan;
use crate::shutdown::Signals;
use crate::supervise::{Figures, Part, Post, Supervisor, listening};
use crate::unix::{self, SocketFile};
use crate::{frontends, kubernetes, random, tcp, udp};

/// What the server's user in the kubeconfig must be allowed, for each thing that it asks.
const TOKENS_NEED: &str = "create tokenreviews (ClusterRole system:auth-delegator)";
const LEASES_NEED: &str = "get, create, update, list and delete leases";
/// Agents whose tokens are under review; who comes above them is refused, and comes again.
const UNDER_REVIEW_MAX: usize = 4096;

/// Runs until a signal.
///
/// # Errors
/// The text to show.
pub(crate) async fn run(config: ServerConfig) -> Result<(), String> {
    let signals = Signals::listen().map_err(|e| format!("cannot listen for signals: {e}"))?;
    log_configuration(&config);
    let welcome = Welcome {
        server_id: config.server_id.clone(),
        instance_id: random::bytes::<16>().to_vec(),
        server_count: config.server_count,
        shards: u32::from(config.common.shards),
        features: 0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut part = ServerPart {
        registry: Registry::default(),
        reviews: None,
        under_review: HashMap::new(),
        strategies: config.strategies.clone(),
        dials: Dials::default(),
        welcome,
        handshakes_failed: 0,
        refusals: Restraint::new(10),
        rejections: Restraint::new(10),
        failures: Restraint::new(100),
        broken_frontends: Restraint::new(10),
        file: None,
        serves_tcp: false,
    };
    let mut supervisor =
        Supervisor::new(("--health-port", &config.health), ("--admin-port", &config.admin), part.readiness())
            .await?;
    let lease = ask_kubernetes(&config, &supervisor, &mut part).await?;
    let AgentPort { udp, tcp, address } = agent_port::bind(&config.agent, config.common.shards).await?;
    listening("agents", address);
    for plan in plans(&config, udp, address)? {
        supervisor.start_shard(plan).await?;
    }
    supervisor.connect_shards();
    for (shard, socket) in (0..).map(ShardId).zip(tcp) {
        supervisor.post(Post::To(shard, Command::AgentTls(Arc::clone(&config.agents_tls))));
        supervisor.post(Post::To(shard, Command::Listen { socket, kind: ListenerKind::TlsAgents }));
    }
    open_frontends(&config, &mut supervisor, &mut part).await?;
    let result =
        supervisor.run(&mut part, signals, config.common.until_stdin_closes, config.drain_time).await;
    part.drain();
    if let Some(lease) = lease {
        lease.end().await;
    }
    result
}

/// Prepares what the Kubernetes API is asked for, and begins to keep the server's lease.
async fn ask_kubernetes(
    config: &ServerConfig,
    supervisor: &Supervisor,
    part: &mut ServerPart,
) -> Result<Option<Kept>, String> {
    let expected = match &config.agent_auth {
        AgentAuth::Tokens(expected) => Some(expected.clone()),
        AgentAuth::Certificates(_) => None,
    };
    let needs = match (&expected, &config.lease) {
        (None, None) => return Ok(None),
        (Some(_), None) => TOKENS_NEED.to_owned(),
        (None, Some(_)) => LEASES_NEED.to_owned(),
        (Some(_), Some(_)) => format!("{TOKENS_NEED}, and {LEASES_NEED}"),
    };
    let client = kubernetes::client(config.kubeconfig.as_deref(), &needs).await?;
    part.reviews = expected.map(|expected| Reviews::new(client.clone(), expected, supervisor.findings()));
    Ok(config.lease.clone().map(|own| Kept::begin(client, own)))
}

/// Opens what frontends connect to, and hands it to the shards.
async fn open_frontends(
    config: &ServerConfig,
    supervisor: &mut Supervisor,
    part: &mut ServerPart,
) -> Result<(), String> {
    let ServerConfig { frontends, common, .. } = config;
    if let Some(path) = &frontends.uds_path {
        let (listener, file) = unix::listen(path, frontends.delete_existing_uds_file)?;
        part.file = Some(file);
        supervisor.post(Post::To(
            ShardId(0),
            Command::Listen { socket: OwnedSocket::from(listener), kind: ListenerKind::UnixFrontends },
        ));
        tracing::info!(what = "frontends", path = %path.display(), "listening");
    }
    if let Some(TcpFrontends { bind, tls }) = &frontends.tcp {
        let (sockets, address) = tcp::bind_frontends(bind, common.shards).await?;
        for (shard, socket) in (0..).map(ShardId).zip(sockets) {
            supervisor.post(Post::To(shard, Command::FrontendTls(Arc::clone(tls))));
            supervisor.post(Post::To(shard, Command::Listen { socket, kind: ListenerKind::TlsFrontends }));
        }
        listening("frontends over TCP", address);
        part.serves_tcp = true;
    }
    Ok(())
}

/// Every shard's parts, one for each socket.
fn plans(
    config: &ServerConfig,
    sockets: Vec<OwnedSocket>,
    address: SocketAddr,
) -> Result<Vec<ShardPlan>, String> {
    let tls = tls::server_config(
        config.identity.chain.clone(),
        config.identity.key.clone_key(),
        config.agent_auth.roots().map(|roots| (**roots).clone()),
    )
    .map_err(|error| format!("--cluster-cert, --cluster-key: {error}"))?;
    // Keys must be the same after a restart, so that a restarted server's resets are believed.
    let name = if config.server_id_given {
        config.server_id.clone()
    } else {
        format!("{}:{}", host_name().unwrap_or_default(), address.port())
    };
    let mtu = udp::server_mtu(address.ip(), config.common.mtu_max_bytes);
    tracing::info!(bytes = mtu, "largest UDP payload");
    let shards = config.common.shards;
    let plan = |(shard, udp)| ShardPlan {
        id: ShardId(shard),
        shards,
        pinned: config.common.pinned,
        role: Role::Server(ServerRole {
            strategies: config.strategies.clone(),
            answer_time: config.answer_time,
            retire_after: config.retire_after,
            keep_alive: config.keep_alive,
            frontend_keep_alive: config.frontend_keep_alive,
            frontend_protocols: config.frontends.protocols,
        }),
        quic: QuicConfig {
            shard,
            shards,
            generation: 0,
            seed: random::bytes(),
            keys: ClusterKeys::derive(config.identity.key.secret_der(), &name),
            server: Some(Arc::clone(&tls)),
            client: None,
            mtu_max_bytes: mtu,
            gso_segments_max: 1,
            time_source: None,
        },
        udp,
        io: config.common.io,
    };
    Ok((0..shards).zip(sockets).map(plan).collect())
}

/// This machine's name, as uname(2) has it.
fn host_name() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
}

/// What is in effect, without secrets.
fn log_configuration(config: &ServerConfig) {
    let ServerConfig { common, .. } = config;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        server_id = config.server_id,
        server_count = config.server_count,
        uds_name = config.frontends.uds_path.as_ref().map(|path| path.display().to_string()),
        frontends_over_tcp = config.frontends.tcp.as_ref().map(|tcp| tcp.bind.to_string()),
        http_connect = config.frontends.protocols.http_connect,
        grpc = config.frontends.protocols.grpc,
        agent = %config.agent,
        agent_tcp_protocols = protocol_names(&config.agents_tls.alpn_protocols),
        health = %config.health,
        admin = %config.admin,
        strategies = config.strategies.iter().map(|strategy| strategy.name()).collect::<Vec<_>>().join(","),
        answer_time = ?config.answer_time,
        drain_time = ?config.drain_time,
        io = driver_word(common.io),
        shards = common.shards,
        pinned = common.pinned,
        mtu_max = common.mtu_max_bytes,
        agent_cas = config.agent_auth.roots().map(|roots| roots.len()),
        agent_tokens_of = config.agent_auth.service_account(),
        lease = config.lease.as_ref().map(|own| format!("{}/{}", own.namespace, own.name())),
        "adit server"
    );
    if !common.without_effect.is_empty() {
        tracing::warn!(flags = common.without_effect.join(" "), "flags that are accepted and have no effect");
    }
}

/// An agent that has said who it is.
#[derive(Debug)]
struct Presented {
    shard: ShardId,
    hello: Box<Hello>,
    remote: SocketAddr,
    transport: PeerTransport,
}

/// The server's part of the control loop.
struct ServerPart {
    registry: Registry,
    /// Where agents are known by tokens.
    reviews: Option<Reviews>,
    /// Agents whose tokens are under review. Keys are ours, not a peer's.
    under_review: HashMap<ConnectionKey, Presented>,
    /// `--proxy-strategies`.
    strategies: Vec<Strategy>,
    dials: Dials,
    welcome: Welcome,
    /// Connections that ended, or never began, before anybody said Hello.
    handshakes_failed: u64,
    /// Agents that were refused.
    refusals: Restraint,
    rejections: Restraint,
    /// Dials that failed.
    failures: Restraint,
    /// Frontends over TCP whose TLS failed.
    broken_frontends: Restraint,
    /// The frontend's socket file, while it is there.
    file: Option<SocketFile>,
    /// Whether frontends are accepted over TCP.
    serves_tcp: bool,
}

impl Part for ServerPart {
    fn event(&mut self, shard: ShardId, event: Event, posts: &mut Vec<Post>) {
        match event {
            Event::AgentPresented { connection, hello, certificates, remote, transport } => {
                let presented = Presented { shard, hello, remote, transport };
                self.presented(connection, presented, !certificates.is_empty(), posts);
            }
            Event::AgentGone { connection, reason } => self.gone(connection, &reason, posts),
            Event::AgentRejected { remote, reason } => self.rejected(remote, &reason),
            Event::FrontendFailed { remote, client, reason } => {
                self.frontend_failed(remote, client.as_deref(), &reason);
            }
            Event::DialFinished { outcome, duration, target, frontend, error, .. } => {
                self.dials.record(outcome, duration);
                self.log_dial(outcome, duration, &target, frontend.as_deref(), &error);
            }
            other => tracing::warn!(event = ?other, "a server's shard says what only an agent's says"),
        }
    }

    fn reviewed(&mut self, connection: ConnectionKey, result: Result<(), String>, posts: &mut Vec<Post>) {
        // It may be gone meanwhile.
        if let Some(presented) = self.under_review.remove(&connection) {
            self.decide(connection, &presented, result, posts);
        }
    }

    fn readiness(&self) -> Readiness {
        let agents = agents_missing(&self.registry, &self.strategies).map_or(Ok(()), Err);
        let listens = self.file.is_some() || self.serves_tcp;
        let listening = if listens { Ok(()) } else { Err("not listening".to_owned()) };
        Readiness {
            checks: vec![("ping", Ok(())), ("listening", listening), ("agents", agents)],
            status_not_ready: 500,
            verbose_failure: false,
        }
    }

    fn figures(&self) -> Figures<'_> {
        Figures {
            role: "server",
            dials: Some(&self.dials),
            peers: self.registry.agents(),
            connections: self.registry.connections(),
            refused: self.registry.refused() + self.handshakes_failed,
        }
    }

    fn drain(&mut self) {
        self.serves_tcp = false;
        if let Some(file) = self.file.take() {
            file.remove();
        }
    }
}

/// What agents lack for the server to be ready. As upstream, the first strategy alone decides: what comes behind it
/// is for destinations that nobody stands for, not a substitute for agents that were to say what they stand for.
fn agents_missing(registry: &Registry, strategies: &[Strategy]) -> Option<String> {
    let first = *strategies.first()?;
    let agents = registry.agents();
    if agents == 0 {
        return Some("no connection to any proxy agent".to_owned());
    }
    if registry.serves(first) {
        return None;
    }
    let identifier = match first {
        Strategy::DestHost => "ipv4=, ipv6= or host=",
        Strategy::DefaultRoute => "default-route=true",
        Strategy::Default => return None,
    };
    Some(format!(
        "agents are connected ({agents}), but none has {identifier} among its --agent-identifiers, which the first of \
         --proxy-strategies, {first}, goes by"
    ))
}

impl ServerPart {
    /// An agent's certificate was verified in the handshake; a token is yet to be.
    fn presented(
        &mut self,
        connection: ConnectionKey,
        mut presented: Presented,
        has_certificate: bool,
        posts: &mut Vec<Post>,
    ) {
        let token = std::mem::take(&mut presented.hello.token);
        let known = match &self.reviews {
            None if has_certificate => Ok(()),
            None => Err("no client certificate: start the agent with --agent-cert and --agent-key"),
            Some(_) if token.is_empty() => Err("no token: start the agent with --service-account-token-path"),
            Some(_) if self.under_review.len() >= UNDER_REVIEW_MAX => {
                Err("too many agents' tokens are under review: try again")
            }
            Some(reviews) => {
                reviews.begin(connection, Token(token));
                self.under_review.insert(connection, presented);
                return;
            }
        };
        self.decide(connection, &presented, known.map_err(str::to_owned), posts);
    }

    /// Takes or refuses an agent, of whom is known whether it is one.
    fn decide(
        &mut self,
        connection: ConnectionKey,
        presented: &Presented,
        authentication: Result<(), String>,
        posts: &mut Vec<Post>,
    ) {
        let Presented { shard, hello, remote, transport } = presented;
        let (now, welcome) = (Instant::now(), &self.welcome);
        let verdict = self.registry.present(connection, hello, authentication, *remote, now, welcome);
        self.log_verdict(&verdict, hello, *remote, *transport);
        if matches!(verdict, Verdict::Accept(_)) {
            // Before the verdict: an agent that believes it is connected can be chosen.
            posts.push(Post::Routes(self.registry.routes()));
        }
        posts.push(Post::To(*shard, Command::Verdict { connection, verdict }));
    }

    fn log_verdict(
        &mut self,
        verdict: &Verdict,
        hello: &Hello,
        remote: SocketAddr,
        transport: PeerTransport,
    ) {
        let (agent_id, version) = (hello.agent_id.as_str(), hello.version.as_str());
        let transport = transport.word();
        match verdict {
            Verdict::Accept(_) if self.registry.connections_of(agent_id) == 1 => {
                let identifiers = &hello.identifiers;
                tracing::info!(agent_id, %remote, transport, version, identifiers, "agent connected");
            }
            Verdict::Accept(_) => {
                let connections = self.registry.connections_of(agent_id);
                tracing::debug!(agent_id, %remote, transport, connections, "agent's further connection");
            }
            Verdict::Refuse(reason) => {
                // Anybody may present a token, as often as they like: the log tells of a few.
                let Some(untold) = self.refusals.admit(Instant::now()) else { return };
                let remedy = remedy(Side::Server, reason);
                tracing::warn!(agent_id, %remote, transport, version, reason, remedy, untold, "agent refused");
            }
        }
    }

    fn log_dial(
        &mut self,
        outcome: DialOutcome,
        duration: Duration,
        target: &str,
        frontend: Option<&ClientName>,
        error: &str,
    ) {
        let frontend = frontend.map(ClientName::to_string);
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let word = outcome_word(outcome);
        if matches!(outcome, DialOutcome::Established | DialOutcome::FrontendClose) {
            tracing::debug!(target, frontend, outcome = word, ms, "dial");
        } else if let Some(untold) = self.failures.admit(Instant::now()) {
            tracing::info!(target, frontend, outcome = word, ms, error, untold, "dial failed");
        }
    }

    /// As with agents: the log tells of a few.
    fn frontend_failed(&mut self, remote: Option<SocketAddr>, client: Option<&ClientName>, reason: &str) {
        let Some(untold) = self.broken_frontends.admit(Instant::now()) else { return };
        let remote = remote.map(|address| http::canonical(address).to_string());
        let remedy = frontends::remedy(reason);
        match client.map(ClientName::to_string) {
            None => {
                tracing::warn!(remote, reason, remedy, untold, "a frontend could not be authenticated");
            }
            Some(client) => {
                tracing::info!(remote, client, reason, remedy, untold, "a frontend's TLS connection broke");
            }
        }
    }

    /// Anybody can make a handshake fail, as often as they like: the log tells of a few.
    fn rejected(&mut self, remote: Option<SocketAddr>, reason: &str) {
        self.handshakes_failed += 1;
        let Some(untold) = self.rejections.admit(Instant::now()) else { return };
        let remote = remote.map(|address| address.to_string());
        let remedy = remedy(Side::Server, reason);
        tracing::warn!(remote, reason, remedy, untold, "an agent could not connect");
    }

    fn gone(&mut self, connection: ConnectionKey, reason: &str, posts: &mut Vec<Post>) {
        let remedy = remedy(Side::Server, reason);
        self.under_review.remove(&connection);
        let Some(gone) = self.registry.gone(connection, Instant::now()) else {
            // A refused one was logged when it was refused.
            tracing::debug!(reason, remedy, "an agent's connection ended before it was accepted");
            return;
        };
        posts.push(Post::Routes(self.registry.routes()));
        let (agent_id, remote, lasted) = (&*gone.agent_id, gone.remote, gone.lasted);
        if gone.left == 0 {
            tracing::info!(agent_id, %remote, ?lasted, reason, remedy, "agent gone");
        } else {
            tracing::debug!(agent_id, %remote, ?lasted, reason, left = gone.left, "agent's connection gone");
        }
    }
}
