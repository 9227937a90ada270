//! Tunnels go on through an address translation that forgets the agent again and again.

use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn nat_rebinding() {
    tell("nat_rebinding", 4, |report| {
        all_arrived(report, 0);
        assert!(report.tally.count(Family::NatRebind) > 0);
    });
}
