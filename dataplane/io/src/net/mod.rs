//! Sockets as both kernel drivers see them: ownership, addresses, control messages, options, the error queue
//! and interface MTUs, and how datagrams find their shard.
//!
//! Everything here is a thin, safe cover over one system call or one kernel structure. It holds no state, does
//! not wait, and does not know which driver uses it.

pub(crate) mod addr;
pub(crate) mod cmsg;
pub(crate) mod error_queue;
pub mod mtu;
pub(crate) mod options;
mod socket;
mod steering;
mod udp;

pub use socket::{OwnedSocket, SocketKind};
pub use steering::{ShardBits, steer_to_shards};
pub use udp::{UdpOptions, bind_udp};
