//! Two hundred agents, real processes in a network namespace of the test's own; some are killed and others come while
//! several clients dial. A target of its own, so that it runs alone: it wants the whole machine.

/// What namespace tests are made of; not everything of it is wanted here.
#[allow(dead_code, reason = "shared with the tests of bad days, which use all of it")]
#[path = "../net/support/mod.rs"]
mod support;
/// What tests with processes share; not everything of it is wanted here.
#[allow(dead_code, reason = "shared with the tests on loopback, which use all of it")]
#[path = "../direct/support/mod.rs"]
mod tunnels;

use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use adit_bench::client as bytes;
use libtest_mimic::{Arguments, Trial};

use support::run::told;
use support::world::{Case, TARGET, World};
use tunnels::client::connect;
use tunnels::process::Process;
use tunnels::soon;

/// Agents at any time, but for the one that was just killed.
const AGENTS: usize = 200;
/// Agents killed, and agents that come, one after the other.
const KILLED: usize = 30;
/// Between one death and the next.
const PAUSE: Duration = Duration::from_millis(200);
/// Who dials, and between two dials of each: together about 300 in a second.
const CLIENTS: u64 = 6;
const DIAL_EVERY: Duration = Duration::from_millis(20);
/// How long a dial may take (decision D13 of the design).
const DIAL_WITHIN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let cases = [
        ("uring_with_two_shards", Case { io: "uring", shards: 2 }),
        ("epoll_with_one_shard", Case { io: "epoll", shards: 1 }),
    ];
    let trials = cases.map(|(name, case)| {
        let name = format!("no_dial_fails_while_agents_of_two_hundred_die_and_come_on_{name}");
        Trial::ignorable_test(name, move || told(|case| Box::pin(agents_die_and_come(case)), case))
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

/// What one client saw.
#[derive(Debug, Default)]
struct Seen {
    dials: u64,
    cut: u64,
    slowest: Duration,
}

async fn agents_die_and_come(case: Case) {
    let world = World::start(case, 1).await;
    // Each agent stands for a host, and a host may say of itself that a port is closed: this one must for 200.
    let unlimited =
        world.agent_nets[0].try_run("sh", &["-c", "echo 0 > /proc/sys/net/ipv4/icmp_ratelimit"], "");
    unlimited.unwrap_or_else(|error| panic!("{error}"));
    let mut fleet: Vec<Process> =
        (1..AGENTS).map(|number| world.spawn_agent(0, &format!("fleet-{number}"))).collect();
    world.wait_for_agents(AGENTS).await;
    let stop = Rc::new(std::cell::Cell::new(false));
    let tasks = tokio::task::LocalSet::new();
    let clients: Vec<_> =
        (0..CLIENTS).map(|seed| tasks.spawn_local(dial_on(world.socket(), seed, Rc::clone(&stop)))).collect();
    tasks
        .run_until(async {
            let mut tick = tokio::time::interval(PAUSE);
            for number in 0..KILLED {
                tick.tick().await;
                // Any but a pattern will do.
                let mut killed = fleet.swap_remove(number * 7919 % fleet.len());
                killed.signal("KILL");
                fleet.push(world.spawn_agent(0, &format!("newcomer-{number}")));
                killed.ended(Duration::from_secs(5)).await;
            }
            world.wait_for_agents(AGENTS).await;
            stop.set(true);
            let mut all = Seen::default();
            for client in clients {
                let seen = client.await.expect("no dial failed");
                all.dials += seen.dials;
                all.cut += seen.cut;
                all.slowest = all.slowest.max(seen.slowest);
            }
            assert!(all.dials > 500, "{all:?}");
            assert!(all.cut <= KILLED as u64, "more tunnels were cut than agents killed: {all:?}");
            let metrics = world.server_metrics().await;
            let established = metrics.sum("adit_dials_total", "outcome=\"established\"");
            assert_eq!(metrics.sum("adit_dials_total", ""), established, "{all:?}");
        })
        .await;
    world.settle().await;
}

/// Dials until told to stop. A tunnel may be cut by the death of its agent; a dial may not fail.
async fn dial_on(socket: std::path::PathBuf, seed: u64, stop: Rc<std::cell::Cell<bool>>) -> Seen {
    let mut seen = Seen::default();
    let mut tick = tokio::time::interval(DIAL_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.get() {
        tick.tick().await;
        let asked = Instant::now();
        let mut stream = connect(&socket, TARGET).await.expect("a tunnel: there are 199 living agents");
        let took = asked.elapsed();
        assert!(took < DIAL_WITHIN, "a dial took {took:?}");
        seen.dials += 1;
        seen.slowest = seen.slowest.max(took);
        match soon("echo", bytes::echo(&mut stream, seed, 1_000)).await {
            Ok(()) => {}
            Err(bytes::Error::Io(_) | bytes::Error::Short { .. }) => seen.cut += 1,
            Err(error) => panic!("{error}"),
        }
    }
    seen
}
