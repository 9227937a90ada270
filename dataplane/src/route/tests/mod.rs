//! Tests of targets, identifiers, policy, the table and the choice.

mod address;
mod choose;
mod dest_host;
mod identifiers;
mod incremental;
mod model;
mod policy;
mod strategy;
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::port::{ConnectionKey, ShardId};

use super::{AgentSession, Identifiers, Realm, RouteQuery, Strategy};

fn key(index: u32) -> ConnectionKey {
    ConnectionKey { shard: ShardId(0), index, generation: 0 }
}

/// A process of an agent that was accepted so many seconds after `start`.
fn session(start: Instant, agent_id: &str, instance: u8, seconds: u64) -> AgentSession {
    AgentSession {
        realm: Realm::default(),
        agent_id: agent_id.into(),
        instance_id: [instance; 16].into(),
        identifiers: Arc::new(Identifiers::default()),
        since: start + Duration::from_secs(seconds),
    }
}

/// [`session`] with identifiers.
fn identified(start: Instant, agent_id: &str, instance: u8, seconds: u64, identifiers: &str) -> AgentSession {
    AgentSession {
        identifiers: Arc::new(Identifiers::parse(identifiers).unwrap()),
        ..session(start, agent_id, instance, seconds)
    }
}

/// A query of shard 0 for 10.0.0.1.
const fn query<'a>(realm: &'a Realm, strategies: &'a [Strategy]) -> RouteQuery<'a> {
    RouteQuery { realm, address: "10.0.0.1:80", strategies, excluded: &[], shard: ShardId(0) }
}
