//! Buffers that the kernel keeps for long are bounded, and nobody waits for them.

use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn zero_copy_notification_late() {
    tell("zero_copy_notification_late", 6, |report| {
        all_arrived(report, 0);
        assert!(report.tally.count(Family::NotificationLate) > 32, "more than may be lent at once");
    });
}
