//! [`ServerFlags`] to [`ServerConfig`].

use std::sync::Arc;

use adit_dataplane::limits::ANSWER_TIME_MAX;
use adit_dataplane::route::Strategy;
use adit_dataplane::stream::tls::agent_port_config;

use super::files::{self, Usage};
use super::frontends::{TlsOptions, frontends, tls_options};
use super::{Problems, common, drain_time, id, kubeconfig, server_shards};
use crate::config::cli::ServerFlags;
use crate::config::{AgentAuth, Identity, KEEP_ALIVE_MAX, KEEP_ALIVE_MIN, ServerConfig};
use crate::kubernetes::lease::{self, Own};
use crate::kubernetes::token::Expected;

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
    let agent_auth = agent_auth(&mut problems, flags);
    let kubeconfig = kubeconfig(&mut problems, &flags.kubeconfig);
    let lease = own_lease(&mut problems, flags, &server_id);
    let agents_tls = agents_tls(&mut problems, identity.as_ref(), agent_auth.as_ref(), tls_options.as_ref());
    let dial_timeout = Some(flags.backend_dial_timeout.0).filter(|time| !time.is_zero());
    let (Some(frontends), Some(identity), Some(agent_auth), Some(agents_tls), Some(strategies), true) =
        (frontends, identity, agent_auth, agents_tls, strategies, problems.is_empty())
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
        agent_auth,
        kubeconfig,
        lease,
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
        answer_time: dial_timeout.unwrap_or(ANSWER_TIME_MAX).min(ANSWER_TIME_MAX),
        retire_after: dial_timeout,
    })
}

/// What agents that come over TCP are met with.
fn agents_tls(
    problems: &mut Problems,
    identity: Option<&Identity>,
    auth: Option<&AgentAuth>,
    options: Option<&TlsOptions>,
) -> Option<Arc<rustls::ServerConfig>> {
    let (identity, roots, options) = (identity?, auth?.roots().map(Arc::clone), options?);
    let (chain, key) = (identity.chain.clone(), identity.key.clone_key());
    let config = agent_port_config(chain, key, roots, options.min_version, options.tls12_suites.as_deref());
    problems.take(config.map_err(|error| format!("--cluster-cert, --cluster-key: {error}")))
}

/// Who may be an agent: whoever has a certificate, or whoever has a token. Without either nobody is authenticated, so
/// that is refused rather than served.
fn agent_auth(problems: &mut Problems, flags: &ServerFlags) -> Option<AgentAuth> {
    let ServerFlags { agent_namespace, agent_service_account, authentication_audience, .. } = flags;
    let of_tokens = [
        ("--agent-namespace", agent_namespace),
        ("--agent-service-account", agent_service_account),
        ("--authentication-audience", authentication_audience),
    ];
    let by_tokens = of_tokens.iter().any(|(_, value)| !value.is_empty());
    if !by_tokens && flags.cluster_ca_cert.is_empty() {
        problems.add(
            "--cluster-ca-cert",
            "agents would not be authenticated: name the CA that signed their certificates here (adit certs makes \
             one to try out), or have their tokens reviewed with --agent-namespace, --agent-service-account and \
             --authentication-audience",
        );
        return None;
    }
    if !by_tokens {
        let roots = problems.take(files::roots("--cluster-ca-cert", &flags.cluster_ca_cert));
        return roots.map(AgentAuth::Certificates);
    }
    for (flag, _) in of_tokens.iter().filter(|(_, value)| value.is_empty()) {
        problems.add(
            flag,
            "agents are known by tokens: give all of --agent-namespace, --agent-service-account and \
                            --authentication-audience",
        );
    }
    if !flags.cluster_ca_cert.is_empty() {
        problems.add(
            "--cluster-ca-cert",
            "agents are known by tokens or by certificates, not by both: leave it out, or leave out \
             --agent-namespace, --agent-service-account and --authentication-audience",
        );
    }
    let expected = Expected {
        namespace: agent_namespace.clone(),
        service_account: agent_service_account.clone(),
        audience: authentication_audience.clone(),
    };
    Some(AgentAuth::Tokens(expected))
}

/// The server's lease. Its labels are checked also where there is none, as upstream does.
fn own_lease(problems: &mut Problems, flags: &ServerFlags, server_id: &str) -> Option<Own> {
    let labels = problems.take(lease::labels(&flags.lease_label))?;
    let own = Own { server_id: server_id.to_owned(), namespace: flags.lease_namespace.clone(), labels };
    flags.enable_lease_controller.then_some(own)
}
