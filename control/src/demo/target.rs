//! The demo's targets, in a process of their own so that what they cost is not counted as the tunnel's: an HTTPS
//! server whose bodies are checked by position, and a TCP server that sinks, sources and echoes.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::pattern::Pattern;
use crate::config::cli::TargetFlags;
use crate::config::validate::files::{self, Usage};

/// Seeds the payload of bulk transfers.
pub(crate) const BULK_SEED: u64 = 0xad17;
/// Seeds the bodies of HTTPS answers.
pub(crate) const BODY_SEED: u64 = 0xb0d7;
/// Largest body that may be asked for.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest command line of the TCP server.
const COMMAND_BYTES_MAX: u64 = 64;

/// Where the targets listen; the process's first line on standard output, as JSON.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// HTTPS: `GET /bytes/N`.
    pub(crate) https: SocketAddr,
    /// TCP: `UP N`, `DOWN N` or `ECHO`, one line, then bytes.
    pub(crate) tcp: SocketAddr,
}

/// Serves until standard input ends: the process does not outlive whoever started it.
///
/// # Errors
/// The text to show.
pub(crate) async fn run(flags: TargetFlags) -> Result<(), String> {
    let (cert, key) = (flags.cert.display().to_string(), flags.key.display().to_string());
    let identity = files::identity(("--cert", &cert), ("--key", &key), Usage::Server)?;
    let mut tls = rustls::ServerConfig::builder_with_provider(files::provider())
        .with_safe_default_protocol_versions()
        .and_then(|b| b.with_no_client_auth().with_single_cert(identity.chain, identity.key))
        .map_err(|e| format!("cannot serve HTTPS: {e}"))?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let bind = |what| async move {
        TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| format!("cannot listen for {what}: {e}"))
    };
    let (https, tcp) = (bind("HTTPS").await?, bind("TCP").await?);
    let addresses = Addresses {
        https: https.local_addr().map_err(|e| e.to_string())?,
        tcp: tcp.local_addr().map_err(|e| e.to_string())?,
    };
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(serve(https, Arc::new(Pattern::new(BODY_SEED)), move |stream, pattern| {
        serve_https(acceptor.clone(), stream, pattern)
    }));
    tokio::spawn(serve(tcp, Arc::new(Pattern::new(BULK_SEED)), serve_tcp));
    // The first random bytes of a process take the library a tenth of a second: not in the first request.
    let _: [u8; 32] = crate::random::bytes();
    crate::print_line(&serde_json::to_string(&addresses).map_err(|e| e.to_string())?);
    crate::lifeline::standard_input_closed().await;
    Ok(())
}

/// Accepts for ever.
async fn serve<F, R>(listener: TcpListener, pattern: Arc<Pattern>, handle: F)
where
    F: Fn(TcpStream, Arc<Pattern>) -> R,
    R: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let served = handle(stream, Arc::clone(&pattern));
                // A connection that fails is noticed by the other end of it.
                tokio::spawn(async move { drop(served.await) });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn serve_https(acceptor: TlsAcceptor, stream: TcpStream, pattern: Arc<Pattern>) -> io::Result<()> {
    let stream = acceptor.accept(stream).await?;
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service_fn(|request| answer(&pattern, request)))
        .await
        .map_err(io::Error::other)
}

/// `GET /bytes/N`: N bytes of the pattern.
fn answer(
    pattern: &Pattern,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + use<> {
    let length = request.uri().path().strip_prefix("/bytes/").and_then(|n| n.parse::<usize>().ok());
    let mut response = Response::new(Full::default());
    match length.filter(|&length| length <= BODY_BYTES_MAX) {
        Some(length) => *response.body_mut() = Full::new(Bytes::copy_from_slice(pattern.at(0, length))),
        None => {
            *response.status_mut() = StatusCode::NOT_FOUND;
            *response.body_mut() = Full::new(Bytes::from_static(b"GET /bytes/N, N up to 1048576\n"));
        }
    }
    std::future::ready(Ok(response))
}

/// One line, then: `UP N` checks N bytes to their end and says `ok` or what was wrong; `DOWN N` sends N bytes;
/// `ECHO` sends back what comes.
async fn serve_tcp(stream: TcpStream, pattern: Arc<Pattern>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = String::new();
    (&mut read).take(COMMAND_BYTES_MAX).read_line(&mut line).await?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(io::Error::other);
    if let Some(total) = line.strip_prefix("UP ") {
        let verdict = match pattern.read_from(&mut read, number(total)?, |_| {}).await {
            Ok(()) => "ok\n".to_owned(),
            Err(error) => format!("{error}\n"),
        };
        write.write_all(verdict.as_bytes()).await?;
    } else if let Some(total) = line.strip_prefix("DOWN ") {
        pattern.write_to(&mut write, number(total)?, |_| {}).await?;
    } else if line.starts_with("ECHO") {
        tokio::io::copy(&mut read, &mut write).await?;
    }
    write.shutdown().await
}
