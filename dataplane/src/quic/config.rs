//! What a shard's QUIC half is made of.

use std::fmt;
use std::sync::Arc;

use quinn_proto::TimeSource;

use super::cid::GENERATION_MAX;
use super::keys::ClusterKeys;
use crate::limits;

/// Configuration of one shard's [`super::Quic`].
#[derive(Clone)]
pub struct QuicConfig {
    /// This shard's number, below `shards`: the five shard bits of the connection IDs it issues.
    pub shard: u8,
    /// Sockets in the reuseport group, 1 to [`limits::SHARDS_MAX`].
    pub shards: u8,
    /// The three generation bits of the connection IDs it issues, for upgrades without downtime.
    pub generation: u8,
    /// Seeds all randomness of this object: connection IDs, packet numbers, tokens. Unpredictable in production, and
    /// different for every shard and every start; fixed in tests.
    pub seed: [u8; 32],
    /// The keys of resets and retry tokens, the same on all shards.
    pub keys: ClusterKeys,
    /// Accept connections with this TLS configuration ([`super::tls::server_config`]).
    pub server: Option<Arc<rustls::ServerConfig>>,
    /// Open connections with this TLS configuration ([`super::tls::client_config`]).
    pub client: Option<Arc<rustls::ClientConfig>>,
    /// Largest UDP payload: advertised to peers as `max_udp_payload_size` and the end of the path MTU search. From
    /// [`limits::MTU_INITIAL`] to [`limits::MTU_MAX`] bytes.
    pub mtu_max_bytes: u16,
    /// Most datagrams in one train; 1 without segmentation offload.
    pub gso_segments_max: usize,
    /// Wall clock that dates retry tokens; the system's when absent.
    pub time_source: Option<Arc<dyn TimeSource>>,
}

impl QuicConfig {
    pub(super) fn check(&self) -> Result<(), QuicConfigError> {
        if self.shards == 0 || usize::from(self.shards) > limits::SHARDS_MAX || self.shard >= self.shards {
            return Err(QuicConfigError::Shard { shard: self.shard, shards: self.shards });
        }
        if self.generation > GENERATION_MAX {
            return Err(QuicConfigError::Generation(self.generation));
        }
        if !(limits::MTU_INITIAL..=limits::MTU_MAX).contains(&self.mtu_max_bytes) {
            return Err(QuicConfigError::Mtu { bytes: self.mtu_max_bytes });
        }
        Ok(())
    }
}

impl fmt::Debug for QuicConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The seed and the keys stay out of logs.
        f.debug_struct("QuicConfig")
            .field("shard", &self.shard)
            .field("shards", &self.shards)
            .field("generation", &self.generation)
            .field("server", &self.server.is_some())
            .field("client", &self.client.is_some())
            .field("mtu_max_bytes", &self.mtu_max_bytes)
            .field("gso_segments_max", &self.gso_segments_max)
            .finish_non_exhaustive()
    }
}

/// A [`QuicConfig`] that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuicConfigError {
    /// The shard number does not fit.
    #[error("shard {shard} of {shards}: there are 1 to {} shards, numbered from 0", limits::SHARDS_MAX)]
    Shard {
        /// As given.
        shard: u8,
        /// As given.
        shards: u8,
    },
    /// The generation does not fit three bits.
    #[error("generation {0} does not fit three bits; use 0 to 7")]
    Generation(u8),
    /// The largest datagram is out of range.
    #[error("{bytes} bytes as the largest UDP payload; use {} to {}", limits::MTU_INITIAL, limits::MTU_MAX)]
    Mtu {
        /// As given.
        bytes: u16,
    },
    /// The TLS configuration cannot do QUIC.
    #[error("the TLS configuration lacks TLS_AES_128_GCM_SHA256, which every QUIC handshake begins with")]
    NoInitialCipherSuite,
}
