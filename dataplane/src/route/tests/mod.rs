//! Tests of targets, identifiers, policy, the table and the choice.

mod address;
mod choose;
mod identifiers;
mod policy;
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::port::{ConnectionKey, ShardId};

use super::{AgentSession, Identifiers, Realm};

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
