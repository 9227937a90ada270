//! A server that is told to end lets running calls come to their ends, on connections of one call and of many; who
//! comes later is refused or waits for the next server, and nothing is left.

use super::tell;

/// Calls that run when the server is told to end, at the head of the plan.
const RUNNING: usize = 8;

#[test]
fn drain_with_calls() {
    tell("drain_with_calls", 8, |report| {
        let (running, late) = report.tunnels.split_at(RUNNING);
        for (index, tunnel) in running.iter().enumerate() {
            let received = (tunnel.client.expect("established").received, tunnel.targets[0].received);
            assert_eq!(received, (300_000, 300_000), "seed {}: call {index}", report.seed);
            let ended = tunnel.targets[0].saw.expect("ended").1.0;
            assert!(ended > 650_000_000, "seed {}: call {index} ended before the drain", report.seed);
        }
        for (index, tunnel) in late.iter().enumerate() {
            if let (Some((status, _)), Some(asked)) = (tunnel.answer, tunnel.asked_at) {
                // Whoever asks later asks the next server.
                if asked.0 < 1_200_000_000 {
                    assert_eq!(status, 500, "seed {}: late call {index}: {tunnel:?}", report.seed);
                }
            }
        }
    });
}
