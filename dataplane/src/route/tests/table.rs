//! The table and its builder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use crate::port::ConnectionKey;
use crate::route::{AgentSession, Identifiers, Realm, RealmError, RouteTable, RouteTableBuilder};

use super::{key, session};

/// Agent id → instances, newest first, with their connections.
fn shown(table: &RouteTable) -> BTreeMap<String, Vec<(u8, Vec<u32>)>> {
    let Some(routes) = table.realm(&Realm::default()) else { return BTreeMap::new() };
    let instances = |backend: &crate::route::Backend| {
        backend
            .instances
            .iter()
            .map(|instance| {
                (instance.instance_id[0], instance.connections.iter().map(|key| key.index).collect())
            })
            .collect()
    };
    routes.backends().map(|backend| (backend.agent_id.to_string(), instances(backend))).collect()
}

#[test]
fn instances_of_one_agent_are_one_backend_newest_first() {
    let start = Instant::now();
    let mut builder = RouteTableBuilder::new();
    builder.add_connection(key(1), session(start, "a", 1, 10));
    builder.add_connection(key(2), session(start, "b", 9, 10));
    builder.add_connection(key(3), session(start, "a", 2, 20));
    builder.add_connection(key(4), session(start, "a", 1, 30));
    let before = builder.snapshot();
    // A further connection does not make an instance newer.
    let expected =
        [("a".to_owned(), vec![(2, vec![3]), (1, vec![1, 4])]), ("b".to_owned(), vec![(9, vec![2])])];
    assert_eq!(shown(&before), expected.into());
    assert_eq!((before.backend_count(), builder.connection_count()), (2, 4));

    assert!(builder.remove_connection(key(3)));
    assert!(builder.remove_connection(key(2)));
    assert!(!builder.remove_connection(key(2)), "it is gone");
    assert_eq!(shown(&builder.snapshot()), [("a".to_owned(), vec![(1, vec![1, 4])])].into());
    assert_eq!(before.backend_count(), 2, "a snapshot stays as it is");

    assert!(builder.remove_connection(key(1)));
    assert!(builder.remove_connection(key(4)));
    assert_eq!(*builder.snapshot(), RouteTable::default());
}

#[test]
fn a_process_is_there_over_tcp_as_long_as_one_of_its_connections_is() {
    let start = Instant::now();
    let over_tcp = |index| key(ConnectionKey::OVER_TCP | index);
    let mut builder = RouteTableBuilder::new();
    let is_there = |builder: &RouteTableBuilder, agent_id, instance| {
        let table = builder.snapshot();
        table
            .realm(&Realm::default())
            .is_some_and(|routes| routes.is_there_over_tcp(agent_id, &[instance; 16]))
    };
    builder.add_connection(key(1), session(start, "a", 1, 0));
    assert!(!is_there(&builder, "a", 1), "over QUIC alone");
    builder.add_connection(over_tcp(2), session(start, "a", 1, 1));
    builder.add_connection(over_tcp(3), session(start, "a", 1, 2));
    builder.add_connection(key(4), session(start, "a", 2, 3));
    assert!(is_there(&builder, "a", 1));
    assert!(!is_there(&builder, "a", 2), "another process of it");
    assert!(!is_there(&builder, "b", 1), "another agent");
    builder.remove_connection(over_tcp(2));
    assert!(is_there(&builder, "a", 1));
    builder.remove_connection(over_tcp(3));
    assert!(!is_there(&builder, "a", 1));
}

#[test]
fn of_two_instances_of_the_same_moment_the_later_added_is_newer() {
    let start = Instant::now();
    let mut builder = RouteTableBuilder::new();
    for instance in 1..=3 {
        builder.add_connection(key(instance.into()), session(start, "a", instance, 0));
    }
    assert_eq!(shown(&builder.snapshot())["a"], [(3, vec![3]), (2, vec![2]), (1, vec![1])]);
}

