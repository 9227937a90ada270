//! A cancelled operation that succeeds all the same loses nothing and doubles nothing.

use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn cancel_races_completion() {
    tell("cancel_races_completion", 6, |report| {
        all_arrived(report, 0);
        assert!(report.tally.count(Family::CancelLate) > 0);
        assert!(report.tally.count(Family::SuccessAfterCancel) > 0);
    });
}
