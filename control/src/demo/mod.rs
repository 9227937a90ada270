//! `adit demo`: a whole tunnel on this machine, with nothing set up. A throw-away CA, a server and two agents (this
//! program again, as processes of their own), a target process; this process stands where kube-apiserver would.
//!
//! Exits 0 only if every byte was right and what must be refused was.

mod accounts;
mod children;
mod cluster;
mod keep;
mod measure;
mod pattern;
mod progress;
mod report;
pub(crate) mod target;
mod work;

use crate::config::cli::{DemoFlags, driver_word};
use crate::shutdown::Signals;
use cluster::Cluster;
use report::Report;

/// Runs the demo.
///
/// # Errors
/// The text to show: what was not right. The figures were printed before.
pub(crate) async fn run(flags: DemoFlags) -> Result<(), String> {
    let mut signals = Signals::listen().map_err(|e| format!("cannot listen for signals: {e}"))?;
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        io: driver_word(flags.io.io),
        mtu_max_bytes: flags.io.mtu_max,
        ..Report::default()
    };
    let mut cluster = None;
    let outcome = tokio::select! {
        outcome = show(&flags, &mut report, &mut cluster) => outcome,
        signal = signals.next() => Err(format!("{signal}: stopped")),
    };
    if let Err(error) = &outcome {
        report.failures.push(error.clone());
    }
    report.ok = report.failures.is_empty();
    if flags.json {
        crate::print_line(&serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?);
    } else {
        crate::print_line(&report.text());
    }
    let mut result =
        if report.ok { Ok(()) } else { Err("demo: not everything was right; see above".to_owned()) };
    if let Some(mut cluster) = cluster {
        if flags.keep && result.is_ok() {
            result = keep::wait(&mut cluster, &mut signals).await;
        }
        cluster.stop().await;
    }
    result
}

/// Starts everything and does the work; what is found out goes to `report` as it is.
async fn show(flags: &DemoFlags, report: &mut Report, place: &mut Option<Cluster>) -> Result<(), String> {
    let quiet = flags.json;
    if !quiet {
        crate::print_line("adit demo: starting a server, two agents and a target");
    }
    let cluster = place.insert(Cluster::new()?);
    cluster.start(flags).await?;
    if !quiet {
        crate::print_line(&cluster.picture());
    }
    // Parts are borrowed apart: the work reads where things are, the watch waits for a process that dies.
    let places = cluster.places()?;
    tokio::select! {
        done = measure::all(flags, &places, report) => done,
        died = cluster.any_ended() => Err(died),
    }
}
