//! Throw-away certificates. Ed25519: its signatures have one length, so that packet sizes repeat.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, PKCS_ED25519, date_time_ymd,
};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::quic::tls;

pub(super) const SERVER_NAME: &str = "server.adit.test";

/// A certificate and its key.
pub(super) struct Identity {
    pub(super) certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }
}

/// An authority.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ED25519).unwrap()).unwrap())
    }

    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose, last_year: Option<i32>) -> Identity {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        if let Some(year) = last_year {
            params.not_before = date_time_ymd(year - 1, 1, 1);
            params.not_after = date_time_ymd(year, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { certificate: certificate.der().clone(), key: key.serialize_der() }
    }

    pub(super) fn server(&self) -> Identity {
        self.issue(SERVER_NAME, ExtendedKeyUsagePurpose::ServerAuth, None)
    }

    pub(super) fn agent(&self) -> Identity {
        self.issue("agent.adit.test", ExtendedKeyUsagePurpose::ClientAuth, None)
    }

    pub(super) fn expired_agent(&self) -> Identity {
        self.issue("agent.adit.test", ExtendedKeyUsagePurpose::ClientAuth, Some(2001))
    }
}

/// A server that asks for certificates of `clients`.
pub(super) fn server(identity: &Identity, clients: Option<&Authority>) -> Arc<rustls::ServerConfig> {
    let chain = vec![identity.certificate.clone()];
    tls::server_config(chain, identity.key(), clients.map(Authority::roots)).unwrap()
}

/// A client that trusts `servers`.
pub(super) fn client(identity: Option<&Identity>, servers: &Authority) -> Arc<rustls::ClientConfig> {
    let identity = identity.map(|identity| (vec![identity.certificate.clone()], identity.key()));
    tls::client_config(servers.roots(), identity).unwrap()
}
