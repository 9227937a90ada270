//! Which agents there are: immutable snapshots. How control makes them is in [`builder`](super::builder).
//!
//! An agent id is one backend, however many processes and connections stand behind it: an agent that restarts, or
//! that opens four connections, gets no more dials than its neighbour.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync, VectorSync};

use crate::port::ConnectionKey;

use super::identifiers::Identifiers;
use super::realm::Realm;
use super::strategy::Strategy;

/// One process of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// As in its Hello.
    pub instance_id: Box<[u8]>,
    /// When the first of its present connections was added.
    pub since: Instant,
    /// Its connections. Never empty.
    pub connections: Vec<ConnectionKey>,
    /// What it said that it stands for, most lately.
    pub identifiers: Arc<Identifiers>,
}

/// An agent, by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// `--agent-id`.
    pub agent_id: Arc<str>,
    /// Its place in the order in which agents registered. It keeps it as long as it has a connection.
    pub registered: u64,
    /// Its live processes, newest first. Never empty; more than one only while one takes over from another.
    pub instances: Vec<Instance>,
}

impl Backend {
    /// What its newest process says that it stands for.
    #[must_use]
    pub fn identifiers(&self) -> &Identifiers {
        &self.instances[0].identifiers
    }

    /// Whether this process of it has a connection over TCP.
    #[must_use]
    pub fn is_there_over_tcp(&self, instance_id: &[u8]) -> bool {
        let mut instances = self.instances.iter();
        let instance = instances.find(|instance| *instance.instance_id == *instance_id);
        instance.is_some_and(|instance| instance.connections.iter().any(|key| key.is_over_tcp()))
    }

    /// All its connections, those of the newest process first.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionKey> {
        self.instances.iter().flat_map(|instance| instance.connections.iter().copied())
    }
}

/// Backends to draw from, in no particular order.
pub(super) type Members = VectorSync<Arc<Backend>>;

/// Backends with an identifier in common, by [`Backend::registered`].
pub(super) type Claims = RedBlackTreeMapSync<u64, Arc<Backend>>;

/// A realm's agents, arranged for each strategy.
///
/// Persistent structures: a copy shares everything, and a change copies the path to what changed. So a snapshot
/// costs the same among ten agents and among ten thousand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RealmRoutes {
    /// For `default`.
    pub(super) all: Members,
    /// For `defaultRoute`.
    pub(super) default_route: Members,
    /// For `destHost`: by `ipv4`, `ipv6` and `host` identifier. No entry is empty. Peers choose the keys, so the hash
    /// is the standard, keyed one.
    pub(super) by_host: HashTrieMapSync<Arc<str>, Claims>,
    /// Those that have connections over TCP, by agent id.
    pub(super) over_tcp: HashTrieMapSync<Arc<str>, Arc<Backend>>,
}

impl RealmRoutes {
    /// Every agent, in no particular order.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.all.iter()
    }

    /// Agents with the identifier `default-route=true`, in no particular order.
    pub fn default_routes(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.default_route.iter()
    }

    /// Agents that have this `ipv4`, `ipv6` or `host` identifier, in the order in which they registered.
    pub fn claimants(&self, host: &str) -> impl Iterator<Item = &Arc<Backend>> {
        self.by_host.get(host).into_iter().flat_map(Claims::values)
    }

    /// Whether this process of an agent has a connection over TCP, on any shard.
    #[must_use]
    pub fn is_there_over_tcp(&self, agent_id: &str, instance_id: &[u8]) -> bool {
        self.over_tcp.get(agent_id).is_some_and(|backend| backend.is_there_over_tcp(instance_id))
    }

    /// Whether a strategy could choose an agent for some destination.
    #[must_use]
    pub fn serves(&self, strategy: Strategy) -> bool {
        match strategy {
            Strategy::DestHost => !self.by_host.is_empty(),
            Strategy::DefaultRoute => !self.default_route.is_empty(),
            Strategy::Default => !self.all.is_empty(),
        }
    }
}

/// Which agents there are: a snapshot. Built by control, read by shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    pub(super) realms: BTreeMap<Realm, RealmRoutes>,
}

impl RouteTable {
    /// A realm's agents; `None` if it has none.
    #[must_use]
    pub fn realm(&self, realm: &Realm) -> Option<&RealmRoutes> {
        self.realms.get(realm)
    }

    /// Agents of all realms.
    #[must_use]
    pub fn backend_count(&self) -> usize {
        self.realms.values().map(|routes| routes.all.len()).sum()
    }
}