#[test]
fn realms_do_not_see_each_other() {
    let start = Instant::now();
    let tenant = Realm::new("tenant-1").unwrap();
    let mut builder = RouteTableBuilder::new();
    builder.add_connection(key(1), session(start, "a", 1, 0));
    builder.add_connection(key(2), AgentSession { realm: tenant.clone(), ..session(start, "a", 1, 0) });
    let table = builder.snapshot();
    let keys = |realm: &Realm| {
        let routes = table.realm(realm).unwrap();
        routes.backends().flat_map(|backend| backend.connections()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&Realm::default()), [key(1)]);
    assert_eq!(keys(&tenant), [key(2)]);
    assert!(table.realm(&Realm::new("nobody").unwrap()).is_none());
}

#[test]
fn realms_have_plain_names() {
    assert_eq!(Realm::new("").unwrap(), Realm::new("default").unwrap());
    assert_eq!(Realm::new("tenant-1").unwrap().to_string(), "tenant-1");
    for name in ["A", "a b", "ä", "a_b", &"a".repeat(64)] {
        assert_eq!(Realm::new(name), Err(RealmError), "{name}");
    }
}

#[test]
fn the_newest_instance_speaks_for_the_agent() {
    let start = Instant::now();
    let identified = |instance, seconds, query| AgentSession {
        identifiers: Arc::new(Identifiers::parse(query).unwrap()),
        ..session(start, "a", instance, seconds)
    };
    let mut builder = RouteTableBuilder::new();
    builder.add_connection(key(1), identified(1, 1, "host=old"));
    builder.add_connection(key(2), identified(2, 2, "host=new"));
    let table = builder.snapshot();
    let routes = table.realm(&Realm::default()).unwrap();
    assert_eq!(routes.backends().next().unwrap().identifiers().host, ["new"]);
    assert_eq!((routes.claimants("old").count(), routes.claimants("new").count()), (0, 1));
    // The older one speaks again once the newer has gone.
    assert!(builder.remove_connection(key(2)));
    let table = builder.snapshot();
    let routes = table.realm(&Realm::default()).unwrap();
    assert_eq!((routes.claimants("old").count(), routes.claimants("new").count()), (1, 0));
}

proptest! {
    /// Any order of additions, replacements and removals leaves what a plain map of connections would.
    #[test]
    fn the_table_holds_exactly_the_connections_that_are_there(
        steps in prop::collection::vec((any::<bool>(), 0u32..12, 0u8..3, 0u8..3, 0u64..4), 0..60),
    ) {
        let start = Instant::now();
        let mut builder = RouteTableBuilder::new();
        let mut model: BTreeMap<ConnectionKey, (String, u8)> = BTreeMap::new();
        for (add, index, agent, instance, seconds) in steps {
            if add {
                let agent_id = format!("agent-{agent}");
                builder.add_connection(key(index), session(start, &agent_id, instance, seconds));
                model.insert(key(index), (agent_id, instance));
            } else {
                prop_assert_eq!(builder.remove_connection(key(index)), model.remove(&key(index)).is_some());
            }
            let table = builder.snapshot();
            let routes = table.realm(&Realm::default()).cloned().unwrap_or_default();
            let mut backends: Vec<_> = routes.backends().collect();
            backends.sort_by(|a, b| a.agent_id.cmp(&b.agent_id));
            let agents: BTreeSet<_> = model.values().map(|(agent, _)| agent.as_str()).collect();
            prop_assert!(backends.iter().map(|backend| &*backend.agent_id).eq(agents), "one backend each");
            let mut seen = BTreeMap::new();
            for backend in &backends {
                prop_assert!(backend.instances.is_sorted_by(|a, b| a.since >= b.since));
                for instance in &backend.instances {
                    prop_assert!(!instance.connections.is_empty());
                    for key in &instance.connections {
                        let entry = (backend.agent_id.to_string(), instance.instance_id[0]);
                        prop_assert_eq!(seen.insert(*key, entry), None, "once only");
                    }
                }
            }
            prop_assert_eq!(&seen, &model);
            prop_assert_eq!(builder.connection_count(), model.len());
        }
    }
}
