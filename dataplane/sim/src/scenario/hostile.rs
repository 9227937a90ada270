//! Stories of peers that are slow or greedy on purpose, beside agents and clients that must not notice.

use super::{MS, Scenario, calm};
use crate::world::options::{HostileKind, HostilePlan, HostileServerPlan, Options, Restart, TunnelPlan};

/// All of them.
pub(super) const ALL: [Scenario; 3] = [
    ("slow_handshakes", slow_handshakes),
    ("million_streams", million_streams),
    ("hostile_server", hostile_server),
];

/// Clients that do everything slowly, eighty of each sort on two shards: they hear nothing, let a packet go now and
/// then (so seldom that the handshake is never over, or just in time), never say Hello, or say it byte by byte, and
/// come again when they are thrown out. Meanwhile both agents join, die and join again, and clients dial. They leave
/// long before the end.
fn slow_handshakes(seed: u64) -> Options {
    let kinds = [
        HostileKind::Deaf,
        HostileKind::Halting { every_ns: 12_000 * MS },
        HostileKind::Halting { every_ns: 6_000 * MS },
        HostileKind::Mute,
        HostileKind::Dripping { every_ns: 400 * MS },
    ];
    let hostiles = kinds.into_iter().cycle().zip(0..400).map(|(kind, index)| HostilePlan {
        kind,
        at_ns: index * 3 * MS,
        again_ns: 50 * MS,
        until_ns: 24_000 * MS,
    });
    let mut options = honest(seed, 40, 14_000);
    options.hostiles = hostiles.collect();
    options.heal_at_ns = 40_000 * MS;
    options.restarts = vec![restart(0, 1_600), restart(1, 8_000)];
    options
}

/// Certified clients that open as many streams as they can, half of them before anything was said and half as welcome
/// agents, and come again as soon as they are thrown out.
fn million_streams(seed: u64) -> Options {
    let hostiles = (0..8).map(|index| HostilePlan {
        kind: HostileKind::Greedy { welcome: index % 2 == 1 },
        at_ns: 300 * MS + index * 7 * MS,
        again_ns: 40 * MS,
        until_ns: 4_000 * MS,
    });
    let mut options = honest(seed, 200, 5_000);
    options.hostiles = hostiles.collect();
    options.heal_at_ns = 24_000 * MS;
    options.restarts = vec![restart(0, 1_540)];
    options
}

/// An agent's first connection leads to a server that opens as many streams to it as it is granted, for nine seconds,
/// and is not heard of any more then. Its other connection leads to the right server; so do both of another agent.
fn hostile_server(seed: u64) -> Options {
    let mut options = honest(seed, 200, 20_000);
    options.agent_connections = Some(2);
    options.hostile_server = Some(HostileServerPlan { agent: 1, until_ns: 9_000 * MS });
    options.heal_at_ns = 30_000 * MS;
    options
}

fn restart(agent: usize, at_ms: u64) -> Restart {
    Restart { agent: Some(agent), at_ns: at_ms * MS, down_ns: 500 * MS }
}

/// Two agents, two shards, and so many clients that dial one after another until this moment.
fn honest(seed: u64, clients: u64, until_ms: u64) -> Options {
    let tunnels = (0..clients).map(|index| {
        let at = 100 * MS + index * (until_ms - 100) * MS / clients;
        TunnelPlan::plain(at, 3_000, 3_000)
    });
    Options { agents: 2, server_shards: 2, ..calm(seed, tunnels.collect()) }
}
