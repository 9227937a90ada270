//! The client's side of TLS towards a proxy, with a certificate of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// PEM files.
#[derive(Clone, Debug)]
pub struct Files {
    /// What the proxy's certificate must be signed by.
    pub cacert: PathBuf,
    /// Our certificate, its chain behind it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or holds something else.
    #[error("{}: {source}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: tokio_rustls::rustls::pki_types::pem::Error,
    },
    /// The files do not fit each other or are not usable.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The first of the files that the complaint is about.
        path: PathBuf,
        /// What rustls says.
        source: tokio_rustls::rustls::Error,
    },
    /// The proxy's name cannot be verified.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Name(String),
}

/// Makes TLS sessions with one proxy. Sessions are not resumed: each dial pays what a new client pays.
#[derive(Clone)]
pub(super) struct Client {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// What must be agreed on (ALPN, RFC 7301).
    alpn: Option<&'static [u8]>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Client {
    /// Reads the files. `at` is `HOST:PORT`; the certificate must be HOST's. The proxy must choose `alpn`, if any.
    pub(super) fn new(at: &str, files: &Files, alpn: Option<&'static [u8]>) -> Result<Self, TlsError> {
        let host = at.rsplit_once(':').map_or(at, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.cacert)? {
            roots.add(certificate).map_err(unusable(&files.cacert))?;
        }
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|source| TlsError::Pem { path: files.key.clone(), source })?;
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&files.cert)?, key)
            .map_err(unusable(&files.cert))?;
        config.resumption = tokio_rustls::rustls::client::Resumption::disabled();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, alpn })
    }

    /// One session.
    pub(super) async fn handshake(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        match self.alpn {
            Some(alpn) if stream.get_ref().1.alpn_protocol() != Some(alpn) => {
                let text = format!("the proxy does not choose {} (ALPN)", String::from_utf8_lossy(alpn));
                Err(std::io::Error::new(std::io::ErrorKind::Unsupported, text))
            }
            _ => Ok(stream),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::Pem { path: path.to_owned(), source };
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect();
    match all.map_err(wrong)? {
        none if none.is_empty() => Err(wrong(tokio_rustls::rustls::pki_types::pem::Error::NoItemsFound)),
        some => Ok(some),
    }
}

fn unusable(path: &Path) -> impl Fn(tokio_rustls::rustls::Error) -> TlsError {
    move |source| TlsError::Unusable { path: path.to_owned(), source }
}
