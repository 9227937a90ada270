//! Tunnels go on while their agent's node has another address again and again.

use adit_sim::scenario;
use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn node_address_changes() {
    let options = scenario::options("node_address_changes", 0).expect("the story exists");
    let last = options.relocations.iter().map(|relocation| relocation.at_ns).max().expect("there are some");
    tell("node_address_changes", 12, |report| {
        all_arrived(report, 0);
        assert_eq!(report.tally.count(Family::AddressChanged), 3);
        // Each was established before the first change, and carried bytes after the last one.
        for tunnel in &report.tunnels {
            let ended = tunnel.client.and_then(|end| end.saw).expect("it ended").1;
            assert!(ended.0 > last + 100_000_000, "seed {}: {tunnel:?}", report.seed);
        }
    });
}
