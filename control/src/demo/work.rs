//! What the demo sends through the tunnel, as kube-apiserver would: CONNECT on the Unix socket, then whatever the
//! target speaks. Every byte that comes back is checked.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::pattern::Pattern;
use super::target::{BODY_SEED, BULK_SEED};
use crate::config::validate::files::provider;
use crate::connect::{ConnectError, connect};

/// Bytes of an HTTPS answer's body.
pub(crate) const BODY_BYTES: usize = 16 * 1024;
/// One request, one dial.
const STEP_TIME_MAX: Duration = Duration::from_secs(40);
/// Without progress for this long, a bulk transfer has failed.
const STALL_TIME_MAX: Duration = Duration::from_secs(30);

/// Latencies in microseconds, three significant digits, up to a minute.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("constant bounds that are valid")
}

fn record(latencies: &mut Histogram<u64>, elapsed: Duration) {
    latencies.saturating_record(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1));
}

/// A TLS client that trusts these CAs alone.
///
/// # Errors
/// The text to show.
pub(crate) fn tls_client(ca_pem: &str) -> Result<Arc<ClientConfig>, String> {
    use rustls_pki_types::pem::PemObject as _;
    let mut roots = RootCertStore::empty();
    for certificate in rustls_pki_types::CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots
            .add(certificate.map_err(|e| format!("the demo's CA is no PEM: {e}"))?)
            .map_err(|e| format!("the demo's CA cannot be used: {e}"))?;
    }
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map(|builder| Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
        .map_err(|e| format!("cannot speak TLS: {e}"))
}

/// One HTTPS request in a tunnel of its own.
///
/// # Errors
/// The text to show: no tunnel, no TLS, a wrong status, or a wrong byte.
pub(crate) async fn https_request(
    socket: &Path,
    target: SocketAddr,
    tls: &Arc<ClientConfig>,
    pattern: &Pattern,
) -> Result<(), String> {
    let name = ServerName::try_from("localhost").expect("a valid name");
    let stream = dial(socket, target).await?;
    let stream =
        TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("HTTP over the tunnel: {e}"))?;
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("/bytes/{BODY_BYTES}"))
        .header(hyper::header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| format!("no answer: {e}"))?;
    if response.status() != StatusCode::OK {
        return Err(format!("status {}", response.status()));
    }
    let body =
        response.into_body().collect().await.map_err(|e| format!("the answer ended early: {e}"))?.to_bytes();
    drop(sender);
    // Whatever ends the connection now, the answer is complete.
    let _ = connection.await;
    match pattern.first_wrong(0, &body) {
        Some(at) => Err(format!("byte {at} of the answer is wrong")),
        None if body.len() != BODY_BYTES => Err(format!("{} of {BODY_BYTES} bytes came", body.len())),
        None => Ok(()),
    }
}

/// `count` HTTPS requests, one after the other; tells `progress` each.
///
/// # Errors
/// The first that failed.
pub(crate) async fn https_requests(
    socket: &Path,
    target: SocketAddr,
    tls: &Arc<ClientConfig>,
    count: u32,
    mut progress: impl FnMut(u64),
) -> Result<Histogram<u64>, String> {
    let pattern = Pattern::new(BODY_SEED);
    let mut latencies = histogram();
    for number in 1..=count {
        let begun = Instant::now();
        timeout(STEP_TIME_MAX, https_request(socket, target, tls, &pattern))
            .await
            .unwrap_or_else(|_| Err("no answer in time".to_owned()))
            .map_err(|error| format!("HTTPS request {number}: {error}"))?;
        record(&mut latencies, begun.elapsed());
        progress(u64::from(number));
    }
    Ok(latencies)
}

/// A target that shows a certificate of another CA than the client trusts must be refused by the client: the tunnel
/// cannot stand in for the target.
///
/// # Errors
/// When it was not refused, or refused for another reason.
pub(crate) async fn wrong_ca_is_refused(
    socket: &Path,
    target: SocketAddr,
    other_ca: &Arc<ClientConfig>,
) -> Result<(), String> {
    let pattern = Pattern::new(BODY_SEED);
    match timeout(STEP_TIME_MAX, https_request(socket, target, other_ca, &pattern)).await {
        Ok(Err(error)) if error.contains("UnknownIssuer") => Ok(()),
        Ok(Err(error)) => Err(format!("a certificate of another CA was refused, but as: {error}")),
        Ok(Ok(())) => Err("a certificate of another CA was accepted".to_owned()),
        Err(_) => Err("a certificate of another CA: no answer in time".to_owned()),
    }
}

