//! Many worlds: seeds over threads, sums of what occurred, and what must have occurred.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::oracle;
use crate::tally::{Family, Tally};
use crate::world::options::Options;
use crate::world::{Failure, Report, World};

/// Least number of dials in each world.
pub const DIALS_MIN: u64 = 20;
/// Least number of payload bytes in each world.
pub const PAYLOAD_BYTES_MIN: u64 = 1 << 20;

/// What is run.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// The first seed.
    pub start: u64,
    /// How many.
    pub seeds: u64,
    /// On how many threads.
    pub threads: usize,
    /// Whether to run the other seeds after one failed.
    pub keep_going: bool,
    /// A deliberate defect of the shards in every world.
    #[cfg(feature = "defects")]
    pub defect: Option<adit_dataplane::config::Defect>,
}

/// The sums over all worlds that ended well.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Worlds.
    pub worlds: u64,
    /// Dials.
    pub dials: u64,
    /// Payload bytes that arrived.
    pub payload_bytes: u64,
    /// Events.
    pub events: u64,
    /// Virtual time, in nanoseconds.
    pub virtual_ns: u128,
    /// Faults by family.
    pub tally: Tally,
    /// Cells of the oracles.
    pub cells: BTreeMap<oracle::Cell, u64>,
}

impl Summary {
    fn add(&mut self, report: &Report) {
        self.worlds += 1;
        self.dials += report.dials;
        self.payload_bytes += report.payload_bytes;
        self.events += report.events;
        self.virtual_ns += u128::from(report.virtual_ns);
        self.tally.add(&report.tally);
        for (cell, count) in &report.cells {
            *self.cells.entry(*cell).or_default() += count;
        }
    }

    /// What should have occurred and never did.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let families = self.tally.missing().map(|family: Family| format!("{family:?}"));
        let cells = oracle::Cell::all()
            .into_iter()
            .filter(|cell| !cell.is_rare() && !self.cells.contains_key(cell))
            .map(|cell| format!("{cell:?}"));
        families.chain(cells).collect()
    }
}

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The seed of the world that this thread is running, for a panic hook.
#[must_use]
pub fn seed_of_this_thread() -> Option<u64> {
    SEED.get()
}

/// Runs one world; a panic of the shard is a failure like any other.
///
/// # Errors
/// The failure.
pub fn run_world(options: Options) -> Result<Report, Box<Failure>> {
    let seed = options.seed;
    SEED.set(Some(seed));
    let result = catch_unwind(AssertUnwindSafe(|| World::new(options).run()));
    SEED.set(None);
    let report = result.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without words".to_owned());
        Err(Box::new(Failure { seed, what: format!("panic: {text}"), dump: String::new(), tail: Vec::new() }))
    })?;
    let too_little = report.dials < DIALS_MIN || report.payload_bytes < PAYLOAD_BYTES_MIN;
    if too_little {
        let what = format!("only {} dials and {} bytes of payload", report.dials, report.payload_bytes);
        return Err(Box::new(Failure { seed, what, dump: String::new(), tail: Vec::new() }));
    }
    Ok(report)
}

impl Swarm {
    /// The options of one of its seeds.
    #[must_use]
    pub fn options(&self, seed: u64) -> Options {
        #[allow(unused_mut, reason = "only defects change them")]
        let mut options = Options::swarm(seed);
        #[cfg(feature = "defects")]
        {
            options.defect = self.defect;
        }
        options
    }

    /// Runs all seeds, or until one fails. Gives the sums over the good ones, and the failures by seed.
    #[must_use]
    pub fn run(&self) -> (Summary, Vec<Failure>) {
        let next = AtomicU64::new(self.start);
        let end = self.start + self.seeds;
        let stop = AtomicBool::new(false);
        let found = Mutex::new((Summary::default(), Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return;
                        }
                        let result = run_world(self.options(seed));
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        match result {
                            Ok(report) => found.0.add(&report),
                            Err(failure) => {
                                stop.store(!self.keep_going, Ordering::Relaxed);
                                found.1.push(*failure);
                            }
                        }
                    }
                });
            }
        });
        let (summary, mut failures) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.sort_by_key(|failure| failure.seed);
        (summary, failures)
    }
}
