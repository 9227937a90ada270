//! `adit agent`: finds the server, starts the shard that keeps connections to it, and resolves the names it dials.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use adit_dataplane::carrier::egress_proxy::{EgressProxy, connect_request};
use adit_dataplane::config::{AgentRole, Role};
use adit_dataplane::port::{Command, ConnectionKey, Event, ResolveKey, ServerTarget, ShardId, TcpRoute};
use adit_dataplane::quic::{ClusterKeys, QuicConfig, tls};
use adit_dataplane::wire::Hello;
use tokio::sync::{Notify, mpsc};

use crate::admin::Readiness;
use crate::agents::remedy::{Side, remedy};
use crate::config::AgentConfig;
use crate::config::cli::{Transport, driver_word};
use crate::config::token_file::TokenFile;
use crate::config::values::protocol_names;
use crate::kubernetes::count::keep_counting;
use crate::resolve::Resolver;
use crate::shards::ShardPlan;
use crate::shutdown::Signals;
use crate::supervise::{Figures, Finding, Part, Post, Supervisor};
use crate::{kubernetes, random, udp};

/// Between two looks at the token's file. Upstream's agent reads it at each attempt to connect.
const TOKEN_READ_INTERVAL: Duration = Duration::from_secs(5);

/// Runs until a signal.
///
/// # Errors
/// The text to show.
pub(crate) async fn run(config: AgentConfig) -> Result<(), String> {
    let signals = Signals::listen().map_err(|e| format!("cannot listen for signals: {e}"))?;
    log_configuration(&config);
    let counting = match config.counting.clone() {
        Some(counting) => {
            let needs = format!("list leases in {}", counting.namespace);
            Some((kubernetes::client(config.kubeconfig.as_deref(), &needs).await?, counting))
        }
        None => None,
    };
    let resolver = Resolver::new();
    let mut supervisor = Supervisor::new(
        ("--health-server-port", &config.health),
        ("--admin-server-port", &config.admin),
        readiness(false),
    )
    .await?;
    let server = Server {
        host: config.server_host.clone(),
        port: config.server_port,
        transport: config.transport,
        proxy: config.egress_proxy.clone(),
    };
    let first = match server.find(&resolver).await {
        Ok(target) => Some(target),
        Err(error) => {
            tracing::warn!(error, retry_in = ?config.sync_interval, "cannot resolve --proxy-server-host");
            None
        }
    };
    let mtu = udp::agent_mtu(
        first.as_ref().and_then(|target| target.addresses.first().copied()),
        config.common.mtu_max_bytes,
    );
    tracing::info!(bytes = mtu, "largest UDP payload");
    for plan in plans(&config, mtu)? {
        supervisor.start_shard(plan).await?;
    }
    let findings = supervisor.findings();
    let look_again = Arc::new(Notify::new());
    let mut part = AgentPart {
        ready: BTreeSet::new(),
        resolver: resolver.clone(),
        findings: findings.clone(),
        look_again,
        draining: false,
    };
    if let Some(target) = first.clone() {
        supervisor.post(Post::Server(target));
    }
    if !server.is_literal() {
        let asked = Arc::clone(&part.look_again);
        tokio::spawn(keep_finding(server, resolver, first, config.sync_interval, asked, findings.clone()));
    }
    if let Some(file) = config.token.clone() {
        tokio::spawn(keep_reading(file, findings.clone()));
    }
    if let Some((client, counting)) = counting {
        tokio::spawn(keep_counting(client, counting, findings));
    }
    supervisor.run(&mut part, signals, config.common.until_stdin_closes, config.drain_time).await
}

