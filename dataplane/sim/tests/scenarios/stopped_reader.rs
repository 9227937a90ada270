//! Readers that stopped cost only themselves: in virtual time the others are as fast as without them.

use adit_sim::scenario;
use adit_sim::world::{Report, World};

/// Tunnels that do not stop, at the head of the plan.
const OTHERS: usize = 24;

/// From the request to the last byte, over all of them.
fn waited_ns(report: &Report) -> u64 {
    let times = report.tunnels.iter().take(OTHERS).map(|tunnel| {
        let asked = tunnel.asked_at.expect("asked").0;
        let client = tunnel.client.expect("established").saw.expect("ended").1.0;
        let target = tunnel.targets[0].saw.expect("ended").1.0;
        client.max(target) - asked
    });
    times.sum()
}

fn run(name: &str, seed: u64) -> Report {
    let options = scenario::options(name, seed).expect("the story exists");
    World::new(options).run().unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn stopped_reader() {
    for seed in 0..6 {
        let with = waited_ns(&run("stopped_reader", seed));
        let without = waited_ns(&run("without_stopped_reader", seed));
        assert!(with <= without * 12 / 10, "{with} ns beside stopped readers, {without} ns without");
    }
}
