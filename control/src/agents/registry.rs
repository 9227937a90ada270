//! Who is connected: admits agents that presented themselves, keeps the routes, tells who came and went.
//!
//! Who an agent is was proved before, by a certificate in the handshake or by a token that was reviewed; which claims
//! an agent may make is not decided yet: every one of the cluster's is believed.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use adit_dataplane::port::{ConnectionKey, Verdict};
use adit_dataplane::route::{AgentSession, Identifiers, Realm, RouteTable, RouteTableBuilder, Strategy};
use adit_dataplane::wire::{Hello, Welcome};

/// Longest agent id that is taken: a Kubernetes node name (RFC 1123 subdomain) fits.
const AGENT_ID_BYTES_MAX: usize = 253;
/// Length of an instance id, in bytes: a UUID and room for others' ideas.
const INSTANCE_ID_BYTES_MAX: usize = 64;

/// A connection whose agent was accepted.
#[derive(Clone, Debug)]
struct Live {
    agent_id: Arc<str>,
    remote: SocketAddr,
    since: Instant,
}

/// An agent's connection that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Whose it was.
    pub(crate) agent_id: Arc<str>,
    /// From where.
    pub(crate) remote: SocketAddr,
    /// For how long.
    pub(crate) lasted: std::time::Duration,
    /// Connections that the agent still has.
    pub(crate) left: usize,
}

/// The agents. Bounded by the shards, which bound their connections.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    routes: RouteTableBuilder,
    /// Keys are ours, not a peer's.
    live: HashMap<ConnectionKey, Live>,
    /// Connections by agent id.
    by_agent: BTreeMap<Arc<str>, usize>,
    refused: u64,
}

impl Registry {
    /// Decides on an agent, of whom `authentication` says whether it is one. When it is accepted, [`Self::routes`] has
    /// changed.
    pub(crate) fn present(
        &mut self,
        connection: ConnectionKey,
        hello: &Hello,
        authentication: Result<(), String>,
        remote: SocketAddr,
        now: Instant,
        welcome: &Welcome,
    ) -> Verdict {
        match authentication.and_then(|()| self.admit(connection, hello, remote, now)) {
            Ok(()) => Verdict::Accept(welcome.clone()),
            Err(reason) => {
                self.refused += 1;
                Verdict::Refuse(reason)
            }
        }
    }

    fn admit(
        &mut self,
        connection: ConnectionKey,
        hello: &Hello,
        remote: SocketAddr,
        now: Instant,
    ) -> Result<(), String> {
        let id = hello.agent_id.as_str();
        if id.is_empty() || id.len() > AGENT_ID_BYTES_MAX || id.chars().any(char::is_control) {
            return Err(format!("the agent id is empty, above {AGENT_ID_BYTES_MAX} bytes or not printable"));
        }
        if hello.instance_id.is_empty() || hello.instance_id.len() > INSTANCE_ID_BYTES_MAX {
            return Err(format!("the instance id is empty or above {INSTANCE_ID_BYTES_MAX} bytes"));
        }
        let identifiers = Identifiers::parse(&hello.identifiers).map_err(|error| error.to_string())?;
        let agent_id: Arc<str> = id.into();
        let session = AgentSession {
            realm: Realm::default(),
            agent_id: Arc::clone(&agent_id),
            instance_id: hello.instance_id.as_slice().into(),
            identifiers: Arc::new(identifiers),
            since: now,
        };
        self.routes.add_connection(connection, session);
        if let Some(old) =
            self.live.insert(connection, Live { agent_id: Arc::clone(&agent_id), remote, since: now })
        {
            self.forget(&old.agent_id);
        }
        *self.by_agent.entry(agent_id).or_default() += 1;
        Ok(())
    }

    /// A connection ended; `None` when it had not been accepted. When it was, [`Self::routes`] has changed.
    pub(crate) fn gone(&mut self, connection: ConnectionKey, now: Instant) -> Option<Gone> {
        let live = self.live.remove(&connection)?;
        self.routes.remove_connection(connection);
        let left = self.forget(&live.agent_id);
        let lasted = now.saturating_duration_since(live.since);
        Some(Gone { agent_id: live.agent_id, remote: live.remote, lasted, left })
    }

    /// One connection of this agent less; how many it still has.
    fn forget(&mut self, agent_id: &Arc<str>) -> usize {
        let Some(count) = self.by_agent.get_mut(agent_id) else { return 0 };
        *count -= 1;
        let left = *count;
        if left == 0 {
            self.by_agent.remove(agent_id);
        }
        left
    }

