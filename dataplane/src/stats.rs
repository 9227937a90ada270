//! What a shard counts: plain integers, owned by its thread, read as snapshots.

/// Totals since the shard's start; the ones that end in `_open` or `_pending` are gauges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Frontend connections accepted.
    pub frontends_accepted: u64,
    /// Frontend connections closed at once: a table was full or the shard was draining.
    pub frontends_refused: u64,
    /// Accepts that failed (EMFILE and the like).
    pub accept_errors: u64,
    /// Frontends over TCP that did not complete their TLS handshake: no acceptable certificate, garbage, no time.
    pub frontend_handshakes_failed: u64,
    /// Tunnels whose TLS session broke after its handshake, the end of TCP without `close_notify` included.
    pub frontend_sessions_broken: u64,
    /// Heads that were refused with a 4xx.
    pub heads_refused: u64,
    /// Agents' TCP connections closed at once: no room, or no TLS to meet them with.
    pub agents_refused_over_tcp: u64,
    /// Peers' connections over TCP that carry tunnels, now.
    pub carriers_open: u64,
    /// Frontends' HTTP/2 connections in GRPC mode, now.
    pub grpc_connections_open: u64,
    /// Frontends' calls of `/ProxyService/Proxy`, now.
    pub grpc_calls_open: u64,
    /// Frontends' HTTP/2 connections that broke the protocol or a budget.
    pub grpc_connections_broken: u64,
    /// Dials asked for by frontends.
    pub dials_started: u64,
    /// Dials moved to another agent before they were answered.
    pub dials_moved: u64,
    /// Connections dealt to another shard when they were accepted.
    pub frontends_dealt: u64,
    /// Dials handed to the shard of the chosen agent.
    pub dials_handed_over: u64,
    /// Streams opened on other shards' connections, for frontends that cannot move.
    pub streams_relayed: u64,
    /// Bytes that crossed from shard to shard, each way.
    pub bytes_relayed: u64,
    /// Dials that another shard had no room for.
    pub dials_handed_back: u64,
    /// Dials that wait for an answer now.
    pub dials_pending: u64,
    /// Tunnels established.
    pub tunnels_established: u64,
    /// Heads being read, dials, tunnels, refusals being read, now; not connections that carry tunnels.
    pub tunnels_open: u64,
    /// Tunnels that ended in order: both directions finished.
    pub tunnels_finished: u64,
    /// Tunnels that ended by a reset of either side.
    pub tunnels_reset: u64,
    /// Tunnels reset because stopped readers held more than the budget.
    pub tunnels_over_budget: u64,
    /// Tunnels over a peer's old protocol, which has no flow control, that were cut off because their reader stopped
    /// while others waited.
    pub readers_cut_off: u64,
    /// Readers that have not taken their bytes, now.
    pub stopped_readers: u64,
    /// Payload bytes read from sockets into streams.
    pub bytes_to_streams: u64,
    /// Payload bytes sent from streams to sockets.
    pub bytes_to_sockets: u64,
    /// Sessions with peers that are welcome, now.
    pub sessions_ready: u64,
    /// Peers refused: no Hello in time, garbage on the control stream, or control's verdict.
    pub sessions_refused: u64,
    /// Agent: destinations refused by policy.
    pub destinations_denied: u64,
    /// Completions whose entry was gone: late, and rightly ignored.
    pub stale_completions: u64,
    /// Operations that a full driver handed back and that were submitted later.
    pub submissions_deferred: u64,
    /// Receives that found no slot.
    pub receives_starved: u64,
    /// Bytes copied out of receive slots because bytes that wait held more than half of them.
    pub bytes_copied_out: u64,
    /// Trains sent again one datagram at a time because segmentation was refused.
    pub segmentation_refused: u64,
    /// Trains that the kernel did not take; QUIC repeats what mattered.
    pub trains_dropped: u64,
    /// Datagrams whose connection ID belongs to another shard.
    pub stray_datagrams: u64,
    /// Of those, the ones that were dropped because that shard had no room or is not there.
    pub stray_datagrams_dropped: u64,
    /// Events dropped because control was slow.
    pub events_dropped: u64,
}
