//! Paths that carry less from one moment to the next are found out, and no byte is lost.

use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn mtu_shrinks() {
    tell("mtu_shrinks", 4, |report| {
        all_arrived(report, 0);
        assert!(report.tally.count(Family::MtuShrunk) > 0);
        assert!(report.tally.count(Family::DatagramAboveMtu) > 0);
    });
}