    /// Whether a strategy could choose one of the agents for some destination.
    pub(crate) fn serves(&self, strategy: Strategy) -> bool {
        self.routes.realm(&Realm::default()).is_some_and(|routes| routes.serves(strategy))
    }

    /// The routes as they are now.
    pub(crate) fn routes(&self) -> Arc<RouteTable> {
        self.routes.snapshot()
    }

    /// Live agents, by id.
    pub(crate) fn agents(&self) -> usize {
        self.by_agent.len()
    }

    /// Their connections.
    pub(crate) fn connections(&self) -> usize {
        self.live.len()
    }

    /// Connections of one agent.
    pub(crate) fn connections_of(&self, agent_id: &str) -> usize {
        self.by_agent.get(agent_id).copied().unwrap_or(0)
    }

    /// Agents refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_dataplane::port::ShardId;

    fn key(index: u32) -> ConnectionKey {
        ConnectionKey { shard: ShardId(0), index, generation: 0 }
    }

    fn hello(id: &str, instance: u8) -> Hello {
        Hello { agent_id: id.to_owned(), instance_id: vec![instance], ..Hello::default() }
    }

    fn present(registry: &mut Registry, index: u32, hello: &Hello) -> Verdict {
        let remote = "127.0.0.1:1".parse().unwrap();
        registry.present(key(index), hello, Ok(()), remote, Instant::now(), &Welcome::default())
    }

    #[test]
    fn agents_come_and_go_and_routes_follow() {
        let mut registry = Registry::default();
        assert!(matches!(present(&mut registry, 0, &hello("a", 1)), Verdict::Accept(_)));
        assert!(matches!(present(&mut registry, 1, &hello("a", 1)), Verdict::Accept(_)));
        assert!(matches!(present(&mut registry, 2, &hello("b", 1)), Verdict::Accept(_)));
        assert_eq!((registry.agents(), registry.connections(), registry.connections_of("a")), (2, 3, 2));
        assert_eq!(registry.routes().backend_count(), 2);
        assert_eq!(registry.gone(key(0), Instant::now()).unwrap().left, 1);
        assert_eq!(registry.routes().backend_count(), 2);
        assert_eq!(registry.gone(key(1), Instant::now()).unwrap().left, 0);
        assert_eq!(registry.gone(key(1), Instant::now()), None);
        assert_eq!((registry.agents(), registry.routes().backend_count()), (1, 1));
    }

    #[test]
    fn a_strategy_serves_from_the_first_agent_with_what_it_wants_to_the_last() {
        let mut registry = Registry::default();
        let serves = |registry: &Registry| {
            [Strategy::DestHost, Strategy::DefaultRoute, Strategy::Default].map(|s| registry.serves(s))
        };
        assert_eq!(serves(&registry), [false, false, false]);
        present(&mut registry, 0, &hello("plain", 1));
        assert_eq!(serves(&registry), [false, false, true]);
        let node = Hello { identifiers: "ipv4=10.0.0.1&default-route=true".to_owned(), ..hello("node", 1) };
        present(&mut registry, 1, &node);
        assert_eq!(serves(&registry), [true, true, true]);
        // Its next process says nothing of the kind, and is the one that counts.
        present(&mut registry, 2, &hello("node", 2));
        assert_eq!(serves(&registry), [false, false, true]);
        registry.gone(key(2), Instant::now());
        assert_eq!(serves(&registry), [true, true, true]);
        registry.gone(key(1), Instant::now());
        assert_eq!(serves(&registry), [false, false, true]);
    }

    #[test]
    fn who_says_nothing_sensible_is_refused_and_counted() {
        let mut registry = Registry::default();
        let bad = [
            hello("", 1),
            hello("a\nb", 1),
            hello(&"x".repeat(254), 1),
            Hello { instance_id: Vec::new(), ..hello("a", 1) },
            Hello { identifiers: "ipv4=%zz".to_owned(), ..hello("a", 1) },
        ];
        for hello in &bad {
            assert!(matches!(present(&mut registry, 0, hello), Verdict::Refuse(_)), "{hello:?}");
        }
        let remote = "127.0.0.1:1".parse().unwrap();
        let unknown = Err("who are you".to_owned());
        let verdict =
            registry.present(key(0), &hello("a", 1), unknown, remote, Instant::now(), &Welcome::default());
        assert!(matches!(verdict, Verdict::Refuse(reason) if reason == "who are you"));
        assert_eq!((registry.refused(), registry.agents()), (6, 0));
    }
}
