//! Under a flood of first packets each shard holds a bounded number of handshakes and amplifies nothing; an agent that
//! comes back meanwhile gets in, and every dial is served, as fast as without the flood.

use adit_dataplane::limits::HANDSHAKES_BEFORE_RETRY;

use super::{all_arrived, assert_undisturbed, tell, tell_otherwise};

#[test]
fn handshake_flood() {
    tell("handshake_flood", 12, |report| {
        all_arrived(report, 0);
        let flood = report.flood;
        assert_eq!(flood.begun, 400, "seed {}", report.seed);
        assert_eq!(flood.amplified, 0, "seed {}: {flood:?}", report.seed);
        // And the agent's own, which has proved its address.
        let most = HANDSHAKES_BEFORE_RETRY + 1;
        assert!(report.peak.handshakes <= most, "seed {}: {:?}", report.seed, report.peak);
        assert!(flood.retried > 0, "seed {}: {flood:?}", report.seed);
        assert_eq!(flood.accepted + flood.retried, flood.begun, "seed {}: {flood:?}", report.seed);
        // Longer ago than a handshake may take.
        assert_eq!(flood.under_way, 0, "seed {}: {flood:?}", report.seed);
        let quiet = tell_otherwise("handshake_flood", report.seed, |options| options.initials = 0);
        // A Retry costs a round trip, and is all that the flood may cost.
        assert_undisturbed(report, &quiet, 2_000_000);
    });
}
