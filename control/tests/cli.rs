//! The command line: what is refused, in which words; what is accepted; certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn adit(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adit"))
        .args(args)
        .env_remove("PROXY_SERVER_ID")
        .env_remove("PROXY_AGENT_ID")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A directory with `adit certs` in it.
fn certificates(flags: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().display().to_string();
    let output = adit(&[&["certs", "--out", &out], flags].concat());
    assert!(output.status.success(), "{}", text(&output));
    dir
}

fn file(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

/// The server's flags that make it start, up to what a case adds. Standard input is closed, so it ends by itself.
fn server_flags(dir: &Path) -> Vec<String> {
    [
        ("--uds-name", file(dir, "s.sock")),
        ("--cluster-cert", file(dir, "server.crt")),
        ("--cluster-key", file(dir, "server.key")),
        ("--cluster-ca-cert", file(dir, "ca.crt")),
        ("--agent-bind-address", "127.0.0.1".to_owned()),
        ("--health-bind-address", "127.0.0.1".to_owned()),
    ]
    .into_iter()
    .map(|(flag, value)| format!("{flag}={value}"))
    .chain(["--agent-port=0", "--health-port=0", "--admin-port=0", "--until-stdin-closes"].map(str::to_owned))
    .collect()
}

fn agent_flags(dir: &Path) -> Vec<String> {
    [
        ("--agent-cert", file(dir, "agent.crt")),
        ("--agent-key", file(dir, "agent.key")),
        ("--ca-cert", file(dir, "ca.crt")),
        ("--health-server-host", "127.0.0.1".to_owned()),
    ]
    .into_iter()
    .map(|(flag, value)| format!("{flag}={value}"))
    .chain(["--health-server-port=0", "--admin-server-port=0", "--until-stdin-closes"].map(str::to_owned))
    .collect()
}

/// Runs a verb with its base flags and more; the later duplicates win.
fn run(verb: &str, base: &[String], more: &[&str]) -> Output {
    let args: Vec<&str> =
        std::iter::once(verb).chain(base.iter().map(String::as_str)).chain(more.iter().copied()).collect();
    adit(&args)
}

#[test]
fn servers_flags_are_refused_with_the_remedy() {
    let dir = certificates(&[]);
    let base = server_flags(dir.path());
    let table: &[(&[&str], &[&str])] = &[
        (&["--cluster-ca-cert="], &["--cluster-ca-cert", "CA that signed", "--agent-namespace"]),
        (&["--mode=both"], &["--mode", "http-connect", "grpc"]),
        (
            &["--server-port=8090"],
            &["--server-cert", "--server-ca-cert", "would not be authenticated", "--uds-name"],
        ),
        (&["--server-port=70000"], &["--server-port: 70000 is no port"]),
        (&["--uds-name="], &["--uds-name", "Unix socket", "--server-cert"]),
        (&["--uds-name=", "--server-port=8090"], &["--server-ca-cert", "--uds-name"]),
        (&["--uds-name=unix:///run/x.sock"], &["--uds-name", "without unix://"]),
        (&["--uds-name=/no/such/directory/s.sock"], &["--uds-name", "not a directory"]),
        (
            &["--proxy-strategies=destHost, default"],
            &[
                "--proxy-strategies: unknown strategy \" default\"",
                "known are destHost, defaultRoute and default",
            ],
        ),
        (&["--proxy-strategies="], &["--proxy-strategies: no strategy is named"]),
        (&["--agent-port=65536"], &["--agent-port: 65536 is no port"]),
        (&["--health-port=-1"], &["--health-port: -1 is no port"]),
        (&["--server-count=0"], &["--server-count"]),
        (&["--xfr-channel-size=0"], &["--xfr-channel-size", "above 0"]),
        (&["--server-cert=/x"], &["--server-cert", "--uds-name alone", "add --server-port"]),
        (&["--server-ca-cert=/x", "--server-port=0"], &["--server-ca-cert", "leave this flag out"]),
        (&["--tls-min-version=1.3"], &["--tls-min-version", "VersionTLS13"]),
        (
            &["--agent-namespace=kube-system"],
            &["--agent-service-account", "--authentication-audience", "give all of"],
        ),
        (
            &["--agent-namespace=a", "--agent-service-account=b", "--authentication-audience=c"],
            &["--cluster-ca-cert", "by tokens or by certificates, not by both"],
        ),
        (
            &[
                "--cluster-ca-cert=",
                "--agent-namespace=a",
                "--agent-service-account=b",
                "--authentication-audience=c",
            ],
            &["--kubeconfig", "not a pod of a cluster", "system:auth-delegator"],
        ),
        (&["--kubeconfig=/x"], &["--kubeconfig", "cannot use \"/x\"", "check the path"]),
        (&["--kubeconfig=/dev/zero"], &["--kubeconfig", "it is no file"]),
        (&["--kubeconfig-qps=5"], &["--kubeconfig-qps", "Kubernetes API"]),
        (&["--enable-lease-controller"], &["--kubeconfig", "not a pod of a cluster", "delete leases"]),
        (&["--lease-label=k8s-app"], &["--lease-label", "key=value"]),
        (&["--enable-profiling=true"], &["--enable-profiling", "profiles"]),
        (&["--cipher-suites=TLS_X"], &["--cipher-suites", "TLS_X", "choose among"]),
        (&["--cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA"], &["--cipher-suites", "choose among"]),
        (&["--keepalive-time=-1s"], &["--keepalive-time", "negative"]),
        (&["--graceful-shutdown-timeout=5"], &["--graceful-shutdown-timeout", "invalid duration"]),
        (&["--mtu-max=1199"], &["--mtu-max", "1200"]),
        (&["--mtu-max=65469"], &["--mtu-max"]),
        (&["--io=iocp"], &["--io", "auto, uring or epoll"]),
        (&["--delete-existing-uds-file=perhaps"], &["--delete-existing-uds-file", "true or false"]),
        (&["--feature-gates=NodeToMasterTraffic=true"], &["--feature-gates"]),
        (&["--server-id=a\u{7}b"], &["--server-id", "control character"]),
    ];
    for (flags, words) in table {
        let output = run("server", &base, flags);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {}", text(&output));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for word in *words {
            assert!(said.contains(word), "{flags:?}: no {word:?} in {said}");
        }
    }
}

