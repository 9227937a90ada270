//! Frontends over TCP with mutual TLS, beside the Unix socket and without it, as curl and a library speak to them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_bench::client as bytes;
use adit_bench::target::Target;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::client::connect;
use crate::support::process::Process;
use crate::support::tunnel::{Options, Tunnel};
use crate::support::{PATIENCE, soon, until};

/// A PKI of its own for frontends: whoever is good towards agents is nobody here.
struct Pki {
    dir: TempDir,
}

impl Pki {
    fn new() -> Self {
        let pki = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        let ours = pki.authority("ca");
        pki.sign(&ours, "server", ExtendedKeyUsagePurpose::ServerAuth, 24);
        pki.sign(&ours, "kube-apiserver", ExtendedKeyUsagePurpose::ClientAuth, 24);
        pki.sign(&ours, "expired", ExtendedKeyUsagePurpose::ClientAuth, -1);
        pki.sign(&pki.authority("foreign-ca"), "foreign", ExtendedKeyUsagePurpose::ClientAuth, 24);
        pki
    }

    fn authority(&self, name: &str) -> Issuer<'static, KeyPair> {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(name, 24);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        fs::write(self.file(&format!("{name}.crt")), params.self_signed(&key).expect("a CA").pem())
            .expect("written");
        Issuer::new(params, key)
    }

    /// Valid from two days ago until so many hours from now.
    fn sign(&self, by: &Issuer<'_, KeyPair>, name: &str, usage: ExtendedKeyUsagePurpose, hours: i64) {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(name, hours);
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, by).expect("a certificate");
        fs::write(self.file(&format!("{name}.crt")), certificate.pem()).expect("written");
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).expect("written");
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// What makes a server listen on any free port.
    fn server_flags(&self) -> Vec<String> {
        vec![
            "--server-bind-address=127.0.0.1".to_owned(),
            format!("--server-cert={}", self.file("server.crt")),
            format!("--server-key={}", self.file("server.key")),
            format!("--server-ca-cert={}", self.file("ca.crt")),
        ]
    }

    /// TLS as kube-apiserver, or as somebody without a certificate.
    async fn connect(&self, server: SocketAddr, name: Option<&str>) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_with(server, name, rustls::DEFAULT_VERSIONS).await
    }

    async fn connect_with(
        &self,
        server: SocketAddr,
        name: Option<&str>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca.crt")).expect("PEM")).expect("a CA");
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::from_pem_file(self.file(&format!("{name}.crt"))).expect("PEM");
                let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).expect("PEM");
                builder.with_client_auth_cert(vec![chain], key).expect("a pair")
            }
        };
        let stream = TcpStream::connect(server).await?;
        let at = ServerName::IpAddress(server.ip().into());
        TlsConnector::from(Arc::new(config)).connect(at, stream).await
    }

    /// CONNECT: the tunnel.
    async fn tunnel(&self, server: SocketAddr, target: SocketAddr) -> TlsStream<TcpStream> {
        soon("a tunnel", async {
            let mut stream = self.connect(server, Some("kube-apiserver")).await.expect("TLS");
            let head = format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("the server reads");
            let mut answer = [0; b"HTTP/1.1 200 Connection Established\r\n\r\n".len()];
            stream.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 200 Connection Established\r\n\r\n");
            stream
        })
        .await
    }

    /// curl through the frontend, with further arguments.
    async fn curl(&self, server: SocketAddr, more: &[&str]) -> Output {
        let proxy = format!("https://{server}");
        let ca = self.file("ca.crt");
        let curl = tokio::process::Command::new("curl")
            .args(["--silent", "--show-error", "--proxytunnel", "--proxy", &proxy, "--proxy-cacert", &ca])
            .args(["--max-time", "20"])
            .args(more)
            .env_clear()
            .kill_on_drop(true)
            .output();
        soon("curl to end", curl).await.expect("curl is installed: cargo xtask set-up")
    }
}

fn params(name: &str, hours: i64) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let (now, span) = (SystemTime::now(), Duration::from_secs(hours.unsigned_abs() * 3600));
    params.not_before = (now - Duration::from_secs(48 * 3600)).into();
    params.not_after = if hours < 0 { now - span } else { now + span }.into();
    params
}

