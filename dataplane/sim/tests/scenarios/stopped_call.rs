//! Readers that stopped cost only themselves, also those who share an HTTP/2 connection with them.

use adit_sim::scenario;
use adit_sim::world::{Report, World};

/// Calls that do not stop, at the head of the plan.
const OTHERS: usize = 24;

fn run(name: &str, seed: u64) -> Report {
    let options = scenario::options(name, seed).expect("the story exists");
    World::new(options).run().unwrap_or_else(|failure| panic!("{failure}"))
}

/// From the request to the last byte at the target, over all of them but the slowest. In one world of twenty, beside
/// stopped readers or not, one of them waits longer than all others together: the network's reordering, which looks
/// like loss, has made the congestion window so small that it waits for an acknowledgement, and that may take 25 ms.
fn waited_ns(report: &Report) -> u64 {
    let times = report.tunnels.iter().take(OTHERS).map(|tunnel| {
        let (client, target) = (tunnel.client.expect("established"), tunnel.targets[0]);
        assert_eq!((client.received, target.received), (2_000, 2_000));
        target.saw.expect("ended").1.0 - tunnel.asked_at.expect("asked").0
    });
    let mut times: Vec<u64> = times.collect();
    times.sort_unstable();
    times[..OTHERS - 1].iter().sum()
}

#[test]
fn stopped_call() {
    for seed in 0..20 {
        let with = waited_ns(&run("stopped_call", seed));
        let without = waited_ns(&run("without_stopped_call", seed));
        assert!(with <= without * 12 / 10, "{with} ns beside stopped readers, {without} ns without");
    }
}
