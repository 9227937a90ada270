//! From flags to validated configuration: what is wrong is found before anything is opened.
//!
//! [`cli`] holds the flags as they are written (Konnectivity's names and defaults, pflag's spelling); [`validate`]
//! turns them into [`ServerConfig`] and [`AgentConfig`], whose existence proves that they were checked. Nothing here
//! binds a port or starts a thread.

pub(crate) mod cli;
pub(crate) mod egress_proxy;
pub(crate) mod token_file;
pub(crate) mod validate;
pub(crate) mod values;

#[cfg(test)]
mod fuzz;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adit_dataplane::carrier::egress_proxy::EgressProxy;
use adit_dataplane::config::FrontendProtocols;
use adit_dataplane::route::Strategy;
use adit_io::DriverChoice;
use kube::config::Kubeconfig;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, DnsName, PrivateKeyDer};

use cli::Transport;
use token_file::TokenFile;
use values::Shown;

use crate::kubernetes::count::Counting;
use crate::kubernetes::lease::Own;
use crate::kubernetes::token::Expected;

/// How long both ends drain when `--graceful-shutdown-timeout` is not given.
pub(crate) const DRAIN_TIME_DEFAULT: Duration = Duration::from_secs(25);

/// Longest silence of an agent over TCP before it is asked for a sign of life. Konnectivity's default of an hour
/// leaves agents that are dead among those that are chosen for as long.
pub(crate) const KEEP_ALIVE_MAX: Duration = Duration::from_secs(30);

/// Shortest silence before a peer over gRPC is asked for a sign of life, as with grpc-go's clients.
pub(crate) const KEEP_ALIVE_MIN: Duration = Duration::from_secs(10);

/// Shortest and longest silence of a server over TCP before it is asked for a sign of life. Konnectivity's server ends
/// a connection that asks more often than every 30 s (`keepalive.EnforcementPolicy` of its agents' port).
pub(crate) const SERVER_KEEP_ALIVE: RangeInclusive<Duration> =
    Duration::from_secs(35)..=Duration::from_secs(60);

/// Longest name of an interface (netdevice(7): `IFNAMSIZ`, without the terminating zero).
const INTERFACE_NAME_BYTES_MAX: usize = 15;

/// Where to listen: an address flag as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BindHost {
    /// The flag is empty: every address of both families.
    All,
    /// A literal address.
    Ip(IpAddr),
    /// A host name, resolved when binding.
    Name(String),
}

impl BindHost {
    /// Reads a bind-address flag. Brackets around an IPv6 address are taken off.
    ///
    /// # Errors
    /// The text to show, where it is neither an address nor a host name.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bare = without_brackets(text);
        match bare.parse() {
            Ok(ip) => Ok(Self::Ip(ip)),
            Err(_) if bare.is_empty() => Ok(Self::All),
            Err(_) if is_zoned(bare) || DnsName::try_from(bare).is_ok() => Ok(Self::Name(bare.to_owned())),
            Err(_) => Err(format!(
                "{} is neither an address nor a host name: write one of this host's, without a port, or nothing for \
                 all",
                Shown(text)
            )),
        }
    }
}

/// An address as it stands in `[…]`.
pub(crate) fn without_brackets(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

/// Whether this is an IPv6 address with a zone (RFC 4007 section 11), which getaddrinfo(3) reads.
fn is_zoned(text: &str) -> bool {
    text.split_once('%').is_some_and(|(ip, zone)| {
        let plain = zone.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'[' | b']'));
        ip.parse::<Ipv6Addr>().is_ok() && (1..=INTERFACE_NAME_BYTES_MAX).contains(&zone.len()) && plain
    })
}

/// A host and a port to listen on; port 0 is any free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    /// Which addresses.
    pub(crate) host: BindHost,
    /// Which port.
    pub(crate) port: u16,
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            BindHost::All => write!(f, "*:{}", self.port),
            BindHost::Ip(ip) => write!(f, "{}", SocketAddr::new(*ip, self.port)),
            BindHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// A certificate chain, leaf first, with its private key. Prints nothing of the key.
pub(crate) struct Identity {
    /// The chain, leaf first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub(crate) key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// adit's own settings, equal for server and agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    /// `--io`.
    pub(crate) io: DriverChoice,
    /// `--mtu-max`: bytes of UDP payload.
    pub(crate) mtu_max_bytes: Option<u16>,
    /// `--shards`, or what auto comes to here.
    pub(crate) shards: u8,
    /// Whether each shard's thread keeps to one CPU.
    pub(crate) pinned: bool,
    /// Flags that were given, are accepted for compatibility, and do nothing.
    pub(crate) without_effect: Vec<&'static str>,
    /// Drain at once when standard input ends.
    pub(crate) until_stdin_closes: bool,
}

/// Where frontends are served: on a Unix socket, over TCP, or both; never neither.
#[derive(Debug)]
pub(crate) struct Frontends {
    /// `--uds-name`.
    pub(crate) uds_path: Option<PathBuf>,
    /// `--delete-existing-uds-file`.
    pub(crate) delete_existing_uds_file: bool,
    /// `--mode`.
    pub(crate) protocols: FrontendProtocols,
    /// `--server-port` and what belongs to it.
    pub(crate) tcp: Option<TcpFrontends>,
}

/// Frontends over TCP with mutual TLS.
#[derive(Debug)]
pub(crate) struct TcpFrontends {
    /// `--server-bind-address`, `--server-port`.
    pub(crate) bind: Bind,
    /// `--server-cert`, `--server-key`, `--server-ca-cert`, `--tls-min-version`, `--cipher-suites`.
    pub(crate) tls: Arc<rustls::ServerConfig>,
}

