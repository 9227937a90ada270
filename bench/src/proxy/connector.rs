//! The way to the target that a run's connections share.

use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};

use super::{DialError, Proxy, Stream, head, tls};
use crate::sockets;

/// What a [`Connector`] is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The system under test.
    pub proxy: Proxy,
    /// The target as the system under test shall call it: `HOST:PORT`.
    pub target: String,
    /// For `https://`.
    pub tls: Option<tls::Files>,
    /// Congestion control of TCP sockets; `None` leaves the system's default.
    pub congestion_control: Option<String>,
}

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// A certificate or key.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// Flags that do not fit each other.
    #[error("{0}")]
    Flags(String),
}

/// Dials targets through one system under test.
#[derive(Clone, Debug)]
pub struct Connector {
    way: Arc<Way>,
    target: Arc<str>,
    congestion_control: Option<Arc<str>>,
}

#[derive(Debug)]
enum Way {
    Unix(std::path::PathBuf),
    Http(String),
    Https(String, tls::Client),
    Plain(String),
}

impl Connector {
    /// Reads the files and checks that the flags fit each other.
    ///
    /// # Errors
    /// [`ConnectorError`].
    pub fn new(options: Options) -> Result<Self, ConnectorError> {
        let Options { proxy, target, tls, congestion_control } = options;
        let way = match (proxy, tls) {
            (Proxy::Https(at), Some(files)) => {
                let client = tls::Client::new(&at, &files)?;
                Way::Https(at, client)
            }
            (Proxy::Https(_), None) => {
                return Err(ConnectorError::Flags("https:// needs --cacert, --cert and --key".to_owned()));
            }
            (other, Some(_)) => {
                return Err(ConnectorError::Flags(format!(
                    "--cacert, --cert and --key are for https://, not for {other}: leave them out"
                )));
            }
            (Proxy::Unix(path), None) => Way::Unix(path),
            (Proxy::Http(at), None) => Way::Http(at),
            (Proxy::Forward(at), None) => Way::Plain(at),
            (Proxy::None, None) => Way::Plain(target.clone()),
        };
        let congestion_control = congestion_control.map(Arc::from);
        Ok(Self { way: Arc::new(way), target: target.into(), congestion_control })
    }

    /// Makes one connection to the target.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self) -> Result<Box<dyn Stream>, DialError> {
        match &*self.way {
            Way::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(io_at("connect"))?;
                head::connect(stream, &self.target).await
            }
            Way::Http(at) => head::connect(self.tcp(at).await?, &self.target).await,
            Way::Https(at, client) => {
                let stream = client.handshake(self.tcp(at).await?).await.map_err(io_at("TLS handshake"))?;
                head::connect(stream, &self.target).await
            }
            Way::Plain(at) => Ok(Box::new(self.tcp(at).await?)),
        }
    }

    async fn tcp(&self, at: &str) -> Result<TcpStream, DialError> {
        sockets::connect(at, self.congestion_control.as_deref()).await.map_err(io_at("connect"))
    }
}

/// Names the step at which the system said no.
pub(super) fn io_at(step: &'static str) -> impl Fn(std::io::Error) -> DialError {
    move |source| DialError::Io { step, source }
}
