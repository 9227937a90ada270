//! One run of some roles by the clock: threads, and readings of the watched processes at the window's ends.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout_at};

use super::gate::{Gate, Keeper, gate};
use super::phases::Phases;
use super::plan::{Cast, Plan};
use super::recorder::{Recorder, Tally};
use super::roles::{SETUP_DIALS_MAX, Worker};
use super::round::{Elapsed, RoundError};
use super::watch::{Reading, Watched};
use crate::record::UNFINISHED;
use crate::report::{LiveMetrics, ProcessNow};

/// How long all connections may take to be made before the clock starts.
const SETUP_TIME_MAX: Duration = Duration::from_secs(60);
/// How long buffers may take to fill behind readers that do not read.
const FILL_TIME_MAX: Duration = Duration::from_secs(30);
/// The same where no process is watched, so that nobody can tell when they are full.
const FILL_TIME_BLIND: Duration = Duration::from_secs(3);
/// Between two looks at whether processes still move bytes.
const FILL_INTERVAL: Duration = Duration::from_millis(250);
/// Share of a core below which processes move none.
const QUIET_SHARE: f64 = 0.1;
/// How often progress is told, and memory read.
const TICK: Duration = Duration::from_millis(200);

/// What a run found.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) tally: Tally,
    pub(super) readings: Readings,
}

/// What the processes were like at the moments that count.
#[derive(Debug)]
pub(super) struct Readings {
    pub(super) start: Vec<Reading>,
    pub(super) end: Vec<Reading>,
    /// CPU time of this process over the window.
    pub(super) generator: Duration,
    /// Resident memory of all together, over the window.
    pub(super) resident: Vec<(Duration, u64)>,
}

/// Runs these roles once.
pub(super) fn once(
    runtime: &Runtime,
    plan: &Arc<Plan>,
    casts: Vec<Cast>,
    watched: &[Watched],
    live: &LiveMetrics,
    tell: &mut dyn FnMut(Elapsed),
) -> Result<Run, RoundError> {
    let (gate, mut keeper) = gate();
    let fills = casts.iter().any(|cast| cast.role.stops_reading() && cast.count > 0);
    let (threads, recorders) = start(plan, casts, &gate, live)?;
    drop(gate);
    let mut watch = Watch { watched, recorder: &recorders[0], live };
    let readings = runtime.block_on(async {
        let phases = begin(plan, &mut keeper, &watch, fills).await;
        recorders.iter().for_each(|recorder| recorder.begin(phases));
        keeper.open(phases);
        observe(&phases, &mut watch, tell).await
    });
    for (thread, recorder) in threads.into_iter().zip(&recorders) {
        if thread.join().is_err() {
            recorder.error("generator: panic", "a thread of the generator panicked; see standard error");
        }
    }
    let mut tally = Tally::default();
    recorders.iter().for_each(|recorder| tally.add(&recorder.tally()));
    Ok(Run { tally, readings })
}

/// Starts the threads; each gets every so manyeth worker.
fn start(
    plan: &Arc<Plan>,
    casts: Vec<Cast>,
    gate: &Gate,
    live: &LiveMetrics,
) -> std::io::Result<(Vec<JoinHandle<()>>, Vec<Recorder>)> {
    let threads = plan.threads.max(1);
    let setup_dials = Arc::new(Semaphore::new(SETUP_DIALS_MAX));
    let mut workers: Vec<Vec<(Cast, u32, u64)>> = vec![Vec::new(); threads as usize];
    let all = casts.into_iter().flat_map(|cast| (0..cast.count).map(move |index| (cast, index)));
    for ((cast, index), number) in all.zip(0_u64..) {
        let thread = usize::try_from(number % u64::from(threads)).unwrap_or(0);
        workers[thread].push((cast, index, number));
    }
    let mut started = (Vec::new(), Vec::new());
    for part in workers {
        let record = Recorder::new(live.clone());
        started.1.push(record.clone());
        let (plan, gate, setup_dials) = (Arc::clone(plan), gate.clone(), Arc::clone(&setup_dials));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let body = async move {
            let mut tasks = JoinSet::new();
            for (cast, index, number) in part {
                let (plan, record, setup_dials) =
                    (Arc::clone(&plan), record.clone(), Arc::clone(&setup_dials));
                tasks.spawn(Worker { plan, cast, index, number, record, setup_dials }.run(gate.clone()));
            }
            wait(tasks, gate, &record).await;
        };
        let thread = std::thread::Builder::new().name("adit-load".to_owned());
        started.0.push(thread.spawn(move || runtime.block_on(body))?);
    }
    Ok(started)
}

