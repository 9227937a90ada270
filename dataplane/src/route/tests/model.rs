//! The choice against a model that knows no index, no sharing and no shortcut: a list of agents, looked through from
//! the start for every question.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::port::{ConnectionKey, ShardId};
use crate::route::{
    Health, Identifiers, Realm, RouteError, RouteQuery, RouteTable, RouteTableBuilder, Strategy, choose,
};

use super::identified;

const STRATEGIES: [Strategy; 3] = [Strategy::DestHost, Strategy::DefaultRoute, Strategy::Default];
const IDENTIFIERS: [&str; 7] = [
    "",
    "host=a",
    "host=a&host=a&ipv4=10.0.0.1",
    "default-route=true",
    "default-route=true&host=b",
    "ipv6=fd00::1&ipv4=",
    "host=b&ipv6=fd00::1&default-route=false",
];
const ADDRESSES: [&str; 5] = ["a:80", "b:80", "10.0.0.1:443", "[fd00::1]:10250", "elsewhere:80"];

struct Process {
    id: u8,
    seconds: u64,
    connections: Vec<ConnectionKey>,
    identifiers: Identifiers,
}

struct Agent {
    id: String,
    /// Newest first.
    processes: Vec<Process>,
}

/// Agents in the order in which they registered.
#[derive(Default)]
struct Model {
    agents: Vec<Agent>,
}

impl Model {
    fn add(&mut self, key: ConnectionKey, agent_id: &str, id: u8, seconds: u64, identifiers: &str) {
        self.remove(key);
        let identifiers = Identifiers::parse(identifiers).unwrap();
        if !self.agents.iter().any(|agent| agent.id == agent_id) {
            self.agents.push(Agent { id: agent_id.to_owned(), processes: Vec::new() });
        }
        let agent = self.agents.iter_mut().find(|agent| agent.id == agent_id).unwrap();
        if let Some(process) = agent.processes.iter_mut().find(|process| process.id == id) {
            process.connections.push(key);
            process.identifiers = identifiers;
        } else {
            agent.processes.insert(0, Process { id, seconds, connections: vec![key], identifiers });
            agent.processes.sort_by_key(|process| Reverse(process.seconds));
        }
    }

    fn remove(&mut self, key: ConnectionKey) {
        for process in self.agents.iter_mut().flat_map(|agent| &mut agent.processes) {
            process.connections.retain(|connection| *connection != key);
        }
        for agent in &mut self.agents {
            agent.processes.retain(|process| !process.connections.is_empty());
        }
        self.agents.retain(|agent| !agent.processes.is_empty());
    }

    /// What may be chosen, agent by agent; each agent is as likely as the other, as are an agent's connections.
    fn allowed(
        &self,
        query: &RouteQuery<'_>,
        host: &str,
        usable: impl Fn(ConnectionKey) -> Health,
    ) -> Vec<Vec<ConnectionKey>> {
        let health = |key| if query.excluded.contains(&key) { Health::Gone } else { usable(key) };
        for strategy in query.strategies {
            let serves = |identifiers: &Identifiers| match strategy {
                Strategy::Default => true,
                Strategy::DefaultRoute => identifiers.default_route,
                Strategy::DestHost => {
                    let Identifiers { ipv4, ipv6, host: names, .. } = identifiers;
                    [ipv4, ipv6, names].into_iter().flatten().any(|value| value == host)
                }
            };
            for wanted in [Health::Healthy, Health::Suspect] {
                let mut found: Vec<_> = self
                    .agents
                    .iter()
                    .filter(|agent| serves(&agent.processes[0].identifiers))
                    .filter_map(|agent| fit(agent, query.shard, |key| health(key) == wanted))
                    .collect();
                if *strategy == Strategy::DestHost {
                    found.truncate(1);
                }
                if !found.is_empty() {
                    return found;
                }
            }
        }
        Vec::new()
    }
}

/// The fit connections of the newest process that has any, those on the asking shard alone if there are some.
fn fit(agent: &Agent, shard: ShardId, fits: impl Fn(ConnectionKey) -> bool) -> Option<Vec<ConnectionKey>> {
    agent.processes.iter().find_map(|process| {
        let fit: Vec<_> = process.connections.iter().copied().filter(|key| fits(*key)).collect();
        let here: Vec<_> = fit.iter().copied().filter(|key| key.shard == shard).collect();
        let best = if here.is_empty() { fit } else { here };
        (!best.is_empty()).then_some(best)
    })
}

fn connection(index: u32) -> ConnectionKey {
    ConnectionKey { shard: ShardId(u8::try_from(index % 3).unwrap()), index, generation: 0 }
}

fn host_of(address: &str) -> &str {
    address.rsplit_once(':').unwrap().0.trim_start_matches('[').trim_end_matches(']')
}

