//! One round: the sample that its run gives, with the run it is compared with where there is one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::figures;
use super::plan::Plan;
use super::recorder::{Recorder, Tally};
use super::run::{self, Readings, Run};
use super::stamp::stamp;
use super::watch::{Reading, WatchError, Watched};
use crate::record::{Generator, ProcessUse, SCHEMA, Sample};
use crate::report::LiveMetrics;

/// How long processes have to give memory back after the last close, at most.
const AFTER_TIME_MAX: Duration = Duration::from_secs(2);
/// Memory that did not change for so long has been given back.
const AFTER_REST: Duration = Duration::from_millis(200);

/// Words around a round's figures.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// [`Sample::system`].
    pub system: String,
    /// [`Sample::network`].
    pub network: String,
    /// [`Sample::settings`].
    pub settings: BTreeMap<String, String>,
    /// [`crate::record::Stamp::more`].
    pub more: BTreeMap<String, String>,
    /// Of the generator's TCP sockets; `None` is the kernel's default.
    pub congestion_control: Option<String>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Elapsed {
    /// Since the clock started; zero while connections are made.
    pub elapsed: Duration,
    /// From the clock's start to the end of the window.
    pub of: Duration,
}

/// Why there is no sample.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// A process that was to be watched is not there.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// Threads or runtimes cannot be had.
    #[error("the generator cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// Runs one round and returns what it found, errors included. `tell` is called a few times a second; what there is to
/// tell is in `live`.
///
/// # Errors
/// [`RoundError`], before anything was done. What the system under test does wrong is in the sample.
pub fn round(
    plan: &Arc<Plan>,
    labels: &Labels,
    number: u32,
    watched: &[Watched],
    live: &LiveMetrics,
    tell: &mut dyn FnMut(Elapsed),
) -> Result<Sample, RoundError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rest = watched.iter().map(Watched::read).collect::<Result<Vec<_>, _>>()?;
    let stamp = stamp(labels.congestion_control.as_deref(), &labels.more);
    let mut once = |casts| run::once(&runtime, plan, casts, watched, live, tell);
    let compared = plan.comparison().map(&mut once).transpose()?;
    let Run { mut tally, readings } = once(plan.casts())?;
    if let Some(compared) = compared {
        tally.add_comparison(&compared.tally);
    }
    let recorder = Recorder::new(live.clone());
    let after = runtime.block_on(at_rest(watched, &recorder));
    tally.add(&recorder.tally());
    let processes = uses(watched, &rest, &readings, &after);
    let mut sample = sample(plan, labels, number, tally, processes);
    sample.stamp = stamp;
    sample.generator.cpu_seconds = readings.generator.as_secs_f64();
    figures::add(&mut sample, plan, &readings.resident);
    Ok(sample)
}

fn sample(plan: &Plan, labels: &Labels, number: u32, tally: Tally, processes: Vec<ProcessUse>) -> Sample {
    Sample {
        schema: SCHEMA,
        system: labels.system.clone(),
        network: labels.network.clone(),
        workload: plan.workload.name(),
        settings: labels.settings.clone(),
        round: number,
        stamp: crate::record::Stamp::default(),
        window_seconds: plan.duration.as_secs_f64(),
        operations: tally.operations,
        verified_up_bytes: tally.up_bytes,
        verified_down_bytes: tally.down_bytes,
        errors: tally.errors,
        latencies: tally.latencies,
        figures: BTreeMap::new(),
        series: tally.series,
        processes,
        generator: Generator { cpu_seconds: 0.0, lateness: tally.lateness },
    }
}

fn uses(watched: &[Watched], rest: &[Reading], readings: &Readings, after: &[Reading]) -> Vec<ProcessUse> {
    let one = |(index, one): (usize, &Watched)| {
        let (start, end) = (&readings.start[index], &readings.end[index]);
        ProcessUse {
            name: one.name().to_owned(),
            pid: one.pid(),
            user_seconds: end.user.saturating_sub(start.user).as_secs_f64(),
            system_seconds: end.system.saturating_sub(start.system).as_secs_f64(),
            resident_at_rest_bytes: rest[index].resident_bytes,
            resident_loaded_bytes: end.resident_bytes,
            resident_after_bytes: after[index].resident_bytes,
        }
    };
    watched.iter().enumerate().map(one).collect()
}

/// Readings after the last close, once memory is given back.
async fn at_rest(watched: &[Watched], recorder: &Recorder) -> Vec<Reading> {
    let until = Instant::now() + AFTER_TIME_MAX;
    let resident = |all: &[Reading]| all.iter().map(|one| one.resident_bytes).sum::<u64>();
    let mut last = run::read(watched, recorder);
    while !watched.is_empty() && Instant::now() < until {
        tokio::time::sleep(AFTER_REST).await;
        let next = run::read(watched, recorder);
        let same = resident(&next) == resident(&last);
        last = next;
        if same {
            break;
        }
    }
    last
}