/// Every shard's parts. Each has a port of its own and its part of the connections: whatever comes to that port is its.
fn plans(config: &AgentConfig, mtu: u16) -> Result<Vec<ShardPlan>, String> {
    let identity = config.identity.as_ref().map(|own| (own.chain.clone(), own.key.clone_key()));
    let tls = tls::client_config((*config.server_roots).clone(), identity)
        .map_err(|error| format!("--agent-cert, --agent-key: {error}"))?;
    let hello = Hello {
        agent_id: config.agent_id.clone(),
        instance_id: random::bytes::<16>().to_vec(),
        identifiers: config.identifiers.clone(),
        token: config.token.as_ref().map(|file| file.token.0.clone()).unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Hello::default()
    };
    let first_shard = random::bytes::<1>()[0] & 0x1f;
    let shards = config.common.shards;
    let plan = |shard| -> Result<ShardPlan, String> {
        Ok(ShardPlan {
            id: ShardId(shard),
            shards,
            pinned: config.common.pinned,
            role: Role::Agent(AgentRole {
                hello: hello.clone(),
                transport: config.transport.into(),
                tcp_tls: Some(Arc::clone(&config.server_tls)),
                keep_alive: config.keep_alive,
                connections: config.connections,
                sync_forever: config.sync_forever,
                retry_interval: config.sync_interval,
                retry_interval_max: config.sync_interval_cap,
                first_shard,
                shards,
            }),
            quic: quic(&tls, mtu),
            udp: udp::bind_for_servers()?,
            io: config.common.io,
        })
    };
    (0..shards).map(plan).collect()
}

fn quic(tls: &Arc<rustls::ClientConfig>, mtu: u16) -> QuicConfig {
    QuicConfig {
        shard: 0,
        shards: 1,
        generation: 0,
        seed: random::bytes(),
        // Nobody needs to believe an agent's resets after its restart.
        keys: ClusterKeys::derive(&random::bytes::<32>(), "agent"),
        server: None,
        client: Some(Arc::clone(tls)),
        mtu_max_bytes: mtu,
        gso_segments_max: 1,
        time_source: None,
    }
}

/// What is in effect, without secrets.
fn log_configuration(config: &AgentConfig) {
    let AgentConfig { common, .. } = config;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        agent_id = config.agent_id,
        identifiers = config.identifiers,
        proxy_server_host = config.server_host,
        proxy_server_port = config.server_port,
        transport = config.transport.word(),
        tcp_protocols = protocol_names(&config.server_tls.alpn_protocols),
        egress_proxy = config.egress_proxy.as_ref().map(ToString::to_string),
        health = %config.health,
        admin = %config.admin,
        sync_interval = ?config.sync_interval,
        sync_interval_cap = ?config.sync_interval_cap,
        drain_time = ?config.drain_time,
        connections = config.connections,
        sync_forever = config.sync_forever,
        counts_leases = config.counting.is_some(),
        io = driver_word(common.io),
        shards = common.shards,
        pinned = common.pinned,
        mtu_max = common.mtu_max_bytes,
        server_cas = config.server_roots.len(),
        has_certificate = config.identity.is_some(),
        has_token = config.token.is_some(),
        "adit agent"
    );
    if !common.without_effect.is_empty() {
        tracing::warn!(flags = common.without_effect.join(" "), "flags that are accepted and have no effect");
    }
}

fn readiness(connected: bool) -> Readiness {
    let connected = if connected { Ok(()) } else { Err("no servers connected".to_owned()) };
    Readiness {
        checks: vec![("ping", Ok(())), ("server-connected", connected)],
        status_not_ready: 503,
        verbose_failure: true,
    }
}

/// Where the server is said to be.
#[derive(Clone, Debug)]
struct Server {
    host: String,
    port: u16,
    transport: Transport,
    /// What is between here and the server over TCP.
    proxy: Option<EgressProxy>,
}

impl Server {
    /// Its addresses now, and its proxy's. A server whose name only its proxy knows has none of its own.
    ///
    /// # Errors
    /// The resolver's words, where no way to the server is left.
    async fn find(&self, resolver: &Resolver) -> Result<ServerTarget, String> {
        let own = addresses(resolver, &self.host, self.port).await;
        let tcp = match (&self.proxy, self.transport) {
            (_, Transport::Quic) => None,
            (Some(proxy), _) => {
                let request = connect_request(&self.host, self.port, proxy.authorization.as_deref());
                let addresses = addresses(resolver, &proxy.host, proxy.port).await?;
                Some(TcpRoute { addresses, proxy_request: Some(request) })
            }
            (None, _) => Some(TcpRoute { addresses: own.clone()?, proxy_request: None }),
        };
        let addresses = if self.proxy.is_some() && tcp.is_some() { own.unwrap_or_default() } else { own? };
        Ok(ServerTarget { addresses, tcp, server_name: self.host.clone() })
    }