/// How a server knows its agents.
#[derive(Debug)]
pub(crate) enum AgentAuth {
    /// `--cluster-ca-cert`: by certificates that these have signed.
    Certificates(Arc<RootCertStore>),
    /// `--agent-namespace`, `--agent-service-account`, `--authentication-audience`: by tokens of a service account.
    Tokens(Expected),
}

impl AgentAuth {
    /// Whose certificates are asked for.
    pub(crate) fn roots(&self) -> Option<&Arc<RootCertStore>> {
        match self {
            Self::Certificates(roots) => Some(roots),
            Self::Tokens(_) => None,
        }
    }

    /// Whose tokens are asked for, for logs.
    pub(crate) fn service_account(&self) -> Option<String> {
        match self {
            Self::Certificates(_) => None,
            Self::Tokens(expected) => Some(format!("{}/{}", expected.namespace, expected.service_account)),
        }
    }
}

/// What `adit server` runs with.
#[derive(Debug)]
pub(crate) struct ServerConfig {
    /// Shared settings.
    pub(crate) common: Common,
    /// `--cluster-cert`, `--cluster-key`.
    pub(crate) identity: Identity,
    /// How agents are known.
    pub(crate) agent_auth: AgentAuth,
    /// `--kubeconfig`; `None`: as a pod of the cluster.
    pub(crate) kubeconfig: Option<Box<Kubeconfig>>,
    /// `--enable-lease-controller`, `--lease-namespace`, `--lease-label`.
    pub(crate) lease: Option<Own>,
    /// Where kube-apiserver connects.
    pub(crate) frontends: Frontends,
    /// `--agent-bind-address`, `--agent-port` (UDP, and TCP on the same port).
    pub(crate) agent: Bind,
    /// For agents over TCP: `--cluster-cert`, `--cluster-key`, `--cluster-ca-cert`, `--tls-min-version`,
    /// `--cipher-suites`.
    pub(crate) agents_tls: Arc<rustls::ServerConfig>,
    /// `--admin-bind-address`, `--admin-port`.
    pub(crate) admin: Bind,
    /// `--health-bind-address`, `--health-port`.
    pub(crate) health: Bind,
    /// `--server-id`, `PROXY_SERVER_ID`, or a random UUID.
    pub(crate) server_id: String,
    /// Whether the id outlives the process: then it names the keys derived from the cluster key.
    pub(crate) server_id_given: bool,
    /// `--proxy-strategies`.
    pub(crate) strategies: Vec<Strategy>,
    /// `--server-count`.
    pub(crate) server_count: u32,
    /// How long to drain after a signal.
    pub(crate) drain_time: Duration,
    /// `--keepalive-time`, at most [`KEEP_ALIVE_MAX`]: silence after which an agent over TCP is asked for a sign of
    /// life.
    pub(crate) keep_alive: Duration,
    /// `--frontend-keepalive-time`: the same for frontends in GRPC mode.
    pub(crate) frontend_keep_alive: Duration,
    /// Every dial is answered within this time: 30 s, or `--backend-dial-timeout` where that is shorter.
    pub(crate) answer_time: Duration,
    /// `--backend-dial-timeout`, where it is given: an old agent that takes nothing for so long is given up.
    pub(crate) retire_after: Option<Duration>,
}

/// What `adit agent` runs with.
#[derive(Debug)]
pub(crate) struct AgentConfig {
    /// Shared settings.
    pub(crate) common: Common,
    /// `--agent-cert`, `--agent-key`; an agent with a token may have none.
    pub(crate) identity: Option<Identity>,
    /// `--service-account-token-path` and what is in it.
    pub(crate) token: Option<TokenFile>,
    /// `--ca-cert`: who may sign servers.
    pub(crate) server_roots: Arc<RootCertStore>,
    /// `--proxy-server-host`: an address or a name. The server's certificate must carry it.
    pub(crate) server_host: String,
    /// `--proxy-server-port` (UDP, and TCP on the same port).
    pub(crate) server_port: u16,
    /// `--transport`.
    pub(crate) transport: Transport,
    /// For the server over TCP: `--agent-cert`, `--agent-key`, `--ca-cert`, `--alpn-proto`.
    pub(crate) server_tls: Arc<rustls::ClientConfig>,
    /// What is between here and the server over TCP: `HTTPS_PROXY`, `NO_PROXY`.
    pub(crate) egress_proxy: Option<EgressProxy>,
    /// `--agent-id`, `PROXY_AGENT_ID`, or a random UUID.
    pub(crate) agent_id: String,
    /// `--agent-identifiers`, checked.
    pub(crate) identifiers: String,
    /// `--connections`; `None`: as many as the server has shards.
    pub(crate) connections: Option<u32>,
    /// `--count-server-leases` and what belongs to it.
    pub(crate) counting: Option<Counting>,
    /// `--kubeconfig`; `None`: as a pod of the cluster.
    pub(crate) kubeconfig: Option<Box<Kubeconfig>>,
    /// `--sync-forever`.
    pub(crate) sync_forever: bool,
    /// `--keepalive-time`, within [`SERVER_KEEP_ALIVE`]: silence after which a server over TCP is asked for a sign of
    /// life.
    pub(crate) keep_alive: Duration,
    /// `--sync-interval`: first pause after a failed attempt.
    pub(crate) sync_interval: Duration,
    /// `--sync-interval-cap`: longest pause.
    pub(crate) sync_interval_cap: Duration,
    /// `--health-server-host`, `--health-server-port`.
    pub(crate) health: Bind,
    /// `--admin-bind-address`, `--admin-server-port`.
    pub(crate) admin: Bind,
    /// How long to drain after a signal.
    pub(crate) drain_time: Duration,
}
