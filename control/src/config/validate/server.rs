//! [`ServerFlags`] to [`ServerConfig`].

use std::path::{Path, PathBuf};

use adit_dataplane::limits::ANSWER_TIME_MAX;
use adit_dataplane::route::Strategy;

use super::files::{self, Usage};
use super::{Problems, common, drain_time, id, server_shards};
use crate::config::cli::ServerFlags;
use crate::config::{Bind, BindHost, ServerConfig};

/// Bytes of a Unix socket path, without the terminating zero (unix(7), `sun_path`).
const SUN_PATH_BYTES_MAX: usize = 107;

/// Checks the server's flags and reads the files that they name.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn server_config(flags: &ServerFlags) -> Result<ServerConfig, Problems> {
    let mut problems = Problems::default();
    problems.refuse_later(&flags.later.all());
    frontend(&mut problems, flags);
    let agent = Bind {
        host: BindHost::parse(&flags.agent_bind_address),
        port: problems.port("--agent-port", flags.agent_port),
    };
    let admin = Bind {
        host: BindHost::parse(&flags.admin_bind_address),
        port: problems.port("--admin-port", flags.admin_port),
    };
    let health = Bind {
        host: BindHost::parse(&flags.health_bind_address),
        port: problems.port("--health-port", flags.health_port),
    };
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
    let dial_timeout = flags.backend_dial_timeout.0;
    let answer_time =
        if dial_timeout.is_zero() { ANSWER_TIME_MAX } else { dial_timeout.min(ANSWER_TIME_MAX) };
    let (Some(identity), Some(agent_roots), Some(strategies), true) =
        (identity, agent_roots, strategies, problems.is_empty())
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
            ],
        ),
        identity,
        agent_roots,
        uds_path: PathBuf::from(&flags.uds_name),
        delete_existing_uds_file: flags.delete_existing_uds_file,
        agent,
        admin,
        health,
        server_id,
        server_id_given,
        strategies,
        server_count: server_count.unwrap_or(1),
        drain_time: drain_time(flags.graceful_shutdown_timeout),
        answer_time,
    })
}

/// Who may be an agent: without a CA nobody is authenticated, so that is refused rather than served.
fn agent_roots(
    problems: &mut Problems,
    flags: &ServerFlags,
) -> Option<std::sync::Arc<rustls::RootCertStore>> {
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

/// The frontend's flags: HTTP CONNECT on a Unix socket.
fn frontend(problems: &mut Problems, flags: &ServerFlags) {
    match flags.mode.as_str() {
        "" | "http-connect" => {}
        "grpc" => problems.add(
            "--mode",
            "GRPC mode is not in this version: use http-connect here and proxyProtocol: HTTPConnect in \
             kube-apiserver's egress selector configuration",
        ),
        other => problems.add("--mode", format_args!("{other:?}: write http-connect")),
    }
    if let Some(port) = flags.server_port.filter(|&port| port != 0) {
        problems.add(
            "--server-port",
            format_args!(
                "{port}: the TCP frontend is not in this version: use --uds-name, and 0 or nothing here"
            ),
        );
    }
    let path = flags.uds_name.as_str();
    if path.is_empty() {
        problems.add("--uds-name", "name the Unix socket that kube-apiserver connects to");
    } else if path.starts_with("unix:") {
        problems.add("--uds-name", format_args!("{path:?}: write the path alone, without unix://"));
    } else if path.len() > SUN_PATH_BYTES_MAX {
        problems.add(
            "--uds-name",
            format_args!("longer than {SUN_PATH_BYTES_MAX} bytes, the most a socket can have"),
        );
    } else if let Some(parent) = Path::new(path).parent()
        && !parent.as_os_str().is_empty()
        && !parent.is_dir()
    {
        problems.add("--uds-name", format_args!("{} is not a directory: make it first", parent.display()));
    }
}
