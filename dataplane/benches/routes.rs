//! What it costs to choose an agent, and what it costs to let one join, among few and among thousands.
//!
//! `cargo bench -p adit-dataplane --bench routes [-- --quick]`. Every agent has an address of its own, a connection to
//! each of two shards, and every hundredth is a default route. A choice includes what a shard looks up to judge
//! connections. Of several rounds the fastest is printed: whatever else the machine does only adds. It judges nothing.

#![allow(clippy::print_stdout, reason = "a program that reports to its terminal")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dataplane::port::{ConnectionKey, ShardId};
use adit_dataplane::route::{
    AgentSession, Health, Identifiers, Realm, RouteQuery, RouteTableBuilder, Strategy, choose,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashMap;

const FLEETS: [u32; 3] = [10, 1_000, 5_000];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    rounds: usize,
    choices: u32,
    joins: u32,
}

const FULL: Size = Size { rounds: 30, choices: 100_000, joins: 2_000 };
const QUICK: Size = Size { rounds: 3, choices: 2_000, joins: 50 };

/// An agent's address, which is also its identifier.
fn host(agent: u32) -> String {
    format!("10.{}.{}.{}", agent >> 16, (agent >> 8) & 0xff, agent & 0xff)
}

fn session(agent: u32, since: Instant) -> AgentSession {
    let identifiers = format!("ipv4={}&default-route={}", host(agent), agent.is_multiple_of(100));
    AgentSession {
        realm: Realm::default(),
        agent_id: format!("node-{agent}").into(),
        instance_id: agent.to_be_bytes().into(),
        identifiers: Arc::new(Identifiers::parse(&identifiers).expect("they are well-formed")),
        since,
    }
}

const fn connection(agent: u32, shard: u8) -> ConnectionKey {
    ConnectionKey { shard: ShardId(shard), index: agent, generation: 1 }
}

fn fleet(agents: u32) -> RouteTableBuilder {
    let since = Instant::now();
    let mut builder = RouteTableBuilder::new();
    for agent in 0..agents {
        for shard in [0, 1] {
            builder.add_connection(connection(agent, shard), session(agent, since));
        }
    }
    builder
}

/// The fastest of so many rounds, for each of what a round does.
fn fastest(rounds: usize, of_each: u32, mut round: impl FnMut() -> Duration) -> f64 {
    let fastest = (0..rounds).map(|_| round()).min().unwrap_or_default();
    fastest.as_secs_f64() / f64::from(of_each)
}

fn choosing(builder: &RouteTableBuilder, agents: u32, strategies: &[Strategy], size: Size) -> f64 {
    let (table, realm) = (builder.snapshot(), Realm::default());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let addresses: Vec<String> =
        (0..1024).map(|_| format!("{}:10250", host(rng.random_range(0..agents)))).collect();
    // As in a shard: its own connections by key, all others taken for healthy.
    let sessions: FxHashMap<(u32, u32), bool> = (0..agents).map(|agent| ((agent, 1), true)).collect();
    let health = |key: ConnectionKey| match key.shard {
        ShardId(0) if !sessions.contains_key(&(key.index, key.generation)) => Health::Gone,
        _ => Health::Healthy,
    };
    let seconds = fastest(size.rounds, size.choices, || {
        let began = Instant::now();
        for address in addresses.iter().cycle().take(size.choices as usize) {
            let query = RouteQuery { realm: &realm, address, strategies, excluded: &[], shard: ShardId(0) };
            let _chosen = black_box(choose(&table, black_box(&query), &mut rng, health));
        }
        began.elapsed()
    });
    seconds * 1e9
}

/// An agent more, and the snapshot that shows it; then it goes, unmeasured.
fn joining(builder: &mut RouteTableBuilder, agents: u32, size: Size) -> f64 {
    let mut held = builder.snapshot();
    let seconds = fastest(size.rounds, size.joins, || {
        let mut spent = Duration::ZERO;
        for _ in 0..size.joins {
            let newcomer = session(agents, Instant::now());
            let began = Instant::now();
            builder.add_connection(connection(agents, 0), newcomer);
            let snapshot = builder.snapshot();
            spent += began.elapsed();
            held = snapshot;
            builder.remove_connection(connection(agents, 0));
        }
        spent
    });
    black_box(&held);
    seconds * 1e6
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let size = if quick { QUICK } else { FULL };
    println!("fastest of {} rounds", size.rounds);
    for agents in FLEETS {
        let mut builder = fleet(agents);
        print!("{agents:5} agents  ");
        for strategy in [Strategy::DestHost, Strategy::DefaultRoute, Strategy::Default] {
            print!("{strategy} {:.0} ns  ", choosing(&builder, agents, &[strategy], size));
        }
        println!("join and snapshot {:.1} µs", joining(&mut builder, agents, size));
    }
}
