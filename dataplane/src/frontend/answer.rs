//! Answers to a CONNECT, as bytes.
//!
//! Status, header fields and bodies are those of Konnectivity's server; the reason phrase says more than its does,
//! because the status line is all of a refusal that kube-apiserver shows. A whole answer stays below 512 bytes.

use std::fmt::Write;

use bytes::Bytes;

use crate::limits::ANSWER_BYTES_MAX;
use crate::limits::REASON_PHRASE_BYTES_MAX;
use crate::wire::{clean_text, status_for_text};

/// An answer to a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    bytes: Bytes,
}

impl Answer {
    /// The tunnel stands: its bytes follow, but not in the same read.
    #[must_use]
    pub const fn established() -> Self {
        Self { status: 200, bytes: Bytes::from_static(b"HTTP/1.1 200 Connection Established\r\n\r\n") }
    }

    /// There is no agent to choose.
    #[must_use]
    pub fn no_agent() -> Self {
        Self::refusal(500, "currently no tunnels available: No agent available")
    }

    /// The agent answered with an error; the status follows from its text ([`status_for_text`]).
    #[must_use]
    pub fn dial_error(text: &str) -> Self {
        Self::refusal(status_for_text(text), text)
    }

    /// The agent's connection ended while it was dialing, and no other agent was left to try.
    #[must_use]
    pub fn backend_gone(text: &str) -> Self {
        Self::refusal(502, &format!("Backend context error: {text}"))
    }

    /// No answer of an agent in time.
    #[must_use]
    pub fn timeout() -> Self {
        Self::refusal(504, "Backend dial timeout: timed out waiting for backend dial")
    }

    /// Something is full; `text` says what.
    #[must_use]
    pub fn unavailable(text: &str) -> Self {
        Self::refusal(503, text)
    }

    /// The head is not one that can be understood.
    #[must_use]
    pub fn bad_request(text: &str) -> Self {
        Self::refusal(400, text)
    }

    /// The head did not come in time.
    #[must_use]
    pub fn head_timeout() -> Self {
        Self::refusal(408, "the request head did not come in time")
    }

    /// The head is too long or has too many fields.
    #[must_use]
    pub fn head_too_large() -> Self {
        Self::refusal(431, "the request head is too large")
    }

    /// Not a CONNECT.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::with_field(405, "this proxy only supports CONNECT passthrough", "Allow: CONNECT\r\n")
    }

    /// Not HTTP/1.0 or HTTP/1.1.
    #[must_use]
    pub fn version_not_supported(text: &str) -> Self {
        Self::refusal(505, text)
    }

    /// HTTP/2 where it is not wanted.
    #[must_use]
    pub fn only_http_connect() -> Self {
        Self::version_not_supported(
            "HTTP/2 is not served with --mode=http-connect: use proxyProtocol: HTTPConnect",
        )
    }

    /// A CONNECT where it is not wanted.
    #[must_use]
    pub fn only_grpc() -> Self {
        Self::version_not_supported("CONNECT is not served with --mode=grpc: use proxyProtocol: GRPC")
    }

    /// The status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// What to send. Unless the status is 200, the connection is closed after it.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    fn refusal(status: u16, text: &str) -> Self {
        Self::with_field(status, text, "")
    }

    /// `field` is a whole header line, or empty.
    fn with_field(status: u16, text: &str, field: &str) -> Self {
        let words = words_of(status);
        let reason = clean_text(&printable(text), REASON_PHRASE_BYTES_MAX - words.len() - ": ".len());
        let mut answer = String::with_capacity(ANSWER_BYTES_MAX);
        write!(
            answer,
            "HTTP/1.1 {status} {words}: {reason}\r\n{field}Connection: close\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n"
        )
        .expect("a String takes any text");
        // No Content-Length: the body ends with the connection.
        answer.push_str(&clean_text(text, ANSWER_BYTES_MAX - answer.len()));
        Self { status, bytes: answer.into() }
    }
}

/// What may stand in a reason phrase (RFC 9112 section 4), without obs-text: other characters become `?`.
fn printable(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().map(keep).collect()
}

const fn words_of(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
