//! The strategies `default` and `defaultRoute`: any of their agents, evenly at random.

use rand::{Rng, RngExt};

use crate::port::{ConnectionKey, ShardId};

use super::choose::{Health, connection_of, evenly};
use super::table::Members;

/// Draws before every backend is looked at. With half of them unfit, one dial in 256 looks at all.
const DRAWS: usize = 8;

/// A healthy backend, each as likely as any other; else a suspect one, likewise.
pub(super) fn draw(
    members: &Members,
    shard: ShardId,
    rng: &mut impl Rng,
    health: &impl Fn(ConnectionKey) -> Health,
) -> Option<ConnectionKey> {
    if members.is_empty() {
        return None;
    }
    // Draw and reject: even over the healthy ones, and with thousands of them much cheaper than a look at all. (To
    // draw once and walk on to the next healthy one would give those behind an unhealthy one more than their share.)
    for _ in 0..DRAWS {
        let backend = members.get(rng.random_range(0..members.len()))?;
        if let Some(key) = connection_of(backend, Health::Healthy, shard, rng, health) {
            return Some(key);
        }
    }
    [Health::Healthy, Health::Suspect].into_iter().find_map(|wanted| {
        let fit = members.iter().filter(|backend| backend.connections().any(|key| health(key) == wanted));
        let backend = evenly(fit, rng)?;
        connection_of(backend, wanted, shard, rng, health)
    })
}
