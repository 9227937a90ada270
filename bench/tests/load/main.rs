//! The instrument judged: a bare target gives clean samples, and every fault of a relay between is found and counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_bench::load::{Direction, Labels, Plan, Watched, Workload, round};
use adit_bench::proxy::{Connector, Mode, Options, Proxy};
use adit_bench::record::{Sample, UNFINISHED, read_lines, write_line};
use adit_bench::report::LiveMetrics;
use adit_bench::target::Target;
use clap::ValueEnum;

mod relay;

use relay::{Fault, Relay};

const MS: Duration = Duration::from_millis(1);

/// A target on a thread of its own, for as long as this lives.
struct Behind {
    addr: SocketAddr,
    _runtime: tokio::runtime::Runtime,
    _target: Target,
}

fn target() -> Behind {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let target = runtime.block_on(Target::start(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
    Behind { addr: target.local_addr(), _runtime: runtime, _target: target }
}

fn plan(workload: Workload, at: SocketAddr) -> Plan {
    let options = Options {
        proxy: Proxy::Forward(at.to_string()),
        target: at.to_string(),
        mode: Mode::HttpConnect,
        reuse: false,
        tls: None,
        congestion_control: None,
    };
    Plan {
        connector: Connector::new(options).unwrap(),
        workload,
        connections: workload.connections().min(20),
        rate: None,
        bytes: None,
        direction: Direction::Up,
        warm_up: 100 * MS,
        duration: 400 * MS,
        grace: Duration::from_secs(20),
        threads: 1,
        seed: 1,
    }
}

fn run(plan: Plan, watched: &[Watched]) -> Sample {
    let labels = Labels { system: "relay".to_owned(), ..Labels::default() };
    round(&Arc::new(plan), &labels, 1, watched, &LiveMetrics::default(), &mut |_| {}).unwrap()
}

fn through(fault: Fault, change: impl FnOnce(&mut Plan), workload: Workload) -> Sample {
    let target = target();
    let relay = Relay::start(target.addr, fault);
    let mut plan = plan(workload, relay.addr());
    change(&mut plan);
    run(plan, &[])
}

fn count(sample: &Sample, kind: &str) -> u64 {
    sample.errors.iter().filter(|(name, _)| name.starts_with(kind)).map(|(_, errors)| errors.count).sum()
}

#[test]
fn every_workload_through_a_faultless_relay_is_clean_and_keeps_its_line() {
    for &workload in Workload::value_variants() {
        let sample = through(Fault::None, |_| {}, workload);
        assert!(sample.is_clean(), "{workload:?}: {:?}", sample.errors);
        assert!(sample.operations > 0, "{workload:?}");
        let mut line = Vec::new();
        write_line(&mut line, &sample).unwrap();
        assert_eq!(read_lines(line.as_slice()).unwrap(), [sample]);
    }
}

#[test]
fn what_is_counted_is_what_was_moved() {
    for (workload, up, down) in [
        (Workload::BulkUp, true, false),
        (Workload::BulkDown, false, true),
        (Workload::BulkBoth, true, true),
        (Workload::PingPong, true, true),
    ] {
        for bytes in [None, Some(50_000)] {
            let sample = through(Fault::None, |plan| plan.bytes = bytes, workload);
            assert!(sample.is_clean(), "{workload:?}: {:?}", sample.errors);
            assert_eq!(
                (sample.verified_up_bytes > 0, sample.verified_down_bytes > 0),
                (up, down),
                "{workload:?}"
            );
            assert_eq!(sample.series.bytes.iter().sum::<u64>(), sample.verified_bytes(), "{workload:?}");
            if let Some(bytes) = bytes {
                assert_eq!(sample.verified_bytes() % bytes, 0, "{workload:?}");
            }
        }
    }
}

#[test]
fn a_changed_byte_is_found_each_way() {
    for (workload, fault) in [
        (Workload::BulkUp, Fault::FlipUp { at: 1_000_000 }),
        (Workload::BulkDown, Fault::FlipDown { at: 1_000_000 }),
        (Workload::PingPong, Fault::FlipUp { at: 1_000 }),
        (Workload::PingPong, Fault::FlipDown { at: 1_000 }),
    ] {
        let sample = through(fault, |_| {}, workload);
        assert!(count(&sample, "payload") > 0, "{workload:?} {fault:?}: {:?}", sample.errors);
        assert!(!sample.is_clean());
    }
}

#[test]
fn lost_bytes_are_never_taken_for_arrived_ones() {
    for (workload, fault) in [
        (Workload::BulkUp, Fault::LoseUp { at: 500_000 }),
        (Workload::BulkDown, Fault::LoseDown { at: 500_000 }),
        (Workload::BulkBoth, Fault::LoseDown { at: 500_000 }),
    ] {
        let sample = through(fault, |_| {}, workload);
        assert!(count(&sample, "payload") > 0, "{workload:?}: {:?}", sample.errors);
    }
}

#[test]
fn connections_that_break_are_counted_and_the_load_goes_on() {
    for (workload, at) in [
        (Workload::BulkUp, 30),
        (Workload::BulkDown, 3_000),
        (Workload::PingPong, 3_000),
        (Workload::Churn, 3_000),
    ] {
        // Long enough for a second break on a machine that does much else.
        let longer = |plan: &mut Plan| plan.duration = Duration::from_millis(1500);
        let sample = through(Fault::CutDown { at }, longer, workload);
        let broken = count(&sample, "connection") + count(&sample, "payload: short");
        assert!(broken > 1, "{workload:?}: {:?}", sample.errors);
    }
    // Bound, so that nobody else gets the port, and no listener.
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let dead = bound.local_addr().unwrap().as_socket().unwrap();
    let sample = run(plan(Workload::Dial, dead), &[]);
    assert!(count(&sample, "dial: connect: connection refused") > 1, "{:?}", sample.errors);
    assert!(!sample.is_clean());
}

#[test]
fn what_never_ends_is_unfinished_and_no_figure_hides_it() {
    for workload in [Workload::PingPong, Workload::Dial, Workload::BulkUp] {
        let sample = through(Fault::SwallowDown { at: 0 }, |plan| plan.grace = 100 * MS, workload);
        assert!(count(&sample, UNFINISHED) > 0, "{workload:?}: {:?}", sample.errors);
    }
}

#[test]
fn nothing_measured_is_not_clean() {
    let sample = through(Fault::None, |plan| plan.duration = Duration::ZERO, Workload::Dial);
    assert!(sample.errors.is_empty(), "{:?}", sample.errors);
    assert!(!sample.is_clean());
}

/// Half a second of silence under 1,000 pings a second makes some 500 of them late. A closed loop would see few.
#[test]
fn with_a_rate_a_stall_makes_everybody_late_who_would_have_come_meanwhile() {
    let stall = Fault::Stall { after: 600 * MS, pause: 500 * MS };
    let change = |plan: &mut Plan| {
        plan.rate = Some(1000.0);
        plan.connections = 1;
        plan.duration = Duration::from_millis(1500);
    };
    let sample = through(stall, change, Workload::PingPong);
    assert!(sample.is_clean(), "{:?}", sample.errors);
    let ping = sample.latencies["ping"].histogram();
    assert_eq!(ping.len(), 1500);
    assert!(ping.max() >= 450_000_000, "{}", ping.max());
    let late = ping.len() - ping.count_between(0, 50_000_000);
    assert!(late >= 350, "only {late} of {} saw the stall", ping.len());
    assert!(sample.generator.lateness.unwrap().histogram().max() >= 300_000_000);
}

#[test]
fn watched_processes_are_in_the_sample_and_this_one_is_the_generator() {
    let target = target();
    let watched = [Watched::new(std::process::id()).unwrap()];
    let sample = run(plan(Workload::BulkDown, target.addr), &watched);
    assert!(sample.is_clean(), "{:?}", sample.errors);
    let process = &sample.processes[0];
    assert_eq!(process.pid, std::process::id());
    assert!(process.user_seconds + process.system_seconds > 0.0);
    assert!(sample.generator.cpu_seconds > 0.0);
    for name in ["cpu_seconds_per_gb", "bytes_per_second", "resident_at_rest_bytes"] {
        assert!(sample.figures[name] > 0.0, "{name}");
    }
}

#[test]
fn a_watched_process_that_ends_is_an_error() {
    let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let watched = [Watched::new(child.id()).unwrap()];
    let target = target();
    let plan = Arc::new(plan(Workload::Dial, target.addr));
    let mut tell = |_| {
        let _ = child.kill();
    };
    let sample = round(&plan, &Labels::default(), 1, &watched, &LiveMetrics::default(), &mut tell).unwrap();
    assert!(count(&sample, "watched process") > 0, "{:?}", sample.errors);
    child.wait().unwrap();
}

#[test]
fn several_threads_share_the_work() {
    let target = target();
    let mut plan = plan(Workload::PingPong, target.addr);
    (plan.threads, plan.connections, plan.rate) = (3, 7, Some(700.0));
    let sample = run(plan, &[]);
    assert!(sample.is_clean(), "{:?}", sample.errors);
    assert_eq!(sample.latencies["ping"].histogram().len(), 280);
    assert_eq!(sample.settings, BTreeMap::new());
}
