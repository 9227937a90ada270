//! Buffers that come back only when the socket is closed hold up neither the traffic nor the drain.

use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn zero_copy_notification_never() {
    tell("zero_copy_notification_never", 6, |report| {
        all_arrived(report, 0);
        assert!(report.tally.count(Family::NotificationAtClose) > 0);
    });
}
