//! A system that stops segmenting costs speed and nothing else.

use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn segmentation_refused() {
    tell("segmentation_refused", 4, |report| {
        all_arrived(report, 0);
        assert!(report.tally.count(Family::SegmentationRefused) > 0);
    });
}
