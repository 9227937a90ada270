//! `adit server`: proxy-server's flags.

use clap::Args;

use super::super::values::{GoDuration, go_bool};
use super::{IoFlags, KlogFlags, LogFlags, ShardFlags};

/// The flags of `adit server`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerFlags {
    /// Certificate shown to agents (PEM chain)
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) cluster_cert: String,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) cluster_key: String,
    /// CA that signed the agents' certificates (PEM)
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) cluster_ca_cert: String,
    /// What frontends may speak: grpc, http-connect; empty: both, told apart by their first bytes
    #[arg(long, default_value = "")]
    pub(crate) mode: String,
    /// Unix socket that kube-apiserver connects to
    #[arg(long, value_name = "PATH", default_value = "")]
    pub(crate) uds_name: String,
    /// Replace a socket file that nobody answers on
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "true", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) delete_existing_uds_file: bool,
    /// TCP port for frontends with mutual TLS; unset: 8090, or none beside --uds-name; 0: any free port, or none
    /// beside --uds-name
    #[arg(long, value_name = "PORT")]
    pub(crate) server_port: Option<i64>,
    /// Address for them; empty: all
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    pub(crate) server_bind_address: String,
    /// Certificate shown to frontends over TCP (PEM chain)
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) server_cert: String,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) server_key: String,
    /// CA that signed the certificates of frontends over TCP (PEM)
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) server_ca_cert: String,
    /// Oldest TLS over TCP, for frontends and for Konnectivity's agents: VersionTLS12 or VersionTLS13; adit's agents
    /// always speak 1.3
    #[arg(long, value_name = "VERSION", default_value = "")]
    pub(crate) tls_min_version: String,
    /// TLS 1.2 suites over TCP, for frontends and for Konnectivity's agents, by Go's names; empty: all that are good;
    /// may be repeated
    #[arg(long, value_name = "LIST", action = clap::ArgAction::Append)]
    pub(crate) cipher_suites: Vec<String>,
    /// Port for agents, of UDP and of TCP; 0: any free port
    #[arg(long, value_name = "PORT", default_value_t = 8091)]
    pub(crate) agent_port: i64,
    /// Address for agents; empty: all
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    pub(crate) agent_bind_address: String,
    /// HTTP port for metrics
    #[arg(long, value_name = "PORT", default_value_t = 8095)]
    pub(crate) admin_port: i64,
    /// Address for it; empty: all
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) admin_bind_address: String,
    /// HTTP port for /healthz, /readyz, /livez and metrics
    #[arg(long, value_name = "PORT", default_value_t = 8092)]
    pub(crate) health_port: i64,
    /// Address for it; empty: all
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    pub(crate) health_bind_address: String,
    /// Unique name of this server; unset: random
    #[arg(long, value_name = "ID", env = "PROXY_SERVER_ID", default_value = "")]
    pub(crate) server_id: String,
    /// Servers that agents should hold connections to
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) server_count: i64,
    /// How an agent is chosen, in order of preference: destHost (its ipv4, ipv6 or host identifier is the
    /// destination's host), defaultRoute (its identifier default-route=true), default (any); for example
    /// destHost,default
    #[arg(long, value_name = "LIST", default_value = "default")]
    pub(crate) proxy_strategies: String,
    /// Silence after which an agent over TCP is asked for a sign of life; at least 10s, at most 30s
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(crate) keepalive_time: GoDuration,
    /// Silence after which a frontend in GRPC mode is asked for a sign of life; at least 10s
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(crate) frontend_keepalive_time: GoDuration,
    /// How long running tunnels may go on after SIGTERM; unset: 25s; 0: not at all
    #[arg(long, value_name = "DURATION")]
    pub(crate) graceful_shutdown_timeout: Option<GoDuration>,
    /// Namespace of the agents' service account: with it agents are known by tokens, which the Kubernetes API reviews,
    /// instead of certificates
    #[arg(long, value_name = "NAMESPACE", default_value = "")]
    pub(crate) agent_namespace: String,
    /// The agents' service account
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) agent_service_account: String,
    /// What the agents' tokens are for
    #[arg(long, value_name = "AUDIENCE", default_value = "")]
    pub(crate) authentication_audience: String,
    /// How the Kubernetes API is reached; unset: as a pod of the cluster
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) kubeconfig: String,
    /// Say by a lease that this server is there, for agents that count servers, and remove leases of servers that are
    /// gone
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) enable_lease_controller: bool,
    /// Namespace of servers' leases
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub(crate) lease_namespace: String,
    /// Labels of servers' leases
    #[arg(long, value_name = "KEY=VALUE,…", default_value = "k8s-app=konnectivity-server")]
    pub(crate) lease_label: String,
    /// How long an agent's answer to a dial is waited for, at most 30s; and how long an agent of Konnectivity's may
    /// take nothing while a dial waits for it, before its connection is given up. Unset or 0: 30s, and without end
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(crate) backend_dial_timeout: GoDuration,
    /// Accepted, without effect: tunnels have flow control of their own
    #[arg(long, value_name = "N")]
    pub(crate) xfr_channel_size: Option<i64>,
    /// Deprecated by Konnectivity, without effect
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    pub(crate) warn_on_channel_limit: Option<String>,
    /// Accepted, without effect: tunnels have flow control of their own
    #[arg(long, hide = true)]
    pub(crate) frontend_write_channel_size: Option<i64>,
    /// What Konnectivity has and this version has not.
    #[command(flatten)]
    pub(crate) later: LaterServerFlags,
    /// The data plane's flags.
    #[command(flatten)]
    pub(crate) io: IoFlags,
    /// Its threads.
    #[command(flatten)]
    pub(crate) shards: ShardFlags,
    /// The log's flags.
    #[command(flatten)]
    pub(crate) log: LogFlags,
    /// klog's flags.
    #[command(flatten)]
    pub(crate) klog: KlogFlags,
}

