//! Endpoints that are not shards: clients beside the server (kube-apiserver's part) and target services
//! behind the agents, as small state machines on the world's pipes.
//!
//! Every byte they send is a function of (seed, tunnel, direction, position) and every byte they receive is checked
//! against it, so a lost, doubled, reordered or misdirected byte shows at once, whoever's it was.

mod client;
mod door;
mod end;
mod grpc;
mod line;
mod manners;
mod payload;
mod target;
mod wire;

pub use client::Client;
pub use door::{Answer, Door, Opening};
pub use end::{Did, End, Seen};
pub use grpc::{Call, Dialed, Link, Parting};
pub(crate) use grpc::{Channel, Heard};
pub use line::Line;
pub use manners::{Finale, Manners, Stop};
pub use payload::{Direction, Payload};
pub use target::{Target, TargetConnection};
pub use wire::Wire;
