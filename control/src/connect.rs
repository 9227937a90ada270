//! The client's side of HTTP CONNECT on the server's Unix socket, as kube-apiserver's HTTPConnect egress dials
//! (`k8s.io/apiserver`, `pkg/server/egressselector`), for `adit forward` and `adit demo`.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Longest answer head that is read.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most of a refusal's body that is read, for showing.
const BODY_BYTES_MAX: u64 = 4096;
/// How long an answer is waited for: the server answers every CONNECT within 30 s.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(35);

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The socket is not there or nobody answers on it.
    #[error(
        "cannot connect to the server's socket {path}: {error} (is adit server running with this --uds-name?)"
    )]
    Socket {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The server said no.
    #[error("{status} {reason}{}", if body.is_empty() { String::new() } else { format!(" ({body})") })]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The reason phrase.
        reason: String,
        /// The body, its line end cut off.
        body: String,
    },
    /// The answer is not HTTP, or the connection failed before it was complete.
    #[error("no answer from the server: {0}")]
    Answer(io::Error),
    /// No answer in time.
    #[error("no answer from the server within {} s", ANSWER_TIME_MAX.as_secs())]
    Timeout,
}

/// A tunnel: the socket, and what came behind the answer's head (nothing, from a server that keeps its promise).
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// Carries the target's bytes from here on.
    pub(crate) stream: UnixStream,
    /// Bytes already read.
    pub(crate) early: Vec<u8>,
}

/// Asks the server on `socket` for a tunnel to `target` (`host:port`).
///
/// # Errors
/// [`ConnectError`].
pub(crate) async fn connect(socket: &Path, target: &str) -> Result<Tunnel, ConnectError> {
    timeout(ANSWER_TIME_MAX, ask(socket, target)).await.unwrap_or(Err(ConnectError::Timeout))
}

async fn ask(socket: &Path, target: &str) -> Result<Tunnel, ConnectError> {
    let mut stream = UnixStream::connect(socket)
        .await
        .map_err(|error| ConnectError::Socket { path: socket.display().to_string(), error })?;
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(ConnectError::Answer)?;
    let mut head = Vec::with_capacity(512);
    let end = loop {
        if let Some(at) = head.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        let wrong = |text: &str| ConnectError::Answer(io::Error::other(text.to_owned()));
        if head.len() > HEAD_BYTES_MAX {
            return Err(wrong("the answer's head does not end"));
        }
        if stream.read_buf(&mut head).await.map_err(ConnectError::Answer)? == 0 {
            return Err(wrong("the connection ended within the answer"));
        }
    };
    let early = head.split_off(end + 4);
    let (status, reason) =
        status_line(&head).ok_or_else(|| ConnectError::Answer(io::Error::other("the answer is not HTTP")))?;
    if status == 200 {
        return Ok(Tunnel { stream, early });
    }
    let mut body = early;
    // A reset after the answer takes nothing from what it says.
    let _ = (&mut stream).take(BODY_BYTES_MAX).read_to_end(&mut body).await;
    let body = String::from_utf8_lossy(&body).trim().to_owned();
    Err(ConnectError::Refused { status, reason, body })
}

/// Status and reason phrase of `HTTP/1.x NNN reason` (RFC 9112 section 4).
fn status_line(head: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(head);
    let mut words = text.lines().next()?.splitn(3, ' ');
    let version = words.next()?;
    let status = words.next()?.parse().ok().filter(|s| (100..600).contains(s))?;
    version.starts_with("HTTP/1.").then(|| (status, words.next().unwrap_or("").trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    async fn answered(answer: &'static [u8]) -> Result<Tunnel, ConnectError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 256];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: "));
            for piece in answer.chunks(7) {
                stream.write_all(piece).await.unwrap();
            }
        };
        tokio::join!(connect(&path, "10.0.0.1:80"), server).0
    }

    #[tokio::test]
    async fn a_200_gives_the_tunnel_and_what_came_with_it() {
        let tunnel = answered(b"HTTP/1.1 200 Connection Established\r\n\r\nearly").await.unwrap();
        assert!(b"early".starts_with(&tunnel.early));
    }

    #[tokio::test]
    async fn a_refusal_carries_status_reason_and_body() {
        let got = answered(b"HTTP/1.1 502 dial tcp: refused\r\nConnection: close\r\n\r\nthe body\r\n").await;
        assert_eq!(got.unwrap_err().to_string(), "502 dial tcp: refused (the body)");
    }

    #[tokio::test]
    async fn what_is_not_http_is_an_error() {
        for answer in [&b"SSH-2.0-x\r\n\r\n"[..], b"HTTP/1.1 2", b"HTTP/1.1 9999 x\r\n\r\n"] {
            assert!(matches!(answered(answer).await, Err(ConnectError::Answer(_))));
        }
    }
}