/// A server with both kinds of frontends on any free port, and one agent.
async fn with_both(pki: &Pki, io: &'static str, more: &[&str], agents: &[&str]) -> (Tunnel, SocketAddr) {
    // Only beside a Unix socket 0 means none: the port of a listener that is gone again is as good as free.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
    let mut server_flags = pki.server_flags();
    server_flags.push(format!("--server-port={port}"));
    server_flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    let agent_flags = agents.iter().map(|flag| (*flag).to_owned()).collect();
    let tunnel = Tunnel::start(Options { io, server_flags, agent_flags, ..Options::default() }).await;
    let address = tunnel.server.process.address("frontends over TCP").await;
    assert_eq!(address.port(), port);
    (tunnel, address)
}

/// Every conversation that a target knows, over TCP and over the Unix socket.
async fn every_conversation(pki: &Pki, tunnel: &Tunnel, server: SocketAddr) {
    let target = Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let to = target.local_addr();
    let dial = || pki.tunnel(server, to);
    soon("echo", async { bytes::echo(&mut dial().await, 1, 300_000).await }).await.expect("echo");
    soon("upload", async { bytes::upload(&mut dial().await, 2, 8 << 20).await }).await.expect("upload");
    soon("download", async { bytes::download(&mut dial().await, 3, 8 << 20).await }).await.expect("download");
    soon("half-close", async { bytes::half_close(&mut dial().await, 4, 1 << 20).await })
        .await
        .expect("half-close");
    soon("finish first", async { bytes::finish_first(&mut dial().await, 5, 1 << 20).await })
        .await
        .expect("finish first");
    let mut beside = connect(&tunnel.socket(), &to.to_string()).await.expect("the Unix socket serves, too");
    soon("echo", bytes::echo(&mut beside, 6, 300_000)).await.expect("echo beside TCP");
    drop(beside);
    until("every conversation to end", Duration::from_secs(10), || async {
        (target.stats().open == 0).then_some(())
    })
    .await;
    assert_eq!(target.stats().wrong, 0);
    until("nothing to stay open", Duration::from_secs(10), || async {
        (tunnel.server.metrics().await.sum("adit_tunnels_open", "") == 0).then_some(())
    })
    .await;
    assert_eq!(tunnel.server.metrics().await.sum("adit_frontend_sessions_broken_total", ""), 0);
}

#[tokio::test]
async fn every_byte_and_every_end_arrives_over_tls_on_io_uring_or_what_there_is() {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, "auto", &[], &[]).await;
    every_conversation(&pki, &tunnel, server).await;
}

#[tokio::test]
async fn every_byte_and_every_end_arrives_over_tls_on_epoll() {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, "epoll", &[], &[]).await;
    every_conversation(&pki, &tunnel, server).await;
}

#[tokio::test]
async fn a_session_moves_to_the_shard_of_its_agent_with_its_connection() {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, "auto", &["--shards=2"], &["--connections=1"]).await;
    every_conversation(&pki, &tunnel, server).await;
    let target = Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    // The kernel deals by a hash of the addresses: sooner or later the other shard's turn comes, and its agent is here.
    until("a dial to be handed over", PATIENCE, || async {
        let before = handed_over(&tunnel).await;
        let mut stream = pki.tunnel(server, target.local_addr()).await;
        soon("echo", bytes::echo(&mut stream, 7, 300_000)).await.expect("echo");
        (handed_over(&tunnel).await > before).then_some(())
    })
    .await;
}

async fn handed_over(tunnel: &Tunnel) -> u64 {
    tunnel.server.metrics().await.sum("adit_dials_handed_over_total", "")
}

#[tokio::test]
async fn curl_reaches_an_https_target_through_an_https_proxy() {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, "auto", &["--log-level=debug"], &[]).await;
    let file = |name: &str| tunnel.dir.path().join(name).display().to_string();
    let target = Process::start(&[
        "demo-target".to_owned(),
        format!("--cert={}", file("server.crt")),
        format!("--key={}", file("server.key")),
    ]);
    let line = target.logged(&["\"https\""]).await;
    let addresses: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let url = format!("https://{}/bytes/100000", addresses["https"].as_str().expect("an address"));
    let (cert, key, ca) = (pki.file("kube-apiserver.crt"), pki.file("kube-apiserver.key"), file("ca.crt"));
    let identity = ["--proxy-cert", &cert, "--proxy-key", &key, "--cacert", &ca];
    let output = pki.curl(server, &[&identity[..], &[&url]].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.len(), 100_000);
    tunnel.server.process.logged(&["\"dial\"", "established", "\"frontend\":\"kube-apiserver\""]).await;
    let closed = "https://127.0.0.1:1/";
    let output = pki.curl(server, &[&identity[..], &[closed]].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("502"), "{said}");
    let line = tunnel.server.process.logged(&["dial failed", "127.0.0.1:1"]).await;
    assert!(line.contains("\"frontend\":\"kube-apiserver\""), "{line}");
}

