//! Hand-written stories, each named after what it is about. `tests/scenarios` says what must come of them;
//! `sim --scenario NAME --seed S` replays one.

mod bad_days;
mod grpc;
mod hostile;
mod old_agents;
mod tcp;

use crate::driver::DriverConfig;
use crate::faults::Faults;
use crate::rng::{Ppm, Prng, Span};
use crate::script::{Finale, Manners, Stop};
use crate::world::options::{DrainPlan, Options, Restart, Silence, TunnelPlan};

/// A millisecond, in nanoseconds.
const MS: u64 = 1_000_000;

/// A story's name and its options under a seed.
pub type Scenario = (&'static str, fn(u64) -> Options);

/// Those in this file; stories of other matters have files of their own.
const ALL: [Scenario; 18] = [
    ("half_close_each_way", half_close_each_way),
    ("reset_each_way", reset_each_way),
    ("stopped_reader", stopped_reader),
    ("without_stopped_reader", without_stopped_reader),
    ("agent_restart", agent_restart),
    ("server_restart", server_restart),
    ("buffers_exhausted", buffers_exhausted),
    ("cancel_races_completion", cancel_races_completion),
    ("zero_copy_notification_late", zero_copy_notification_late),
    ("zero_copy_notification_never", zero_copy_notification_never),
    ("dial_answer_lost", dial_answer_lost),
    ("connection_replaced", connection_replaced),
    ("accept_refused", accept_refused),
    ("frontends_over_tls", frontends_over_tls),
    ("dials_handed_over", dials_handed_over),
    ("inbox_full", inbox_full),
    ("handshake_flood", handshake_flood),
    ("drain_while_dials_are_handed_over", drain_while_dials_are_handed_over),
];

fn all() -> impl Iterator<Item = &'static Scenario> {
    ALL.iter()
        .chain(&bad_days::ALL)
        .chain(&grpc::ALL)
        .chain(&hostile::ALL)
        .chain(&tcp::ALL)
        .chain(&old_agents::ALL)
}

/// The names of all stories.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().map(|(name, _)| *name)
}

/// The options of a story.
#[must_use]
pub fn options(name: &str, seed: u64) -> Option<Options> {
    all().find(|(own, _)| *own == name).map(|(_, options)| options(seed))
}

fn calm(seed: u64, tunnels: Vec<TunnelPlan>) -> Options {
    Options { tunnels, every_dial_succeeds: true, ..Options::calm(seed) }
}

fn tunnel(start_ms: u64, client: Manners, target: Manners) -> TunnelPlan {
    TunnelPlan { client_manners: client, target_manners: target, ..TunnelPlan::plain(start_ms * MS, 0, 0) }
}

const fn slowly(mut manners: Manners) -> Manners {
    manners.write_max = 4_096;
    manners.write_pause = Span::millis(5, 15);
    manners
}

/// Either end ends its direction first; the other goes on for a second.
fn half_close_each_way(seed: u64) -> Options {
    let short = Manners::plain(10_000);
    let long = slowly(Manners::plain(300_000)).ending(Finale::FinAfterPeer);
    calm(seed, vec![tunnel(200, short, long), tunnel(200, long, short)])
}

/// Either end resets in the middle of the other's bytes.
fn reset_each_way(seed: u64) -> Options {
    let resets = slowly(Manners::plain(50_000)).ending(Finale::Reset);
    let goes_on = slowly(Manners::plain(1_000_000)).ending(Finale::Hold);
    // A Unix socket resets by closing with bytes unread: this one stops reading before it does.
    let closes = resets.stopping_after(1_000);
    calm(seed, vec![tunnel(200, closes, goes_on), tunnel(200, goes_on, resets)])
}

/// Readers that stop for ever, each way, and others that must not notice.
fn stopped_reader(seed: u64) -> Options {
    let mut options = without_stopped_reader(seed);
    let stops = Manners::plain(0).ending(Finale::Hold).stopping_after(10_000);
    let bulk = Manners::plain(8_000_000).ending(Finale::Hold);
    for _ in 0..4 {
        options.tunnels.push(tunnel(100, stops, bulk));
        options.tunnels.push(tunnel(100, bulk, stops));
    }
    options
}

