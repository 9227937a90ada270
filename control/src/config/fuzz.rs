//! What the parsers of an operator's input must hold to, whatever the input: one function for each parser of a flag or
//! a file, which checks the properties and says how the input fared (see `adit-fuzz`).
//!
//! Beside panics and time it is about the text of an error: it names the flag, stays one line of bounded length, and
//! takes no control character over from the input. What a value means is the unit tests' matter.

use std::str::from_utf8;
use std::time::Duration;

use adit_dataplane::route::Strategy;
use adit_fuzz::{Fate, Suite, Target};
use rustls_pki_types::UnixTime;

use super::cli::{Cli, Verb};
use super::egress_proxy::egress_proxy;
use super::validate::agent::{agent_identifiers, alpn_protocols, server_host};
use super::validate::files::{PATH_BYTES_MAX, PemFile, Usage};
use super::validate::frontends::{cipher_suites, uds_name};
use super::validate::{Problems, agent_config, server_config};
use super::values::GoDuration;
use super::{Bind, BindHost};
use crate::certs::san;
use crate::forward::check_target;
use crate::kubernetes::lease::labels;

/// Most bytes of an error's text: a shown value (64 characters of which each may be escaped), the remedy and, for
/// cipher suites, all there are.
const ERROR_BYTES_MAX: usize = 1200;
/// Most bytes of what clap prints: the usage has several lines.
const CLI_ERROR_BYTES_MAX: usize = 2200;

const SUITE: Suite = Suite {
    corpora: concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus"),
    targets: &[
        Target { name: "agent_identifiers", run: identifiers, tokens: IDENTIFIERS },
        Target { name: "alpn_proto", run: alpn_proto, tokens: &["h2", "adit-h2/1", ",", ", ", "x"] },
        Target { name: "bind_address", run: bind_address, tokens: ADDRESSES },
        Target { name: "certificate_host", run: certificate_host, tokens: ADDRESSES },
        Target { name: "cipher_suites", run: suites, tokens: SUITES },
        Target { name: "command_line", run: command_line, tokens: FLAGS },
        Target { name: "duration", run: duration, tokens: DURATIONS },
        Target { name: "egress_proxy", run: proxy, tokens: PROXIES },
        Target { name: "forward_target", run: forward_target, tokens: ADDRESSES },
        Target {
            name: "lease_label",
            run: lease_label,
            tokens: &["k8s-app", "=", ",", "konnectivity-server"],
        },
        Target { name: "pem_identity", run: pem_identity, tokens: PEM },
        Target { name: "pem_roots", run: pem_roots, tokens: PEM },
        Target { name: "proxy_strategies", run: strategies, tokens: STRATEGIES },
        Target { name: "server_host", run: proxy_server_host, tokens: ADDRESSES },
        Target {
            name: "uds_name",
            run: socket_path,
            tokens: &["/", "unix:", "unix://", "/tmp/", "..", "\0"],
        },
    ],
};

const IDENTIFIERS: &[&str] =
    &["ipv4=", "ipv6=", "host=", "cidr=", "default-route=", "true", "&", "&&", ";", "%26", "%", "+", "%0a"];
const ADDRESSES: &[&str] = &[
    "[",
    "]",
    "::",
    "::ffff:",
    "%eth0",
    "127.0.0.1",
    ":443",
    ".",
    "*",
    "@",
    "xn--",
    "_",
    "localhost",
    "\u{202e}",
];
const PROXIES: &[&str] = &[
    "http://",
    "https://",
    "://",
    "@",
    ":",
    "%",
    "%40",
    "\0",
    ",",
    "*",
    "*.",
    ".",
    "/24",
    "/128",
    "[",
    "]",
    "::1",
    "::ffff:10.0.0.0/104",
    "10.0.0.1",
    "example",
    ":3128",
    ":8091",
    "/",
    "?",
    "#",
];
const SUITES: &[&str] =
    &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "_SHA256", "TLS_AES_128_GCM_SHA256", ",", ", ", "TLS_"];
