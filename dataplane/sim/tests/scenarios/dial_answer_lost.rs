//! A dial whose agent falls silent is served by another; what the first one connected carries nothing.

use super::{all_arrived, tell};

#[test]
fn dial_answer_lost() {
    tell("dial_answer_lost", 8, |report| {
        all_arrived(report, 0);
        let moved = report.tunnels.iter().filter(|tunnel| tunnel.targets.len() > 1).count();
        assert!(moved > 0, "seed {}: no dial was moved", report.seed);
    });
}
