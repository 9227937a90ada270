//! A snapshot shares with the one before it all that did not change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::port::ConnectionKey;
use crate::route::{Backend, Realm, RouteTable, RouteTableBuilder};

use super::{identified, key};

const AGENTS: u32 = 5_000;

/// Every agent with an identifier of its own and one of its rack; every tenth is a default route.
fn fleet() -> RouteTableBuilder {
    let start = Instant::now();
    let mut builder = RouteTableBuilder::new();
    for index in 0..AGENTS {
        add(&mut builder, start, index);
    }
    builder
}

fn add(builder: &mut RouteTableBuilder, start: Instant, index: u32) {
    let identifiers =
        format!("ipv4=agent-{index}&host=rack-{}&default-route={}", index / 40, index.is_multiple_of(10));
    builder.add_connection(key(index), identified(start, &format!("agent-{index}"), 0, 0, &identifiers));
}

/// Where each entry of a snapshot is in memory: by strategy, what it is found by, and the agent.
fn places(table: &RouteTable) -> BTreeMap<(&'static str, String, ConnectionKey), *const Arc<Backend>> {
    let routes = table.realm(&Realm::default()).unwrap();
    let first = |backend: &Backend| backend.connections().next().unwrap();
    let mut places = BTreeMap::new();
    for backend in routes.backends() {
        places.insert(("default", String::new(), first(backend)), std::ptr::from_ref(backend));
        for host in backend.identifiers().hosts() {
            for claimant in routes.claimants(host) {
                places.insert(("destHost", host.to_owned(), first(claimant)), std::ptr::from_ref(claimant));
            }
        }
    }
    for backend in routes.default_routes() {
        places.insert(("defaultRoute", String::new(), first(backend)), std::ptr::from_ref(backend));
    }
    places
}

/// How many entries are in `after` alone.
fn new_entries(before: &RouteTable, after: &RouteTable) -> usize {
    let before = places(before);
    places(after).into_iter().filter(|(name, place)| before.get(name) != Some(place)).count()
}

#[test]
fn an_agent_that_comes_or_goes_among_5000_leaves_the_others_entries_where_they_are() {
    let mut builder = fleet();
    let before = builder.snapshot();
    assert_eq!(places(&before).len(), 5_000 + 500 + 2 * 5_000);
    assert_eq!(new_entries(&before, &builder.snapshot()), 0, "nothing changed");

    // The 5001st has an entry for each strategy (two hosts), and is in nobody else's way.
    add(&mut builder, Instant::now(), AGENTS);
    let with = builder.snapshot();
    assert_eq!(with.backend_count(), 5_001);
    assert_eq!(new_entries(&before, &with), 4);

    // The last in each list takes the place of the one that leaves: two entries move, nothing is copied.
    assert!(builder.remove_connection(key(20)));
    let without = builder.snapshot();
    assert_eq!(without.backend_count(), 5_000);
    assert_eq!(new_entries(&with, &without), 2);

    // A further connection of an agent is a new state of its own entries (it is no default route).
    builder.add_connection(
        key(9_000),
        identified(Instant::now(), "agent-77", 0, 0, "ipv4=agent-77&host=rack-1"),
    );
    assert_eq!(new_entries(&without, &builder.snapshot()), 3);
    assert_eq!(before.backend_count(), 5_000, "earlier snapshots stay as they are");
}

#[test]
fn snapshots_do_not_multiply_what_they_share() {
    let mut builder = fleet();
    let snapshots: Vec<_> = (0..50)
        .map(|more| {
            add(&mut builder, Instant::now(), AGENTS + more);
            builder.snapshot()
        })
        .collect();
    let routes = snapshots[0].realm(&Realm::default()).unwrap();
    let backend = routes.backends().find(|backend| &*backend.agent_id == "agent-11").unwrap();
    // One entry in the list of all and one for each of its two hosts, however many snapshots there are.
    assert_eq!(Arc::strong_count(backend), 3);
}
