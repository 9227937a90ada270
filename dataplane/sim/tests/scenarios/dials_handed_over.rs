//! A dial reaches the agent's shard at once or a moment later, whatever becomes of the wake; a connection moves once.

use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn dials_handed_over() {
    tell("dials_handed_over", 8, |report| {
        all_arrived(report, 0);
        let handed = report.tally.count(Family::DialHandedOver);
        assert!(handed > 0 && handed <= report.tunnels.len() as u64, "seed {}: {handed}", report.seed);
        for (index, tunnel) in report.tunnels.iter().enumerate() {
            let (Some(asked), Some((_, answered))) = (tunnel.asked_at, tunnel.answer) else { continue };
            let took_ms = (answered.0 - asked.0) / 1_000_000;
            assert!(took_ms < 200, "seed {}: tunnel {index} was answered after {took_ms} ms", report.seed);
        }
    });
}
