//! What stands around a tunnel when it is measured or tested: targets behind it, and clients in front of it whose
//! bytes can be checked.
//!
//! * [`payload`]: bytes that tell where they belong, so that a receiver needs no copy to check them.
//! * [`target`]: a TCP server that echoes, sinks, sources, and misbehaves on request.
//! * [`client`]: the other end of the same conversations, over any stream.
//! * [`record`]: what a run found, as lines of JSON.
//! * [`compare`]: whether one set of runs is worse than another.
//! * [`report`]: what a run shows while it lasts: progress in the terminal, metrics for Prometheus.
//! * [`suite`]: systems under test as files, networks as namespaces, and who is measured when.
//! * [`baseline`], [`forwarder`]: what stands beside adit in a comparison, and a wire with a delay.
//! * [`proxy`]: how a connection to the target is made through the system under test.
//! * [`load`]: many such connections at a time, by the clock; [`record`]: what they found, as a line of JSON.
//! * [`cli`]: the program.
//!
//! Deliberately absent: the system under test. Nothing here links adit's data plane or control plane, so the same
//! programs stand around any other tunnel as well, and a mistake in adit cannot hide itself in its own judge.

#![forbid(unsafe_code)]

pub mod baseline;
pub mod cli;
pub mod client;
pub mod compare;
pub mod forwarder;
pub mod load;
pub mod netns;
pub mod payload;
pub mod proxy;
pub mod record;
pub mod report;
pub mod sockets;
pub mod suite;
pub mod target;
