//! Two or more [`Quic`](super::Quic)s over a virtual network in virtual time: no sockets, no sleeping.

mod flood;
mod handshake;
mod liveness;
mod mtu;
mod pki;
mod pump;
mod reset;
mod shards;
mod streams;
mod windows;
mod world;
