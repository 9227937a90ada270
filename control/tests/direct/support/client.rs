//! kube-apiserver's side: CONNECT on the Unix socket, byte for byte as its dialer writes it.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{PATIENCE, soon};

/// A refusal: status, reason phrase, body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) body: String,
}

/// CONNECT to `target`: the tunnel, with nothing read behind the head, or the refusal.
pub(crate) async fn connect(socket: &Path, target: &str) -> Result<UnixStream, Refusal> {
    tokio::time::timeout(PATIENCE + Duration::from_secs(5), try_connect(socket, target))
        .await
        .unwrap_or_else(|_| panic!("CONNECT {target} is not answered"))
        .unwrap_or_else(|error| panic!("CONNECT {target}: {error}"))
}

/// As [`connect`], but the connection itself may fail.
pub(crate) async fn try_connect(socket: &Path, target: &str) -> std::io::Result<Result<UnixStream, Refusal>> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // One byte at a time: what follows the head must stay in the socket.
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).expect("ASCII");
    if head == "HTTP/1.1 200 Connection Established\r\n\r\n" {
        return Ok(Ok(stream));
    }
    let mut body = String::new();
    stream.read_to_string(&mut body).await?;
    Ok(Err(refusal(&head, &body)))
}

/// Sends bytes as they are and reads the answer to its end.
pub(crate) async fn raw(socket: &Path, request: &[u8]) -> Refusal {
    soon("an answer", async {
        let mut stream = UnixStream::connect(socket).await.expect("the server listens");
        stream.write_all(request).await.expect("the server reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an orderly end");
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
        refusal(head, body)
    })
    .await
}

fn refusal(head: &str, body: &str) -> Refusal {
    let line = head.lines().next().unwrap_or_default();
    let mut words = line.splitn(3, ' ');
    assert_eq!(words.next(), Some("HTTP/1.1"), "{line:?}");
    let status = words.next().and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status in {line:?}"));
    Refusal { status, reason: words.next().unwrap_or_default().to_owned(), body: body.trim_end().to_owned() }
}
