//! Stories of a server and its agents in simulated worlds, one file each, named after the promise. Each runs under
//! several seeds: the same story with other schedules.

mod accept_refused;
mod agent_restart;
mod agents_over_tcp;
mod buffers_exhausted;
mod calls_cut_together;
mod cancel_races_completion;
mod connection_replaced;
mod dial_answer_lost;
mod dials_handed_over;
mod drain_while_dials_are_handed_over;
mod drain_with_calls;
mod frontends_over_tls;
mod grpc_under_faults;
mod half_close_each_way;
mod handshake_flood;
mod hostile_server;
mod inbox_full;
mod long_outage;
mod million_streams;
mod mtu_grows_again;
mod mtu_shrinks;
mod nat_rebinding;
mod no_descriptors;
mod node_address_changes;
mod old_agent_lost;
mod old_agents;
mod one_way_outage;
mod reset_each_way;
mod segmentation_refused;
mod sends_refused;
mod server_restart;
mod short_outage;
mod slow_handshakes;
mod stopped_call;
mod stopped_reader;
mod udp_blackholed;
mod udp_gone;
mod zero_copy_notification_late;
mod zero_copy_notification_never;

use adit_sim::script::Seen;
use adit_sim::world::options::Options;
use adit_sim::world::{EndOutcome, Report, World};

/// Runs a story under this many seeds and shows each report.
fn tell(name: &str, seeds: u64, mut check: impl FnMut(&Report)) {
    for seed in 0..seeds {
        let options = adit_sim::scenario::options(name, seed).expect("the story exists");
        match World::new(options).run() {
            Ok(report) => check(&report),
            Err(failure) => panic!("{name}: {failure}"),
        }
    }
}

/// The end of a direction, in order.
fn ended(end: EndOutcome) -> bool {
    matches!(end.saw, Some((Seen::End | Seen::EndAndGone, _)))
}

/// Every tunnel from `from` on was established and carried everything both ways.
fn all_arrived(report: &Report, from: usize) {
    for (index, tunnel) in report.tunnels.iter().enumerate().skip(from) {
        assert_eq!(
            tunnel.answer.map(|(status, _)| status),
            Some(200),
            "seed {}: tunnel {index}",
            report.seed
        );
        let client = tunnel.client.expect("a 200 is the beginning of a tunnel");
        let target = *tunnel.targets.iter().max_by_key(|end| end.received).expect("a 200 means a connection");
        assert!(ended(client) && ended(target), "seed {}: tunnel {index}: {tunnel:?}", report.seed);
        assert_eq!((client.received, target.received), (target.sent, client.sent), "tunnel {index}");
    }
}

/// The same story under the same seed with some of its options changed.
fn tell_otherwise(name: &str, seed: u64, change: impl FnOnce(&mut Options)) -> Report {
    let mut options = adit_sim::scenario::options(name, seed).expect("the story exists");
    change(&mut options);
    World::new(options).run().unwrap_or_else(|failure| panic!("{name}: {failure}"))
}

/// What honest agents and clients waited for, in nanoseconds: to be welcome, to be answered, to have everything.
fn waits(report: &Report) -> [Vec<u64>; 3] {
    let joins = report.joins.iter().map(|join| join.ready_at.expect("it was welcome").0 - join.began_at.0);
    let asked = |index: usize| report.tunnels[index].asked_at.expect("asked").0;
    let answers = report.tunnels.iter().map(|tunnel| tunnel.answer.expect("answered").1.0);
    let ends = report.tunnels.iter().map(|tunnel| tunnel.client.and_then(|end| end.saw).expect("ended").1.0);
    let since = |(index, at): (usize, u64)| at - asked(index);
    [joins.collect(), answers.enumerate().map(since).collect(), ends.enumerate().map(since).collect()]
}

/// Beside whatever was there nobody waited longer than in the quiet world by more than this, and all clients together
/// by no more than a tenth.
fn assert_undisturbed(beside: &Report, quiet: &Report, more_ns: u64) {
    let (beside_ns, quiet_ns) = (waits(beside), waits(quiet));
    let sums = |waits: &[Vec<u64>; 3]| [&waits[1], &waits[2]].map(|waits| waits.iter().sum::<u64>());
    for (sum, quiet_sum) in sums(&beside_ns).into_iter().zip(sums(&quiet_ns)) {
        let all = format!("seed {}: all waited {sum} ns, in a quiet world {quiet_sum} ns", beside.seed);
        assert!(sum <= quiet_sum + quiet_sum / 10, "{all}");
    }
    for (longest, quiet_longest) in
        beside_ns.iter().zip(&quiet_ns).map(|(b, q)| (b.iter().max(), q.iter().max()))
    {
        let (Some(longest), Some(quiet_longest)) = (longest, quiet_longest) else { panic!("nobody waited") };
        let one =
            format!("seed {}: one waited {longest} ns, in a quiet world {quiet_longest} ns", beside.seed);
        assert!(*longest <= quiet_longest + more_ns, "{one}");
    }
}
