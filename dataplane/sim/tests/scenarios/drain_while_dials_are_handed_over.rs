//! A server that is told to end answers every connection that it accepted, wherever that is between its shards; what
//! was established ends in order.

use super::{ended, tell};

#[test]
fn drain_while_dials_are_handed_over() {
    let (mut served, mut refused) = (0, 0);
    tell("drain_while_dials_are_handed_over", 12, |report| {
        for (index, tunnel) in report.tunnels.iter().enumerate() {
            match tunnel.answer {
                Some((200, _)) => {
                    let client = tunnel.client.expect("a 200 is the beginning of a tunnel");
                    assert!(
                        ended(client) && client.received == 3_000,
                        "seed {}: tunnel {index}",
                        report.seed
                    );
                    served += 1;
                }
                Some((503, _)) => refused += 1,
                // Nobody listened, or what was accepted last had said nothing yet.
                None => {}
                // The next server has no agents at first.
                Some((500, at)) if at.0 > 1_500_000_000 => {}
                Some((other, _)) => panic!("seed {}: tunnel {index} was answered {other}", report.seed),
            }
        }
    });
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused");
}
