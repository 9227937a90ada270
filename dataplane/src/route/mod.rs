//! Choosing an agent for a dial, and deciding what an agent may dial: pure functions over immutable snapshots.

/// Which agents there are. Built by control, read by shards.
#[derive(Debug, Default)]
pub struct RouteTable {}

/// What an agent may dial.
#[derive(Debug, Default)]
pub struct DestinationPolicy {}
