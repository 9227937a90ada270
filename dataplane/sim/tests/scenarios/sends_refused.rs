//! Datagrams for which the system has no room are sent again.

use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn sends_refused() {
    tell("sends_refused", 4, |report| {
        all_arrived(report, 0);
        assert!(report.tally.count(Family::DatagramSendError) > 0);
    });
}
