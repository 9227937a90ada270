//! The client's end of GRPC mode: kube-apiserver's part with `proxyProtocol: GRPC`.
//!
//! A [`Link`] is one HTTP/2 connection on a socket, made when somebody dials, with a call for each dial: one and no
//! more, as konnectivity-client has it, or many at once, as its reusable tunnel. A [`Call`] is a dial that was
//! answered, as the end of a tunnel uses it. What the server may not say (a second answer to a dial, DATA before the
//! answer or after CLOSE_RSP, anything about another's connection, broken HTTP/2) is a violation of the world's rules.
//!
//! Deliberately absent: retries, and what tunnels carry.

mod call;
mod channel;
mod dials;
mod link;
mod packets;

pub use call::Call;
pub(crate) use channel::{Channel, Heard};
pub use dials::{Dialed, Parting};
pub use link::Link;
