//! Without receive slots things become slow, never wrong.

use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn buffers_exhausted() {
    tell("buffers_exhausted", 6, |report| {
        all_arrived(report, 0);
        assert!(report.tally.count(Family::SlotsExhausted) > 100);
    });
}
