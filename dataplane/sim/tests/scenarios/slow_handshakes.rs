//! Peers that are slow on purpose are thrown out when their time is up, whatever they do meanwhile; beside them agents
//! join and clients dial as if nobody were there, and nothing is left of them.

use std::collections::BTreeMap;
use std::time::Duration;

use adit_dataplane::limits::{HANDSHAKE_TIME_MAX, HANDSHAKES_MAX, HELLO_TIME_MAX};
use adit_dataplane::wire::CloseCode;
use adit_sim::world::options::HostileKind;
use adit_sim::world::{Ended, Report, Visit};

use super::{all_arrived, assert_undisturbed, tell, tell_otherwise};

/// APPLICATION_ERROR (RFC 9000 section 20.1): how an application's code is told before the handshake is over.
const APPLICATION_ERROR: u64 = 0x0c;
/// Later than its time by no more than this: a round trip, and turns that oversleep.
const SLACK: Duration = Duration::from_millis(20);

/// Whether the server threw it out neither before its time nor later than a moment after it.
fn in_time(visit: &Visit, kind: HostileKind) -> bool {
    let Some((ended_at, ended)) = &visit.ended else { return true };
    let connected = visit.connected_at.map(|at| Duration::from_nanos(ended_at.0 - at.0));
    let lasted = Duration::from_nanos(ended_at.0 - visit.began_at.0);
    let timely = |waited: Duration, limit: Duration| waited >= limit - SLACK && waited <= limit + SLACK;
    let no_hello = Ended::Closed(u64::from(CloseCode::HelloTimeout.code()), "no Hello in time".to_owned());
    match kind {
        // It hears nothing of it.
        HostileKind::Deaf | HostileKind::Greedy { .. } => false,
        HostileKind::Mute | HostileKind::Dripping { .. } => {
            *ended == no_hello && timely(connected.unwrap_or_default(), HELLO_TIME_MAX)
        }
        // Up to two pauses pass before the server holds anything for it: a first packet, and one with a token.
        HostileKind::Halting { every_ns } => {
            let (least, most) = if *ended == no_hello {
                (Duration::from_nanos(every_ns), HANDSHAKE_TIME_MAX + HELLO_TIME_MAX)
            } else {
                (HANDSHAKE_TIME_MAX, HANDSHAKE_TIME_MAX)
            };
            let most = most + Duration::from_nanos(2 * every_ns);
            (*ended == no_hello || *ended == Ended::Refused(APPLICATION_ERROR))
                && (least - SLACK..=most + SLACK).contains(&lasted)
        }
    }
}

fn check(report: &Report) {
    all_arrived(report, 0);
    let mut thrown_out = BTreeMap::new();
    for hostile in &report.hostiles {
        for visit in &hostile.visits {
            assert!(in_time(visit, hostile.kind), "seed {}: {:?}: {visit:?}", report.seed, hostile.kind);
            assert_eq!(visit.welcome_at, None, "seed {}", report.seed);
        }
        let ended = hostile.visits.iter().filter_map(|visit| visit.ended.as_ref());
        let unheard = matches!(hostile.kind, HostileKind::Deaf);
        assert!(unheard || ended.clone().count() > 0, "seed {}: {hostile:?}", report.seed);
        for (_, ended) in ended {
            *thrown_out.entry(format!("{ended:?}")).or_insert(0) += 1;
        }
    }
    // Some for want of a Hello, some because their handshake took too long.
    let counts: Vec<u64> = thrown_out.values().copied().collect();
    assert!(counts.len() == 2 && counts.iter().all(|count| *count > 80), "{thrown_out:?}");
    assert!(report.peak.handshakes <= HANDSHAKES_MAX, "seed {}: {:?}", report.seed, report.peak);
    for left in &report.left {
        assert_eq!((left.handshakes, left.tunnels, left.streams), (0, 0, 0), "seed {}", report.seed);
        // Each agent keeps one connection to each shard.
        assert_eq!((left.connections, left.sessions), (2, 2), "seed {}", report.seed);
    }
}

#[test]
fn slow_handshakes() {
    tell("slow_handshakes", 4, |report| {
        check(report);
        let quiet = tell_otherwise("slow_handshakes", report.seed, |options| options.hostiles.clear());
        // A Retry costs a round trip, and is all that they may cost.
        assert_undisturbed(report, &quiet, 2_000_000);
    });
}
