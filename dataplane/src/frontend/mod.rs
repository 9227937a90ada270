//! What stands towards kube-apiserver: pure parsers and answers. Sockets, deadlines and tunnels are the shard's.

mod answer;
mod http_connect;
#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use http_connect::{HeadReader, HeadState};
