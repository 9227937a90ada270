//! Over TCP alone tunnels are what they are over QUIC, half-closes included.

use super::{all_arrived, tell};

#[test]
fn agents_over_tcp() {
    tell("agents_over_tcp", 4, |report| {
        all_arrived(report, 0);
        let peak = (report.peak.connections, report.agent_peak.connections);
        assert_eq!(peak, (0, 0), "seed {}: nothing went over QUIC", report.seed);
    });
}
