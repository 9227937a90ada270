//! An end that has said everything still hears everything: half-close stays half, whoever is first.

use adit_sim::script::Seen;

use super::{all_arrived, tell};

#[test]
fn half_close_each_way() {
    tell("half_close_each_way", 10, |report| {
        all_arrived(report, 0);
        // Whoever saw the other's end first was still sending, and its connection was still there.
        let target = report.tunnels[0].targets[0];
        let client = report.tunnels[1].client.expect("established");
        assert!(matches!(target.saw, Some((Seen::End, _))), "{target:?}");
        assert!(matches!(client.saw, Some((Seen::End, _))), "{client:?}");
        assert_eq!((target.sent, client.sent), (300_000, 300_000));
    });
}
