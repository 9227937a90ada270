//! The choice of a connection.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::port::{ConnectionKey, ShardId};
use crate::route::{Health, Realm, RouteError, RouteQuery, RouteTable, RouteTableBuilder, Strategy, choose};

use super::{key, query, session};

static REALM: LazyLock<Realm> = LazyLock::new(Realm::default);

/// A table of agents, each a list of instances (newest first), each so many connections; numbered throughout.
fn table(agents: &[&[u32]]) -> Arc<RouteTable> {
    let start = Instant::now();
    let mut builder = RouteTableBuilder::new();
    let mut next = 0;
    for (agent, instances) in agents.iter().enumerate() {
        for (age, connections) in instances.iter().enumerate() {
            let instance = u8::try_from(age).unwrap();
            for _ in 0..*connections {
                let seconds = 1000 - u64::from(instance);
                builder.add_connection(
                    key(next),
                    session(start, &format!("agent-{agent:04}"), instance, seconds),
                );
                next += 1;
            }
        }
    }
    builder.snapshot()
}

fn choose_from(
    table: &RouteTable,
    rng: &mut ChaCha8Rng,
    excluded: &[ConnectionKey],
    usable: impl Fn(u32) -> Health,
) -> Result<u32, RouteError> {
    let query = RouteQuery { excluded, ..query(&REALM, &[Strategy::Default]) };
    choose(table, &query, rng, |key| usable(key.index)).map(|key| key.index)
}

/// How often each connection is chosen.
fn counts(table: &RouteTable, draws: u32, usable: impl Fn(u32) -> Health) -> BTreeMap<u32, u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut counts = BTreeMap::new();
    for _ in 0..draws {
        *counts.entry(choose_from(table, &mut rng, &[], &usable).unwrap()).or_insert(0) += 1;
    }
    counts
}

/// Whether each of `keys`, and nothing else, was chosen about equally often. The bound is six standard deviations
/// of a binomial distribution; the seed is fixed.
fn assert_even(counts: &BTreeMap<u32, u32>, keys: &[u32]) {
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), keys);
    let draws = f64::from(counts.values().sum::<u32>());
    let share = 1.0 / f64::from(u32::try_from(keys.len()).unwrap());
    let deviation = (draws * share * (1.0 - share)).sqrt();
    for (key, count) in counts {
        assert!((f64::from(*count) - draws * share).abs() <= 6.0 * deviation, "{key}: {count} of {draws}");
    }
}

const fn all_healthy(_: u32) -> Health {
    Health::Healthy
}

#[test]
fn no_agents_no_choice() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let none = choose_from(&RouteTable::default(), &mut rng, &[], all_healthy);
    assert_eq!(none, Err(RouteError::NoAgent));
    assert_eq!(RouteError::NoAgent.to_string(), "No agent available");
    let all_gone = choose_from(&table(&[&[1], &[2]]), &mut rng, &[], |_| Health::Gone);
    assert_eq!(all_gone, Err(RouteError::NoAgent));
}

#[test]
fn agents_are_chosen_evenly_however_many_connections_they_have() {
    // Agent 0 has one connection, agent 1 has four, agent 2 has one.
    let counts = counts(&table(&[&[1], &[4], &[1]]), 30_000, all_healthy);
    let of_agents = [counts[&0], (1..5).map(|key| counts[&key]).sum(), counts[&5]];
    assert_even(&(0..).zip(of_agents).collect(), &[0, 1, 2]);
    let of_agent_1 = counts.range(1..5).map(|(key, count)| (*key, *count)).collect();
    assert_even(&of_agent_1, &[1, 2, 3, 4]);
}

#[test]
fn agents_next_to_an_unfit_one_get_no_more_than_their_share() {
    let table = table(&[&[1], &[1], &[1], &[1], &[1], &[1]]);
    let usable = |key| match key {
        1 | 2 => Health::Gone,
        4 => Health::Suspect,
        _ => Health::Healthy,
    };
    assert_even(&counts(&table, 30_000, usable), &[0, 3, 5]);
}

