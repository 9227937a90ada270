//! Choosing an agent for a dial, and deciding what an agent may dial: pure functions over immutable snapshots.
//!
//! Control builds the snapshots ([`RouteTableBuilder`], [`DestinationPolicy`]); shards read them. Deliberately
//! absent: name resolution, any knowledge of why an agent is trusted, and any state that changes with a dial.

mod address;
mod builder;
mod choose;
mod dest_host;
mod draw;
mod identifiers;
mod policy;
mod realm;
mod special;
mod strategy;
mod table;
#[cfg(test)]
mod tests;

pub use address::{Host, Target, TargetError};
pub use builder::{AgentSession, RouteTableBuilder};
pub use choose::{Health, RouteError, RouteQuery, choose};
pub use dest_host::destination_host;
pub use identifiers::{Identifiers, IdentifiersError};
pub use policy::{AllowRule, AllowRuleError, Denied, DenyReason, DestinationPolicy};
pub use realm::{Realm, RealmError};
pub use special::SpecialAddress;
pub use strategy::{Strategy, StrategyError};
pub use table::{Backend, Instance, RealmRoutes, RouteTable};

/// As much of a value as an error shows.
fn beginning(text: &str) -> String {
    text.chars().take(crate::limits::SHOWN_CHARACTERS_MAX).collect()
}
