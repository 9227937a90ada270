//! Sockets as both kernel drivers see them: ownership, addresses, control messages, options, the error queue
//! and interface MTUs.
//!
//! Everything here is a thin, safe cover over one system call or one kernel structure. It holds no state, does
//! not wait, and does not know which driver uses it. Steering of packets to shards is not here.

pub(crate) mod addr;
pub(crate) mod cmsg;
pub(crate) mod error_queue;
pub mod mtu;
pub(crate) mod options;
mod socket;
mod udp;

pub use socket::{OwnedSocket, SocketKind};
pub use udp::{UdpOptions, bind_udp};
