//! `destHost` and `defaultRoute`: whom identifiers bring dials.

use std::sync::Arc;
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::route::{
    Health, Realm, RouteError, RouteQuery, RouteTable, RouteTableBuilder, Strategy, choose, destination_host,
};

use super::{identified, key, query};

const DEST: &[Strategy] = &[Strategy::DestHost];
const DEST_DEFAULT: &[Strategy] = &[Strategy::DestHost, Strategy::Default];
const ALL: &[Strategy] = &[Strategy::DestHost, Strategy::DefaultRoute, Strategy::Default];

/// Agents with one connection each, numbered, which registered in this order.
fn table(identifiers: &[&str]) -> Arc<RouteTable> {
    let start = Instant::now();
    let mut builder = RouteTableBuilder::new();
    for (index, identifiers) in (0..).zip(identifiers) {
        // Ids descend: an order by id would show.
        let id = format!("agent-{}", 99 - index);
        builder.add_connection(key(index), identified(start, &id, 0, 0, identifiers));
    }
    builder.snapshot()
}

/// All that a hundred dials choose.
fn chosen(
    table: &RouteTable,
    strategies: &[Strategy],
    address: &str,
    usable: impl Fn(u32) -> Health,
) -> Vec<u32> {
    let realm = Realm::default();
    let query = RouteQuery { address, ..query(&realm, strategies) };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut all: Vec<_> = (0..100)
        .filter_map(|_| choose(table, &query, &mut rng, |key| usable(key.index)).ok())
        .map(|key| key.index)
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

const fn healthy(_: u32) -> Health {
    Health::Healthy
}

#[test]
fn the_host_is_what_upstream_makes_of_an_address() {
    for (address, host) in [
        ("10.0.0.1:10250", "10.0.0.1"),
        ("node-1.example:443", "node-1.example"),
        ("Node-1.Example:443", "Node-1.Example"),
        ("node-1", "node-1"),
        ("[fd00::1]:10250", "fd00::1"),
        ("[FD00:0::1]:10250", "FD00:0::1"),
        ("[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1"),
        ("[::1]:80", "::1"),
        // Not to be had from a CONNECT that was accepted, but this is what upstream makes of them.
        ("fd00::1", "fd00::1"),
        ("fd00::1:10250", "fd00::1:10250"),
        ("", ""),
        (":80", ""),
    ] {
        assert_eq!(destination_host(address), host, "{address}");
    }
}

#[test]
fn each_kind_of_identifier_brings_the_dials_to_its_host_and_no_others() {
    let table = table(&[
        "ipv4=10.0.0.1&ipv4=10.0.0.2",
        "ipv6=fd00::1",
        "host=Node-1&host=node-1.example",
        "cidr=10.0.1.0/24&default-route=true",
        "host=&ipv6=",
    ]);
    for (address, agents) in [
        ("10.0.0.1:10250", &[0][..]),
        ("10.0.0.2:1", &[0]),
        ("[fd00::1]:80", &[1]),
        ("Node-1:80", &[2]),
        ("node-1.example:80", &[2]),
        // Text is compared, not what it means.
        ("[fd00:0::1]:80", &[]),
        ("[FD00::1]:80", &[]),
        ("[::ffff:10.0.0.1]:80", &[]),
        ("node-1:80", &[]),
        ("node-1.example.:80", &[]),
        ("10.0.1.7:80", &[]),
        (":80", &[]),
    ] {
        assert_eq!(chosen(&table, DEST, address, healthy), agents, "{address}");
    }
}

#[test]
fn who_has_no_identifier_for_a_host_is_found_by_the_next_strategy() {
    let table = table(&["host=a", "default-route=true", "", "host=b&default-route=1"]);
    assert_eq!(chosen(&table, DEST_DEFAULT, "a:80", healthy), [0]);
    assert_eq!(chosen(&table, DEST_DEFAULT, "c:80", healthy), [0, 1, 2, 3]);
    assert_eq!(chosen(&table, ALL, "a:80", healthy), [0]);
    assert_eq!(chosen(&table, ALL, "c:80", healthy), [1, 3]);
    assert_eq!(chosen(&table, DEST, "c:80", healthy), []);
    let no_default_route = |key| if key % 2 == 1 { Health::Gone } else { Health::Healthy };
    assert_eq!(chosen(&table, ALL, "c:80", no_default_route), [0, 2]);
    let realm = Realm::default();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let nobody = choose(&table, &query(&realm, DEST), &mut rng, |_| Health::Healthy);
    assert_eq!(nobody.map_err(|error| error.to_string()), Err("No agent available".to_owned()));
}

#[test]
fn of_several_agents_for_a_host_the_first_registered_healthy_one_gets_every_dial() {
    let table = table(&["host=a", "host=a", "ipv4=a", "host=b"]);
    assert_eq!(chosen(&table, DEST_DEFAULT, "a:80", healthy), [0]);
    let first_suspect = |key| if key == 0 { Health::Suspect } else { Health::Healthy };
    assert_eq!(chosen(&table, DEST_DEFAULT, "a:80", first_suspect), [1]);
    let only_third = |key| if key == 2 { Health::Healthy } else { Health::Gone };
    assert_eq!(chosen(&table, DEST_DEFAULT, "a:80", only_third), [2]);
}

#[test]
fn a_suspect_agent_of_the_host_comes_before_healthy_agents_of_the_next_strategy() {
    let table = table(&["host=a", "host=a", ""]);
    let suspect = |key| if key < 2 { Health::Suspect } else { Health::Healthy };
    assert_eq!(chosen(&table, DEST_DEFAULT, "a:80", suspect), [0]);
    let gone = |key| if key < 2 { Health::Gone } else { Health::Healthy };
    assert_eq!(chosen(&table, DEST_DEFAULT, "a:80", gone), [2]);
}

#[test]
fn an_agent_that_was_tried_makes_way_for_the_next_in_order_and_then_for_the_next_strategy() {
    let table = table(&["host=a", "host=a", ""]);
    let realm = Realm::default();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut tried = Vec::new();
    for expected in 0..3 {
        let query = RouteQuery { address: "a:80", excluded: &tried, ..query(&realm, DEST_DEFAULT) };
        let next = choose(&table, &query, &mut rng, |_| Health::Healthy);
        assert_eq!(next, Ok(key(expected)));
        tried.push(key(expected));
    }
    let query = RouteQuery { address: "a:80", excluded: &tried, ..query(&realm, DEST_DEFAULT) };
    assert_eq!(choose(&table, &query, &mut rng, |_| Health::Healthy), Err(RouteError::NoAgent));
}

#[test]
fn an_agent_keeps_its_place_while_it_has_a_connection_and_comes_back_last() {
    let start = Instant::now();
    let mut builder = RouteTableBuilder::new();
    for (index, agent) in [(0, "first"), (1, "second")] {
        builder.add_connection(key(index), identified(start, agent, 0, 0, "host=a"));
    }
    // The first agent's next process takes over.
    builder.add_connection(key(2), identified(start, "first", 1, 1, "host=a"));
    assert_eq!(chosen(&builder.snapshot(), DEST, "a:80", healthy), [2]);
    assert!(builder.remove_connection(key(0)));
    assert_eq!(chosen(&builder.snapshot(), DEST, "a:80", healthy), [2]);
    // It ends, and comes back.
    assert!(builder.remove_connection(key(2)));
    builder.add_connection(key(3), identified(start, "first", 2, 2, "host=a"));
    assert_eq!(chosen(&builder.snapshot(), DEST, "a:80", healthy), [1]);
}

#[test]
fn default_route_is_drawn_evenly_from_those_that_have_it() {
    let table = table(&["default-route=true", "", "default-route=t", "default-route=yes"]);
    let realm = Realm::default();
    let query = query(&realm, &[Strategy::DefaultRoute]);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut counts = [0i32; 4];
    for _ in 0..10_000 {
        let chosen = choose(&table, &query, &mut rng, |_| Health::Healthy).unwrap();
        counts[usize::try_from(chosen.index).unwrap()] += 1;
    }
    assert_eq!((counts[1], counts[3]), (0, 0));
    // Six standard deviations of 10,000 fair draws are 300.
    assert!((counts[0] - 5000).abs() <= 300, "{counts:?}");
}

#[test]
fn a_strategy_serves_once_some_agent_has_what_it_wants() {
    let serves = |identifiers: &[&str]| {
        let table = table(identifiers);
        let routes = table.realm(&Realm::default()).cloned().unwrap_or_default();
        ALL.iter().map(|strategy| routes.serves(*strategy)).collect::<Vec<_>>()
    };
    assert_eq!(serves(&[]), [false, false, false]);
    assert_eq!(serves(&["", "cidr=10.0.0.0/8"]), [false, false, true]);
    assert_eq!(serves(&["ipv4="]), [false, false, true]);
    assert_eq!(serves(&["", "default-route=true"]), [false, true, true]);
    assert_eq!(serves(&["ipv6=fd00::1"]), [true, false, true]);
}