#[test]
fn a_tcp_frontends_files_are_checked() {
    let dir = certificates(&[]);
    let base = server_flags(dir.path());
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key) =
        (format!("--server-cert={}", file("server.crt")), format!("--server-key={}", file("server.key")));
    let ca = format!("--server-ca-cert={}", file("ca.crt"));
    let for_clients = format!("--server-cert={}", file("frontend.crt"));
    let clients_key = format!("--server-key={}", file("frontend.key"));
    let table: &[(&[&str], &[&str])] = &[
        (&[&cert, &key], &["--server-ca-cert", "would not be authenticated"]),
        (&[&cert, &ca], &["--server-key", "PEM"]),
        (&[&key, &ca], &["--server-cert", "PEM"]),
        (&[&cert, &clients_key, &ca], &["--server-key", "does not belong"]),
        (&[&for_clients, &clients_key, &ca], &["--server-cert", "serverAuth"]),
        (&[&cert, &key, "--server-ca-cert=/no/such/file"], &["--server-ca-cert", "cannot read"]),
        (&[&cert, &key, &ca, "--cipher-suites=TLS_X"], &["--cipher-suites", "TLS_X", "choose among"]),
    ];
    for (flags, words) in table {
        let flags = [&["--server-port=1"], *flags].concat();
        let output = run("server", &base, &flags);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {}", text(&output));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for word in *words {
            assert!(said.contains(word), "{flags:?}: no {word:?} in {said}");
        }
    }
}

#[test]
fn agents_flags_are_refused_with_the_remedy() {
    let dir = certificates(&[]);
    let base = agent_flags(dir.path());
    let table: &[(&[&str], &[&str])] = &[
        (&["--ca-cert="], &["--ca-cert", "CA that signed the server's"]),
        (&["--agent-cert="], &["--agent-cert", "PEM"]),
        (&["--proxy-server-port=0"], &["--proxy-server-port", "1 to 65535"]),
        (&["--proxy-server-host="], &["--proxy-server-host", "neither an address nor a host name"]),
        (&["--proxy-server-host=server:8091"], &["--proxy-server-host", "without a port"]),
        (&["--sync-interval=20s"], &["--sync-interval", "--sync-interval-cap"]),
        (&["--sync-interval=0s"], &["--sync-interval", "above 0"]),
        (&["--agent-identifiers=colour=red"], &["--agent-identifiers", "colour"]),
        (&["--agent-identifiers=ipv4=%zz"], &["--agent-identifiers", "escape"]),
        (&["--service-account-token-path=/x"], &["--service-account-token-path", "cannot read \"/x\""]),
        (&["--agent-cert=", "--agent-key="], &["--agent-cert, --agent-key", "--service-account-token-path"]),
        (&["--count-server-leases"], &["--kubeconfig", "not a pod of a cluster", "list leases"]),
        (&["--sync-forever=perhaps"], &["--sync-forever", "true or false"]),
        (&["--alpn-proto=x,,y"], &["--alpn-proto", "no protocol's name"]),
        (&["--transport=udp"], &["--transport", "auto, quic, tcp"]),
        (&["--server-count-source=least"], &["--server-count-source", "default or max"]),
        (&["--xfr-channel-size=-1"], &["--xfr-channel-size"]),
    ];
    for (flags, words) in table {
        let output = run("agent", &base, flags);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {}", text(&output));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for word in *words {
            assert!(said.contains(word), "{flags:?}: no {word:?} in {said}");
        }
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let dir = certificates(&[]);
    let flags = ["--mode=both", "--server-port=-1", "--cluster-ca-cert="];
    let output = run("server", &server_flags(dir.path()), &flags);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for flag in ["--mode", "--server-port", "--cluster-ca-cert"] {
        assert!(said.lines().any(|line| line.starts_with(&format!("adit: {flag}"))), "{said}");
    }
}

