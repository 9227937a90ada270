//! A connection with many downloads that is cut takes them with it, and nobody else: who dials next is served.

use adit_sim::script::Seen;

use super::tell;

/// Downloads that are cut, at the head of the plan.
const DOWNLOADS: usize = 128;

#[test]
fn calls_cut_together() {
    tell("calls_cut_together", 2, |report| {
        let (cut, others) = report.tunnels.split_at(DOWNLOADS);
        for (index, tunnel) in cut.iter().enumerate() {
            let client = tunnel.client.expect("established before the cut");
            assert!(client.received < 2_000_000 && client.saw.is_none(), "download {index}: {client:?}");
            let target = tunnel.targets[0];
            assert!(matches!(target.saw, Some((Seen::Reset, _))), "download {index}: {target:?}");
            let later_ns = target.saw.expect("it ended").1.0 - 1_200_000_000;
            assert!(later_ns < 500_000_000, "download {index} was known to be cut {later_ns} ns later");
        }
        for (index, tunnel) in others.iter().enumerate() {
            assert_eq!(tunnel.answer.map(|(status, _)| status), Some(200), "dial {index}");
            let received = (tunnel.client.expect("established").received, tunnel.targets[0].received);
            assert_eq!(received, (20_000, 20_000), "dial {index}");
        }
    });
}
