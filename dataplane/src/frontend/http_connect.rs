//! The head of an HTTP CONNECT, as kube-apiserver's HTTPConnect egress mode sends it (RFC 9110 section 9.3.6,
//! RFC 9112 section 3.2.3).
//!
//! Strict where two readings of the same bytes could differ: only CRLF ends a line, only authority-form names a
//! target, nothing that announces a body is taken. The target is the request-target and never the Host field, which
//! kube-apiserver always sets to 127.0.0.1. HTTP/2 is told apart by its first bytes and handed on untouched.
//! Deliberately absent: sockets, the deadline, any other use of HTTP.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::limits::{CONNECT_HEAD_BYTES_MAX, CONNECT_HEADERS_MAX};
use crate::route::Target;

use super::answer::Answer;

/// What an HTTP/2 client sends first, up to the first empty line (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// What [`HeadReader::poll`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadState {
    /// The head is not complete yet.
    Incomplete,
    /// A CONNECT.
    Connect {
        /// Where to.
        target: Target,
        /// The request-target, as it was written.
        raw_target: String,
        /// What came behind the head, in order: the tunnel's first bytes. No empty pieces.
        rest: VecDeque<Bytes>,
    },
    /// The start of HTTP/2: GRPC mode.
    Http2 {
        /// Everything that came, in order. No empty pieces.
        bytes: VecDeque<Bytes>,
    },
    /// Not a CONNECT: to be answered, then closed.
    Refuse(Answer),
}

/// Reads a connection's bytes up to the end of the head.
///
/// Holds at most [`CONNECT_HEAD_BYTES_MAX`] bytes of its own and what was pushed since the last
/// [`HeadReader::poll`]. What it decides does not depend on where the bytes were split.
#[derive(Debug, Default)]
pub struct HeadReader {
    /// What was looked at and is part of the head. Copied, so that a slow head pins no receive slot.
    head: Vec<u8>,
    /// Not looked at yet. Holds no empty pieces.
    pieces: VecDeque<Bytes>,
    /// Whether the end of the first line was seen.
    in_fields: bool,
    /// It was refused; nothing is read any more.
    refused: Option<Answer>,
}

/// What a byte means for the head.
enum Step {
    More,
    End,
    Refuse(Answer),
}

impl HeadReader {
    /// A reader at the start of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the connection's next bytes.
    pub fn push(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if !piece.is_empty() && self.refused.is_none() {
            self.pieces.push_back(piece);
        }
    }

    /// Looks at what was pushed. After [`HeadState::Connect`] and [`HeadState::Http2`] the reader is empty and not to
    /// be used again; after [`HeadState::Refuse`] it says the same for ever.
    pub fn poll(&mut self) -> HeadState {
        if let Some(answer) = &self.refused {
            return HeadState::Refuse(answer.clone());
        }
        while let Some(mut piece) = self.pieces.pop_front() {
            for (index, byte) in piece.iter().enumerate() {
                match self.step(*byte) {
                    Step::More => {}
                    Step::Refuse(answer) => return self.refuse(answer),
                    Step::End => {
                        piece.advance(index + 1);
                        if !piece.is_empty() {
                            self.pieces.push_front(piece);
                        }
                        if self.head == HTTP2_PREFACE {
                            let mut bytes = std::mem::take(&mut self.pieces);
                            bytes.push_front(std::mem::take(&mut self.head).into());
                            return HeadState::Http2 { bytes };
                        }
                        return match parse_head(&self.head) {
                            Ok((target, raw_target)) => HeadState::Connect {
                                target,
                                raw_target,
                                rest: std::mem::take(&mut self.pieces),
                            },
                            Err(answer) => self.refuse(answer),
                        };
                    }
                }
            }
        }
        HeadState::Incomplete
    }

    /// The answer to a head that did not come in time ([`crate::limits::CONNECT_HEAD_TIME_MAX`]).
    #[must_use]
    pub fn timed_out(&self) -> Answer {
        Answer::head_timeout()
    }

    fn refuse(&mut self, answer: Answer) -> HeadState {
        self.pieces.clear();
        self.head = Vec::new();
        self.refused = Some(answer.clone());
        HeadState::Refuse(answer)
    }

    /// Takes one byte. Refuses what can never become a head at its first impossible byte, so that a client that
    /// speaks something else (TLS, say) hears so at once and not at the deadline.
    fn step(&mut self, byte: u8) -> Step {
        let garbage = || Step::Refuse(Answer::bad_request("this is not an HTTP/1.1 request"));
        let after_cr = self.head.last() == Some(&b'\r');
        match byte {
            b'\n' if !after_cr => return garbage(),
            b'\n' | b'\r' | b'\t' | b' '..=b'~' => {}
            // obs-text (RFC 9110 section 5.5), in fields that nobody looks at.
            0x80..=0xff if self.in_fields => {}
            _ => return garbage(),
        }
        if after_cr && byte != b'\n' {
            return garbage();
        }
        if self.head.is_empty() && !byte.is_ascii_alphabetic() {
            return garbage();
        }
        if self.head.len() == CONNECT_HEAD_BYTES_MAX {
            return Step::Refuse(Answer::head_too_large());
        }
        self.head.push(byte);
        if byte == b'\n' {
            self.in_fields = true;
            if self.head.ends_with(b"\r\n\r\n") {
                return Step::End;
            }
        }
        Step::More
    }
}

/// The target of a complete head, or the answer to what is not a CONNECT.
fn parse_head(head: &[u8]) -> Result<(Target, String), Answer> {
    let mut fields = [httparse::EMPTY_HEADER; CONNECT_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Answer::bad_request("the request head is not valid")),
        Err(httparse::Error::TooManyHeaders) => return Err(Answer::head_too_large()),
        Err(httparse::Error::Version) if names_a_version(head) => {
            return Err(Answer::version_not_supported("only HTTP/1.0 and HTTP/1.1 are served here"));
        }
        Err(error) => return Err(Answer::bad_request(&format!("the request head is not valid: {error}"))),
    }
    if request.method != Some("CONNECT") {
        return Err(Answer::method_not_allowed());
    }
    if request.headers.iter().any(announces_body) {
        return Err(Answer::bad_request("a CONNECT has no body"));
    }
    let raw_target = request.path.unwrap_or_default();
    match Target::parse(raw_target) {
        Ok(target) => Ok((target, raw_target.to_owned())),
        Err(error) => Err(Answer::bad_request(&format!("invalid CONNECT target {raw_target}: {error}"))),
    }
}

/// Whether the first line ends in a version of HTTP, be it one that is not served.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
    matches!(words[..], [_, _, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']])
}

/// Whether a field announces a body, which another reader of the same bytes would cut off the tunnel's.
fn announces_body(field: &httparse::Header<'_>) -> bool {
    let name = field.name;
    name.eq_ignore_ascii_case("transfer-encoding")
        || (name.eq_ignore_ascii_case("content-length") && field.value.trim_ascii() != b"0")
}
