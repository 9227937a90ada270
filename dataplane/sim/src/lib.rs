//! A deterministic world for adit's shards: the production shard, a simulated kernel and network beneath it, and
//! oracles beside it.
//!
//! One seed decides everything: which faults exist, when they strike, what the workload is, who runs first. Equal
//! seeds give equal traces ([`trace`]); a failing seed replays with one argument (`sim --seed S`). The simulated
//! driver ([`driver`]) keeps the promises of `adit-io` and is otherwise nastier than Linux; it passes the same
//! conformance suite as the drivers over the real kernel.
//!
//! Deliberately absent: threads, real sockets, real time. Never part of a production build.

#![forbid(unsafe_code)]

pub mod clock;
pub mod driver;
pub mod faults;
mod kernel;
pub mod net;
pub mod oracle;
pub mod pipe;
pub mod rng;
pub mod scenario;
pub mod script;
pub mod swarm;
pub mod tally;
pub mod trace;
pub mod world;
