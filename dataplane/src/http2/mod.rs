//! HTTP/2 (RFC 9113) for gRPC, both sides, without input and output: bytes and `now` in, events and bytes out.
//!
//! ```text
//!   bytes ─▶ frames (where they begin and end) ─▶ guard (budgets, deadlines) ─▶ engine (shiguredo_http2) ─▶ events
//!                                                 commands ─▶ streams (windows, credit) ─▶ engine ─▶ bytes
//!   payload and windows that break no rule go past the engine, both ways (payload)
//! ```
//!
//! [`Connection`] is all of it for one connection, and carries gRPC calls; between two of adit's own ends it carries
//! pipes instead ([`Connection::client_of_pipes`]).
//!
//! **What is bounded, and by whom.** Input waits where it was received until the event before it was taken, and one
//! unfinished frame is copied out; so a connection holds one frame's events. While [`HTTP2_OUTPUT_BYTES_TARGET`] of
//! output wait, nothing is received, and no payload is taken to be sent. Every frame that makes work without an event
//! that pays for it has a budget ([`Budget`]); a peer that exceeds one is told ENHANCE_YOUR_CALM and the connection
//! ends with an error that says so. What the consumer has not credited ([`Connection::credit`]) is at most
//! [`HTTP2_STREAM_WINDOW_BYTES`] for each stream; that it does not add up to too much is the consumer's to see to.
//!
//! **`:authority`** is accepted as grpc-go sends it over a Unix socket, percent-encoded (`%2Frun%2F…`, since 1.57) or
//! raw (`/run/…`), and nothing is derived from it. An `@` in it is refused with PROTOCOL_ERROR on that stream, because
//! the library takes it for user information (RFC 9113 section 8.3.1): a socket's path must not contain one.
//!
//! **A peer that is gone** without a word is found by [`KeepAlive`], which the consumer asks when to send a PING, and
//! tells what it received: what gives up is the consumer, who knows how often a peer may be asked.
//!
//! Deliberately absent: push, priorities, a choice of who sends next (the consumer's, who knows what
//! waits), messages and their length prefix, and TLS.
//!
//! [`HTTP2_OUTPUT_BYTES_TARGET`]: crate::limits::HTTP2_OUTPUT_BYTES_TARGET
//! [`HTTP2_STREAM_WINDOW_BYTES`]: crate::limits::HTTP2_STREAM_WINDOW_BYTES

mod client;
mod commands;
mod connection;
mod engine;
mod error;
mod event;
mod frames;
mod guard;
mod keep_alive;
mod output;
mod payload;
mod pipes;
mod status;
mod stream;

#[cfg(test)]
mod tests;

pub use client::{Call, NotOpened};
pub use connection::Connection;
pub use error::{Budget, ConnectionError, ErrorCode, Gone, Late};
pub use event::{CallStatus, End, Event, Metadata, Request, StreamId};
pub use keep_alive::{KeepAlive, KeepAliveDue};