#[test]
fn what_konnectivitys_manifests_pass_is_accepted_and_said_once() {
    let dir = certificates(&[]);
    let flags = [
        "--logtostderr=true",
        "--log-file=/var/log/konnectivity-server.log",
        "--log-file-max-size=0",
        "--v=4",
        "--delete-existing-uds-file",
        "--server-port=0",
        "--mode=http-connect",
        "--keepalive-time=1h",
        "--frontend-keepalive-time=1h0m0s",
        "--server-count=2",
        "--graceful-shutdown-timeout=30s",
        "--backend-dial-timeout=10s",
        "--xfr-channel-size=20",
        "--enable-lease-controller=false",
        "--agent-namespace=",
        "--kube-api-content-type=application/vnd.kubernetes.protobuf",
        "--proxy-strategies=destHost,defaultRoute,default",
    ];
    let output = run("server", &server_flags(dir.path()), &flags);
    assert!(output.status.success(), "{}", text(&output));
    let said = text(&output);
    assert_eq!(said.matches("no effect").count(), 1, "{said}");
    assert!(said.contains("--log-file") && said.contains("--xfr-channel-size"), "{said}");

    let flags = [
        "--logtostderr",
        "--sync-interval=5s",
        "--sync-interval-cap=30s",
        "--probe-interval=5s",
        "--keepalive-time=30s",
        "--agent-identifiers=ipv4=10.0.0.1&host=node-1&default-route=true",
        "--sync-forever=false",
        "--server-count-source=default",
    ];
    let output = run("agent", &agent_flags(dir.path()), &flags);
    assert!(output.status.success(), "{}", text(&output));
}

/// The flags of Kubernetes' own recipe ("Set up Konnectivity service") and of the examples in Konnectivity's
/// repository, with tokens and with leases.
#[test]
fn konnectivitys_published_manifests_start_adit_unchanged() {
    let dir = certificates(&[]);
    let kubeconfig = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}"#;
    fs::write(dir.path().join("kubeconfig"), kubeconfig).expect("a file");
    fs::write(dir.path().join("token"), "an.agents.token").expect("a file");
    let kubeconfig = format!("--kubeconfig={}", file(dir.path(), "kubeconfig"));
    let token = format!("--service-account-token-path={}", file(dir.path(), "token"));
    let flags = [
        "--cluster-ca-cert=",
        "--logtostderr=true",
        "--log-file=/var/log/konnectivity-server.log",
        "--log-file-max-size=0",
        "--delete-existing-uds-file",
        "--server-port=0",
        "--keepalive-time=1h",
        "--mode=grpc",
        "--agent-namespace=kube-system",
        "--agent-service-account=konnectivity-agent",
        "--authentication-audience=system:konnectivity-server",
        "--enable-lease-controller",
        &kubeconfig,
    ];
    let output = run("server", &server_flags(dir.path()), &flags);
    assert!(output.status.success(), "{}", text(&output));
    let flags = [
        "--agent-cert=",
        "--agent-key=",
        "--logtostderr=true",
        "--sync-interval=5s",
        "--sync-interval-cap=30s",
        "--probe-interval=5s",
        "--agent-identifiers=ipv4=10.0.0.1",
        "--sync-forever",
        "--count-server-leases",
        "--lease-label=k8s-app=konnectivity-server",
        &token,
        &kubeconfig,
    ];
    let output = run("agent", &agent_flags(dir.path()), &flags);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn bad_files_are_told_apart() {
    let dir = certificates(&[]);
    let at = |name: &str| file(dir.path(), name);
    fs::write(dir.path().join("text"), "not PEM at all\n").expect("a file");
    fs::write(dir.path().join("broken"), "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n")
        .expect("a file");
    let other = certificates(&[]);
    let other_key = file(other.path(), "server.key");
    let table: &[(&str, String, &[&str])] = &[
        ("--cluster-cert", at("missing.crt"), &["missing.crt", "No such file", "check the path"]),
        ("--cluster-cert", at("text"), &["holds no certificate", "BEGIN CERTIFICATE"]),
        ("--cluster-cert", at("broken"), &["not PEM"]),
        ("--cluster-cert", at("server.key"), &["holds no certificate", "private key"]),
        ("--cluster-cert", dir.path().display().to_string(), &["--cluster-cert", "name the"]),
        ("--cluster-cert", at("agent.crt"), &["--cluster-key"]),
        ("--cluster-key", at("server.crt"), &["holds no private key but a certificate"]),
        ("--cluster-key", other_key, &["does not belong to the certificate", "server.crt", "--cluster-cert"]),
        ("--cluster-key", at("text"), &["not a PEM private key"]),
        ("--cluster-ca-cert", at("text"), &["holds no certificate"]),
    ];
    for (flag, path, words) in table {
        let output = run("server", &server_flags(dir.path()), &[&format!("{flag}={path}")]);
        assert_eq!(output.status.code(), Some(1), "{flag} {path}: {}", text(&output));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for word in std::iter::once(flag).chain(*words) {
            assert!(said.contains(word), "{flag} {path}: no {word:?} in {said}");
        }
    }
    // The right pair, made for the other purpose.
    let pair = [format!("--cluster-cert={}", at("agent.crt")), format!("--cluster-key={}", at("agent.key"))];
    let output = run("server", &server_flags(dir.path()), &[&pair[0], &pair[1]]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("serverAuth"), "{}", text(&output));
}