const FLAGS: &[&str] = &[
    "\0--",
    "\0",
    "=",
    "--v=",
    "--",
    "server\0",
    "agent\0",
    "forward\0",
    "certs\0",
    "demo\0",
    "--help",
    "--version",
    "--sync-interval=",
    "--proxy-strategies=",
    "--shards=",
    "--mtu-max=",
    "--server-port=",
    "--listen=",
    "true",
    "\u{1b}[2J",
];
const DURATIONS: &[&str] =
    &["ns", "us", "µs", "ms", "s", "m", "h", ".", "-", "+", "0", "1h0m0s", "9223372036854775807"];
const PEM: &[&str] = &[
    "-----BEGIN CERTIFICATE-----\n",
    "-----END CERTIFICATE-----\n",
    "-----BEGIN PRIVATE KEY-----\n",
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN EC PRIVATE KEY-----\n",
    "-----BEGIN RSA PRIVATE KEY-----\n",
    "-----BEGIN ",
    "-----END ",
    "-----",
    "=",
    "==",
    "MII",
    "\r\n",
    "\n\n",
    "Proc-Type: 4,ENCRYPTED\n",
    "\u{feff}",
];
const STRATEGIES: &[&str] = &["destHost", "defaultRoute", "default", ",", ",,", " "];

#[test]
fn every_seed_fares_as_its_name_says() {
    SUITE.replay();
}

#[test]
fn every_corpus_belongs_to_a_target() {
    SUITE.match_corpora();
}

#[test]
fn mutated_seeds_break_nothing() {
    SUITE.mutate();
}

/// How it fared, its error's text checked.
fn judged<T>(result: Result<T, String>, names: &str) -> Fate {
    judged_within(result, names, ERROR_BYTES_MAX)
}

fn judged_within<T>(result: Result<T, String>, names: &str, bytes_max: usize) -> Fate {
    let Err(text) = result else { return Fate::Taken };
    assert!(text.contains(names), "no {names} in {text}");
    assert!(text.len() <= bytes_max, "{} bytes: {text}", text.len());
    assert!(!text.chars().any(char::is_control), "a control character in {text:?}");
    Fate::Refused
}

/// A flag's value, which clap has found to be text.
fn value(input: &[u8], run: impl FnOnce(&str) -> Fate) -> Fate {
    from_utf8(input).map_or(Fate::Refused, run)
}

fn identifiers(input: &[u8]) -> Fate {
    value(input, |text| judged(agent_identifiers(text), "--agent-identifiers: "))
}

fn alpn_proto(input: &[u8]) -> Fate {
    value(input, |text| judged(alpn_protocols(&[text.to_owned()]), "--alpn-proto: "))
}

fn lease_label(input: &[u8]) -> Fate {
    value(input, |text| judged(labels(text), "--lease-label: "))
}

/// `HTTPS_PROXY`, `NO_PROXY` and the server's host, NUL between them.
fn proxy(input: &[u8]) -> Fate {
    value(input, |text| {
        let mut parts = text.splitn(3, '\0').map(str::to_owned);
        let (proxy, exceptions) = (parts.next(), parts.next());
        let host = parts.next().unwrap_or_else(|| "server.example".to_owned());
        let environment = |name: &str| match name {
            "HTTPS_PROXY" => proxy.clone(),
            "NO_PROXY" => exceptions.clone(),
            _ => None,
        };
        let decided = egress_proxy(environment, &host, 8091);
        if let Ok(Some(proxy)) = &decided {
            let shown = format!("{proxy} {proxy:?} {}", proxy.authorization.as_deref().unwrap_or_default());
            assert!(!shown.chars().any(char::is_control) && proxy.port > 0, "{shown:?}");
        }
        judged(decided, "HTTPS_PROXY: ")
    })
}

fn bind_address(input: &[u8]) -> Fate {
    value(input, |text| {
        let mut problems = Problems::default();
        let bind = problems.bind(("--health-bind-address", text), ("--health-port", 8092));
        let told = if problems.is_empty() { Ok(()) } else { Err(problems.to_string()) };
        if told.is_ok() {
            // As the log shows it.
            let shown = bind.to_string();
            assert!(!shown.chars().any(char::is_control) && shown.len() <= 300, "{shown:?}");
            if let Bind { host: BindHost::Name(name), .. } = bind {
                assert_eq!(BindHost::parse(&name), Ok(BindHost::Name(name)));
            }
        }
        judged(told, "--health-bind-address: ")
    })
}

fn certificate_host(input: &[u8]) -> Fate {
    value(input, |text| judged(san(text).map_err(|error| error.to_string()), "--host "))
}