/// Chooses `draws` times and compares with what the model allows.
fn check(
    model: &Model,
    table: &RouteTable,
    query: &RouteQuery<'_>,
    rng: &mut ChaCha8Rng,
    draws: usize,
    usable: impl Fn(ConnectionKey) -> Health,
) {
    let agents = model.allowed(query, host_of(query.address), &usable);
    let allowed: BTreeSet<_> = agents.iter().flatten().copied().collect();
    let mut seen = BTreeSet::new();
    for _ in 0..draws {
        match choose(table, query, rng, &usable) {
            Ok(key) => {
                assert!(allowed.contains(&key), "{key:?} is none of {agents:?} for {query:?}");
                seen.insert(key);
            }
            Err(RouteError::NoAgent) => assert!(agents.is_empty(), "{agents:?} was not found for {query:?}"),
        }
    }
    // The least likely has a chance of 1 in 6: 200 draws miss it once in 10^15 times.
    let rarest = agents.len() * agents.iter().map(Vec::len).max().unwrap_or(0);
    if draws >= 200 && rarest <= 6 {
        assert_eq!(seen, allowed, "for {query:?}");
    }
}

proptest! {
    #[test]
    fn the_choice_is_what_a_search_through_all_agents_would_allow(
        seed: u64,
        // Whether to remove (one in four), the connection, and what it is added to otherwise.
        steps in prop::collection::vec(
            (0u8..4, 0u32..20, 0u8..6, 0u8..3, 0u64..4, prop::sample::select(&IDENTIFIERS[..])), 0..50,
        ),
        strategies in prop::collection::vec(prop::sample::select(&STRATEGIES[..]), 0..4),
        address in prop::sample::select(&ADDRESSES[..]),
        healths in prop::collection::vec(0u8..4, 20),
        excluded in prop::collection::vec(0u32..20, 0..4),
        shard in 0u8..4,
    ) {
        let (start, realm) = (Instant::now(), Realm::default());
        let (mut model, mut builder) = (Model::default(), RouteTableBuilder::new());
        let halfway = steps.len() / 2;
        let mut kept = (builder.snapshot(), String::new());
        for (step, (remove, index, agent, process, seconds, identifiers)) in steps.into_iter().enumerate() {
            let (key, id) = (connection(index), format!("agent-{agent}"));
            if remove == 0 {
                model.remove(key);
                builder.remove_connection(key);
            } else {
                model.add(key, &id, process, seconds, identifiers);
                builder.add_connection(key, identified(start, &id, process, seconds, identifiers));
            }
            let snapshot = builder.snapshot();
            if step == halfway {
                kept = (Arc::clone(&snapshot), format!("{snapshot:?}"));
            }
        }
        if halfway > 0 {
            prop_assert_eq!(format!("{:?}", kept.0), kept.1, "a snapshot changed");
        }
        let excluded: Vec<_> = excluded.into_iter().map(connection).collect();
        let query = RouteQuery {
            realm: &realm, address, strategies: &strategies, excluded: &excluded, shard: ShardId(shard),
        };
        let usable = |key: ConnectionKey| match healths[usize::try_from(key.index).unwrap()] {
            0 | 1 => Health::Healthy,
            2 => Health::Suspect,
            _ => Health::Gone,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        check(&model, &builder.snapshot(), &query, &mut rng, 200, usable);
    }
}

#[test]
fn among_5000_agents_the_choice_is_what_a_search_through_all_would_allow() {
    let (start, realm) = (Instant::now() + Duration::from_secs(1), Realm::default());
    let (mut model, mut builder) = (Model::default(), RouteTableBuilder::new());
    let mut rng = ChaCha8Rng::seed_from_u64(5_000);
    for index in 0..5_000u32 {
        // A model that looks through all on every addition would take a minute: ids differ, so it need not.
        let (id, key) = (format!("agent-{index}"), connection(index));
        let text =
            format!("ipv4=10.0.{}.{}&default-route={}", index / 250, index % 250, index.is_multiple_of(100));
        builder.add_connection(key, identified(start, &id, 0, 0, &text));
        let identifiers = Identifiers::parse(&text).unwrap();
        let process = Process { id: 0, seconds: 0, connections: vec![key], identifiers };
        model.agents.push(Agent { id, processes: vec![process] });
    }
    let table = builder.snapshot();
    for round in 0..300u32 {
        let unfit = rng.random_range(0..4u32);
        let usable = |key: ConnectionKey| match (key.index + round) % 4 < unfit {
            false => Health::Healthy,
            true if round % 2 == 0 => Health::Gone,
            true => Health::Suspect,
        };
        let address = format!("10.0.{}.{}:10250", rng.random_range(0..21), rng.random_range(0..250));
        let first = usize::try_from(round % 3).unwrap();
        let strategies = &STRATEGIES[first..];
        let shard = ShardId(u8::try_from(round % 4).unwrap());
        let query = RouteQuery { realm: &realm, address: &address, strategies, excluded: &[], shard };
        check(&model, &table, &query, &mut rng, 5, usable);
    }
}
