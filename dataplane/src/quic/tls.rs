//! TLS for QUIC: TLS 1.3 only, ALPN `adit/1`, AES-128-GCM first, no early data, no session resumption.
//!
//! Every configuration names its provider; the process-wide default is never consulted. Nothing here reads files.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The application protocol of the tunnel over QUIC (RFC 7301).
pub const ALPN: &[u8] = b"adit/1";

/// Why a TLS configuration could not be built. The text names the thing and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate chain is empty.
    #[error(
        "the certificate file holds no certificate; put the leaf certificate first, then its intermediates"
    )]
    NoCertificate,
    /// Certificate and private key cannot be used together, or one of them cannot be read.
    #[error(
        "certificate and private key cannot be used: {0}; check that both are for the same key pair and that the \
         key is RSA, ECDSA (P-256, P-384, P-521) or Ed25519"
    )]
    KeyPair(#[source] rustls::Error),
    /// There is no certificate authority to verify the peer with.
    #[error("the CA file holds no certificate; the peer could not be verified against anything")]
    NoRoots,
    /// The verifier of client certificates could not be built.
    #[error("client certificates cannot be verified: {0}; check the CA file")]
    ClientVerifier(#[source] VerifierBuilderError),
    /// The provider lacks TLS 1.3.
    #[error("the TLS library offers no TLS 1.3: {0}; this build of adit is broken")]
    Provider(#[source] rustls::Error),
}

/// The provider that every QUIC configuration names: aws-lc-rs with its TLS 1.3 suites, AES-128-GCM first.
///
/// rustls lists AES-256 first; on hardware with AES instructions AES-128 costs less and protects as well. The rest of
/// the list, ChaCha20-Poly1305 included, stays for peers that want it.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)));
    // Stable: everything but the first place keeps its order.
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

/// A server's configuration. With `client_ca_roots`, a client must present a certificate that they verify; without,
/// none is asked for.
///
/// # Errors
/// [`TlsError`] when the certificates, the key or the roots cannot be used.
pub fn server_config(
    certs: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_ca_roots: Option<RootCertStore>,
) -> Result<Arc<ServerConfig>, TlsError> {
    if certs.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Provider)?;
    let builder = match client_ca_roots {
        None => builder.with_no_client_auth(),
        Some(roots) if roots.is_empty() => return Err(TlsError::NoRoots),
        Some(roots) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(TlsError::ClientVerifier)?,
        ),
    };
    let mut config = builder.with_single_cert(certs, key).map_err(TlsError::KeyPair)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A reconnecting agent does a full handshake: a resumed session would outlive the certificate's revocation, and
    // tickets and caches are state per peer.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// A client's configuration: the server must present a certificate that `roots` verify; `identity` is presented when
/// the server asks.
///
/// # Errors
/// [`TlsError`] when the roots, the certificates or the key cannot be used.
pub fn client_config(
    roots: RootCertStore,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<Arc<ClientConfig>, TlsError> {
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Provider)?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certs, _)) if certs.is_empty() => return Err(TlsError::NoCertificate),
        Some((certs, key)) => builder.with_client_auth_cert(certs, key).map_err(TlsError::KeyPair)?,
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use rustls::CipherSuite;
    use rustls_pki_types::PrivatePkcs8KeyDer;

    use super::*;

    #[test]
    fn aes_128_comes_first_and_nothing_is_older_than_tls_1_3() {
        let suites: Vec<_> = provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
        assert_eq!(suites[0], CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert!(suites.contains(&CipherSuite::TLS13_AES_256_GCM_SHA384));
        assert!(suites.contains(&CipherSuite::TLS13_CHACHA20_POLY1305_SHA256));
        assert_eq!(suites.len(), 3);
    }

    #[test]
    fn errors_name_the_thing_and_the_remedy() {
        let key = || PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(vec![1, 2, 3]));
        let certificate = || vec![CertificateDer::from(vec![4, 5, 6])];
        let error = server_config(Vec::new(), key(), None).unwrap_err();
        assert!(
            matches!(error, TlsError::NoCertificate) && error.to_string().contains("leaf certificate first")
        );
        let error = server_config(certificate(), key(), None).unwrap_err();
        assert!(matches!(error, TlsError::KeyPair(_)) && error.to_string().contains("same key pair"));
        let error = server_config(certificate(), key(), Some(RootCertStore::empty())).unwrap_err();
        assert!(matches!(error, TlsError::NoRoots) && error.to_string().contains("CA file"));
        assert!(matches!(client_config(RootCertStore::empty(), None), Err(TlsError::NoRoots)));
    }

    #[test]
    fn nothing_is_resumed() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = server_config(vec![certificate.der().clone()], der, None).unwrap();
        assert!(!server.session_storage.can_cache());
        assert_eq!((server.send_tls13_tickets, server.max_early_data_size), (0, 0));
        assert_eq!(server.alpn_protocols, [ALPN]);
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let client = client_config(roots, None).unwrap();
        assert!(!client.enable_early_data);
        assert_eq!(client.alpn_protocols, [ALPN]);
    }
}
