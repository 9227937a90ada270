//! A connection that was replaced stays until the peer has the last byte of what ended on it.

use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn connection_replaced() {
    tell("connection_replaced", 10, |report| {
        all_arrived(report, 0);
        assert!(report.tally.count(Family::UnreachableForged) > 0);
    });
}
