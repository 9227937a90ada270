//! Konnectivity's agents serve dials beside adit's: every byte both ways, also where one reads nothing for a while.

use super::tell;

#[test]
fn old_agents() {
    for (name, bytes) in [("old_agents", 60_000), ("old_agent_stops_reading", 60_000)] {
        tell(name, 4, |report| {
            for (index, tunnel) in report.tunnels.iter().enumerate() {
                let status = tunnel.answer.map(|(status, _)| status);
                assert_eq!(
                    status,
                    Some(200),
                    "{name}, seed {}: tunnel {index}: {}",
                    report.seed,
                    tunnel.text
                );
                let received = (tunnel.client.expect("established").received, tunnel.targets[0].received);
                assert_eq!(received, (bytes, bytes), "{name}, seed {}: tunnel {index}", report.seed);
            }
        });
    }
}
