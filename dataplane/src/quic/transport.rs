//! quinn-proto's configuration, from ours: transport parameters of each side, path MTU, endpoint, tokens.
//!
//! Memory that one peer can hold here: before Welcome [`limits::UNWELCOME_WINDOW_BYTES`]; after it, what its unread
//! streams take, [`limits::STREAM_WINDOW_BYTES`] each (the shard's budget bounds the sum); and what we sent and it has
//! not acknowledged, [`limits::SEND_WINDOW_BYTES`].

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, EndpointConfig, MtuDiscoveryConfig, NoneTokenLog, NoneTokenStore, ServerConfig,
    TransportConfig, ValidationTokenConfig, VarInt,
};

use super::cid::ShardCidGenerator;
use super::config::{QuicConfig, QuicConfigError};
use crate::limits;

/// QUIC version 1 (RFC 9000 section 15); no drafts.
const VERSION: u32 = 1;
/// Least time between two stateless resets of one endpoint. quinn-proto's 20 ms would take a restarted server ten
/// seconds to tell 500 agents; a reset is smaller than the packet that caused it, so answering faster amplifies
/// nothing.
const RESET_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Which role a connection plays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

fn transport(role: Role, mtu_max_bytes: u16) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // The agent opens the control stream; until it is welcome nobody opens anything else.
    transport.max_concurrent_bidi_streams(match role {
        Role::Server => VarInt::from_u32(1),
        Role::Client => VarInt::from_u32(0),
    });
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.datagram_receive_buffer_size(None);
    transport.stream_receive_window(VarInt::from_u32(limits::STREAM_WINDOW_BYTES));
    transport.receive_window(VarInt::from_u32(limits::UNWELCOME_WINDOW_BYTES));
    transport.send_window(limits::SEND_WINDOW_BYTES);
    // Silence is judged in `liveness`, which may also decide to wait.
    transport.max_idle_timeout(None);
    // One side keeps alive, and it is the one behind the address translation (RFC 9000 section 10.1.2).
    transport.keep_alive_interval(match role {
        Role::Server => None,
        Role::Client => Some(limits::KEEP_ALIVE_INTERVAL),
    });
    transport.initial_mtu(limits::MTU_INITIAL);
    transport.min_mtu(limits::MTU_INITIAL);
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(mtu_max_bytes);
    transport.mtu_discovery_config(Some(discovery));
    // CUBIC (RFC 9438) is the default congestion controller, and the acknowledgement-frequency extension is off by
    // default: it gained nothing measurable.
    transport
}

pub(super) fn endpoint(config: &QuicConfig, rng_seed: [u8; 32], cid_seed: [u8; 32]) -> EndpointConfig {
    let mut endpoint = EndpointConfig::new(Arc::clone(&config.keys.reset));
    let (generation, shard) = (config.generation, config.shard);
    endpoint.cid_generator(move || Box::new(ShardCidGenerator::new(generation, shard, cid_seed)));
    endpoint.rng_seed(Some(rng_seed));
    endpoint.supported_versions(vec![VERSION]);
    endpoint.min_reset_interval(RESET_INTERVAL_MIN);
    endpoint
        .max_udp_payload_size(config.mtu_max_bytes)
        .expect("QuicConfig::check keeps the size between 1200 and 65,468");
    endpoint
}

pub(super) fn server(
    config: &QuicConfig,
    tls: &Arc<rustls::ServerConfig>,
) -> Result<Arc<ServerConfig>, QuicConfigError> {
    let crypto =
        QuicServerConfig::try_from(Arc::clone(tls)).map_err(|_| QuicConfigError::NoInitialCipherSuite)?;
    let mut server = ServerConfig::new(Arc::new(crypto), Arc::clone(&config.keys.token));
    server.transport_config(Arc::new(transport(Role::Server, config.mtu_max_bytes)));
    let mut tokens = ValidationTokenConfig::default();
    tokens.log(Arc::new(NoneTokenLog)).sent(0);
    server.validation_token_config(tokens);
    server.max_incoming(limits::HANDSHAKES_MAX);
    if let Some(time_source) = &config.time_source {
        server.time_source(Arc::clone(time_source));
    }
    Ok(Arc::new(server))
}

pub(super) fn client(
    config: &QuicConfig,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<ClientConfig, QuicConfigError> {
    let crypto =
        QuicClientConfig::try_from(Arc::clone(tls)).map_err(|_| QuicConfigError::NoInitialCipherSuite)?;
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(Arc::new(transport(Role::Client, config.mtu_max_bytes)));
    client.token_store(Arc::new(NoneTokenStore));
    client.version(VERSION);
    Ok(client)
}