/// The others of [`stopped_reader`], by themselves. They say little: the time of many bytes tells more of how the
/// congestion window happened to grow than of who else is there.
fn without_stopped_reader(seed: u64) -> Options {
    let others = (0..24).map(|index| TunnelPlan::plain((3_000 + index * 50) * MS, 2_000, 2_000)).collect();
    Options { heal_at_ns: 8_000 * MS, ..calm(seed, others) }
}

/// One of two agents dies and comes back; the dials after it are served by the other.
fn agent_restart(seed: u64) -> Options {
    let long = slowly(Manners::plain(10_000_000)).ending(Finale::Hold);
    let mut tunnels: Vec<_> = (0..6).map(|_| tunnel(500, long, long)).collect();
    tunnels.extend((0..20).map(|index| TunnelPlan::plain((1_010 + index * 100) * MS, 5_000, 5_000)));
    Options {
        agents: 2,
        restarts: vec![Restart { agent: Some(0), at_ns: 1_000 * MS, down_ns: 3_000 * MS }],
        heal_at_ns: 8_000 * MS,
        ..calm(seed, tunnels)
    }
}

/// The server dies and comes back after three seconds; six seconds later its agents serve again.
fn server_restart(seed: u64) -> Options {
    let long = slowly(Manners::plain(10_000_000)).ending(Finale::Hold);
    let mut tunnels: Vec<_> = (0..4).map(|_| tunnel(500, long, long)).collect();
    tunnels.extend((0..4).map(|index| TunnelPlan::plain((10_000 + index * 10) * MS, 50_000, 50_000)));
    Options {
        agents: 2,
        restarts: vec![Restart { agent: None, at_ns: 1_000 * MS, down_ns: 3_000 * MS }],
        heal_at_ns: 15_000 * MS,
        ..calm(seed, tunnels)
    }
}

/// Two receive slots of each sort, and even those often not there.
fn buffers_exhausted(seed: u64) -> Options {
    let tunnels = (0..6).map(|index| TunnelPlan::plain((200 + index) * MS, 150_000, 150_000)).collect();
    let mut options = calm(seed, tunnels);
    let few = DriverConfig { small_slots: 2, large_slots: 1, datagram_slots: 2, ..options.server };
    (options.server, options.agent) = (few, few);
    options.faults.io.no_slot = Ppm::percent(30);
    options.heal_at_ns = 60_000 * MS;
    options
}

/// Every cancellation comes late, and what it is to cancel may have happened.
fn cancel_races_completion(seed: u64) -> Options {
    let tunnels = (0..10).map(|index| TunnelPlan::plain((200 + index * 10) * MS, 300_000, 300_000)).collect();
    let mut options = calm(seed, tunnels);
    options.faults.io.cancel_late = Ppm::percent(80);
    options.faults.io.cancel_late_by = Span::micros(1, 3_000);
    options.faults.io.op_latency = Span::micros(1, 500);
    options.faults.pipe.buffer_bytes = (20_000, 80_000);
    options.heal_at_ns = 30_000 * MS;
    options
}

/// The kernel keeps the buffers of large trains for up to 700 ms.
fn zero_copy_notification_late(seed: u64) -> Options {
    let mut options = calm(seed, vec![TunnelPlan::plain(200 * MS, 4_000_000, 4_000_000)]);
    options.make_bulky(&mut Prng::new(seed, "scenario"));
    options.proof_bytes = 0;
    options.heal_at_ns = 60_000 * MS;
    options
}

/// Some buffers never come back before the socket is closed.
fn zero_copy_notification_never(seed: u64) -> Options {
    let mut options = zero_copy_notification_late(seed);
    options.faults.io.notification = Faults::none().io.notification;
    options.faults.io.notification_at_close = Ppm::percent(50);
    options
}

/// What an agent answers is lost for longer than a dial waits; the other agent is asked.
fn dial_answer_lost(seed: u64) -> Options {
    let tunnels = (0..12).map(|index| TunnelPlan::plain((1_000 + index) * MS, 2_000, 2_000)).collect();
    let silence = Silence { agent: 0, from_agent: true, at_ns: 1_000 * MS, for_ns: 4_000 * MS };
    Options { agents: 2, silences: vec![silence], heal_at_ns: 10_000 * MS, ..calm(seed, tunnels) }
}

