//! The names of the protocols that are spoken inside TLS over TCP (RFC 7301), and what the agreed one means.

/// HTTP/1.1 (RFC 7301 section 6): a frontend that sends `CONNECT`.
pub const ALPN_HTTP_1_1: &[u8] = b"http/1.1";
/// HTTP/2 (RFC 9113 section 3.2): gRPC, as Konnectivity's agents, servers and frontends speak it.
pub const ALPN_H2: &[u8] = b"h2";
/// adit's own protocol over HTTP/2, version 1: agent and server, over TLS 1.3 alone.
pub const ALPN_ADIT_H2: &[u8] = b"adit-h2/1";
/// Longest name of a protocol, in bytes (RFC 7301 section 3.1); the shortest has one.
pub const ALPN_NAME_BYTES_MAX: usize = 255;

/// What an agent and a server speak with each other over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentProtocol {
    /// adit's protocol over HTTP/2: both ends are adit.
    AditH2,
    /// Konnectivity's gRPC: one of the ends is Konnectivity's.
    Grpc,
}

impl AgentProtocol {
    /// What the agreed name means. Everything but [`ALPN_ADIT_H2`] is gRPC, as it is to Konnectivity's own ends: `h2`,
    /// none at all (grpc-go before 1.67 did not insist on one), and a name of `--alpn-proto` that a load balancer
    /// chose.
    #[must_use]
    pub fn of(alpn: Option<&[u8]>) -> Self {
        match alpn {
            Some(ALPN_ADIT_H2) => Self::AditH2,
            _ => Self::Grpc,
        }
    }
}
