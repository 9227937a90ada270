//! The configuration of the TLS leg towards frontends. A snapshot: control may publish another at any time, sessions
//! that run keep the one they started with.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CipherSuite, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The protocol that is spoken inside (RFC 7301); a client that offers none gets it, too.
pub const ALPN_HTTP_1_1: &[u8] = b"http/1.1";

/// The oldest version that is spoken with frontends.
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
pub enum FrontendTlsError {
    /// The certificate chain is empty.
    #[error(
        "the certificate file holds no certificate; put the leaf certificate first, then its intermediates"
    )]
    NoCertificate,
    /// Certificate and key do not go together, or cannot be used.
    #[error("certificate and private key cannot be used: {0}; give the pair that was made together")]
    KeyPair(#[source] rustls::Error),
    /// Nobody's certificate could be verified.
    #[error("the CA file holds no certificate; no frontend could be verified against anything")]
    NoRoots,
    /// The verifier of client certificates could not be built.
    #[error("client certificates cannot be verified: {0}; check the CA file")]
    ClientVerifier(#[source] VerifierBuilderError),
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

/// A configuration that shows `chain` and demands a client certificate that `roots` verify.
///
/// # Errors
/// [`FrontendTlsError`] when certificates, key, roots, versions or suites cannot be used.
pub fn frontend_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    min_version: TlsMinVersion,
    tls12_suites: Option<&[CipherSuite]>,
) -> Result<Arc<ServerConfig>, FrontendTlsError> {
    if chain.is_empty() {
        return Err(FrontendTlsError::NoCertificate);
    }
    if roots.is_empty() {
        return Err(FrontendTlsError::NoRoots);
    }
    let versions: &[&SupportedProtocolVersion] = match min_version {
        // Without a suite of its own, TLS 1.2 is not spoken.
        TlsMinVersion::Tls12 if tls12_suites.is_none_or(|allowed| !allowed.is_empty()) => {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        }
        _ => &[&rustls::version::TLS13],
    };
    let provider = provider(tls12_suites);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .map_err(FrontendTlsError::ClientVerifier)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(FrontendTlsError::NothingLeft)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(FrontendTlsError::KeyPair)?;
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    config.ignore_client_order = true;
    // Every shard, and a server that was restarted, meets every client as if for the first time.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}
