//! [`AgentFlags`] to [`AgentConfig`].

use adit_dataplane::route::Identifiers;
use rustls_pki_types::ServerName;

use super::files::{self, Usage};
use super::{Problems, agent_shards, common, drain_time, id};
use crate::config::cli::AgentFlags;
use crate::config::values::Shown;
use crate::config::{AgentConfig, without_brackets};

/// Checks the agent's flags and reads the files that they name.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn agent_config(flags: &AgentFlags) -> Result<AgentConfig, Problems> {
    let mut problems = Problems::default();
    problems.refuse_later(&flags.later.all());
    let server_host = problems.take(server_host(&flags.proxy_server_host));
    let server_port = problems.port("--proxy-server-port", flags.proxy_server_port);
    if server_port == 0 && flags.proxy_server_port == 0 {
        problems.add("--proxy-server-port", "write the server's UDP port, 1 to 65535");
    }
    let health = problems.bind(
        ("--health-server-host", &flags.health_server_host),
        ("--health-server-port", flags.health_server_port),
    );
    let admin = problems.bind(
        ("--admin-bind-address", &flags.admin_bind_address),
        ("--admin-server-port", flags.admin_server_port),
    );
    if flags.xfr_channel_size.is_some_and(|size| size <= 0) {
        problems.add("--xfr-channel-size", "write a number above 0");
    }
    if flags.sync_interval > flags.sync_interval_cap {
        problems.add(
            "--sync-interval",
            format_args!("{} is above --sync-interval-cap {}", flags.sync_interval, flags.sync_interval_cap),
        );
    }
    if flags.sync_interval.0.is_zero() {
        problems
            .add("--sync-interval", "write a time above 0: attempts without a pause would flood the server");
    }
    problems.take(agent_identifiers(&flags.agent_identifiers));
    let (agent_id, _) = id(&mut problems, "--agent-id", &flags.agent_id);
    let identity = problems.take(files::identity(
        ("--agent-cert", &flags.agent_cert),
        ("--agent-key", &flags.agent_key),
        Usage::Client,
    ));
    let server_roots = if flags.ca_cert.is_empty() {
        problems.add("--ca-cert", "name the CA that signed the server's certificate");
        None
    } else {
        problems.take(files::roots("--ca-cert", &flags.ca_cert))
    };
    let (Some(server_host), Some(identity), Some(server_roots), true) =
        (server_host, identity, server_roots, problems.is_empty())
    else {
        return Err(problems);
    };
    Ok(AgentConfig {
        common: common(
            &flags.io,
            agent_shards(&flags.shards),
            &flags.klog,
            &[
                ("--xfr-channel-size", flags.xfr_channel_size.is_some()),
                ("--warn-on-channel-limit", flags.warn_on_channel_limit.is_some()),
                ("--probe-interval", flags.probe_interval.is_some()),
            ],
        ),
        identity,
        server_roots,
        server_host,
        server_port,
        agent_id,
        identifiers: flags.agent_identifiers.clone(),
        connections: flags.connections.map(u32::from),
        sync_interval: flags.sync_interval.0,
        sync_interval_cap: flags.sync_interval_cap.0,
        health,
        admin,
        drain_time: drain_time(flags.graceful_shutdown_timeout),
    })
}

/// `--proxy-server-host`, without brackets.
///
/// # Errors
/// The text to show.
pub(crate) fn server_host(text: &str) -> Result<String, String> {
    let bare = without_brackets(text);
    match ServerName::try_from(bare) {
        Ok(_) => Ok(bare.to_owned()),
        Err(_) => Err(format!(
            "--proxy-server-host: {} is neither an address nor a host name: write the server's, without a port",
            Shown(text)
        )),
    }
}

/// Checks `--agent-identifiers`.
///
/// # Errors
/// The text to show.
pub(crate) fn agent_identifiers(text: &str) -> Result<(), String> {
    match Identifiers::parse_strict(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("--agent-identifiers: {}: {error}", Shown(text))),
    }
}
