//! The whole suite: one network after the other, its cells in turn, every sample written down when it is taken.
//!
//! A sample that could not be taken is written down, too, with what went wrong, and makes the suite fail at its end. A
//! sample during which others used the machine is taken once more, and the quieter of the two counts; at most one in
//! twenty is, so that a machine that is never quiet makes the suite a little longer and not twice as long.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::cell::{Common, FOREIGN, Ports, Site, none};
use super::machine::FOREIGN_SHARE_MAX;
use super::network::{Network, Wired};
use super::process::Start;
use super::schedule::{Cell, Matrix, left};
use super::spec::System;
use crate::record::{Sample, write_line};

/// One in so many samples at most is taken once more.
const REPEATED_ONE_IN: usize = 20;

/// What to measure and how.
#[derive(Debug)]
pub struct Suite {
    /// The systems, in turn.
    pub systems: Vec<System>,
    /// The networks.
    pub networks: Vec<Network>,
    /// The workloads' names.
    pub workloads: Vec<String>,
    /// How often.
    pub rounds: u32,
    /// Congestion control for the namespaces; without it cubic, or Reno where the machine allows nothing else.
    pub congestion: Option<String>,
    /// Whether networks are made; without, there is only the machine's own loopback.
    pub apart: bool,
    /// Whether a sample during which others used the machine is taken once more.
    pub again: bool,
    /// What holds for every sample.
    pub common: Common,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Samples written.
    pub samples: usize,
    /// Those of them with errors, or without anything measured.
    pub bad: usize,
}

impl Suite {
    /// Measures everything. Dropping the future ends the processes and removes the networks.
    ///
    /// # Errors
    /// A sample cannot be written down, or there is no place for temporary files.
    pub async fn run(&self, out: &mut impl Write, progress: &mut impl Write) -> io::Result<Summary> {
        let names = |network: &Network| network.name().to_owned();
        let matrix = Matrix {
            networks: self.networks.iter().map(names).collect(),
            workloads: self.workloads.clone(),
            systems: self.systems.iter().map(|system| system.name.clone()).collect(),
            rounds: self.rounds,
        };
        let cells = matrix.cells();
        let mut summary = Summary::default();
        let mut repeated = 0;
        let started = Instant::now();
        for &network in &self.networks {
            let logs = TempDir::with_prefix("adit-bench-")?;
            let start = Start { bench: &self.common.bench, dir: logs.path() };
            let wired = match self.apart {
                true => Wired::make(network, self.congestion.as_deref(), &start).await,
                false => Ok(Wired::bare()),
            };
            let mut place = Place::new(wired.as_ref(), network, self);
            for cell in cells.iter().filter(|cell| cell.network == network.name()) {
                // Where the machine is never quiet, waiting for it would only make the suite longer.
                let again = self.again && repeated < cells.len() / REPEATED_ONE_IN;
                let (sample, twice) = place.sample(cell, again).await?;
                repeated += usize::from(twice);
                write_line(out, &sample)?;
                summary.samples += 1;
                summary.bad += usize::from(!sample.is_clean());
                let rest = left(summary.samples, cells.len(), started.elapsed());
                let line = line(summary.samples, cells.len(), rest, &sample);
                writeln!(progress, "{line}")?;
            }
        }
        Ok(summary)
    }

    fn system(&self, name: &str) -> io::Result<&System> {
        let found = self.systems.iter().find(|system| system.name == name);
        found.ok_or_else(|| io::Error::other(format!("no system has the name {name:?}")))
    }
}

/// One network and what was prepared for it.
struct Place<'a> {
    suite: &'a Suite,
    wired: Result<&'a Wired, String>,
    common: Common,
    dirs: BTreeMap<String, (TempDir, Result<(), String>)>,
    ports: Ports,
}

impl<'a> Place<'a> {
    fn new(wired: Result<&'a Wired, &io::Error>, network: Network, suite: &'a Suite) -> Self {
        let mut common = suite.common.clone();
        common.more.insert("mtu_bytes".to_owned(), network.mtu().to_string());
        Self {
            suite,
            wired: wired.map_err(ToString::to_string),
            common,
            dirs: BTreeMap::new(),
            ports: Ports::default(),
        }
    }

    /// Takes a sample, and whether it was taken twice.
    async fn sample(&mut self, cell: &Cell, again: bool) -> io::Result<(Sample, bool)> {
        let system = self.suite.system(&cell.system)?;
        let wired = match &self.wired {
            Ok(wired) => *wired,
            Err(why) => return Ok((none(&self.common, cell, why.clone()), false)),
        };
        if !self.dirs.contains_key(&cell.system) {
            let dir = TempDir::with_prefix("adit-bench-")?;
            let site = Site { common: &self.common, wired, system, dir: dir.path() };
            let prepared = site.prepare();
            self.dirs.insert(cell.system.clone(), (dir, prepared));
        }
        let (dir, prepared) = &self.dirs[&cell.system];
        if let Err(why) = prepared {
            return Ok((none(&self.common, cell, why.clone()), false));
        }
        let site = Site { common: &self.common, wired, system, dir: dir.path() };
        let first = site.sample(cell, &mut self.ports).await;
        if !again || foreign(&first) <= FOREIGN_SHARE_MAX {
            return Ok((first, false));
        }
        let mut kept = site.sample(cell, &mut self.ports).await;
        // An error is never traded for a quieter sample.
        if !first.is_clean() || (kept.is_clean() && foreign(&kept) > foreign(&first)) {
            kept = first;
        }
        kept.stamp.more.insert("taken_twice".to_owned(), "others used the machine".to_owned());
        Ok((kept, true))
    }
}

fn foreign(sample: &Sample) -> f64 {
    sample.figures.get(FOREIGN).copied().unwrap_or(0.0)
}

/// One line of progress.
fn line(done: usize, all: usize, rest: Option<Duration>, sample: &Sample) -> String {
    let rest = rest.map_or(String::new(), |rest| {
        format!(", {} left", humantime::format_duration(Duration::from_secs(rest.as_secs())))
    });
    let head = format!(
        "[{done}/{all}{rest}] {} {} {} round {}:",
        sample.network, sample.workload, sample.system, sample.round
    );
    let mut said = Vec::new();
    if let Some((kind, error)) = sample.errors.first_key_value() {
        let example = error.examples.first().map_or("", String::as_str);
        said.push(format!("ERROR {kind} ({} times): {example}", error.count));
    }
    said.extend(figures(sample));
    if foreign(sample) > FOREIGN_SHARE_MAX {
        said.push(format!("others used {:.0} % of the machine", foreign(sample) * 100.0));
    }
    format!("{head} {}", said.join(", "))
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn figures(sample: &Sample) -> Vec<String> {
    let mut said = Vec::new();
    let per_second = |count: u64| count as f64 / sample.window_seconds;
    if sample.workload.contains("bulk") && sample.window_seconds > 0.0 {
        said.push(format!("{:.0} MB/s", per_second(sample.verified_bytes()) / 1e6));
    } else if sample.window_seconds > 0.0 {
        said.push(format!("{:.0} operations/s", per_second(sample.operations)));
    }
    for (name, latency) in &sample.latencies {
        let micros = |share| latency.quantile(share) as f64 / 1e3;
        said.push(format!("{name} p50 {:.0} µs p99 {:.0} µs", micros(0.5), micros(0.99)));
    }
    said
}
