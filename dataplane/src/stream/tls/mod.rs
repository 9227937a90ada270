//! TLS towards frontends that come over TCP: server side, sans-IO, over rustls. TLS 1.3 and, for old peers, 1.2.
//!
//! [`TlsSession`] stands between a tunnel's socket and the two halves of its splice: ciphertext in, payload out;
//! payload in, ciphertext out. It belongs to the tunnel, performs no I/O and shares nothing, so it can move to another
//! shard together with its socket.
//!
//! **Why rustls' unbuffered connection.** Its buffered twin copies ciphertext into a buffer of its own, which it keeps
//! (4 to 20 KiB for each idle connection); this one decrypts in the receive slot where the bytes lie. What remains are
//! rustls' own copies: a record's payload leaves it as a vector, from which one piece per receive is put together, and
//! an encrypted record arrives as one. Only a record that straddles two receives is copied here, to be whole. While
//! nothing is on its way the session holds no buffer.
//!
//! **Back-pressure.** Nothing is decrypted ahead: a receive's payload goes to [`super::ingress::Ingress`] at once,
//! which stops receiving when the stream does not take it; and no batch is sealed before the one before it was sent.
//!
//! **The end of a direction** is `close_notify`, then the end of the TCP stream. The end of TCP alone is a truncation
//! (RFC 8446 section 6.1): somebody on the path may have made it, so it resets the tunnel.
//!
//! Deliberately absent: session tickets, caches and early data (a session resumed elsewhere would need shared state,
//! and would outlive its certificate's revocation), a choice of certificate by name, and reading files.

mod config;
mod name;
mod session;

#[cfg(test)]
mod tests;

pub use config::{ALPN_HTTP_1_1, FrontendTlsError, TlsMinVersion, frontend_config, tls12_suites};
pub use name::ClientName;
pub use session::{Received, TlsFailure, TlsSession};