/// Waits for a thread's workers, up to the end of the grace.
async fn wait(mut tasks: JoinSet<()>, gate: Gate, record: &Recorder) {
    let Some(phases) = gate.pass().await else { return };
    loop {
        match timeout_at(phases.deadline.into(), tasks.join_next()).await {
            Ok(None) => return,
            Ok(Some(Ok(()))) => {}
            Ok(Some(Err(error))) => record.error("generator: panic", &error.to_string()),
            Err(_) => {
                let text = "had not ended when the grace was over (see --grace)";
                record.errors(UNFINISHED, text, tasks.len() as u64);
                return;
            }
        }
    }
}

/// Waits until all connections are made and, with readers that do not read, all buffers are full.
async fn begin(plan: &Plan, keeper: &mut Keeper, watch: &Watch<'_>, fills: bool) -> Phases {
    if !keeper.everybody(SETUP_TIME_MAX).await {
        watch.recorder.error("set-up", &format!("not all connections were made within {SETUP_TIME_MAX:?}"));
    }
    if fills && watch.watched.is_empty() {
        sleep(FILL_TIME_BLIND).await;
    } else if fills && !watch.quiet().await {
        let text =
            format!("processes were still moving bytes after {FILL_TIME_MAX:?} of readers that do not read");
        watch.recorder.error("set-up", &text);
    }
    Phases::new(Instant::now(), plan.warm_up, plan.duration, plan.grace)
}

/// Tells progress, and reads the processes at the window's ends.
async fn observe(phases: &Phases, watch: &mut Watch<'_>, tell: &mut dyn FnMut(Elapsed)) -> Readings {
    let of = phases.window_end - phases.begin;
    let mut resident = Vec::new();
    let mut tick = |watch: &Watch<'_>, now: Instant| {
        let all = watch.read();
        if phases.in_window(now) && !all.is_empty() {
            let sum = all.iter().map(|one| one.resident_bytes).sum();
            resident.push((now.saturating_duration_since(phases.window_start), sum));
        }
        tell(Elapsed { elapsed: now.saturating_duration_since(phases.begin), of });
    };
    ticking(phases.begin, phases.window_start, &mut |now| tick(watch, now)).await;
    let (start, generator_start) = (watch.read(), generator_cpu());
    ticking(phases.window_start, phases.window_end, &mut |now| tick(watch, now)).await;
    let (end, generator_end) = (watch.read(), generator_cpu());
    Readings { start, end, generator: generator_end.saturating_sub(generator_start), resident }
}

/// Ticks from one instant to another.
async fn ticking(from: Instant, to: Instant, tick: &mut dyn FnMut(Instant)) {
    let mut next = from + TICK;
    while next < to {
        sleep_until(next.into()).await;
        tick(next);
        next += TICK;
    }
    sleep_until(to.into()).await;
}

/// The watched processes, with where to say that one has ended.
#[derive(Clone, Copy, Debug)]
struct Watch<'a> {
    watched: &'a [Watched],
    recorder: &'a Recorder,
    live: &'a LiveMetrics,
}

impl Watch<'_> {
    fn read(&self) -> Vec<Reading> {
        let all = read(self.watched, self.recorder);
        for (one, now) in self.watched.iter().zip(&all) {
            let now = ProcessNow {
                name: one.name().to_owned(),
                user_seconds: now.user.as_secs_f64(),
                system_seconds: now.system.as_secs_f64(),
                resident_bytes: now.resident_bytes,
            };
            self.live.process(one.pid(), now);
        }
        all
    }

    /// Waits until the processes hardly use the CPU; false where that did not come.
    async fn quiet(&self) -> bool {
        let until = Instant::now() + FILL_TIME_MAX;
        let cpu = |all: &[Reading]| all.iter().map(|one| one.user + one.system).sum::<Duration>();
        let (mut last, mut quiet) = (cpu(&self.read()), 0);
        while Instant::now() < until {
            sleep(FILL_INTERVAL).await;
            let now = cpu(&self.read());
            let share = now.saturating_sub(last).as_secs_f64() / FILL_INTERVAL.as_secs_f64();
            quiet = if share < QUIET_SHARE { quiet + 1 } else { 0 };
            if quiet == 2 {
                return true;
            }
            last = now;
        }
        false
    }
}

/// Reads all; one that has ended is an error of the round and reads as zero.
pub(super) fn read(watched: &[Watched], recorder: &Recorder) -> Vec<Reading> {
    let one = |one: &Watched| {
        one.read().unwrap_or_else(|error| {
            recorder.error("watched process", &error.to_string());
            Reading::default()
        })
    };
    watched.iter().map(one).collect()
}

/// CPU time of this process (CLOCK_PROCESS_CPUTIME_ID of clock_gettime(2)).
fn generator_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