/// Forged reports make agents replace their connections again and again while downloads come to their ends.
fn connection_replaced(seed: u64) -> Options {
    let tunnels =
        (0..10).map(|index| TunnelPlan::plain((3_000 + index * 150) * MS, 1_000, 200_000)).collect();
    let mut options = calm(seed, tunnels);
    options.faults.net.delay = Span::millis(20, 40);
    options.faults.net.unreachable_forged = Ppm::percent(2);
    options.heal_at_ns = 20_000 * MS;
    options
}

/// The driver has no room for most operations, the kernel ends every multishot operation at once, and a shard that
/// oversleeps finds connections that came and connections that left in one turn: listeners must be armed again.
fn accept_refused(seed: u64) -> Options {
    let mut options = calm(seed, Vec::new());
    options.faults.io.refuse = Ppm::percent(60);
    options.faults.io.multishot_end = Ppm::percent(100);
    options.faults.process.overshoot = Span::millis(0, 30);
    let brief = Manners::plain(100).ending(Finale::Close);
    options.tunnels = (0..30)
        .map(|index| {
            let plan = tunnel(200 + 3 * index, brief, Manners::plain(100));
            if index % 2 == 0 { plan } else { plan.over_tls() }
        })
        .collect();
    options
}

/// Over TCP with TLS: half-close either way round, either end's reset, and a reader that stops for two seconds.
fn frontends_over_tls(seed: u64) -> Options {
    let short = Manners::plain(10_000);
    let long = slowly(Manners::plain(300_000)).ending(Finale::FinAfterPeer);
    let resets = slowly(Manners::plain(50_000)).ending(Finale::Reset);
    let goes_on = slowly(Manners::plain(1_000_000)).ending(Finale::Hold);
    let mut stops = Manners::plain(0);
    stops.stop = Some(Stop { after_bytes: 30_000, for_ns: Some(2_000 * MS) });
    let much = Manners::plain(4_000_000);
    let pairs = [(short, long), (long, short), (stops, much), (resets, goes_on), (goes_on, resets)];
    calm(seed, pairs.map(|(client, target)| tunnel(200, client, target).over_tls()).to_vec())
}

/// Three shards and agents with one connection each: most dials are another shard's, and of the wakes between shards
/// four in ten have no effect.
fn dials_handed_over(seed: u64) -> Options {
    let tunnels = (0..24).map(|index| TunnelPlan::plain((1_000 + index * 20) * MS, 30_000, 30_000)).collect();
    let mut options =
        Options { agents: 2, server_shards: 3, agent_connections: Some(1), ..calm(seed, tunnels) };
    options.faults.process.wake_lost = Ppm::percent(40);
    options.faults.process.wake_delay = Span::millis(0, 5);
    options
}

/// Everybody asks at one moment, and a shard's inbox has room for one.
fn inbox_full(seed: u64) -> Options {
    let tunnels = (0..24).map(|_| TunnelPlan::plain(1_000 * MS, 3_000, 3_000)).collect();
    let mut options = Options {
        agents: 2,
        server_shards: 2,
        agent_connections: Some(1),
        inbox_max: 1,
        ..calm(seed, tunnels)
    };
    options.every_dial_succeeds = false;
    options.faults.process.wake_delay = Span::millis(5, 10);
    options
}

/// First packets from four hundred addresses to three shards, and meanwhile the only agent dies and comes back.
fn handshake_flood(seed: u64) -> Options {
    let tunnels = (0..8).map(|index| TunnelPlan::plain((3_000 + index * 50) * MS, 5_000, 5_000)).collect();
    Options {
        initials: 400,
        server_shards: 3,
        heal_at_ns: 12_000 * MS,
        restarts: vec![Restart { agent: Some(0), at_ns: 1_000 * MS, down_ns: 500 * MS }],
        ..calm(seed, tunnels)
    }
}

/// The server is told to end while dials are on their way from shard to shard.
fn drain_while_dials_are_handed_over(seed: u64) -> Options {
    let tunnels = (0..40).map(|index| TunnelPlan::plain(995 * MS + index * MS / 4, 3_000, 3_000)).collect();
    let mut options =
        Options { agents: 2, server_shards: 3, agent_connections: Some(1), ..calm(seed, tunnels) };
    options.every_dial_succeeds = false;
    options.faults.process.wake_delay = Span::millis(0, 3);
    options.drain = Some(DrainPlan { at_ns: 1_000 * MS, for_ns: 2_000 * MS, down_ns: 500 * MS });
    options.heal_at_ns = 8_000 * MS;
    options
}