#[test]
fn few_fit_agents_among_many_are_found_and_chosen_evenly() {
    // So few that drawing misses them: they are found by looking at all.
    let agents: Vec<&[u32]> = vec![&[1]; 2000];
    let table = table(&agents);
    let usable = |key| if key == 77 || key == 1999 { Health::Healthy } else { Health::Gone };
    assert_even(&counts(&table, 2000, usable), &[77, 1999]);
    let usable = |key| if key == 78 || key == 1998 { Health::Suspect } else { Health::Gone };
    assert_even(&counts(&table, 2000, usable), &[78, 1998]);
}

#[test]
fn the_newest_healthy_instance_gets_the_dials() {
    // Instance 0 (keys 0, 1) is newer than instance 1 (keys 2, 3).
    let table = table(&[&[2, 2]]);
    assert_even(&counts(&table, 2000, all_healthy), &[0, 1]);
    let one_suspect = |key| if key == 0 { Health::Suspect } else { Health::Healthy };
    assert_even(&counts(&table, 2000, one_suspect), &[1]);
    let newest_suspect = |key| if key < 2 { Health::Suspect } else { Health::Healthy };
    assert_even(&counts(&table, 2000, newest_suspect), &[2, 3]);
    let all_suspect = |_| Health::Suspect;
    assert_even(&counts(&table, 2000, all_suspect), &[0, 1]);
}

#[test]
fn a_retry_goes_elsewhere() {
    let table = table(&[&[1], &[1, 1]]);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..100 {
        assert_eq!(choose_from(&table, &mut rng, &[key(1), key(2)], all_healthy), Ok(0));
        // The older instance of the same agent is another candidate.
        assert_eq!(choose_from(&table, &mut rng, &[key(0), key(1)], all_healthy), Ok(2));
        assert_eq!(
            choose_from(&table, &mut rng, &[key(0), key(1), key(2)], all_healthy),
            Err(RouteError::NoAgent)
        );
    }
}

/// Two processes of one agent, the newer one first, each with connections to three shards: index 0 to 5.
fn sharded() -> Arc<RouteTable> {
    let start = Instant::now();
    let mut builder = RouteTableBuilder::new();
    for index in 0..6u8 {
        let (instance, shard) = (index / 3, ShardId(index % 3));
        let key = ConnectionKey { shard, ..key(index.into()) };
        builder.add_connection(key, session(start, "a", instance, u64::from(9 - instance)));
    }
    builder.snapshot()
}

/// How often a shard chooses each connection of [`sharded`].
fn counts_on(shard: u8, usable: impl Fn(u32) -> Health) -> BTreeMap<u32, u32> {
    let table = sharded();
    let query = RouteQuery { shard: ShardId(shard), ..query(&REALM, &[Strategy::Default]) };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut counts = BTreeMap::new();
    for _ in 0..2000 {
        let chosen = choose(&table, &query, &mut rng, |key| usable(key.index)).unwrap();
        *counts.entry(chosen.index).or_insert(0) += 1;
    }
    counts
}

#[test]
fn a_connection_on_the_asking_shard_comes_before_others() {
    for shard in 0..3 {
        assert_even(&counts_on(shard, all_healthy), &[shard.into()]);
    }
}

#[test]
fn without_a_fit_connection_on_the_asking_shard_the_others_share_the_dials_evenly() {
    let own_gone = |key| if key == 1 { Health::Gone } else { Health::Healthy };
    assert_even(&counts_on(1, own_gone), &[0, 2]);
    // A healthy one elsewhere comes before a suspect one here, the newer process before the older.
    let own_suspect = |key| if key % 3 == 1 { Health::Suspect } else { Health::Healthy };
    assert_even(&counts_on(1, own_suspect), &[0, 2]);
    let newer_suspect = |key| if key < 3 { Health::Suspect } else { Health::Healthy };
    assert_even(&counts_on(1, newer_suspect), &[4]);
    assert_even(&counts_on(1, |_| Health::Suspect), &[1]);
    assert_even(&counts_on(7, all_healthy), &[0, 1, 2]);
}

#[test]
fn without_a_strategy_there_is_no_choice() {
    let query = query(&REALM, &[]);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    assert_eq!(choose(&table(&[&[1]]), &query, &mut rng, |_| Health::Healthy), Err(RouteError::NoAgent));
    let elsewhere = Realm::new("tenant-1").unwrap();
    let query = RouteQuery { realm: &elsewhere, strategies: &[Strategy::Default], ..query };
    assert_eq!(choose(&table(&[&[1]]), &query, &mut rng, |_| Health::Healthy), Err(RouteError::NoAgent));
}
