//! The session against rustls' own client and server, and against itself. No sockets: those are
//! `dataplane/tests/pair`'s.

mod abuse;
mod agents;
mod forge;
mod handshake;
mod pair;
mod records;
mod server;
