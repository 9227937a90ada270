//! Under a flood of first packets the server holds a bounded number of handshakes and amplifies nothing; an agent that
//! comes back meanwhile gets in, and every dial is served.

use adit_dataplane::limits::HANDSHAKES_BEFORE_RETRY;

use super::{all_arrived, tell};

#[test]
fn handshake_flood() {
    tell("handshake_flood", 4, |report| {
        all_arrived(report, 0);
        let flood = report.flood;
        assert_eq!(flood.begun, 400, "seed {}", report.seed);
        assert_eq!(flood.amplified, 0, "seed {}: {flood:?}", report.seed);
        assert!(flood.accepted <= HANDSHAKES_BEFORE_RETRY as u64, "seed {}: {flood:?}", report.seed);
        assert_eq!(flood.accepted + flood.retried, flood.begun, "seed {}: {flood:?}", report.seed);
        // Longer ago than a handshake may take.
        assert_eq!(flood.under_way, 0, "seed {}: {flood:?}", report.seed);
    });
}
