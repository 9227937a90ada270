//! Throw-away certificates, made once per process and shared by all worlds. Ed25519: its signatures have one
//! length, so that packet sizes, and with them the control flow, repeat.

use std::sync::{Arc, OnceLock};

use adit_dataplane::quic::tls;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ED25519,
};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The name in the server's certificate.
pub(super) const SERVER_NAME: &str = "server.adit.test";

/// TLS of both sides: mutual, with one authority.
#[derive(Debug)]
pub(super) struct Pki {
    pub(super) server: Arc<rustls::ServerConfig>,
    pub(super) agent: Arc<rustls::ClientConfig>,
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
    let agent = tls::client_config(roots, Some(identity))?;
    Ok(Pki { server, agent })
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
