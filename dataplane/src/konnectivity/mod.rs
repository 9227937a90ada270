//! Konnectivity's gRPC protocol on one stream: packets, their framing, and what a server makes of them.
//!
//! `packet` and `framing` are the wire format (`konnectivity-client/proto/client/client.proto`, and gRPC's
//! Length-Prefixed-Message), [`Frontend`] is the server's end of one `/ProxyService/Proxy` stream: it takes the bytes
//! that a stream of HTTP/2 carried and gives back messages for it, credit for its window, dials to start and bytes
//! for tunnels. [`Backend`] is the server's end of an old agent's `/AgentService/Connect` stream, and
//! [`Agent`] our agent's end of one to an old server.
//!
//! Where a section is named, it is one of upstream's behaviour: identifiers, order and texts of
//! kubernetes-sigs/apiserver-network-proxy at commit 4f8517c1, whose client is compiled into kube-apiserver.
//!
//! Deliberately absent: HTTP/2 itself, sockets, a clock (deadlines are the caller's), the choice of an agent, and what
//! carries a tunnel behind the server.

mod agent;
mod backend;
mod framing;
mod frontend;
mod packet;
mod pieces;
mod proto;
mod readers;
mod status;

#[cfg(test)]
mod tests;

pub use agent::{Agent, AgentEvent};
pub use backend::{
    AgentMetadata, Backend, BackendEvent, Ended, MetadataError, NotDialed, SERVER_KEYS, server_metadata,
};
pub use framing::{FramingError, Message, MessageReader, PREFIX_BYTES};
pub use frontend::{DialFailure, DialKey, Event, Frontend, Ignored, TunnelEnd, text};
pub use packet::{Packet, PacketError};
pub use status::{Status, Violation};
