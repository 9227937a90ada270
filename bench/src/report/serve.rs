//! `GET /metrics` while a load runs: hyper, HTTP/1.1, few connections, short heads, nothing that waits for ever.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::prometheus_text;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::{LiveMetrics, exposition};

/// Connections at once; more wait in the backlog.
const CONNECTIONS_MAX: usize = 16;
/// From the first byte of a head to its end.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// A whole connection; keep-alive is a convenience.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(300);
/// Bytes of a head, at most.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long accepting pauses after an error such as EMFILE, which only other connections' ends can mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener for scrapes. Dropping it closes it and every connection.
#[derive(Debug)]
pub struct Serving {
    local_addr: SocketAddr,
    accepting: AbortHandle,
}

impl Serving {
    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers `GET /metrics` at `addr` (port 0: any free one) with the counts of the moment.
///
/// # Errors
/// What bind(2) and listen(2) say, with the option's name.
///
/// # Panics
/// Outside a tokio runtime with I/O and time enabled.
pub async fn serve(addr: SocketAddr, metrics: LiveMetrics) -> io::Result<Serving> {
    let told = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("--metrics: cannot listen on {addr}: {error} (port 0 takes a free one)"),
        )
    };
    let listener = TcpListener::bind(addr).await.map_err(told)?;
    let local_addr = listener.local_addr().map_err(told)?;
    let accepting = tokio::spawn(accept(listener, metrics)).abort_handle();
    Ok(Serving { local_addr, accepting })
}

/// Accepts until aborted; the set's end aborts the connections with it.
async fn accept(listener: TcpListener, metrics: LiveMetrics) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = metrics.clone();
                connections.spawn(async move {
                    let _permit = permit;
                    // How a scrape ended is the scraper's to tell.
                    let _ = timeout(CONNECTION_TIME_MAX, connection(stream, metrics)).await;
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, metrics: LiveMetrics) -> hyper::Result<()> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request| {
                let response = answer(&metrics, &request);
                async move { Ok::<_, Infallible>(response) }
            }),
        )
        .await
}

fn answer(metrics: &LiveMetrics, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => text(StatusCode::OK, exposition(metrics.state())),
        _ => text(StatusCode::NOT_FOUND, "the metrics are at /metrics\n".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(prometheus_text::CONTENT_TYPE));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::{LiveMetrics, serve};

    async fn ask(addr: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream
            .write_all(format!("{head} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_scrape_sees_the_counts_of_the_moment() {
        let metrics = LiveMetrics::default();
        let serving = serve(SocketAddr::from(([127, 0, 0, 1], 0)), metrics.clone()).await.unwrap();
        for expected in 1..3 {
            metrics.operation("dial", 1_000);
            let answer = ask(serving.local_addr(), "GET /metrics").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
            let count =
                format!("adit_bench_operation_duration_seconds_count{{operation=\"dial\"}} {expected}\n");
            assert!(answer.contains(&count), "{answer}");
        }
        assert!(ask(serving.local_addr(), "GET /").await.starts_with("HTTP/1.1 404"));
        assert!(ask(serving.local_addr(), "POST /metrics").await.starts_with("HTTP/1.1 405"));
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first = serve(SocketAddr::from(([127, 0, 0, 1], 0)), LiveMetrics::default()).await.unwrap();
        let error = serve(first.local_addr(), LiveMetrics::default()).await.unwrap_err();
        assert!(error.to_string().contains(&first.local_addr().to_string()), "{error}");
    }
}
