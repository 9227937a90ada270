//! The way to the target that a run's connections share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::{DialError, Proxy, Stream, grpc, head, tls};
use crate::sockets;

/// What is spoken to a proxy: the protocols of kube-apiserver's egress selector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// One HTTP/1.1 CONNECT per connection.
    #[default]
    HttpConnect,
    /// One `/ProxyService/Proxy` call per connection.
    Grpc,
}

impl Mode {
    /// Whether `shutdown` of a [`Stream`] ends the sending half alone. GRPC mode has no such thing: there it closes
    /// both directions, and what the target had not sent yet is lost.
    #[must_use]
    pub fn carries_half_close(self) -> bool {
        self == Self::HttpConnect
    }
}

/// What a [`Connector`] is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The system under test.
    pub proxy: Proxy,
    /// The target as the system under test shall call it: `HOST:PORT`.
    pub target: String,
    /// What is spoken to it; of no concern where the proxy is a forward or none.
    pub mode: Mode,
    /// In GRPC mode: one connection to the proxy for all, instead of one for each.
    pub reuse: bool,
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
    Connect(Carrier),
    Grpc(Carrier, grpc::Client),
    Plain(String),
}

/// How a proxy is reached.
#[derive(Debug)]
enum Carrier {
    Unix(PathBuf),
    Http(String),
    Https(String, tls::Client),
}

impl Connector {
    /// Reads the files and checks that the flags fit each other.
    ///
    /// # Errors
    /// [`ConnectorError`].
    pub fn new(options: Options) -> Result<Self, ConnectorError> {
        let Options { proxy, target, mode, reuse, tls, congestion_control } = options;
        if reuse && mode != Mode::Grpc {
            return Err(flags("--reuse is for --mode grpc: HTTP CONNECT has one connection for each"));
        }
        let carrier = match (proxy, tls) {
            (Proxy::Https(at), Some(files)) => {
                let alpn = (mode == Mode::Grpc).then_some(grpc::ALPN);
                let client = tls::Client::new(&at, &files, alpn)?;
                Ok(Carrier::Https(at, client))
            }
            (Proxy::Https(_), None) => return Err(flags("https:// needs --cacert, --cert and --key")),
            (other, Some(_)) => {
                let text =
                    format!("--cacert, --cert and --key are for https://, not for {other}: leave them out");
                return Err(flags(text));
            }
            (Proxy::Unix(path), None) => Ok(Carrier::Unix(path)),
            (Proxy::Http(at), None) => Ok(Carrier::Http(at)),
            (Proxy::Forward(at), None) => Err(at),
            (Proxy::None, None) => Err(target.clone()),
        };
        let way = match (carrier, mode) {
            (Ok(carrier), Mode::HttpConnect) => Way::Connect(carrier),
            (Ok(carrier), Mode::Grpc) => {
                let client = match &carrier {
                    Carrier::Unix(path) => grpc::Client::unix(path, reuse),
                    Carrier::Http(at) => grpc::Client::tcp(at, false, reuse),
                    Carrier::Https(at, _) => grpc::Client::tcp(at, true, reuse),
                };
                Way::Grpc(carrier, client)
            }
            (Err(at), Mode::HttpConnect) => Way::Plain(at),
            (Err(_), Mode::Grpc) => {
                return Err(flags("--mode grpc needs a proxy: unix:, http:// or https://"));
            }
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
            Way::Connect(Carrier::Unix(path)) => head::connect(unix(path).await?, &self.target).await,
            Way::Connect(Carrier::Http(at)) => head::connect(self.tcp(at).await?, &self.target).await,
            Way::Connect(Carrier::Https(at, client)) => {
                head::connect(self.tls(at, client).await?, &self.target).await
            }
            Way::Grpc(carrier, client) => client.dial(&self.target, || self.reach(carrier)).await,
            Way::Plain(at) => Ok(Box::new(self.tcp(at).await?)),
        }
    }

    async fn reach(&self, carrier: &Carrier) -> Result<Box<dyn Stream>, DialError> {
        Ok(match carrier {
            Carrier::Unix(path) => Box::new(unix(path).await?),
            Carrier::Http(at) => Box::new(self.tcp(at).await?),
            Carrier::Https(at, client) => Box::new(self.tls(at, client).await?),
        })
    }

    async fn tcp(&self, at: &str) -> Result<TcpStream, DialError> {
        sockets::connect(at, self.congestion_control.as_deref()).await.map_err(io_at("connect"))
    }

    async fn tls(&self, at: &str, client: &tls::Client) -> Result<TlsStream<TcpStream>, DialError> {
        client.handshake(self.tcp(at).await?).await.map_err(io_at("TLS handshake"))
    }
}

async fn unix(path: &Path) -> Result<UnixStream, DialError> {
    UnixStream::connect(path).await.map_err(io_at("connect"))
}

fn flags(text: impl Into<String>) -> ConnectorError {
    ConnectorError::Flags(text.into())
}

/// Names the step at which the system said no.
pub(super) fn io_at(step: &'static str) -> impl Fn(std::io::Error) -> DialError {
    move |source| DialError::Io { step, source }
}
