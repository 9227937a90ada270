//! Where frontends are served, and with which certificates: a Unix socket, TCP with mutual TLS, or both.

use std::path::{Path, PathBuf};

use adit_dataplane::config::FrontendProtocols;
use adit_dataplane::stream::tls::{TlsMinVersion, frontend_config, tls12_suites};
use rustls::CipherSuite;

use super::Problems;
use super::files::{self, Usage};
use crate::config::cli::ServerFlags;
use crate::config::values::{Shown, list_items};
use crate::config::{Frontends, TcpFrontends};

/// Bytes of a Unix socket path, without the terminating zero (unix(7), `sun_path`).
const SUN_PATH_BYTES_MAX: usize = 107;
/// Konnectivity's port, where there is no Unix socket and no port is given.
const PORT_DEFAULT: i64 = 8090;
/// Suites of TLS 1.3 in Go's list. They are always spoken, as by Go.
const TLS13_SUITES: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Checks the frontends' flags and reads the files that they name. Also says whether there is no TCP frontend that
/// `--server-bind-address` could be for.
pub(super) fn frontends(
    problems: &mut Problems,
    flags: &ServerFlags,
    tls: Option<&TlsOptions>,
) -> (Option<Frontends>, bool) {
    let protocols = mode(problems, &flags.mode);
    let has_uds = !flags.uds_name.is_empty();
    if has_uds {
        uds_name(problems, &flags.uds_name);
    }
    let port = match (has_uds, flags.server_port) {
        (true, None | Some(0)) => None,
        (_, Some(port)) => Some(port),
        (false, None) => Some(PORT_DEFAULT),
    };
    let tcp = match port {
        None => {
            refuse_tcp_flags(problems, flags);
            None
        }
        Some(port) => {
            let tcp = tcp(problems, flags, port, tls);
            if tcp.is_none() {
                return (None, false);
            }
            tcp
        }
    };
    let uds_path = has_uds.then(|| PathBuf::from(&flags.uds_name));
    let unused = tcp.is_none();
    let delete_existing_uds_file = flags.delete_existing_uds_file;
    let frontends = Frontends { uds_path, delete_existing_uds_file, tcp, protocols };
    (Some(frontends), unused)
}

/// What frontends may speak: both, unless the flag says which.
fn mode(problems: &mut Problems, mode: &str) -> FrontendProtocols {
    match mode {
        "" => {}
        "http-connect" => return FrontendProtocols { grpc: false, ..FrontendProtocols::ALL },
        "grpc" => return FrontendProtocols { http_connect: false, ..FrontendProtocols::ALL },
        other => problems.add(
            "--mode",
            format_args!("{}: write grpc or http-connect, or leave it out to serve both", Shown(other)),
        ),
    }
    FrontendProtocols::ALL
}

pub(in crate::config) fn uds_name(problems: &mut Problems, path: &str) {
    if path.starts_with("unix:") {
        problems.add("--uds-name", format_args!("{}: write the path alone, without unix://", Shown(path)));
    } else if path.len() > SUN_PATH_BYTES_MAX {
        problems.add(
            "--uds-name",
            format_args!("longer than {SUN_PATH_BYTES_MAX} bytes, the most a socket can have"),
        );
    } else if let Some(parent) = Path::new(path).parent()
        && !parent.as_os_str().is_empty()
        && !parent.is_dir()
    {
        problems.add(
            "--uds-name",
            format_args!("{} is not a directory: make it first", Shown(&parent.to_string_lossy())),
        );
    }
}

/// A Unix socket alone: certificates for TCP are a mistake, as with Konnectivity.
fn refuse_tcp_flags(problems: &mut Problems, flags: &ServerFlags) {
    for (flag, value) in [
        ("--server-cert", &flags.server_cert),
        ("--server-key", &flags.server_key),
        ("--server-ca-cert", &flags.server_ca_cert),
    ] {
        if !value.is_empty() {
            problems.add(
                flag,
                "is for frontends over TCP, and --uds-name alone serves none: add --server-port to serve both, or \
                 leave this flag out",
            );
        }
    }
}

