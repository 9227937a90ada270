//! TLS over TCP, sans-IO, over rustls, 1.3 and, for old peers, 1.2: the server's end towards frontends and agents, the
//! client's end of an agent towards its server.
//!
//! [`TlsSession`] stands between a socket and what is spoken inside, a frontend's tunnel or an agent's carrier:
//! ciphertext in, payload out; payload in, ciphertext out. It belongs to one of these, performs no I/O and
//! shares nothing, so it can move to another shard together with its socket.
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
//! Deliberately absent: session tickets, caches and early data at both ends (a session resumed elsewhere would need
//! shared state, and would outlive its certificate's revocation), a choice of certificate by name, and reading files.

mod alpn;
mod config;
mod conn;
mod name;
mod session;

#[cfg(test)]
mod tests;

pub use alpn::{ALPN_ADIT_H2, ALPN_H2, ALPN_HTTP_1_1, ALPN_NAME_BYTES_MAX, AgentProtocol};
pub use config::{
    TlsConfigError, TlsMinVersion, agent_client_config, agent_port_config, frontend_config, tls12_suites,
};
pub use name::ClientName;
pub use session::{Received, TlsFailure, TlsSession};