/// Flags that are refused unless they ask for nothing.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Not in this version (refused)")]
pub(crate) struct LaterServerFlags {
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    enable_profiling: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    enable_contention_profiling: Option<String>,
    #[arg(long, hide = true)]
    kubeconfig_qps: Option<String>,
    #[arg(long, hide = true)]
    kubeconfig_burst: Option<String>,
    #[arg(long, hide = true)]
    kube_api_content_type: Option<String>,
}

/// A flag of [`LaterServerFlags`] (or of the agent's): its name, what was given, which values ask for nothing, and
/// what to say to any other.
pub(crate) type Later<'a> = (&'static str, Option<&'a str>, &'static [&'static str], &'static str);

/// Spellings of a boolean flag that is off.
pub(super) const OFF: &[&str] = &["false", "0", "f", "F", "FALSE", "False"];
/// What to say about ways to ask the Kubernetes API.
pub(super) const ONE_WAY: &str = "there is one way to speak to the Kubernetes API: leave this flag out";
/// What to say about profiles.
pub(super) const PROFILES: &str = "profiles are not in this version: leave this flag out";

impl LaterServerFlags {
    /// Every flag, for validation.
    pub(crate) fn all(&self) -> Vec<Later<'_>> {
        vec![
            ("--enable-profiling", self.enable_profiling.as_deref(), OFF, PROFILES),
            ("--enable-contention-profiling", self.enable_contention_profiling.as_deref(), OFF, PROFILES),
            ("--kubeconfig-qps", self.kubeconfig_qps.as_deref(), &["0"], ONE_WAY),
            ("--kubeconfig-burst", self.kubeconfig_burst.as_deref(), &["0"], ONE_WAY),
            (
                "--kube-api-content-type",
                self.kube_api_content_type.as_deref(),
                &["application/vnd.kubernetes.protobuf"],
                ONE_WAY,
            ),
        ]
    }
}
