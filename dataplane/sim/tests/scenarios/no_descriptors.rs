//! Frontends wait where there is no descriptor for them; none is lost and nothing else notices.

use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn no_descriptors() {
    tell("no_descriptors", 4, |report| {
        all_arrived(report, 0);
        assert!(report.tally.count(Family::AcceptError) > 0);
    });
}
