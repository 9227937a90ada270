//! Peers that open streams which they were not granted are thrown out at the first of them, again and again, before
//! anything was said as well as when they are welcome; no table grows, and nobody else waits for it.

use super::{all_arrived, assert_undisturbed, tell, tell_otherwise};
use adit_sim::world::Ended;
use adit_sim::world::options::HostileKind;

/// STREAM_LIMIT_ERROR (RFC 9000 section 20.1).
const STREAM_LIMIT_ERROR: u64 = 0x04;

#[test]
fn million_streams() {
    tell("million_streams", 4, |report| {
        all_arrived(report, 0);
        let (mut streams, mut welcome) = (0, 0);
        for hostile in &report.hostiles {
            for visit in &hostile.visits {
                streams += visit.streams;
                welcome += usize::from(visit.welcome_at.is_some());
                let polite = hostile.kind == HostileKind::Greedy { welcome: true };
                match &visit.ended {
                    Some((at, ended)) => {
                        assert_eq!(*ended, Ended::Refused(STREAM_LIMIT_ERROR), "seed {}", report.seed);
                        // Two round trips after its first stream, at most.
                        let since = if polite { visit.welcome_at } else { visit.connected_at };
                        let lasted_ns = at.0 - since.expect("it opened streams").0;
                        assert!(lasted_ns < 2_000_000, "seed {}: {visit:?}", report.seed);
                    }
                    None => assert!(visit.began_at.0 > 3_900_000_000, "seed {}: {visit:?}", report.seed),
                }
            }
        }
        assert!(streams > 1_000_000 && welcome > 200, "seed {}: {streams}, {welcome}", report.seed);
        // No more connections at once than there are peers, and no tunnel but those of the clients.
        assert!(report.peak.connections <= 8 + 2 + 1, "seed {}: {:?}", report.seed, report.peak);
        assert!(report.peak.tunnels <= 8, "seed {}: {:?}", report.seed, report.peak);
        for left in &report.left {
            assert_eq!((left.handshakes, left.tunnels, left.streams), (0, 0, 0), "seed {}", report.seed);
            assert_eq!((left.connections, left.sessions), (2, 2), "seed {}", report.seed);
        }
        let quiet = tell_otherwise("million_streams", report.seed, |options| options.hostiles.clear());
        // A dial that went to one of them moves to an agent within two round trips.
        assert_undisturbed(report, &quiet, 3_000_000);
    });
}
