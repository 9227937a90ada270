//! Choosing an agent for a dial, and deciding what an agent may dial: pure functions over immutable snapshots.
//!
//! Control builds the snapshots ([`RouteTableBuilder`], [`DestinationPolicy`]); shards read them. Deliberately
//! absent: name resolution, any knowledge of why an agent is trusted, and any state that changes with a dial.

mod address;
mod choose;
mod default_strategy;
mod identifiers;
mod policy;
mod special;
mod table;
#[cfg(test)]
mod tests;

pub use address::{Host, Target, TargetError};
pub use choose::{Health, RouteError, RouteQuery, Strategy, StrategyError, choose};
pub use identifiers::{Identifiers, IdentifiersError};
pub use policy::{AllowRule, AllowRuleError, Denied, DenyReason, DestinationPolicy};
pub use special::SpecialAddress;
pub use table::{
    AgentSession, Backend, Instance, Realm, RealmError, RealmRoutes, RouteTable, RouteTableBuilder,
};