fn tcp(
    problems: &mut Problems,
    flags: &ServerFlags,
    port: i64,
    tls: Option<&TlsOptions>,
) -> Option<TcpFrontends> {
    let (cert, key, ca) = (&flags.server_cert, &flags.server_key, &flags.server_ca_cert);
    if flags.uds_name.is_empty()
        && flags.server_port.is_none()
        && [cert, key, ca].iter().all(|f| f.is_empty())
    {
        problems.add(
            "--uds-name",
            "name the Unix socket that kube-apiserver connects to, or serve it over TCP with --server-cert, \
             --server-key and --server-ca-cert",
        );
        return None;
    }
    let bind = problems.bind(("--server-bind-address", &flags.server_bind_address), ("--server-port", port));
    let identity =
        problems.take(files::identity(("--server-cert", cert), ("--server-key", key), Usage::Server));
    let roots = if ca.is_empty() {
        problems.add(
            "--server-ca-cert",
            "frontends over TCP would not be authenticated: name the CA that signed kube-apiserver's client \
             certificate here, or serve a Unix socket with --uds-name instead",
        );
        None
    } else {
        problems.take(files::roots("--server-ca-cert", ca))
    };
    let (identity, roots, tls) = (identity?, roots?, tls?);
    let tls =
        frontend_config(identity.chain, identity.key, roots, tls.min_version, tls.tls12_suites.as_deref());
    let tls = problems.take(tls.map_err(|error| format!("--server-cert, --server-key: {error}")))?;
    Some(TcpFrontends { bind, tls })
}

/// What is spoken over TCP, with frontends and agents alike.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TlsOptions {
    /// `--tls-min-version`.
    pub(super) min_version: TlsMinVersion,
    /// `--cipher-suites`; `None`: all.
    pub(super) tls12_suites: Option<Vec<CipherSuite>>,
    /// Whether an older version was asked for than any that is spoken.
    pub(super) too_old: bool,
}

/// Checks the flags of TLS that are for everybody who comes over TCP.
pub(super) fn tls_options(problems: &mut Problems, flags: &ServerFlags) -> Option<TlsOptions> {
    let (min_version, too_old) = match flags.tls_min_version.as_str() {
        "" | "VersionTLS12" => (TlsMinVersion::Tls12, false),
        // Konnectivity only warns of it.
        "VersionTLS10" | "VersionTLS11" => (TlsMinVersion::Tls12, true),
        "VersionTLS13" => (TlsMinVersion::Tls13, false),
        other => {
            problems.add(
                "--tls-min-version",
                format_args!("{} is no version: write VersionTLS12 or VersionTLS13", Shown(other)),
            );
            (TlsMinVersion::Tls12, false)
        }
    };
    let tls12_suites = problems.take(cipher_suites(&flags.cipher_suites))?;
    Some(TlsOptions { min_version, tls12_suites, too_old })
}

/// The TLS 1.2 suites in lists of Go's names; `None` for an empty one, which allows all.
pub(in crate::config) fn cipher_suites(lists: &[String]) -> Result<Option<Vec<CipherSuite>>, String> {
    let known = tls12_suites();
    let mut suites = Vec::new();
    let mut any = false;
    for name in list_items(lists) {
        any = true;
        // Go also knows ChaCha20-Poly1305 by its earlier name, without the hash.
        match known.iter().find(|(known, _)| known == name || known.strip_suffix("_SHA256") == Some(name)) {
            Some((_, suite)) => suites.push(*suite),
            None if TLS13_SUITES.contains(&name) => {}
            None => {
                let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
                return Err(format!(
                    "--cipher-suites: adit does not speak {}: choose among {}",
                    Shown(name),
                    names.join(", ")
                ));
            }
        }
    }
    Ok(any.then_some(suites))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_go_by_their_names_in_go() {
        let cipher_suites = |list: &str| cipher_suites(&[list.to_owned()]);
        assert_eq!(cipher_suites(""), Ok(None));
        assert_eq!(
            cipher_suites("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256"),
            Ok(Some(vec![CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]))
        );
        assert_eq!(
            cipher_suites("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"),
            Ok(Some(vec![CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]))
        );
        let error = cipher_suites("TLS_RSA_WITH_AES_128_CBC_SHA").unwrap_err();
        assert!(
            error.contains("choose among") && error.contains("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            "{error}"
        );
    }
}