fn suites(input: &[u8]) -> Fate {
    value(input, |text| judged(cipher_suites(&[text.to_owned()]), "--cipher-suites: "))
}

fn duration(input: &[u8]) -> Fate {
    value(input, |text| {
        let read = text.parse::<GoDuration>();
        if let Ok(GoDuration(duration)) = read {
            assert!(duration <= Duration::from_nanos(i64::MAX.unsigned_abs()), "more than Go can say");
            let again = format!("{}ns", duration.as_nanos()).parse();
            assert_eq!(again, Ok(GoDuration(duration)));
        }
        judged(read, "duration")
    })
}

fn forward_target(input: &[u8]) -> Fate {
    value(input, |text| judged(check_target(text), "--target "))
}

fn strategies(input: &[u8]) -> Fate {
    value(input, |text| {
        let read = Strategy::parse_list(text);
        if let Ok(list) = &read {
            let names: Vec<_> = list.iter().map(|strategy| strategy.name()).collect();
            assert_eq!(Strategy::parse_list(&names.join(",")).as_ref(), Ok(list));
        }
        judged(read.map_err(|error| error.to_string()), "strategy")
    })
}

fn proxy_server_host(input: &[u8]) -> Fate {
    value(input, |text| judged(server_host(text), "--proxy-server-host: "))
}

fn socket_path(input: &[u8]) -> Fate {
    value(input, |text| {
        let mut problems = Problems::default();
        uds_name(&mut problems, text);
        judged(if problems.is_empty() { Ok(()) } else { Err(problems.to_string()) }, "--uds-name: ")
    })
}

/// A whole command line, NUL between the arguments as in proc(5)'s `cmdline`. Taken is what clap takes; the checks that
/// follow it end where a file is missing, if not before, and each of their problems is one line.
fn command_line(input: &[u8]) -> Fate {
    let Ok(text) = from_utf8(input) else { return Fate::Refused };
    let arguments = std::iter::once("adit").chain(text.split('\0')).map(Into::into);
    let problems = match Cli::read(arguments).map(|cli| cli.verb) {
        Ok(Verb::Server(flags)) => server_config(&flags).map(drop),
        Ok(Verb::Agent(flags)) => agent_config(&flags).map(drop),
        Ok(_) => return Fate::Taken,
        Err(answer) if !answer.use_stderr() => return Fate::Taken,
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("error: ") || text.contains("Usage: "), "{text:?}");
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "a control character in {text:?}");
            assert!(text.len() <= CLI_ERROR_BYTES_MAX, "{} bytes: {text}", text.len());
            return Fate::Refused;
        }
    };
    if let Err(problems) = problems {
        for line in problems.to_string().lines() {
            // A file is of no use by half of its name, and some errors are about two.
            judged_within(Err::<(), _>(line.to_owned()), "--", ERROR_BYTES_MAX + 2 * PATH_BYTES_MAX);
        }
    }
    Fate::Taken
}

/// A moment at which the seeds are valid: 2027-01-15.
fn then() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000))
}

fn file<'a>(flag: &'a str, input: &[u8]) -> PemFile<'a> {
    PemFile { flag, path: "/etc/adit/file.pem", bytes: input.to_vec() }
}

/// One file that is both the chain and the key, as a server takes it and as an agent does: they differ in the use that
/// the certificate must be made for, and in nothing else.
fn pem_identity(input: &[u8]) -> Fate {
    let (cert, key) = (file("--cert", input), file("--key", input));
    let [server, client] =
        [Usage::Server, Usage::Client].map(|usage| cert.identity(&key, usage, then()).map(drop));
    let use_is_wrong = |error: &String| error.contains("is not made for this use");
    let differ = [&server, &client].into_iter().any(|judged| judged.as_ref().is_err_and(use_is_wrong));
    assert!(differ || server == client, "{server:?} {client:?}");
    judged(client, "/etc/adit/file.pem");
    judged(server, "/etc/adit/file.pem")
}

fn pem_roots(input: &[u8]) -> Fate {
    let roots = file("--ca-cert", input).roots();
    assert!(roots.as_ref().is_ok_and(|roots| !roots.is_empty()) || roots.is_err());
    judged(roots, "--ca-cert: ")
}
