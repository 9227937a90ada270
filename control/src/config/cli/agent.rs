//! `adit agent`: proxy-agent's flags.

use clap::Args;

use super::super::values::{GoDuration, go_bool};
use super::server::{Later, OFF, ONE_WAY, PROFILES};
use super::{CountOrAuto, IoFlags, KlogFlags, LogFlags, ShardFlags, Transport};

/// The flags of `adit agent`.
#[derive(Clone, Debug, Args)]
pub(crate) struct AgentFlags {
    /// Certificate shown to the server (PEM chain)
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) agent_cert: String,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) agent_key: String,
    /// Token of the agent's service account, for servers that know agents by it; read again when it changes
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) service_account_token_path: String,
    /// CA that signed the server's certificate (PEM)
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) ca_cert: String,
    /// Address or name of the server (or of the load balancer before it)
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub(crate) proxy_server_host: String,
    /// Its port, of UDP and of TCP
    #[arg(long, value_name = "PORT", default_value_t = 8091)]
    pub(crate) proxy_server_port: i64,
    /// How the server is reached. TCP goes through the HTTP proxy in HTTPS_PROXY, unless NO_PROXY names the server;
    /// QUIC goes through none
    #[arg(long, value_enum, value_name = "TRANSPORT", default_value_t)]
    pub(crate) transport: Transport,
    /// Protocols to offer over TCP before adit's own and h2 (TLS ALPN), for a load balancer that chooses by them; may
    /// be repeated
    #[arg(long, value_name = "LIST", action = clap::ArgAction::Append)]
    pub(crate) alpn_proto: Vec<String>,
    /// Unique name of this agent; unset: random
    #[arg(long, value_name = "ID", env = "PROXY_AGENT_ID", default_value = "")]
    pub(crate) agent_id: String,
    /// What this agent stands for: ipv4=…&ipv6=…&host=…&cidr=…&default-route=true
    #[arg(long, value_name = "QUERY", default_value = "")]
    pub(crate) agent_identifiers: String,
    /// First pause after a failed attempt to connect
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub(crate) sync_interval: GoDuration,
    /// Longest pause between attempts
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) sync_interval_cap: GoDuration,
    /// Over TCP, look for further servers behind the same address for ever, whatever number of them is said to be there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) sync_forever: bool,
    /// Over TCP, count the servers by their leases
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) count_server_leases: bool,
    /// Namespace of servers' leases
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub(crate) lease_namespace: String,
    /// Which leases there are servers'
    #[arg(
        long,
        value_name = "SELECTOR",
        default_value = "k8s-app=konnectivity-server",
        alias = "lease-label"
    )]
    pub(crate) lease_label_selector: String,
    /// Which count of servers counts: default (by leases where they are counted, else what servers say), or max, the
    /// larger
    #[arg(long, value_name = "SOURCE", default_value = "default")]
    pub(crate) server_count_source: String,
    /// How the Kubernetes API is reached for leases; unset: as a pod of the cluster
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) kubeconfig: String,
    /// QUIC connections to the server: auto (one for each of its shards, at most 4), or 1 to 32
    #[arg(long, value_name = "N", default_value = "auto", value_parser = super::shard_count)]
    pub(crate) connections: CountOrAuto,
    /// Accepted, without effect: QUIC notices a dead connection by itself
    #[arg(long, value_name = "DURATION")]
    pub(crate) probe_interval: Option<GoDuration>,
    /// Address for health; empty: all
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    pub(crate) health_server_host: String,
    /// HTTP port for /healthz, /readyz, /livez and metrics
    #[arg(long, value_name = "PORT", default_value_t = 8093)]
    pub(crate) health_server_port: i64,
    /// Address for metrics; empty: all
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) admin_bind_address: String,
    /// HTTP port for metrics
    #[arg(long, value_name = "PORT", default_value_t = 8094)]
    pub(crate) admin_server_port: i64,
    /// Silence after which Konnectivity's server is asked for a sign of life; at least 35s, at most 60s
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(crate) keepalive_time: GoDuration,
    /// How long running tunnels may go on after SIGTERM; unset: 25s; 0: not at all
    #[arg(long, value_name = "DURATION")]
    pub(crate) graceful_shutdown_timeout: Option<GoDuration>,
    /// Accepted, without effect: tunnels have flow control of their own
    #[arg(long, value_name = "N")]
    pub(crate) xfr_channel_size: Option<i64>,
    /// Accepted, without effect: there is no such queue
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    pub(crate) warn_on_channel_limit: Option<String>,
    /// What Konnectivity has and this version has not.
    #[command(flatten)]
    pub(crate) later: LaterAgentFlags,
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
pub(crate) struct LaterAgentFlags {
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    enable_profiling: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    enable_contention_profiling: Option<String>,
    #[arg(long, hide = true)]
    kube_api_content_type: Option<String>,
}

impl LaterAgentFlags {
    /// Every flag, for validation.
    pub(crate) fn all(&self) -> Vec<Later<'_>> {
        vec![
            ("--enable-profiling", self.enable_profiling.as_deref(), OFF, PROFILES),
            ("--enable-contention-profiling", self.enable_contention_profiling.as_deref(), OFF, PROFILES),
            (
                "--kube-api-content-type",
                self.kube_api_content_type.as_deref(),
                &["application/vnd.kubernetes.protobuf"],
                ONE_WAY,
            ),
        ]
    }
}
