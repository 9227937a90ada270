//! adit's data plane: shards that carry tunneled connections over QUIC, as functions of (state, input, now).
//!
//! ```text
//!   control ──port──▶ shard ──▶ stream, frontend (what a tunnel means)
//!                       │  └──▶ quic (quinn-proto, driven by hand), carrier (http2)     route, wire: pure
//!                       ▼
//!                    adit-io (Driver: uring | epoll | sim)
//! ```
//!
//! Deliberately absent: unsafe code, async, tokio, Kubernetes, a clock, global randomness, logging on the path of
//! payload. `docs/ARCHITECTURE.md` lists the invariants, `docs/PROTOCOL.md` specifies what goes over the wire.

#![forbid(unsafe_code)]

pub mod carrier;
pub mod config;
pub mod frontend;
pub mod http2;
pub mod konnectivity;
pub mod limits;
pub mod port;
pub mod quic;
pub mod route;
pub mod shard;
pub mod stats;
pub mod stream;
pub mod wire;
