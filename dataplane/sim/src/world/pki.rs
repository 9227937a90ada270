//! Throw-away certificates, made once per process and shared by all worlds. Ed25519: its signatures have one
//! length, so that packet sizes, and with them the control flow, repeat.

use std::sync::{Arc, OnceLock};

use adit_dataplane::quic::tls;
use adit_dataplane::stream::tls::{TlsMinVersion, agent_client_config, agent_port_config, frontend_config};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ED25519,
};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The name in the server's certificate.
pub(super) const SERVER_NAME: &str = "server.adit.test";

/// TLS of all sides: mutual, with one authority.
#[derive(Debug)]
pub(super) struct Pki {
    /// The server's, towards agents.
    pub(super) server: Arc<rustls::ServerConfig>,
    /// The agents'.
    pub(super) agent: Arc<ClientConfig>,
    /// The server's, towards agents over TCP.
    pub(super) agent_port: Arc<rustls::ServerConfig>,
    /// The agents', over TCP.
    pub(super) agent_tcp: Arc<ClientConfig>,
    /// Old agents'.
    pub(super) old_agent: Arc<ClientConfig>,
    /// The server's, towards frontends over TCP.
    pub(super) frontends: Arc<rustls::ServerConfig>,
    /// The clients' over TCP.
    pub(super) client: Arc<ClientConfig>,
}

/// The process's one.
pub(super) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| make().expect("certificates made here are valid"))
}

fn make() -> Result<Pki, Box<dyn std::error::Error>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "adit-sim");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ED25519)?)?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone())?;
    let (chain, key) = issue(&authority, SERVER_NAME, ExtendedKeyUsagePurpose::ServerAuth)?;
    let server = tls::server_config(chain, key, Some(roots.clone()))?;
    let identity = issue(&authority, "agent.adit.test", ExtendedKeyUsagePurpose::ClientAuth)?;
    let agent = tls::client_config(roots.clone(), Some(identity))?;
    let all_roots = Arc::new(roots.clone());
    let (chain, key) = issue(&authority, SERVER_NAME, ExtendedKeyUsagePurpose::ServerAuth)?;
    let agent_port = agent_port_config(chain, key, Some(Arc::clone(&all_roots)), TlsMinVersion::Tls13, None)?;
    let identity = issue(&authority, "agent.adit.test", ExtendedKeyUsagePurpose::ClientAuth)?;
    let agent_tcp = agent_client_config(Some(identity), Arc::clone(&all_roots), &[])?;
    let mut old_agent = ClientConfig::clone(&agent_tcp);
    old_agent.alpn_protocols = vec![b"h2".to_vec()];
    let (chain, key) = issue(&authority, SERVER_NAME, ExtendedKeyUsagePurpose::ServerAuth)?;
    let frontends = frontend_config(chain, key, all_roots, TlsMinVersion::Tls12, None)?;
    let (chain, key) = issue(&authority, "client.adit.test", ExtendedKeyUsagePurpose::ClientAuth)?;
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    let (old_agent, client) = (Arc::new(old_agent), Arc::new(client));
    Ok(Pki { server, agent, agent_port, agent_tcp, old_agent, frontends, client })
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn issue(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> Result<Identity, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(&key, authority)?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok((vec![certificate.der().clone()], private))
}
