//! Through an HTTP proxy to the server: what an agent says to the proxy, and what the proxy's answer means. `CONNECT`
//! of RFC 9110 section 9.3.6, sans-IO.
//!
//! The proxy is spoken to in the clear, as by grpc-go; what goes through the tunnel it makes is TLS from the agent to
//! the server. Deliberately absent: proxies over TLS, SOCKS, authentication in several steps, the environment (control
//! reads it), and the body that goes with a refusal, which nobody reads.

use std::fmt;

use bytes::{Buf as _, Bytes, BytesMut};

use crate::limits::{CONNECT_HEAD_BYTES_MAX, CONNECT_HEADERS_MAX, PEER_TEXT_BYTES_MAX};
use crate::wire::clean_text;

/// A proxy, and what it is to be told. Prints nothing of the credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct EgressProxy {
    /// Its address or name, without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// The value of `Proxy-Authorization`, where it wants one; see [`basic_authorization`].
    pub authorization: Option<String>,
}

impl fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressProxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("has_authorization", &self.authorization.is_some())
            .finish()
    }
}

impl fmt::Display for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

/// Why there is no tunnel. The texts are for the operator of the agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressProxyError {
    /// The proxy wants to know who asks.
    #[error(
        "the proxy wants a name and a password ({0}): write them in HTTPS_PROXY as http://name:password@host:port"
    )]
    AuthenticationRequired(String),
    /// The proxy answered something else than that there is a tunnel.
    #[error("the proxy makes no tunnel ({0}): let it CONNECT to the server, or name the server in NO_PROXY")]
    Refused(String),
    /// What came is no head of an HTTP answer.
    #[error("what answers at the proxy's address speaks no HTTP/1.1 ({0}): check HTTPS_PROXY")]
    NotHttp(httparse::Error),
    /// The head does not end within the limit.
    #[error(
        "the proxy's answer has a head of more than {CONNECT_HEAD_BYTES_MAX} bytes or {CONNECT_HEADERS_MAX} fields: \
         check HTTPS_PROXY"
    )]
    TooLong,
}

/// `Proxy-Authorization` for a name and a password (RFC 7617 section 2).
#[must_use]
pub fn basic_authorization(name: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{name}:{password}").as_bytes()))
}

/// The request for a tunnel to `host` (an address without brackets, or a name) and `port`, to be sent at once.
#[must_use]
pub fn connect_request(host: &str, port: u16, authorization: Option<&str>) -> Bytes {
    let target = authority(host, port);
    let authorization =
        authorization.map(|value| format!("Proxy-Authorization: {value}\r\n")).unwrap_or_default();
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n").into()
}

/// Reads the proxy's answer.
#[derive(Debug, Default)]
pub struct ConnectAnswer {
    /// The head so far; of answers before the last (RFC 9110 section 15.2), too, so that all of them are bounded.
    head: BytesMut,
    /// Bytes of answers before the last.
    interim_bytes: usize,
}

impl ConnectAnswer {
    /// A reader at the start of the answer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes from the proxy. `Some` when there is a tunnel: what came behind the head, which is the
    /// server's, and may be empty. Nothing is to be pushed after that, or after an error.
    ///
    /// # Errors
    /// [`EgressProxyError`] when there will be none.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Bytes>, EgressProxyError> {
        self.head.extend_from_slice(bytes);
        loop {
            let mut fields = [httparse::EMPTY_HEADER; CONNECT_HEADERS_MAX];
            let mut response = httparse::Response::new(&mut fields);
            let parsed = response.parse(&self.head).map_err(|error| match error {
                httparse::Error::TooManyHeaders => EgressProxyError::TooLong,
                other => EgressProxyError::NotHttp(other),
            })?;
            let head_bytes = match parsed {
                httparse::Status::Complete(bytes) => bytes,
                httparse::Status::Partial => self.head.len(),
            };
            if self.interim_bytes + head_bytes > CONNECT_HEAD_BYTES_MAX {
                return Err(EgressProxyError::TooLong);
            }
            if parsed.is_partial() {
                return Ok(None);
            }
            let code = response.code.unwrap_or_default();
            let status = || {
                clean_text(&format!("{code} {}", response.reason.unwrap_or_default()), PEER_TEXT_BYTES_MAX)
            };
            match code {
                // Whatever the fields say about a body, there is none.
                200..=299 => {
                    self.head.advance(head_bytes);
                    return Ok(Some(std::mem::take(&mut self.head).freeze()));
                }
                100 | 102..=199 => {
                    self.interim_bytes += head_bytes;
                    self.head.advance(head_bytes);
                }
                407 => return Err(EgressProxyError::AuthenticationRequired(status())),
                _ => return Err(EgressProxyError::Refused(status())),
            }
        }
    }
}