async fn dial(socket: &Path, target: SocketAddr) -> Result<UnixStream, String> {
    let tunnel =
        connect(socket, &target.to_string()).await.map_err(|error| format!("CONNECT {target}: {error}"))?;
    if !tunnel.early.is_empty() {
        // kube-apiserver fails such a dial.
        return Err(format!("CONNECT {target}: {} bytes came behind the 200", tunnel.early.len()));
    }
    Ok(tunnel.stream)
}

/// `count` dials, one after the other, from connecting to the socket to the 200.
///
/// # Errors
/// The first that failed.
pub(crate) async fn dials(
    socket: &Path,
    target: SocketAddr,
    count: u32,
    mut progress: impl FnMut(u64),
) -> Result<Histogram<u64>, String> {
    let mut latencies = histogram();
    for number in 1..=count {
        let begun = Instant::now();
        let stream = dial(socket, target).await.map_err(|error| format!("dial {number}: {error}"))?;
        record(&mut latencies, begun.elapsed());
        drop(stream);
        progress(u64::from(number));
    }
    Ok(latencies)
}

/// Sends `total` bytes up, ends this direction, and waits for the target's verdict, which comes back through the
/// other direction: half-close at work.
///
/// # Errors
/// The text to show.
pub(crate) async fn bulk_up(
    socket: &Path,
    target: SocketAddr,
    total: u64,
    progress: impl FnMut(u64),
) -> Result<Duration, String> {
    let mut stream = dial(socket, target).await?;
    let pattern = Pattern::new(BULK_SEED);
    let begun = Instant::now();
    let told = |error: io::Error| format!("bulk up: {error}");
    stream.write_all(format!("UP {total}\n").as_bytes()).await.map_err(told)?;
    stalls(&mut stream, async |stream, moved| {
        let mut progress = progress;
        let both = |n| {
            moved(n);
            progress(n);
        };
        pattern.write_to(stream, total, both).await?;
        stream.shutdown().await
    })
    .await
    .map_err(told)?;
    let mut verdict = String::new();
    timeout(STALL_TIME_MAX, BufReader::new(&mut stream).read_line(&mut verdict))
        .await
        .map_err(|_| "bulk up: the target does not say what it got".to_owned())?
        .map_err(told)?;
    match verdict.trim_end() {
        "ok" => Ok(begun.elapsed()),
        other => Err(format!("bulk up: the target says: {other:?}")),
    }
}

/// Fetches `total` bytes and checks each.
///
/// # Errors
/// The text to show.
pub(crate) async fn bulk_down(
    socket: &Path,
    target: SocketAddr,
    total: u64,
    progress: impl FnMut(u64),
) -> Result<Duration, String> {
    let mut stream = dial(socket, target).await?;
    let pattern = Pattern::new(BULK_SEED);
    let begun = Instant::now();
    let told = |error: io::Error| format!("bulk down: {error}");
    stream.write_all(format!("DOWN {total}\n").as_bytes()).await.map_err(told)?;
    stalls(&mut stream, async |stream, moved| {
        let mut progress = progress;
        let both = |n| {
            moved(n);
            progress(n);
        };
        pattern.read_from(stream, total, both).await
    })
    .await
    .map_err(told)?;
    Ok(begun.elapsed())
}

/// Runs a transfer and fails it when it stands still.
async fn stalls<W>(stream: &mut UnixStream, transfer: W) -> io::Result<()>
where
    W: AsyncFnOnce(&mut UnixStream, &mut dyn FnMut(u64)) -> io::Result<()>,
{
    let moved = std::cell::Cell::new(0_u64);
    let mut note = |n| moved.set(n);
    let transfer = transfer(stream, &mut note);
    tokio::pin!(transfer);
    loop {
        let before = moved.get();
        match timeout(STALL_TIME_MAX, &mut transfer).await {
            Ok(result) => return result,
            Err(_) if moved.get() == before => {
                let text = format!("nothing moved for {} s after {before} bytes", STALL_TIME_MAX.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            Err(_) => {}
        }
    }
}

/// What a dial to a port that nobody holds is answered with.
///
/// # Errors
/// When it is not refused as it should be.
pub(crate) async fn refused(socket: &Path, target: SocketAddr) -> Result<(u16, String), String> {
    match connect(socket, &target.to_string()).await {
        Err(ConnectError::Refused { status, reason, body }) => {
            if status == 502 && reason.contains("connection refused") && body.contains("connection refused") {
                Ok((status, reason))
            } else {
                Err(format!(
                    "CONNECT {target}: answered {status} {reason} ({body}), not 502 … connection refused"
                ))
            }
        }
        Err(error) => Err(format!("CONNECT {target}: {error}")),
        Ok(_) => Err(format!("CONNECT {target}: a tunnel to a port that nobody holds")),
    }
}
