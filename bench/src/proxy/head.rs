//! HTTP/1.1 CONNECT (RFC 9110 §9.3.6) over a stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::connector::io_at;
use super::{DialError, Stream};

/// Longest answer that is read, body of a refusal included.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Most header fields of an answer.
const FIELDS_MAX: usize = 32;

/// Asks for the target, and returns the stream behind a 200.
pub(super) async fn connect<S: Stream + 'static>(
    mut stream: S,
    target: &str,
) -> Result<Box<dyn Stream>, DialError> {
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(io_at("CONNECT"))?;
    stream.flush().await.map_err(io_at("CONNECT"))?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        if let Some((status, length)) = parse(&answer)? {
            if status == 200 {
                let early = answer.split_off(length);
                return Ok(if early.is_empty() {
                    Box::new(stream)
                } else {
                    Box::new(Behind { early, taken: 0, stream })
                });
            }
            return Err(refusal(stream, status, answer.split_off(length)).await);
        }
        if answer.len() >= ANSWER_BYTES_MAX {
            return Err(DialError::Malformed(format!("no end of the head in {ANSWER_BYTES_MAX} bytes")));
        }
        if stream.read_buf(&mut answer).await.map_err(io_at("CONNECT"))? == 0 {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the answer was whole");
            return Err(DialError::Io { step: "CONNECT", source });
        }
    }
}

/// The status and the head's length, once it is whole.
fn parse(bytes: &[u8]) -> Result<Option<(u16, usize)>, DialError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => Ok(response.code.map(|code| (code, length))),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(error) => Err(DialError::Malformed(format!("{error}: {:?}", text(bytes)))),
    }
}

/// What a refusal says: its body is the reason.
async fn refusal<S: Stream>(stream: S, status: u16, mut body: Vec<u8>) -> DialError {
    // A body that breaks off says what it says up to there.
    let _ = stream.take(ANSWER_BYTES_MAX as u64).read_to_end(&mut body).await;
    DialError::Refused(format!("{status} {:?}", text(&body)))
}

fn text(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 200;
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).trim().to_owned()
}

/// A stream some of whose first bytes were read together with the head.
#[derive(Debug)]
struct Behind<S> {
    early: Vec<u8>,
    taken: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Behind<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.early[self.taken..];
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let some = left.len().min(buf.remaining());
        buf.put_slice(&left[..some]);
        self.taken += some;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Behind<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::connect;
    use crate::proxy::{DialError, Stream};

    /// Answers one CONNECT with these pieces.
    fn answered(pieces: &[&str]) -> Result<(Box<dyn Stream>, String), DialError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = duplex(64 * 1024);
            let answer = async {
                let mut request = vec![0; 256];
                let length = far.read(&mut request).await.unwrap();
                assert!(request[..length].starts_with(b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n"));
                for piece in pieces {
                    far.write_all(piece.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
                drop(far);
            };
            let (stream, ()) = tokio::join!(connect(near, "h:1"), answer);
            let mut stream = stream?;
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            Ok((stream, rest))
        })
    }

    #[test]
    fn bytes_behind_a_200_are_the_targets() {
        let (_, rest) = answered(&["HTTP/1.1 2", "00 OK\r\n\r", "\nfirst", " words"]).unwrap();
        assert_eq!(rest, "first words");
    }

    #[test]
    fn a_refusal_says_why() {
        let error = answered(&["HTTP/1.1 503 Service Unavailable\r\n\r\n", "no agent"]).unwrap_err();
        assert_eq!(error.to_string(), "refused: 503 \"no agent\"");
        assert_eq!(error.kind(), "dial: refused");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(matches!(
            answered(&["HTTP/1.1 200 OK\r\n"]).unwrap_err(),
            DialError::Io { step: "CONNECT", .. }
        ));
        assert!(matches!(answered(&["SSH-2.0-x\r\n\r\n"]).unwrap_err(), DialError::Malformed(_)));
    }
}
