//! A server that opens to an agent as many streams as it is granted gets its limit and no more; the agent's tunnels to
//! the right server do not notice, its dials are served by whoever has room, and when the server has gone silent the
//! agent leaves it with nothing.

use adit_dataplane::limits::{AGENT_STREAMS_MAX, TUNNELS_MAX};

use super::{all_arrived, assert_undisturbed, tell, tell_otherwise};

#[test]
fn hostile_server() {
    tell("hostile_server", 4, |report| {
        all_arrived(report, 0);
        let hostile = report.hostile_server;
        assert_eq!(hostile.lost, 0, "seed {}: it keeps to what it was granted", report.seed);
        assert!(hostile.streams > u64::from(AGENT_STREAMS_MAX), "seed {}: {hostile:?}", report.seed);
        assert!(report.agent_peak.tunnels <= TUNNELS_MAX, "seed {}: {:?}", report.seed, report.agent_peak);
        let filled = report.agent_peak.tunnels >= AGENT_STREAMS_MAX as usize - 100;
        assert!(filled, "seed {}: {:?}", report.seed, report.agent_peak);
        for left in &report.agents_left {
            // Two connections each, both of them to the right server.
            assert_eq!((left.tunnels, left.streams), (0, 0), "seed {}", report.seed);
            assert_eq!((left.connections, left.sessions), (2, 2), "seed {}", report.seed);
        }
        assert_eq!(report.left.iter().map(|left| left.sessions).sum::<usize>(), 4, "seed {}", report.seed);
        let quiet = tell_otherwise("hostile_server", report.seed, |options| options.hostile_server = None);
        // A dial that finds no room moves to the other agent within two round trips.
        assert_undisturbed(report, &quiet, 3_000_000);
    });
}
