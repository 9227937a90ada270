//! Frontends over TCP with mutual TLS: their certificates, and whoever connects to them.

use std::fs;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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

use crate::support::ports::ReservedPort;
use crate::support::soon;
use crate::support::tunnel::{Options, Tunnel};

/// A PKI of its own for frontends: whoever is good towards agents is nobody here.
pub(crate) struct Pki {
    dir: TempDir,
}

impl Pki {
    /// With a CA, a server, kube-apiserver, somebody whose time is over, and somebody of another CA.
    pub(crate) fn new() -> Self {
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

    /// Where a file of it is.
    pub(crate) fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// What makes a server listen on any free port.
    pub(crate) fn server_flags(&self) -> Vec<String> {
        vec![
            "--server-bind-address=127.0.0.1".to_owned(),
            format!("--server-cert={}", self.file("server.crt")),
            format!("--server-key={}", self.file("server.key")),
            format!("--server-ca-cert={}", self.file("ca.crt")),
        ]
    }

    /// TLS as kube-apiserver, or as somebody without a certificate.
    pub(crate) async fn connect(
        &self,
        server: SocketAddr,
        name: Option<&str>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_with(server, name, rustls::DEFAULT_VERSIONS).await
    }

    /// The same, with these versions of TLS alone.
    pub(crate) async fn connect_with(
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
    pub(crate) async fn tunnel(&self, server: SocketAddr, target: SocketAddr) -> TlsStream<TcpStream> {
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
    pub(crate) async fn curl(&self, server: SocketAddr, more: &[&str]) -> Output {
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
pub(crate) async fn with_both(
    pki: &Pki,
    io: &'static str,
    more: &[&str],
    agents: &[&str],
) -> (Tunnel, SocketAddr) {
    // Beside a Unix socket 0 means none, so it must be a number; and none that the agents' port, which is any, may get.
    let reserved = ReservedPort::new();
    let port = reserved.address().port();
    let mut server_flags = pki.server_flags();
    server_flags.push(format!("--server-port={port}"));
    server_flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    let agent_flags = agents.iter().map(|flag| (*flag).to_owned()).collect();
    let tunnel = Tunnel::start(Options { io, server_flags, agent_flags, ..Options::default() }).await;
    let address = tunnel.server.process.address("frontends over TCP").await;
    assert_eq!(address.port(), port);
    (tunnel, address)
}
