//! [`AgentFlags`] to [`AgentConfig`].

use std::sync::Arc;

use adit_dataplane::route::Identifiers;
use adit_dataplane::stream::tls::{ALPN_NAME_BYTES_MAX, agent_client_config};
use rustls::RootCertStore;
use rustls_pki_types::ServerName;

use super::files::{self, Usage};
use super::{Problems, agent_shards, common, drain_time, id, kubeconfig};
use crate::config::cli::AgentFlags;
use crate::config::egress_proxy::egress_proxy;
use crate::config::token_file::TokenFile;
use crate::config::values::{Shown, list_items};
use crate::config::{AgentConfig, Identity, SERVER_KEEP_ALIVE, without_brackets};
use crate::kubernetes::count::Counting;

/// Most protocols in `--alpn-proto`: all of them go into the first packet.
const ALPN_PROTOCOLS_MAX: usize = 16;

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
        problems.add("--proxy-server-port", "write the server's port, 1 to 65535");
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
    let (identity, token) = identity_and_token(&mut problems, flags);
    let server_roots = if flags.ca_cert.is_empty() {
        problems.add("--ca-cert", "name the CA that signed the server's certificate");
        None
    } else {
        problems.take(files::roots("--ca-cert", &flags.ca_cert))
    };
    let counting = counting(&mut problems, flags);
    let kubeconfig = kubeconfig(&mut problems, &flags.kubeconfig);
    let protocols = problems.take(alpn_protocols(&flags.alpn_proto));
    let server_tls = match (&server_roots, protocols) {
        (Some(roots), Some(protocols)) => {
            problems.take(server_tls(identity.as_ref(), Arc::clone(roots), &protocols))
        }
        _ => None,
    };
    let egress_proxy = server_host.as_deref().and_then(|host| {
        let environment = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
        problems.take(egress_proxy(environment, host, server_port)).flatten()
    });
    let (Some(server_host), Some(server_roots), Some(server_tls), true) =
        (server_host, server_roots, server_tls, problems.is_empty())
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
        token,
        server_roots,
        server_host,
        server_port,
        keep_alive: flags.keepalive_time.0.clamp(*SERVER_KEEP_ALIVE.start(), *SERVER_KEEP_ALIVE.end()),
        transport: flags.transport,
        server_tls,
        egress_proxy,
        agent_id,
        identifiers: flags.agent_identifiers.clone(),
        connections: flags.connections.map(u32::from),
        counting,
        kubeconfig,
        sync_forever: flags.sync_forever,
        sync_interval: flags.sync_interval.0,
        sync_interval_cap: flags.sync_interval_cap.0,
        health,
        admin,
        drain_time: drain_time(flags.graceful_shutdown_timeout),
    })
}

/// By what servers know this agent: a certificate, a token, or both.
fn identity_and_token(problems: &mut Problems, flags: &AgentFlags) -> (Option<Identity>, Option<TokenFile>) {
    let path = &flags.service_account_token_path;
    let token = if path.is_empty() { None } else { problems.take(TokenFile::read(path)) };
    if flags.agent_cert.is_empty() && flags.agent_key.is_empty() {
        if path.is_empty() {
            problems.add(
                "--agent-cert, --agent-key",
                "no server could know this agent: name its certificate and key (adit certs makes a pair to try out), \
                 or its token with --service-account-token-path",
            );
        }
        return (None, token);
    }
    let identity = problems.take(files::identity(
        ("--agent-cert", &flags.agent_cert),
        ("--agent-key", &flags.agent_key),
        Usage::Client,
    ));
    (identity, token)
}

/// Whether and how servers are counted by their leases.
fn counting(problems: &mut Problems, flags: &AgentFlags) -> Option<Counting> {
    let at_least = match flags.server_count_source.as_str() {
        "" | "default" => false,
        "max" => true,
        _ => {
            problems.add("--server-count-source", "write default or max");
            false
        }
    };
    let counting = Counting {
        namespace: flags.lease_namespace.clone(),
        selector: flags.lease_label_selector.clone(),
        at_least,
    };
    flags.count_server_leases.then_some(counting)
}

/// What the server is met with over TCP.
fn server_tls(
    identity: Option<&Identity>,
    roots: Arc<RootCertStore>,
    protocols: &[String],
) -> Result<Arc<rustls::ClientConfig>, String> {
    let identity = identity.map(|identity| (identity.chain.clone(), identity.key.clone_key()));
    agent_client_config(identity, roots, protocols)
        .map_err(|error| format!("--agent-cert, --agent-key: {error}"))
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

/// The protocols of `--alpn-proto`, in their order.
///
/// # Errors
/// The text to show.
pub(in crate::config) fn alpn_protocols(lists: &[String]) -> Result<Vec<String>, String> {
    let names: Vec<String> = list_items(lists).map(str::to_owned).collect();
    if names.len() > ALPN_PROTOCOLS_MAX {
        return Err(format!("--alpn-proto: {} protocols: name at most {ALPN_PROTOCOLS_MAX}", names.len()));
    }
    match names.iter().find(|name| name.is_empty() || name.len() > ALPN_NAME_BYTES_MAX) {
        Some(name) => Err(format!(
            "--alpn-proto: {} is no protocol's name: write 1 to {ALPN_NAME_BYTES_MAX} bytes, names apart by commas",
            Shown(name)
        )),
        None => Ok(names),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_keep_their_order_over_several_flags() {
        let read =
            |lists: &[&str]| alpn_protocols(&lists.iter().map(|&list| list.to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&[]), Ok(Vec::new()));
        assert_eq!(read(&[""]), Ok(Vec::new()));
        assert_eq!(read(&["b,a", "", "c"]), Ok(vec!["b".to_owned(), "a".to_owned(), "c".to_owned()]));
        for wrong in ["a,,b", ",", &"x".repeat(256), &"x,".repeat(20)] {
            assert!(read(&[wrong]).unwrap_err().starts_with("--alpn-proto: "), "{wrong}");
        }
        assert!(read(&[&"x".repeat(255)]).is_ok());
    }
}
