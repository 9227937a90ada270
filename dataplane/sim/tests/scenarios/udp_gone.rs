//! Where UDP passes no more in the middle of tunnels, dials go over TCP within five seconds, and the tunnels over QUIC
//! wait for it. They go on when it is back, with everything; where it stays away they end, and nothing else does.

use super::{Report, all_arrived, ended, tell};

/// What began over QUIC before UDP was gone.
const OVER_QUIC: usize = 2;

/// The first dials without UDP wait until there is TCP.
fn dials_go_on(report: &Report) {
    all_arrived(report, OVER_QUIC);
    for (index, tunnel) in report.tunnels.iter().enumerate().skip(OVER_QUIC) {
        let (asked, answered) = (tunnel.asked_at.expect("asked").0, tunnel.answer.expect("answered").1.0);
        assert!(answered - asked < 5_000_000_000, "seed {}: dial {index} was answered late", report.seed);
    }
}

#[test]
fn udp_gone_for_a_while() {
    tell("udp_gone_for_a_while", 20, |report| {
        dials_go_on(report);
        all_arrived(report, 0);
        let left = report.left[0];
        assert_eq!(
            (left.connections, left.tunnels),
            (1, 0),
            "seed {}: over QUIC again: {left:?}",
            report.seed
        );
    });
}

#[test]
fn udp_gone_for_good() {
    tell("udp_gone_for_good", 20, |report| {
        dials_go_on(report);
        for tunnel in &report.tunnels[..OVER_QUIC] {
            let client = tunnel.client.expect("it was answered");
            assert!(
                client.saw.is_some() && !ended(client),
                "seed {}: it was cut off: {client:?}",
                report.seed
            );
        }
    });
}

/// TCP's handshakes take their round trips, too.
#[test]
fn udp_gone_on_a_slow_path() {
    tell("udp_gone_on_a_slow_path", 20, |report| all_arrived(report, 0));
}