#[test]
fn an_unreadable_key_says_who_must_be_let_in() {
    let dir = certificates(&[]);
    let key = dir.path().join("server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o000)).expect("our file");
    if fs::read(&key).is_ok() {
        // The superuser reads everything: then there is nothing to be told.
        return;
    }
    let output = run("server", &server_flags(dir.path()), &[]);
    assert!(text(&output).contains("let the user that this program runs as read it"), "{}", text(&output));
}

#[test]
fn unknown_flags_and_verbs_end_with_status_1_and_help_with_0() {
    for args in [&["server", "--nonsense"][..], &["agent", "--nonsense"], &["nonsense"], &[]] {
        let output = adit(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output));
    }
    for args in [&["--help"][..], &["server", "--help"], &["agent", "--help"], &["--version"]] {
        let output = adit(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn the_programs_can_be_called_by_konnectivitys_names() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, flag) in [("proxy-server", "--cluster-ca-cert"), ("proxy-agent", "--ca-cert")] {
        let link = dir.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_adit"), &link).expect("a link");
        let output = Command::new(&link).output().expect("it starts");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains(flag), "{}", text(&output));
    }
}

#[test]
fn certificates_are_made_once_and_keys_are_private() {
    let dir = certificates(&["--host", "adit.example.org", "--host", "192.0.2.7"]);
    for name in ["ca", "server", "agent", "frontend"] {
        let certificate = fs::read_to_string(dir.path().join(format!("{name}.crt"))).expect("a certificate");
        assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"), "{name}");
        let key = dir.path().join(format!("{name}.key"));
        assert_eq!(fs::metadata(&key).expect("a key").permissions().mode() & 0o777, 0o600, "{name}");
    }
    let before = fs::read(dir.path().join("ca.crt")).expect("a certificate");
    let out = dir.path().display().to_string();
    let again = adit(&["certs", "--out", &out]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("--force"), "{}", text(&again));
    assert_eq!(fs::read(dir.path().join("ca.crt")).expect("a certificate"), before, "nothing was touched");
    assert!(adit(&["certs", "--out", &out, "--force"]).status.success());
    assert_ne!(fs::read(dir.path().join("ca.crt")).expect("a certificate"), before);
    let wrong = adit(&["certs", "--out", &file(dir.path(), "new"), "--host", "no host"]);
    assert!(text(&wrong).contains("neither an address nor a host name"), "{}", text(&wrong));
}

#[test]
fn forward_says_what_is_wrong_with_its_target() {
    for target in ["nohost", "host:", "host:0", "host:65536", ":80"] {
        let output = adit(&["forward", "--uds-name=/nowhere", "--target", target]);
        assert_eq!(output.status.code(), Some(1), "{target}");
        assert!(text(&output).contains("write HOST:PORT"), "{target}: {}", text(&output));
    }
}

#[test]
fn secrets_are_not_logged() {
    let dir = certificates(&[]);
    let output = run("server", &server_flags(dir.path()), &["--log-level=trace"]);
    assert!(output.status.success(), "{}", text(&output));
    let key = fs::read_to_string(dir.path().join("server.key")).expect("a key");
    let secret = key.lines().nth(1).expect("base64");
    let said = text(&output);
    assert!(said.contains("adit server") && !said.contains(secret), "{said}");
}
