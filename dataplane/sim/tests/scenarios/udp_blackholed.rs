//! Where UDP does not pass, an agent is there over TCP within five seconds; when UDP passes again, it is there over
//! QUIC within a minute. Nothing is cut either time.

use super::{all_arrived, tell};

#[test]
fn udp_blackholed() {
    tell("udp_blackholed", 3, |report| {
        let join = report.joins[0];
        let joined_ns = join.ready_at.expect("it was welcome").0 - join.began_at.0;
        assert!(joined_ns < 5_000_000_000, "seed {}: welcome after {joined_ns} ns", report.seed);
        all_arrived(report, 0);
        let left = report.left[0];
        assert_eq!(
            (left.connections, left.tunnels),
            (1, 0),
            "seed {}: over QUIC again, and TCP was let go: {left:?}",
            report.seed
        );
    });
}
