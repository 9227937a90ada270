//! A dial that the agent's shard has no room for is answered with 503; the others are not disturbed.

use adit_sim::tally::Family;

use super::{ended, tell};

#[test]
fn inbox_full() {
    let (mut refused, mut served) = (0, 0);
    tell("inbox_full", 8, |report| {
        let mut refused_here = 0;
        for (index, tunnel) in report.tunnels.iter().enumerate() {
            match tunnel.answer.map(|(status, _)| status) {
                Some(200) => {
                    let client = tunnel.client.expect("a 200 is the beginning of a tunnel");
                    assert!(
                        ended(client) && client.received == 3_000,
                        "seed {}: tunnel {index}",
                        report.seed
                    );
                    served += 1;
                }
                Some(503) => refused_here += 1,
                other => panic!("seed {}: tunnel {index} was answered {other:?}", report.seed),
            }
        }
        assert_eq!(refused_here, report.tally.count(Family::DialHandedBack), "seed {}", report.seed);
        refused += refused_here;
    });
    assert!(refused > 0 && served > refused, "{refused} refused, {served} served");
}