/// Host and port as they stand in a request (RFC 9110 section 7.2).
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Base64 with padding (RFC 4648 section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let [a, b, c] = three;
        let sextets = [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63];
        for (at, sextet) in sextets.into_iter().enumerate() {
            text.push(if at <= chunk.len() { char::from(ALPHABET[usize::from(sextet)]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes of an answer that arrives in pieces of this size.
    fn answer(bytes: &[u8], piece: usize) -> Result<Option<Bytes>, EgressProxyError> {
        let mut reader = ConnectAnswer::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            rest = later;
            if let Some(behind) = reader.push(now)? {
                return Ok(Some([&behind[..], rest].concat().into()));
            }
        }
        Ok(None)
    }

    #[test]
    fn the_request_is_what_a_proxy_expects() {
        assert_eq!(
            connect_request("server.example", 8091, None),
            "CONNECT server.example:8091 HTTP/1.1\r\nHost: server.example:8091\r\n\r\n"
        );
        let authorization = basic_authorization("Aladdin", "open sesame");
        assert_eq!(authorization, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(
            connect_request("2001:db8::1", 443, Some(&authorization)),
            "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\
             Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        );
    }

    #[test]
    fn base64_pads() {
        // RFC 4648 section 10.
        let table = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, text) in table {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn a_tunnel_is_made_however_the_answer_is_split() {
        let answers: [&[u8]; 5] = [
            b"HTTP/1.1 200 Connection established\r\n\r\nserver's",
            b"HTTP/1.0 200 OK\r\nVia: 1.1 squid\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nserver's",
            b"HTTP/1.1 204\r\n\r\nserver's",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nserver's",
            b"HTTP/1.1 200 OK\nX: y\n\nserver's",
        ];
        for bytes in answers {
            for piece in 1..=bytes.len() {
                assert_eq!(answer(bytes, piece), Ok(Some(Bytes::from_static(b"server's"))));
            }
            let head_bytes = bytes.len() - "server's".len();
            assert_eq!(answer(&bytes[..head_bytes], 7), Ok(Some(Bytes::new())));
            assert_eq!(answer(&bytes[..head_bytes - 1], 7), Ok(None));
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let table: [(&[u8], &str); 6] = [
            (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "name:password@host:port"),
            (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nForbidden", "(403 Forbidden)"),
            (b"HTTP/1.1 503 \r\n\r\n", "(503 )"),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "(101 Switching Protocols)"),
            (b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n", "NO_PROXY"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "check HTTPS_PROXY"),
        ];
        for (bytes, words) in table {
            for piece in [1, 5, bytes.len()] {
                let text = answer(bytes, piece).unwrap_err().to_string();
                assert!(text.contains(words), "{text}");
            }
        }
    }

    #[test]
    fn a_status_line_cannot_forge_a_line_of_the_log() {
        let long = ["HTTP/1.1 500 \u{202e}", &"x".repeat(5000), "\r\n\r\n"].concat();
        let text = answer(long.as_bytes(), 100).unwrap_err().to_string();
        assert!(text.len() < PEER_TEXT_BYTES_MAX + 100 && !text.contains('\u{202e}'), "{text}");
    }

    #[test]
    fn a_head_is_bounded() {
        let endless = ["HTTP/1.1 200 OK\r\nX: ", &"y".repeat(CONNECT_HEAD_BYTES_MAX)].concat();
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
        let fields = ["HTTP/1.1 200 OK\r\n", &"a: b\r\n".repeat(CONNECT_HEADERS_MAX + 1), "\r\n"].concat();
        for bytes in [&endless, &interim, &fields] {
            for piece in [1, 1000, bytes.len()] {
                assert_eq!(answer(bytes.as_bytes(), piece), Err(EgressProxyError::TooLong));
            }
        }
        // What is behind the head is not bounded by it.
        let much = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![7; 3 * CONNECT_HEAD_BYTES_MAX]].concat();
        assert_eq!(answer(&much, much.len()).unwrap().unwrap().len(), 3 * CONNECT_HEAD_BYTES_MAX);
    }

    #[test]
    fn credentials_are_not_shown() {
        let proxy = EgressProxy {
            host: "2001:db8::1".to_owned(),
            port: 3128,
            authorization: Some(basic_authorization("name", "secret")),
        };
        assert_eq!(proxy.to_string(), "[2001:db8::1]:3128");
        let shown = format!("{proxy:?}");
        assert!(shown.contains("has_authorization: true") && !shown.contains("Basic"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1..50_usize) {
            let _ = answer(&bytes, piece);
            let _ = answer(&[b"HTTP/1.1 2", &bytes[..]].concat(), piece);
        }
    }
}