    /// Whether all that is to be found are literal addresses, which nobody needs to be asked for.
    fn is_literal(&self) -> bool {
        let proxy = self.proxy.as_ref().map(|proxy| &proxy.host);
        proxy.into_iter().chain([&self.host]).all(|host| host.parse::<IpAddr>().is_ok())
    }
}

/// A host's addresses with a port.
async fn addresses(resolver: &Resolver, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = match host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => resolver.resolve(host).await?,
    };
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// Resolves the server's name until it has an address (without one the shard has nothing to try), and again each
/// time that a connection or an attempt failed: its addresses may have changed.
async fn keep_finding(
    server: Server,
    resolver: Resolver,
    mut known: Option<ServerTarget>,
    interval: Duration,
    asked: Arc<Notify>,
    findings: mpsc::Sender<Finding>,
) {
    loop {
        match known {
            Some(_) => asked.notified().await,
            None => tokio::time::sleep(interval).await,
        }
        match server.find(&resolver).await {
            Ok(target) if known.as_ref() != Some(&target) => {
                tracing::info!(addresses = ?target.addresses, "addresses of the server");
                known = Some(target.clone());
                if findings.send(Post::Server(target).into()).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error, "cannot resolve --proxy-server-host; what was known stays"),
        }
    }
}

/// Reads the token again and again: kubelet replaces it long before it expires. While the file cannot be read, the one
/// before stays.
async fn keep_reading(mut file: TokenFile, findings: mpsc::Sender<Finding>) {
    let mut was_read = true;
    loop {
        tokio::time::sleep(TOKEN_READ_INTERVAL).await;
        match file.read_again() {
            Ok(false) => was_read = true,
            Ok(true) => {
                was_read = true;
                tracing::info!("the agent has a new token");
                if findings.send(Post::Token(file.token.clone()).into()).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if std::mem::take(&mut was_read) {
                    tracing::warn!(error, "the token cannot be read again; the one before stays");
                }
            }
        }
    }
}

/// The agent's part of the control loop.
struct AgentPart {
    /// Connections that a server welcomed, by index.
    ready: BTreeSet<u32>,
    resolver: Resolver,
    findings: mpsc::Sender<Finding>,
    /// Asks for the server's name to be resolved again.
    look_again: Arc<Notify>,
    draining: bool,
}

impl Part for AgentPart {
    fn event(&mut self, shard: ShardId, event: Event, _posts: &mut Vec<Post>) {
        match event {
            Event::ServerReady { index, welcome, remote, transport } => {
                self.ready.insert(index);
                let (server_id, version) = (welcome.server_id, welcome.version);
                let transport = transport.word();
                tracing::info!(index, %remote, transport, server_id, version, "connected to the server");
            }
            Event::ServerLost { index, reason, retry_in, was_ready } => {
                self.ready.remove(&index);
                let remedy = remedy(Side::Agent, &reason);
                let what =
                    if was_ready { "connection to the server lost" } else { "cannot connect to the server" };
                if self.draining {
                    tracing::debug!(index, reason, "{what}");
                } else {
                    tracing::warn!(index, reason, ?retry_in, remedy, "{what}");
                    self.look_again.notify_one();
                }
            }
            Event::Resolve { key, name } => self.resolve(shard, key, name),
            other => tracing::warn!(event = ?other, "an agent's shard says what only a server's says"),
        }
    }

    fn reviewed(&mut self, _connection: ConnectionKey, _result: Result<(), String>, _posts: &mut Vec<Post>) {
        tracing::warn!("an agent has no agents whose tokens could be reviewed");
    }

    fn readiness(&self) -> Readiness {
        readiness(!self.ready.is_empty())
    }

    fn figures(&self) -> Figures<'_> {
        Figures {
            role: "agent",
            dials: None,
            peers: usize::from(!self.ready.is_empty()),
            connections: self.ready.len(),
            refused: 0,
        }
    }

    fn drain(&mut self) {
        self.draining = true;
    }
}

impl AgentPart {
    /// Answers a shard's question, beside the loop.
    fn resolve(&self, shard: ShardId, key: ResolveKey, name: String) {
        let (resolver, findings) = (self.resolver.clone(), self.findings.clone());
        tokio::spawn(async move {
            let result = resolver.resolve(&name).await;
            // The loop has ended: then nobody waits for the answer.
            let _ = findings.send(Post::To(shard, Command::Resolved { key, result }).into()).await;
        });
    }
}
