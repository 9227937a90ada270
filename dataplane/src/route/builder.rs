//! How control keeps the agents of every shard and makes snapshots of them.
//!
//! A snapshot shares all that did not change with the one before it: with five thousand agents, one that comes or
//! goes costs what its own entries cost.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::port::ConnectionKey;

use super::identifiers::Identifiers;
use super::realm::Realm;
use super::table::{Backend, Claims, Instance, Members, RealmRoutes, RouteTable};

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
    realms: BTreeMap<Realm, RealmBuilder>,
    /// Where to look for a connection that is removed. Keys are ours, not a peer's.
    connections: HashMap<ConnectionKey, (Realm, Arc<str>)>,
    /// The next [`Backend::registered`].
    registered_next: u64,
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
        let routes = self.realms.entry(realm).or_default();
        let old = routes.backend(&agent_id).cloned();
        let mut backend = old.as_deref().cloned().unwrap_or_else(|| {
            self.registered_next += 1;
            Backend { agent_id, registered: self.registered_next, instances: Vec::new() }
        });
        let instances = &mut backend.instances;
        if let Some(instance) = instances.iter_mut().find(|instance| instance.instance_id == instance_id) {
            instance.connections.push(key);
            instance.identifiers = identifiers;
        } else {
            instances.insert(0, Instance { instance_id, since, connections: vec![key], identifiers });
            // Stable: of two that came at the same moment, the one added later is the newer.
            instances.sort_by_key(|instance| Reverse(instance.since));
        }
        routes.replace(old.as_deref(), Some(Arc::new(backend)));
    }

    /// Removes a connection, and with their last connection its instance and its backend. Whether it was there.
    pub fn remove_connection(&mut self, key: ConnectionKey) -> bool {
        let Some((realm, agent_id)) = self.connections.remove(&key) else { return false };
        let Some(routes) = self.realms.get_mut(&realm) else { return false };
        let Some(old) = routes.backend(&agent_id).cloned() else { return false };
        let mut backend = (*old).clone();
        for instance in &mut backend.instances {
            instance.connections.retain(|connection| *connection != key);
        }
        backend.instances.retain(|instance| !instance.connections.is_empty());
        let new = if backend.instances.is_empty() { None } else { Some(Arc::new(backend)) };
        routes.replace(Some(&old), new);
        if routes.routes.all.is_empty() {
            self.realms.remove(&realm);
        }
        true
    }

    /// How many connections there are.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// A realm's agents as they are now; `None` if it has none.
    #[must_use]
    pub fn realm(&self, realm: &Realm) -> Option<&RealmRoutes> {
        self.realms.get(realm).map(|builder| &builder.routes)
    }

    /// What shards choose from until the next snapshot. Copies one reference for each realm and strategy.
    #[must_use]
    pub fn snapshot(&self) -> Arc<RouteTable> {
        let realms = self.realms.iter().map(|(realm, builder)| (realm.clone(), builder.routes.clone()));
        Arc::new(RouteTable { realms: realms.collect() })
    }
}

/// Places of [`Members`], by agent id.
type Places = HashMap<Arc<str>, usize>;

/// A realm's agents, and where they are.
#[derive(Debug, Default)]
struct RealmBuilder {
    routes: RealmRoutes,
    all: Places,
    default_route: Places,
}

impl RealmBuilder {
    fn backend(&self, agent_id: &str) -> Option<&Arc<Backend>> {
        self.routes.all.get(*self.all.get(agent_id)?)
    }

    /// Puts a backend's new state, or nothing, everywhere where the old one was.
    fn replace(&mut self, old: Option<&Backend>, new: Option<Arc<Backend>>) {
        let Some(either) = old.or(new.as_deref()) else { return };
        let (agent_id, registered) = (either.agent_id.clone(), either.registered);
        put(&mut self.routes.all, &mut self.all, &agent_id, new.clone());
        let routing = new.clone().filter(|backend| backend.identifiers().default_route);
        put(&mut self.routes.default_route, &mut self.default_route, &agent_id, routing);
        let over_tcp = &mut self.routes.over_tcp;
        match new.clone().filter(|backend| backend.connections().any(ConnectionKey::is_over_tcp)) {
            Some(backend) => over_tcp.insert_mut(Arc::clone(&agent_id), backend),
            None => drop(over_tcp.remove_mut(&agent_id)),
        }
        for host in old.iter().flat_map(|old| old.identifiers().hosts()) {
            if new.as_ref().is_none_or(|new| new.identifiers().hosts().all(|kept| kept != host)) {
                self.unclaim(host, registered);
            }
        }
        for backend in new.iter() {
            for host in backend.identifiers().hosts() {
                self.claim(host, backend);
            }
        }
    }

    fn claim(&mut self, host: &str, backend: &Arc<Backend>) {
        let by_host = &mut self.routes.by_host;
        if let Some(claims) = by_host.get_mut(host) {
            claims.insert_mut(backend.registered, Arc::clone(backend));
        } else {
            let mut claims = Claims::new_sync();
            claims.insert_mut(backend.registered, Arc::clone(backend));
            by_host.insert_mut(host.into(), claims);
        }
    }

    fn unclaim(&mut self, host: &str, registered: u64) {
        let by_host = &mut self.routes.by_host;
        let Some(claims) = by_host.get_mut(host) else { return };
        claims.remove_mut(&registered);
        if claims.is_empty() {
            by_host.remove_mut(host);
        }
    }
}

/// Puts a member in its place, a new one last; without one, the last member takes the place of the one that leaves.
fn put(members: &mut Members, places: &mut Places, agent_id: &Arc<str>, new: Option<Arc<Backend>>) {
    match (new, places.get(agent_id).copied()) {
        (Some(new), Some(place)) => {
            members.set_mut(place, new);
        }
        (Some(new), None) => {
            places.insert(Arc::clone(agent_id), members.len());
            members.push_back_mut(new);
        }
        (None, Some(place)) => {
            places.remove(agent_id);
            let Some(last) = members.last().cloned() else { return };
            members.drop_last_mut();
            if place < members.len() {
                places.insert(last.agent_id.clone(), place);
                members.set_mut(place, last);
            }
        }
        (None, None) => {}
    }
}
