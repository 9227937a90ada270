//! What a shard counts: plain integers, owned by its thread, read as snapshots.

/// Totals since the shard's start, and gauges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Dials asked for by frontends.
    pub dials_started: u64,
    /// Tunnels established.
    pub tunnels_established: u64,
    /// Tunnels open now.
    pub tunnels_open: u64,
}
