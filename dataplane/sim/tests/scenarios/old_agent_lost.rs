//! An old agent that is lost takes its tunnels with it and nobody else's. Whoever waits for its answer is served by
//! another agent at once, or told at once where there is none.

use super::tell;

/// When it is lost, in nanoseconds.
const LOST_NS: u64 = 2_000_000_000;
/// Tunnels that carry bytes when it is lost, at the head of the plan.
const CARRYING: usize = 12;
/// Dials behind them, some of which wait for its answer then.
const WAITING: usize = 12;

#[test]
fn old_agent_lost() {
    let (mut cut, mut moved) = (0, 0);
    tell("old_agent_lost", 6, |report| {
        for (index, tunnel) in report.tunnels.iter().enumerate() {
            let context = format!("seed {}: tunnel {index}: {tunnel:?}", report.seed);
            let (status, at) = tunnel.answer.expect(&context);
            assert_eq!(status, 200, "{context}");
            let client = tunnel.client.expect(&context);
            let target = tunnel.targets.last().expect(&context);
            let bytes = if index < CARRYING { 1_000_000 } else { 20_000 };
            if (client.received, target.received) == (bytes, bytes) {
                if tunnel.targets.len() > 1 {
                    assert!(at.0 > LOST_NS && at.0 < LOST_NS + 100_000_000, "{context}");
                    moved += 1;
                }
                continue;
            }
            let (_, known_at) = client.saw.expect(&context);
            let at_once = known_at.0 >= LOST_NS && known_at.0 < LOST_NS + 100_000_000;
            assert!(index < CARRYING && at.0 > 1_400_000_000 && at_once, "{context}");
            cut += 1;
        }
    });
    assert!(cut > 0 && moved > 0, "{cut} tunnels were cut, {moved} dials moved");
}

#[test]
fn only_agent_lost() {
    let mut told = 0;
    tell("only_old_agent_lost", 4, |report| {
        for (index, tunnel) in report.tunnels.iter().enumerate().skip(CARRYING).take(WAITING) {
            let context = format!("seed {}: tunnel {index}: {tunnel:?}", report.seed);
            let (status, at) = tunnel.answer.expect(&context);
            assert!(status >= 500 && at.0 >= LOST_NS && at.0 < LOST_NS + 100_000_000, "{context}");
            // In GRPC mode in upstream's words.
            let said = ["Backend context error: ", "the TCP connection was reset"];
            assert!(said.iter().any(|text| tunnel.text.contains(text)), "{context}");
            told += 1;
        }
    });
    assert!(told > 0, "nobody waited for the agent");
}
