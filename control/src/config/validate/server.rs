//! [`ServerFlags`] to [`ServerConfig`].

use std::sync::Arc;

use adit_dataplane::limits::ANSWER_TIME_MAX;
use adit_dataplane::route::Strategy;
use adit_dataplane::stream::tls::agent_port_config;
use rustls::RootCertStore;

use super::files::{self, Usage};
use super::frontends::{TlsOptions, frontends, tls_options};
use super::{Problems, common, drain_time, id, server_shards};
use crate::config::cli::ServerFlags;
use crate::config::{Identity, KEEP_ALIVE_MAX, KEEP_ALIVE_MIN, ServerConfig};

/// Checks the server's flags and reads the files that they name.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn server_config(flags: &ServerFlags) -> Result<ServerConfig, Problems> {
    let mut problems = Problems::default();
    problems.refuse_later(&flags.later.all());
    let tls_options = tls_options(&mut problems, flags);
    let (frontends, unused) = frontends(&mut problems, flags, tls_options.as_ref());
    let agent = problems
        .bind(("--agent-bind-address", &flags.agent_bind_address), ("--agent-port", flags.agent_port));
    let admin = problems
        .bind(("--admin-bind-address", &flags.admin_bind_address), ("--admin-port", flags.admin_port));
    let health = problems
        .bind(("--health-bind-address", &flags.health_bind_address), ("--health-port", flags.health_port));
    let server_count = u32::try_from(flags.server_count).ok().filter(|n| (1..=1024).contains(n));
    if server_count.is_none() {
        problems.add("--server-count", "write 1 to 1024");
    }
    if flags.xfr_channel_size.is_some_and(|size| size <= 0) {
        problems.add("--xfr-channel-size", "write a number above 0");
    }
    let strategies = problems.take(
        Strategy::parse_list(&flags.proxy_strategies).map_err(|error| format!("--proxy-strategies: {error}")),
    );
    let (server_id, server_id_given) = id(&mut problems, "--server-id", &flags.server_id);
    let identity = problems.take(files::identity(
        ("--cluster-cert", &flags.cluster_cert),
        ("--cluster-key", &flags.cluster_key),
        Usage::Server,
    ));
    let agent_roots = agent_roots(&mut problems, flags);
    let agents_tls = match (&identity, &agent_roots, &tls_options) {
        (Some(identity), Some(roots), Some(options)) => {
            problems.take(agents_tls(identity, Arc::clone(roots), options))
        }
        _ => None,
    };
    let dial_timeout = flags.backend_dial_timeout.0;
    let answer_time =
        if dial_timeout.is_zero() { ANSWER_TIME_MAX } else { dial_timeout.min(ANSWER_TIME_MAX) };
    let (Some(frontends), Some(identity), Some(agent_roots), Some(agents_tls), Some(strategies), true) =
        (frontends, identity, agent_roots, agents_tls, strategies, problems.is_empty())
    else {
        return Err(problems);
    };
    Ok(ServerConfig {
        common: common(
            &flags.io,
            server_shards(&flags.shards),
            &flags.klog,
            &[
                ("--xfr-channel-size", flags.xfr_channel_size.is_some()),
                ("--warn-on-channel-limit", flags.warn_on_channel_limit.is_some()),
                ("--frontend-write-channel-size", flags.frontend_write_channel_size.is_some()),
                ("--server-bind-address", unused && !flags.server_bind_address.is_empty()),
                ("--tls-min-version below VersionTLS12", tls_options.is_some_and(|options| options.too_old)),
            ],
        ),
        identity,
        agent_roots,
        frontends,
        agent,
        agents_tls,
        admin,
        health,
        server_id,
        server_id_given,
        strategies,
        server_count: server_count.unwrap_or(1),
        drain_time: drain_time(flags.graceful_shutdown_timeout),
        keep_alive: flags.keepalive_time.0.clamp(KEEP_ALIVE_MIN, KEEP_ALIVE_MAX),
        frontend_keep_alive: flags.frontend_keepalive_time.0.max(KEEP_ALIVE_MIN),
        answer_time,
        retire_after: (!dial_timeout.is_zero()).then_some(dial_timeout),
    })
}

/// What agents that come over TCP are met with.
fn agents_tls(
    identity: &Identity,
    roots: Arc<RootCertStore>,
    options: &TlsOptions,
) -> Result<Arc<rustls::ServerConfig>, String> {
    let (chain, key) = (identity.chain.clone(), identity.key.clone_key());
    agent_port_config(chain, key, roots, options.min_version, options.tls12_suites.as_deref())
        .map_err(|error| format!("--cluster-cert, --cluster-key: {error}"))
}

/// Who may be an agent: without a CA nobody is authenticated, so that is refused rather than served.
fn agent_roots(problems: &mut Problems, flags: &ServerFlags) -> Option<Arc<RootCertStore>> {
    if flags.cluster_ca_cert.is_empty() {
        problems.add(
            "--cluster-ca-cert",
            "agents would not be authenticated: name the CA that signed their certificates here (adit certs makes \
             one to try out), or turn on token authentication with --agent-namespace, --agent-service-account and \
             --authentication-audience (not in this version)",
        );
        return None;
    }
    problems.take(files::roots("--cluster-ca-cert", &flags.cluster_ca_cert))
}
