//! The session against rustls' own client. No sockets: those are `dataplane/tests/pair`'s.

mod abuse;
mod forge;
mod handshake;
mod pair;
mod records;
