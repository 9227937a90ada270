//! The configurations of TLS over TCP: towards frontends, on the agents' port, and an agent's towards its server. Each
//! is a snapshot: control may publish another at any time, sessions that run keep the one they started with.

use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CipherSuite, ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::alpn::{ALPN_ADIT_H2, ALPN_H2, ALPN_HTTP_1_1};

/// TLS 1.3, and 1.2 for old peers.
const BOTH_VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The oldest version that a server speaks over TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMinVersion {
    /// TLS 1.2 (RFC 5246), with forward secrecy and AEAD suites only.
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// Why the configuration could not be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// The certificate chain is empty.
    #[error(
        "the certificate file holds no certificate; put the leaf certificate first, then its intermediates"
    )]
    NoCertificate,
    /// Certificate and key do not go together, or cannot be used.
    #[error("certificate and private key cannot be used: {0}; give the pair that was made together")]
    KeyPair(#[source] rustls::Error),
    /// Nobody's certificate could be verified.
    #[error("the CA file holds no certificate; the peer could not be verified against anything")]
    NoRoots,
    /// The verifier of client certificates could not be built.
    #[error("client certificates cannot be verified: {0}; check the CA file")]
    ClientVerifier(#[source] VerifierBuilderError),
    /// The verifier of the server's certificate could not be built.
    #[error("the server's certificate cannot be verified: {0}; check the CA file")]
    ServerVerifier(#[source] VerifierBuilderError),
    /// No suite or version is left.
    #[error("no TLS version and cipher suite is left to speak: {0}; allow more of them")]
    NothingLeft(#[source] rustls::Error),
}

/// The TLS 1.2 suites that can be had, by their names in Go's `crypto/tls` (those of the IANA registry).
#[must_use]
pub fn tls12_suites() -> Vec<(String, CipherSuite)> {
    aws_lc_rs::ALL_CIPHER_SUITES
        .iter()
        .filter(|suite| matches!(suite, SupportedCipherSuite::Tls12(_)))
        .map(|suite| (format!("{:?}", suite.suite()), suite.suite()))
        .collect()
}

/// The provider: aws-lc-rs with AES-128-GCM before all else (it costs least, and protects as well), and of TLS 1.2
/// only the suites in `allowed`, where that is given.
fn provider(allowed: Option<&[CipherSuite]>) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| match suite {
        SupportedCipherSuite::Tls13(_) => true,
        SupportedCipherSuite::Tls12(_) => allowed.is_none_or(|allowed| allowed.contains(&suite.suite())),
    });
    // Stable: everything else keeps its order.
    provider.cipher_suites.sort_by_key(|suite| {
        !matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    });
    Arc::new(provider)
}

/// The configuration towards frontends: shows `chain`, demands a client certificate that `roots` verify, and speaks
/// HTTP/1.1, or HTTP/2 with a client that offers nothing else. A client that offers no protocol says by its first bytes
/// what it speaks.
///
/// # Errors
/// [`TlsConfigError`] when certificates, key, roots, versions or suites cannot be used.
pub fn frontend_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    min_version: TlsMinVersion,
    tls12_suites: Option<&[CipherSuite]>,
) -> Result<Arc<ServerConfig>, TlsConfigError> {
    server_config(chain, key, Some(roots), min_version, tls12_suites, &[ALPN_HTTP_1_1, ALPN_H2])
}

/// The configuration of the agents' TCP port: shows `chain`, demands a client certificate that `roots` verify (without
/// them none is asked for: whoever comes has proved nothing yet), and speaks adit's protocol with those that offer it,
/// Konnectivity's with all others ([`super::AgentProtocol`]). Whatever `min_version` says, a session that agrees on
/// adit's protocol in TLS 1.2 fails.
///
/// # Errors
/// [`TlsConfigError`] when certificates, key, roots, versions or suites cannot be used.
pub fn agent_port_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Option<Arc<RootCertStore>>,
    min_version: TlsMinVersion,
    tls12_suites: Option<&[CipherSuite]>,
) -> Result<Arc<ServerConfig>, TlsConfigError> {
    server_config(chain, key, roots, min_version, tls12_suites, &[ALPN_ADIT_H2, ALPN_H2])
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Option<Arc<RootCertStore>>,
    min_version: TlsMinVersion,
    tls12_suites: Option<&[CipherSuite]>,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsConfigError> {
    if chain.is_empty() {
        return Err(TlsConfigError::NoCertificate);
    }
    if roots.as_ref().is_some_and(|roots| roots.is_empty()) {
        return Err(TlsConfigError::NoRoots);
    }
    let versions: &[&SupportedProtocolVersion] = match min_version {
        // Without a suite of its own, TLS 1.2 is not spoken.
        TlsMinVersion::Tls12 if tls12_suites.is_none_or(|allowed| !allowed.is_empty()) => BOTH_VERSIONS,
        _ => &[&rustls::version::TLS13],
    };
    let provider = provider(tls12_suites);
    let verifier = match roots {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(roots) => WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(TlsConfigError::ClientVerifier)?,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(TlsConfigError::NothingLeft)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(TlsConfigError::KeyPair)?;
    // Of what both speak, the first here is chosen.
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.ignore_client_order = true;
    // Every shard, and a server that was restarted, meets every client as if for the first time.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// The configuration of an agent towards its server over TCP: the server must show a certificate that `roots` verify,
/// for the name given to [`super::TlsSession::connect`]; `identity`, a chain and its key, is shown where it asks.
///
/// Offered are `extra_protocols` (`--alpn-proto`) in their order, then adit's protocol, then Konnectivity's. An adit
/// server chooses the second, a Go server the third, and a load balancer in front may choose by the first;
/// [`super::AgentProtocol`] says what the answer means.
///
/// # Errors
/// [`TlsConfigError`] when certificates, key or roots cannot be used.
pub fn agent_client_config(
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    roots: Arc<RootCertStore>,
    extra_protocols: &[String],
) -> Result<Arc<ClientConfig>, TlsConfigError> {
    if identity.as_ref().is_some_and(|(chain, _)| chain.is_empty()) {
        return Err(TlsConfigError::NoCertificate);
    }
    if roots.is_empty() {
        return Err(TlsConfigError::NoRoots);
    }
    let provider = provider(None);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .map_err(TlsConfigError::ServerVerifier)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(BOTH_VERSIONS)
        .map_err(TlsConfigError::NothingLeft)?
        .with_webpki_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(TlsConfigError::KeyPair)?,
    };
    config.alpn_protocols = extra_protocols.iter().map(|name| name.clone().into_bytes()).collect();
    for spoken in [ALPN_ADIT_H2, ALPN_H2] {
        // An operator may have listed them, to prefer one.
        if !config.alpn_protocols.iter().any(|name| name == spoken) {
            config.alpn_protocols.push(spoken.to_vec());
        }
    }
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}
