//! What a tunnel means: its table, the dial that opens it and the splice that carries it.
//!
//! Everything here is a function of (state, input, now). QUIC appears only as opaque ids; sockets only as results.

pub mod dial;
pub mod egress;
pub mod ingress;
pub mod table;
pub mod tls;
