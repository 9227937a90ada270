//! Stories of a server and its agents in simulated worlds, one file each, named after the promise. Each runs under
//! several seeds: the same story with other schedules.

mod accept_refused;
mod agent_restart;
mod buffers_exhausted;
mod cancel_races_completion;
mod connection_replaced;
mod dial_answer_lost;
mod dials_handed_over;
mod drain_while_dials_are_handed_over;
mod frontends_over_tls;
mod half_close_each_way;
mod handshake_flood;
mod inbox_full;
mod long_outage;
mod mtu_grows_again;
mod mtu_shrinks;
mod nat_rebinding;
mod no_descriptors;
mod node_address_changes;
mod one_way_outage;
mod reset_each_way;
mod segmentation_refused;
mod sends_refused;
mod server_restart;
mod short_outage;
mod stopped_reader;
mod zero_copy_notification_late;
mod zero_copy_notification_never;

use adit_sim::script::Seen;
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
