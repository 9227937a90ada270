//! With two agents, the death of one resets what ran on it and delays no new dial by more than two seconds.

use super::{all_arrived, tell};

/// Tunnels that were open when the agent died.
const OLD: usize = 6;

#[test]
fn agent_restart() {
    tell("agent_restart", 8, |report| {
        all_arrived(report, OLD);
        for tunnel in &report.tunnels[OLD..] {
            let (asked, answered) = (tunnel.asked_at.expect("asked").0, tunnel.answer.expect("answered").1.0);
            assert!(answered - asked <= 2_000_000_000, "seed {}: {tunnel:?}", report.seed);
        }
    });
}
