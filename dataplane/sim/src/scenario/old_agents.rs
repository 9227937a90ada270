//! Stories of Konnectivity's agents beside adit's.

use super::{MS, Scenario, calm, slowly, tunnel};
use crate::rng::Span;
use crate::script::{Finale, Manners};
use crate::world::options::{OldAgentPlan, Options, TunnelPlan};

/// All of them.
pub(super) const ALL: [Scenario; 4] = [
    ("old_agents", old_agents),
    ("old_agent_stops_reading", old_agent_stops_reading),
    ("old_agent_lost", old_agent_lost),
    ("only_old_agent_lost", only_old_agent_lost),
];

/// One that does what it should.
const GOOD: OldAgentPlan = OldAgentPlan { answers_after: Span::millis(0, 5), cut_at_ns: None, stops: None };

/// Both ends send so much; the client closes when it has everything, over HTTP CONNECT or in GRPC mode.
fn exchange(start_ms: u64, bytes: u64, index: u64) -> TunnelPlan {
    let client = slowly(Manners::plain(bytes)).ending(Finale::CloseAfter(bytes));
    let plan = tunnel(start_ms, client, slowly(Manners::plain(bytes)).ending(Finale::FinAfterPeer));
    if index.is_multiple_of(2) { plan.over_grpc(index.is_multiple_of(4).then_some(0)) } else { plan }
}

/// Two old agents take part in routing beside one of adit's.
fn old_agents(seed: u64) -> Options {
    let tunnels = (0..30).map(|index| exchange(1_000 + index * 20, 60_000, index)).collect();
    Options { old_agents: vec![GOOD; 2], server_shards: 2, ..calm(seed, tunnels) }
}

/// An old agent reads nothing for two seconds, beside one of adit's.
fn old_agent_stops_reading(seed: u64) -> Options {
    let stops = OldAgentPlan { stops: Some((1_300 * MS, 2_000 * MS)), ..GOOD };
    Options { old_agents: vec![stops], heal_at_ns: 20_000 * MS, ..old_agents(seed) }
}

/// An old agent that takes half a second to answer is lost while dials and bytes are on their way.
fn old_agent_lost(seed: u64) -> Options {
    let lost = OldAgentPlan { answers_after: Span::millis(500, 500), cut_at_ns: Some(2_000 * MS), ..GOOD };
    let mut tunnels: Vec<_> = (0..12).map(|index| exchange(1_000 + index, 1_000_000, index)).collect();
    tunnels.extend((0..12).map(|index| exchange(1_700 + index * 10, 20_000, index)));
    tunnels.extend((0..12).map(|index| exchange(2_100 + index * 10, 20_000, index)));
    let mut options = Options { old_agents: vec![lost], heal_at_ns: 15_000 * MS, ..calm(seed, tunnels) };
    options.every_dial_succeeds = false;
    options
}

/// The same where it is the only agent.
fn only_old_agent_lost(seed: u64) -> Options {
    let mut options = old_agent_lost(seed);
    options.agents = 0;
    options.tunnels.truncate(24);
    options
}
