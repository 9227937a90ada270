//! A reset arrives as a reset, at once, whichever end it comes from, and never as an end in order.

use adit_sim::script::Seen;

use super::tell;

#[test]
fn reset_each_way() {
    tell("reset_each_way", 10, |report| {
        let target = report.tunnels[0].targets[0];
        assert!(matches!(target.saw, Some((Seen::Reset, _))), "{target:?}");
        assert!(target.sent < 1_000_000, "the reset came while it was sending");
        // A Unix socket shows the end of the connection, not only of a direction.
        let client = report.tunnels[1].client.expect("established");
        assert!(matches!(client.saw, Some((Seen::EndAndGone | Seen::Reset, _))), "{client:?}");
        assert!(client.sent < 1_000_000, "the reset came while it was sending");
    });
}
