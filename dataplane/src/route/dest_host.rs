//! The strategy `destHost`: the agents that say that they stand for the destination's host.

use rand::Rng;

use crate::port::{ConnectionKey, ShardId};

use super::choose::{Health, connection_of};
use super::table::RealmRoutes;

/// The host in `host:port` as Konnectivity's server extracts it: the text that identifiers are compared with.
///
/// Nothing is made of it: no address is brought into another form, no letter into another case, no name looked up.
/// Brackets go, and an IPv6 address without them stays whole.
#[must_use]
pub fn destination_host(address: &str) -> &str {
    match address.bytes().filter(|byte| *byte == b':').count() {
        0 => address,
        1 => address.split(':').next().unwrap_or(address),
        _ if address.contains('[') => {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            host.trim_matches(['[', ']'])
        }
        _ => address,
    }
}

/// The first healthy backend in the order in which they registered, else the first suspect one. Stable on purpose,
/// as upstream: what is kept per client at a destination's agent stays where it is.
pub(super) fn first(
    routes: &RealmRoutes,
    host: &str,
    shard: ShardId,
    rng: &mut impl Rng,
    health: &impl Fn(ConnectionKey) -> Health,
) -> Option<ConnectionKey> {
    [Health::Healthy, Health::Suspect].into_iter().find_map(|wanted| {
        routes.claimants(host).find_map(|backend| connection_of(backend, wanted, shard, rng, health))
    })
}
