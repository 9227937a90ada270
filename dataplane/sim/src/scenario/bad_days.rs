//! Stories of networks and systems that misbehave for a while. The same with real networks are the namespace tests of
//! control.

use super::{MS, Scenario, calm, slowly, tunnel};
use crate::rng::{Ppm, Span};
use crate::script::{Finale, Manners};
use crate::world::options::{Options, Relocation, Silence, TunnelPlan};

/// All of them.
pub(super) const ALL: [Scenario; 10] = [
    ("nat_rebinding", nat_rebinding),
    ("node_address_changes", node_address_changes),
    ("short_outage", short_outage),
    ("long_outage", long_outage),
    ("one_way_outage", one_way_outage),
    ("mtu_shrinks", mtu_shrinks),
    ("mtu_grows_again", mtu_grows_again),
    ("segmentation_refused", segmentation_refused),
    ("no_descriptors", no_descriptors),
    ("sends_refused", sends_refused),
];

/// Tunnels that go on each way for some seconds.
fn long_tunnels(start_ms: u64) -> Vec<TunnelPlan> {
    let long = slowly(Manners::plain(1_000_000));
    (0..3).map(|index| tunnel(start_ms + index * 10, long, long)).collect()
}

fn silence(from_agent: bool, at_ms: u64, for_ms: u64) -> Silence {
    Silence { agent: 0, from_agent, at_ns: at_ms * MS, for_ns: for_ms * MS }
}

/// The translation before the agents forgets them about every second.
fn nat_rebinding(seed: u64) -> Options {
    let mut options = Options { nat: true, heal_at_ns: 20_000 * MS, ..calm(seed, long_tunnels(200)) };
    options.faults.net.rebind = Some(Span::millis(700, 1_500));
    options
}

/// The agent's node has another address three times, in the middle of everything.
fn node_address_changes(seed: u64) -> Options {
    let relocations = [700, 1_300, 2_000].map(|at_ms| Relocation { agent: 0, at_ns: at_ms * MS });
    Options { relocations: relocations.to_vec(), heal_at_ns: 20_000 * MS, ..calm(seed, long_tunnels(200)) }
}

/// Nothing gets through either way for three and a half seconds.
fn short_outage(seed: u64) -> Options {
    let silences = vec![silence(true, 1_000, 3_500), silence(false, 1_000, 3_500)];
    Options { silences, heal_at_ns: 30_000 * MS, ..calm(seed, long_tunnels(200)) }
}

/// Nothing gets through either way for ten seconds; six seconds later, dials are served again.
fn long_outage(seed: u64) -> Options {
    let held = slowly(Manners::plain(10_000_000)).ending(Finale::Hold);
    let mut tunnels: Vec<_> = (0..4).map(|_| tunnel(500, held, held)).collect();
    tunnels.extend((0..4).map(|index| TunnelPlan::plain((17_000 + index * 10) * MS, 50_000, 50_000)));
    let silences = vec![silence(true, 1_000, 10_000), silence(false, 1_000, 10_000)];
    Options { silences, heal_at_ns: 20_000 * MS, ..calm(seed, tunnels) }
}

/// Three and a half seconds without what the agent sends, and later without what the server sends.
fn one_way_outage(seed: u64) -> Options {
    let long = slowly(Manners::plain(4_000_000));
    let tunnels = (0..2).map(|index| tunnel(200 + index * 10, long, long)).collect();
    let silences = vec![silence(true, 1_000, 3_500), silence(false, 7_000, 3_500)];
    Options { silences, heal_at_ns: 60_000 * MS, ..calm(seed, tunnels) }
}

/// Paths carry less from one moment to the next, and say nothing.
fn mtu_shrinks(seed: u64) -> Options {
    let mut options = Options { heal_at_ns: 30_000 * MS, ..calm(seed, long_tunnels(200)) };
    options.faults.net.mtu_shrink = Some((Span::millis(500, 2_000), 1_230));
    options
}

/// Paths carry less for half a minute and then as much as before. Whoever found them smaller looks again a minute
/// later; the tunnels go on for longer.
fn mtu_grows_again(seed: u64) -> Options {
    let mut long = slowly(Manners::plain(1_200_000));
    long.write_pause = Span::millis(200, 400);
    let tunnels = (0..3).map(|index| tunnel(200 + index * 10, long, long)).collect();
    let mut options = Options { heal_at_ns: 150_000 * MS, ..calm(seed, tunnels) };
    options.faults.net.mtu_bytes = 1_452;
    options.faults.net.mtu_shrink = Some((Span::millis(2_000, 4_000), 1_230));
    options.faults.net.mtu_grow = Some(Span::millis(20_000, 40_000));
    options
}

/// The system segments trains, and then does not any more.
fn segmentation_refused(seed: u64) -> Options {
    let tunnels = (0..4).map(|index| TunnelPlan::plain((200 + index) * MS, 4_000_000, 4_000_000)).collect();
    let mut options = Options { heal_at_ns: 30_000 * MS, ..calm(seed, tunnels) };
    options.faults.io.segmentation_refused_after = Some(Span::millis(210, 260));
    options
}

/// Half of what is accepted finds no descriptor.
fn no_descriptors(seed: u64) -> Options {
    let tunnels = (0..20).map(|index| TunnelPlan::plain((200 + index) * MS, 20_000, 20_000)).collect();
    let mut options = Options { heal_at_ns: 30_000 * MS, ..calm(seed, tunnels) };
    options.faults.io.accept_error = Ppm::percent(50);
    options
}

/// A tenth of what is sent finds no room in the system; the handshake had its time.
fn sends_refused(seed: u64) -> Options {
    let mut options = Options { heal_at_ns: 60_000 * MS, ..calm(seed, long_tunnels(4_000)) };
    options.faults.io.datagram_send_error = Ppm::percent(10);
    options
}