#[tokio::test]
async fn whoever_has_no_good_certificate_is_told_by_an_alert_and_the_operator_by_the_log() {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, "auto", &[], &[]).await;
    let table = [
        (None, "CertificateRequired", "sent no certificates", "clientCert"),
        (Some("foreign"), "UnknownCA", "UnknownIssuer", "--server-ca-cert"),
        (Some("expired"), "CertificateExpired", "expired", "renew"),
    ];
    for (name, alert, reason, remedy) in table {
        let told = soon("a refusal", async {
            // TLS 1.3: the client believes that it is done before the server has looked.
            let mut stream = pki.connect(server, name).await?;
            stream.write_all(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n").await?;
            stream.read(&mut [0; 1]).await
        })
        .await
        .expect_err("no certificate, no service");
        assert!(told.to_string().contains(alert), "{name:?}: {told}");
        let line = tunnel.server.process.logged(&["a frontend could not be authenticated", reason]).await;
        assert!(line.contains(remedy) && line.contains("127.0.0.1:"), "{line}");
    }
    // As curl tells it.
    let (cert, key) = (pki.file("foreign.crt"), pki.file("foreign.key"));
    let output = pki.curl(server, &["--proxy-cert", &cert, "--proxy-key", &key, "http://127.0.0.1:1/"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("alert unknown ca"), "{said}");
    let metrics = tunnel.server.metrics().await;
    assert_eq!(metrics.sum("adit_frontend_handshakes_failed_total", ""), 4);
    assert_eq!(metrics.sum("adit_dials_started_total", ""), 0);
}

#[tokio::test]
async fn a_server_may_have_tcp_alone() {
    let pki = Pki::new();
    let dir = crate::support::tunnel::certificates().await;
    // The last of two flags counts: no Unix socket, and so 0 is any free port.
    let server_flags =
        [pki.server_flags(), vec!["--uds-name=".to_owned(), "--server-port=0".to_owned()]].concat();
    let options = Options { server_flags, ..Options::default() };
    let process = Process::start(&crate::support::tunnel::server_args(&dir, &options, 0));
    let server = process.address("frontends over TCP").await;
    assert_ne!(server.port(), 0);
    let told = soon("an answer", async {
        let mut stream = pki.connect(server, Some("kube-apiserver")).await.expect("TLS");
        stream.write_all(b"CONNECT 10.0.0.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.expect("read");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("close_notify behind the answer");
        answer
    })
    .await;
    assert!(told.starts_with("HTTP/1.1 500 ") && told.contains("No agent available"), "{told}");
    assert!(!Path::new(&dir.path().join("frontend.sock")).exists());
    let health = process.address("health").await;
    let (_, ready) = crate::support::metrics::get(health, "/readyz?verbose").await;
    assert!(ready.contains("[+]listening ok"), "{ready}");
}

#[tokio::test]
async fn old_tls_is_spoken_unless_the_operator_says_otherwise() {
    let pki = Pki::new();
    for (more, works) in [(&[][..], true), (&["--tls-min-version=VersionTLS13"][..], false)] {
        let (tunnel, server) = with_both(&pki, "auto", more, &[]).await;
        let old = [&rustls::version::TLS12];
        match soon("a handshake", pki.connect_with(server, Some("kube-apiserver"), &old)).await {
            Ok(stream) => {
                assert!(works);
                let version = stream.get_ref().1.protocol_version();
                assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_2));
            }
            Err(error) => assert!(!works && error.to_string().contains("ProtocolVersion"), "{error}"),
        }
        let failed = tunnel.server.metrics().await.sum("adit_frontend_handshakes_failed_total", "");
        assert_eq!(failed, u64::from(!works));
    }
}
