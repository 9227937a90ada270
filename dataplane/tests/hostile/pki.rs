//! Throw-away certificates.

use std::sync::Arc;

use adit_dataplane::quic::tls;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ED25519,
};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// What every certificate of a server carries.
pub(crate) const SERVER_NAME: &str = "server.adit.test";

/// The configurations of both sides, of one authority.
pub(crate) struct Pki {
    /// Asks for certificates of the authority.
    pub(crate) server: Arc<ServerConfig>,
    /// Has one.
    pub(crate) agent: Arc<ClientConfig>,
    /// Has none.
    pub(crate) stranger: Arc<ClientConfig>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let issue = || {
            let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
            let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let certificate: CertificateDer<'static> =
                params.signed_by(&key, &authority).unwrap().der().clone();
            (vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        };
        let roots = || {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            roots
        };
        let (chain, key) = issue();
        Self {
            server: tls::server_config(chain, key, Some(roots())).unwrap(),
            agent: tls::client_config(roots(), Some(issue())).unwrap(),
            stranger: tls::client_config(roots(), None).unwrap(),
        }
    }
}
