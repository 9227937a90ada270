//! The HTTP listeners of [`super`]: hyper, HTTP/1.1, few connections, short heads, nothing that waits for ever.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::{MetricsRequest, Readiness};
use crate::config::{Bind, BindHost};

/// Connections of one listener at once; more wait in the backlog.
const CONNECTIONS_MAX: usize = 64;
/// From the first byte of a head to its end.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// A whole connection: probes and scrapes are short, and keep-alive is a convenience.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(300);
/// Bytes of a head, at most.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long the control loop has for an answer. A loop that takes longer is not alive.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// What a listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paths {
    /// Probes and metrics.
    Health,
    /// Metrics alone.
    Admin,
}

/// What the answers are made of.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// Kept up to date by the control loop.
    pub(crate) readiness: watch::Receiver<Readiness>,
    /// Answered by the control loop.
    pub(crate) metrics: mpsc::Sender<MetricsRequest>,
}

/// Binds a listener of either family; an empty host is every address, IPv4 alone where there is no IPv6.
///
/// # Errors
/// The text to show: it names the flag and the remedy.
pub(crate) async fn bind(flag: &str, at: &Bind) -> Result<(TcpListener, SocketAddr), String> {
    let told = |error: io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => "choose another port, or 0 for any free one",
            io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
            io::ErrorKind::AddrNotAvailable => "name an address of this host",
            _ => "check the address",
        };
        format!("{flag}: cannot listen on port {}: {error}: {remedy}", at.port)
    };
    let listener = match &at.host {
        BindHost::All => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, at.port)).await {
            Ok(listener) => listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(told(error)),
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, at.port)).await.map_err(told)?,
        },
        BindHost::Ip(ip) => TcpListener::bind((*ip, at.port)).await.map_err(told)?,
        BindHost::Name(name) => TcpListener::bind((name.as_str(), at.port)).await.map_err(told)?,
    };
    let address = listener.local_addr().map_err(told)?;
    Ok((listener, address))
}

/// The address with a v4-mapped one written as IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, paths: Paths, sources: Sources) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let sources = sources.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    let _ = timeout(CONNECTION_TIME_MAX, connection(stream, paths, sources)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, paths: Paths, sources: Sources) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request| {
                let sources = sources.clone();
                async move { Ok::<_, Infallible>(answer(paths, &sources, &request).await) }
            }),
        )
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "HTTP connection");
    }
}

async fn answer(paths: Paths, sources: &Sources, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match (paths, request.uri().path()) {
        (Paths::Health, "/healthz" | "/livez") => {
            // The channel's other end is the loop: once it is gone, so is the process's purpose.
            if sources.metrics.is_closed() {
                text(StatusCode::SERVICE_UNAVAILABLE, "the control loop has ended".to_owned())
            } else {
                text(StatusCode::OK, "ok".to_owned())
            }
        }
        (Paths::Health, "/readyz" | "/ready") => {
            let verbose =
                request.uri().query().is_some_and(|q| q.split('&').any(|p| p.starts_with("verbose")));
            let (status, body) = sources.readiness.borrow().answer(verbose);
            text(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body)
        }
        (_, "/metrics") => metrics(sources).await,
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
    }
}

async fn metrics(sources: &Sources) -> Response<Full<Bytes>> {
    let (reply, answered) = oneshot::channel();
    if sources.metrics.try_send(reply).is_err() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "too many scrapes at once\n".to_owned());
    }
    match timeout(ANSWER_TIME_MAX, answered).await {
        Ok(Ok(body)) => {
            let mut response = text(StatusCode::OK, body);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(super::text::CONTENT_TYPE));
            response
        }
        _ => text(StatusCode::SERVICE_UNAVAILABLE, "the control loop does not answer\n".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
