//! Stories of agents over TCP, where UDP does not pass.

use adit_dataplane::config::Transport;

use super::{MS, Scenario, calm, slowly};
use crate::rng::Span;
use crate::script::{Finale, Manners};
use crate::world::options::{Options, Silence, TunnelPlan};

/// All of them.
pub(super) const ALL: [Scenario; 5] = [
    ("agents_over_tcp", agents_over_tcp),
    ("udp_blackholed", udp_blackholed),
    ("udp_gone_for_a_while", udp_gone_for_a_while),
    ("udp_gone_for_good", udp_gone_for_good),
    ("udp_gone_on_a_slow_path", udp_gone_on_a_slow_path),
];

/// Tunnels that half-close each way, stop reading and reset, all between agents and a server that speak TCP alone.
fn agents_over_tcp(seed: u64) -> Options {
    let mut options = super::half_close_each_way(seed);
    options.transport = Transport::Tcp;
    options.agents = 2;
    options.server_shards = 2;
    options
        .tunnels
        .extend((0..12).map(|index| TunnelPlan::plain((1_000 + index * 50) * MS, 200_000, 200_000)));
    options.heal_at_ns = 10_000 * MS;
    options
}

/// UDP does not pass for the first ten seconds, and an agent that may use both is there over TCP. Then it passes.
fn udp_blackholed(seed: u64) -> Options {
    let long = slowly(Manners::plain(8_000_000)).ending(Finale::FinAfterPeer);
    let mut tunnels = vec![super::tunnel(5_000, slowly(Manners::plain(8_000_000)), long)];
    tunnels.extend((0..6).map(|index| TunnelPlan::plain((5_000 + index * 10) * MS, 50_000, 50_000)));
    tunnels.extend((0..6).map(|index| TunnelPlan::plain((70_000 + index * 10) * MS, 50_000, 50_000)));
    let silence = |from_agent| Silence { agent: 0, from_agent, at_ns: 0, for_ns: 10_000 * MS };
    let silences = vec![silence(true), silence(false)];
    Options { silences, transport: Transport::Auto, heal_at_ns: 75_000 * MS, ..calm(seed, tunnels) }
}

/// UDP passes no more in the middle of tunnels over QUIC. Dials go on all the time; the first half a second later.
fn udp_gone(seed: u64, for_ns: u64) -> Options {
    let long = slowly(Manners::plain(3_000_000)).ending(Finale::FinAfterPeer);
    let mut tunnels = vec![super::tunnel(2_000, long, slowly(Manners::plain(3_000_000)))];
    tunnels.push(super::tunnel(2_000, slowly(Manners::plain(3_000_000)), long));
    tunnels.extend((0..100).map(|index| TunnelPlan::plain((4_500 + index * 500) * MS, 50_000, 50_000)));
    let silence = |from_agent| Silence { agent: 0, from_agent, at_ns: 4_000 * MS, for_ns };
    let silences = vec![silence(true), silence(false)];
    Options { silences, transport: Transport::Auto, heal_at_ns: 60_000 * MS, ..calm(seed, tunnels) }
}

/// For 20 s: four times the time in which an agent without TCP would be given up.
fn udp_gone_for_a_while(seed: u64) -> Options {
    udp_gone(seed, 20_000 * MS)
}

/// To the end.
fn udp_gone_for_good(seed: u64) -> Options {
    udp_gone(seed, 300_000 * MS)
}

/// For 20 s, where a round trip of datagrams takes longer than half a second: to whoever counts probe timeouts the end
/// comes as soon as the doubt.
fn udp_gone_on_a_slow_path(seed: u64) -> Options {
    let mut options = udp_gone(seed, 20_000 * MS);
    options.faults.net.delay = Span::millis(300, 300);
    options
}
