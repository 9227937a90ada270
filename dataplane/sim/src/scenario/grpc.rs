//! Stories of clients in GRPC mode: HTTP/2 connections with one call, and with many.

use super::{MS, Scenario, calm, slowly, tunnel};
use crate::script::{Finale, Manners};
use crate::world::options::{DrainPlan, Options, TunnelPlan};

/// All of them.
pub(super) const ALL: [Scenario; 5] = [
    ("grpc_under_faults", grpc_under_faults),
    ("calls_cut_together", calls_cut_together),
    ("stopped_call", stopped_call),
    ("without_stopped_call", without_stopped_call),
    ("drain_with_calls", drain_with_calls),
];

/// Downloads of [`calls_cut_together`].
const DOWNLOADS: usize = 128;

/// A call whose target sends so much, and ends when its client has.
fn call(start_ms: u64, up_bytes: u64, down_bytes: u64, link: Option<u32>) -> TunnelPlan {
    let target = Manners::plain(down_bytes).ending(Finale::FinAfterPeer);
    tunnel(start_ms, Manners::plain(up_bytes), target).over_grpc(link)
}

/// A world of the swarm, with everything that goes wrong in it, in which every client speaks GRPC mode.
fn grpc_under_faults(seed: u64) -> Options {
    let mut options = Options::swarm(seed);
    for (plan, number) in options.tunnels.iter_mut().zip(0..) {
        if plan.grpc.is_none() {
            // Half of them in threes.
            *plan = plan.over_grpc((number % 6 < 3).then_some(1_000 + number / 6));
        }
    }
    options
}

/// A hundred and twenty-eight downloads on one HTTP/2 connection, cut in the middle. Then others come.
fn calls_cut_together(seed: u64) -> Options {
    let download = slowly(Manners::plain(2_000_000)).ending(Finale::Hold);
    let cut =
        tunnel(500, Manners::plain(100).ending(Finale::Hold), download).over_grpc(Some(0)).cut_at(1_200 * MS);
    let mut tunnels = vec![cut; DOWNLOADS];
    tunnels
        .extend((0..8).map(|index| call(1_210 + index * 50, 20_000, 20_000, (index % 2 == 0).then_some(1))));
    Options { heal_at_ns: 10_000 * MS, ..calm(seed, tunnels) }
}

/// One reader on an HTTP/2 connection stops for ever; others come and go on the same connection.
fn stopped_call(seed: u64) -> Options {
    let mut options = without_stopped_call(seed);
    let stops = Manners::plain(0).ending(Finale::Hold).stopping_after(10_000);
    let bulk = Manners::plain(4_000_000).ending(Finale::Hold);
    options.tunnels.push(tunnel(100, stops, bulk).over_grpc(Some(0)));
    options.tunnels.push(tunnel(100, bulk, stops).over_grpc(Some(0)));
    options
}

/// The others of [`stopped_call`], by themselves. One that says nothing keeps their connection.
fn without_stopped_call(seed: u64) -> Options {
    let mut others: Vec<_> = (0..24).map(|index| call(3_000 + index * 50, 2_000, 2_000, Some(0))).collect();
    let silent = Manners::plain(0).ending(Finale::Hold);
    others.push(tunnel(100, silent, silent).over_grpc(Some(0)));
    Options { heal_at_ns: 8_000 * MS, ..calm(seed, others) }
}

/// The server is told to end while calls run: four on one connection, and four on their own. Others come too late.
fn drain_with_calls(seed: u64) -> Options {
    let long = slowly(Manners::plain(300_000));
    let running = |index: u64| {
        let target = long.ending(Finale::FinAfterPeer);
        tunnel(500, long, target).over_grpc(index.is_multiple_of(2).then_some(0))
    };
    let mut tunnels: Vec<_> = (0..8).map(running).collect();
    tunnels.extend((0..4).map(|index| call(700 + index * 50, 1_000, 1_000, None)));
    let mut options = calm(seed, tunnels);
    options.every_dial_succeeds = false;
    options.drain = Some(DrainPlan { at_ns: 650 * MS, for_ns: 10_000 * MS, down_ns: 500 * MS });
    options.heal_at_ns = 15_000 * MS;
    options
}
