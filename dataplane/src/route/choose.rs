//! Which connection a dial goes to.

use rand::{Rng, RngExt};

use crate::port::{ConnectionKey, ShardId};

use super::dest_host::{self, destination_host};
use super::draw::draw;
use super::realm::Realm;
use super::strategy::Strategy;
use super::table::{Backend, RouteTable};

/// How fit a connection is for a new dial, as its shard sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Nothing is known against it.
    Healthy,
    /// It may be dead: chosen only if no candidate is healthy.
    Suspect,
    /// It ended or is draining: never chosen.
    Gone,
}

/// What a dial wants of the table.
#[derive(Clone, Copy, Debug)]
pub struct RouteQuery<'a> {
    /// The realm of the frontend's listener.
    pub realm: &'a Realm,
    /// Where the dial goes, `host:port` as the frontend wrote it: identifiers are compared with that text.
    pub address: &'a str,
    /// In order of preference: the next one is asked only if one has no candidate.
    pub strategies: &'a [Strategy],
    /// Connections that were tried for this dial already. Never chosen.
    pub excluded: &'a [ConnectionKey],
    /// Who asks. Of a process's connections that are equally fit, one of this shard is chosen if there is any: the
    /// tunnel then stays where its frontend was accepted.
    pub shard: ShardId,
}

/// Why there is no connection for a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No strategy has a candidate that is not gone or excluded.
    #[error("No agent available")]
    NoAgent,
}

/// Chooses the connection for a dial.
///
/// Within the first strategy that has a candidate, a healthy one is chosen if there is any. A backend's newest
/// process with a healthy connection is the one that gets its dials, over its healthy connections on the asking shard
/// evenly at random; only if there are none, over those on other shards.
///
/// `usable` judges connections of every shard. A shard knows nothing of another's and can only call them healthy:
/// what is wrong with one is found out where it lives.
///
/// # Errors
///
/// [`RouteError`].
pub fn choose(
    table: &RouteTable,
    query: &RouteQuery<'_>,
    rng: &mut impl Rng,
    usable: impl Fn(ConnectionKey) -> Health,
) -> Result<ConnectionKey, RouteError> {
    let Some(routes) = table.realm(query.realm) else { return Err(RouteError::NoAgent) };
    let health = |key| if query.excluded.contains(&key) { Health::Gone } else { usable(key) };
    query
        .strategies
        .iter()
        .find_map(|strategy| match strategy {
            Strategy::DestHost => {
                dest_host::first(routes, destination_host(query.address), query.shard, rng, &health)
            }
            Strategy::DefaultRoute => draw(&routes.default_route, query.shard, rng, &health),
            Strategy::Default => draw(&routes.all, query.shard, rng, &health),
        })
        .ok_or(RouteError::NoAgent)
}

/// The connection of a backend that is of this health and is to get the next dial.
pub(super) fn connection_of(
    backend: &Backend,
    wanted: Health,
    shard: ShardId,
    rng: &mut impl Rng,
    health: &impl Fn(ConnectionKey) -> Health,
) -> Option<ConnectionKey> {
    backend.instances.iter().find_map(|instance| {
        let fit = || instance.connections.iter().copied().filter(|key| health(*key) == wanted);
        evenly(fit().filter(|key| key.shard == shard), rng).or_else(|| evenly(fit(), rng))
    })
}

/// One of the items, each as likely as any other, in one pass (reservoir of one).
pub(super) fn evenly<T>(items: impl Iterator<Item = T>, rng: &mut impl Rng) -> Option<T> {
    let mut chosen = None;
    for (seen, item) in items.enumerate() {
        if rng.random_range(0..=seen) == 0 {
            chosen = Some(item);
        }
    }
    chosen
}
