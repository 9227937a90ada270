//! Which agents there are: immutable snapshots, and the builder with which control makes them.
//!
//! An agent id is one backend, however many processes and connections stand behind it: an agent that restarts, or
//! that opens four connections, gets no more dials than its neighbour.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::limits::REALM_BYTES_MAX;
use crate::port::ConnectionKey;

use super::identifiers::Identifiers;

/// A space of agents and targets of its own. There is one today, `default`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Realm(Arc<str>);

/// Text that does not name a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a realm's name has 1 to {REALM_BYTES_MAX} of a-z, 0-9 and -")]
pub struct RealmError;

impl Realm {
    /// The realm with this name; the default one for an empty name.
    ///
    /// # Errors
    ///
    /// [`RealmError`].
    pub fn new(name: &str) -> Result<Self, RealmError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() {
            Ok(Self::default())
        } else if name.len() <= REALM_BYTES_MAX && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            Err(RealmError)
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Realm {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
    /// Its live processes, newest first. Never empty; more than one only while one takes over from another.
    pub instances: Vec<Instance>,
}

impl Backend {
    /// What its newest process says that it stands for.
    #[must_use]
    pub fn identifiers(&self) -> &Identifiers {
        &self.instances[0].identifiers
    }

    /// All its connections, those of the newest process first.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionKey> {
        self.instances.iter().flat_map(|instance| instance.connections.iter().copied())
    }
}

/// A realm's agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RealmRoutes {
    /// By agent id, ascending.
    pub backends: Vec<Arc<Backend>>,
}

/// Which agents there are: a snapshot. Built by control, read by shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    realms: BTreeMap<Realm, RealmRoutes>,
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
        self.realms.values().map(|routes| routes.backends.len()).sum()
    }
}

/// Who is at the other end of a connection that control accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSession {
    /// Where it belongs.
    pub realm: Realm,
    /// `--agent-id`.
    pub agent_id: Arc<str>,
    /// As in its Hello.
    pub instance_id: Box<[u8]>,
    /// As in its Hello, as far as they are believed.
    pub identifiers: Arc<Identifiers>,
    /// When it was accepted.
    pub since: Instant,
}

/// Keeps the agents of every shard and makes snapshots of them. Bounded by the shards, which bound their
/// connections.
#[derive(Debug, Default)]
pub struct RouteTableBuilder {
    realms: BTreeMap<Realm, BTreeMap<Arc<str>, Arc<Backend>>>,
    /// Where to look for a connection that is removed. Keys are ours, not a peer's.
    connections: HashMap<ConnectionKey, (Realm, Arc<str>)>,
}

impl RouteTableBuilder {
    /// No agents.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a connection. A key that is there already moves to the new session.
    pub fn add_connection(&mut self, key: ConnectionKey, session: AgentSession) {
        self.remove_connection(key);
        let AgentSession { realm, agent_id, instance_id, identifiers, since } = session;
        self.connections.insert(key, (realm.clone(), agent_id.clone()));
        let backend = self
            .realms
            .entry(realm)
            .or_default()
            .entry(agent_id.clone())
            .or_insert_with(|| Arc::new(Backend { agent_id, instances: Vec::new() }));
        // Snapshots may share it: changes go to a copy.
        let instances = &mut Arc::make_mut(backend).instances;
        if let Some(instance) = instances.iter_mut().find(|instance| instance.instance_id == instance_id) {
            instance.connections.push(key);
            instance.identifiers = identifiers;
        } else {
            instances.insert(0, Instance { instance_id, since, connections: vec![key], identifiers });
            // Stable: of two that came at the same moment, the one added later is the newer.
            instances.sort_by_key(|instance| Reverse(instance.since));
        }
    }

    /// Removes a connection, and with their last connection its instance and its backend. Whether it was there.
    pub fn remove_connection(&mut self, key: ConnectionKey) -> bool {
        let Some((realm, agent_id)) = self.connections.remove(&key) else { return false };
        let Some(backends) = self.realms.get_mut(&realm) else { return false };
        let Some(backend) = backends.get_mut(&agent_id) else { return false };
        let instances = &mut Arc::make_mut(backend).instances;
        for instance in instances.iter_mut() {
            instance.connections.retain(|connection| *connection != key);
        }
        instances.retain(|instance| !instance.connections.is_empty());
        if instances.is_empty() {
            backends.remove(&agent_id);
        }
        if backends.is_empty() {
            self.realms.remove(&realm);
        }
        true
    }

    /// How many connections there are.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// What shards choose from until the next snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<RouteTable> {
        let realms = self.realms.iter().map(|(realm, backends)| {
            (realm.clone(), RealmRoutes { backends: backends.values().cloned().collect() })
        });
        Arc::new(RouteTable { realms: realms.collect() })
    }
}
