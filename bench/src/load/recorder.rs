//! What one thread counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::phases::{Phases, SLOT};
use crate::record::{ERROR_EXAMPLES_MAX, ErrorCount, Latency, Series};
use crate::report::{ERROR_KINDS_MAX, LiveMetrics, OTHER};

/// Longest example of an error that is kept.
const EXAMPLE_CHARS_MAX: usize = 300;

/// The counts of a thread's roles. Clones share them.
///
/// One lock a thread, which nobody else wants while the load runs. Those who look on read the [`LiveMetrics`], which
/// know nothing of windows.
#[derive(Clone, Debug)]
pub struct Recorder {
    tally: Arc<Mutex<Tally>>,
    live: LiveMetrics,
}

/// Counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    phases: Option<Phases>,
    pub(super) operations: u64,
    pub(super) up_bytes: u64,
    pub(super) down_bytes: u64,
    pub(super) errors: BTreeMap<String, ErrorCount>,
    pub(super) latencies: BTreeMap<String, Latency>,
    pub(super) lateness: Option<Latency>,
    pub(super) series: Series,
}

impl Recorder {
    /// Nothing counted yet.
    pub(super) fn new(live: LiveMetrics) -> Self {
        Self { tally: Arc::default(), live }
    }

    /// The phases are known from now on.
    pub(super) fn begin(&self, phases: Phases) {
        let mut tally = self.lock();
        let slots = phases.slots();
        tally.series = Series {
            every_ms: u32::try_from(SLOT.as_millis()).unwrap_or(u32::MAX),
            bytes: vec![0; slots],
            operations: vec![0; slots],
        };
        tally.phases = Some(phases);
    }

    /// An operation ended well. Its latency counts where it was meant to begin in the window, the operation itself
    /// where it ended there.
    pub(super) fn operation(&self, name: &'static str, intended: Instant, ended: Instant) {
        let nanoseconds = nanoseconds(intended, ended);
        self.live.operation(name, nanoseconds);
        let mut tally = self.lock();
        let Some(phases) = tally.phases else { return };
        if let Some(slot) = phases.slot(ended) {
            tally.operations += 1;
            tally.series.operations[slot] += 1;
        }
        if phases.in_window(intended) {
            match tally.latencies.get_mut(name) {
                Some(latency) => latency.record(nanoseconds),
                None => tally.latencies.entry(name.to_owned()).or_default().record(nanoseconds),
            }
        }
    }

    /// Something that lasted the whole window ended well behind it: an operation of the window all the same.
    pub(super) fn survived(&self, name: &'static str, from: Instant, to: Instant) {
        let nanoseconds = nanoseconds(from, to);
        self.live.operation(name, nanoseconds);
        let mut tally = self.lock();
        tally.operations += 1;
        if to > from {
            tally.latencies.entry(name.to_owned()).or_default().record(nanoseconds);
        }
    }

    /// An operation that was to begin at a given time began now.
    pub(super) fn begun(&self, intended: Instant, now: Instant) {
        let mut tally = self.lock();
        if tally.phases.is_some_and(|phases| phases.in_window(intended)) {
            tally.lateness.get_or_insert_default().record(nanoseconds(intended, now));
        }
    }

    /// Bytes were verified, at the far end and here.
    pub(super) fn bytes(&self, up: u64, down: u64, at: Instant) {
        self.live.bytes(up, down);
        let mut tally = self.lock();
        if let Some(slot) = tally.phases.and_then(|phases| phases.slot(at)) {
            tally.up_bytes += up;
            tally.down_bytes += down;
            tally.series.bytes[slot] += up + down;
        }
    }

    /// Something went wrong.
    pub(super) fn error(&self, kind: &str, example: &str) {
        self.errors(kind, example, 1);
    }

    /// The same went wrong several times.
    pub(super) fn errors(&self, kind: &str, example: &str, count: u64) {
        if count == 0 {
            return;
        }
        self.live.errors(kind, count);
        add_error(&mut self.lock().errors, kind, example, count);
    }

    /// What was counted so far.
    pub(super) fn tally(&self) -> Tally {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        // A panic elsewhere is reported by whoever joins that thread; the counts are whole between two statements.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    /// Adds what the same operations took in a run that it is to be compared with, and that run's errors.
    pub(super) fn add_comparison(&mut self, other: &Self) {
        for (name, latency) in &other.latencies {
            self.latencies.entry(format!("{name}_without")).or_default().add(latency);
        }
        self.add_errors(other);
    }

    fn add_errors(&mut self, other: &Self) {
        for (kind, errors) in &other.errors {
            let first = errors.examples.first().map_or("", String::as_str);
            add_error(&mut self.errors, kind, first, errors.count);
        }
    }

    /// Adds another thread's.
    pub(super) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.up_bytes += other.up_bytes;
        self.down_bytes += other.down_bytes;
        self.add_errors(other);
        for (name, latency) in &other.latencies {
            self.latencies.entry(name.clone()).or_default().add(latency);
        }
        if let Some(lateness) = &other.lateness {
            self.lateness.get_or_insert_default().add(lateness);
        }
        if self.series.bytes.is_empty() {
            self.series = other.series.clone();
        } else {
            sum(&mut self.series.bytes, &other.series.bytes);
            sum(&mut self.series.operations, &other.series.operations);
        }
    }
}

fn sum(into: &mut [u64], from: &[u64]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into += from;
    }
}

fn add_error(errors: &mut BTreeMap<String, ErrorCount>, kind: &str, example: &str, count: u64) {
    let kind = if errors.len() < ERROR_KINDS_MAX || errors.contains_key(kind) { kind } else { OTHER };
    let entry = errors.entry(kind.to_owned()).or_default();
    entry.count += count;
    if entry.examples.len() < ERROR_EXAMPLES_MAX {
        entry.examples.push(example.chars().take(EXAMPLE_CHARS_MAX).collect());
    }
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{ERROR_KINDS_MAX, OTHER, Recorder};
    use crate::load::Phases;
    use crate::report::LiveMetrics;

    #[test]
    fn only_the_window_counts_but_every_error_does() {
        let (begin, s) = (Instant::now(), Duration::from_secs(1));
        let recorder = Recorder::new(LiveMetrics::default());
        recorder.error("dial", "before anything began");
        recorder.begin(Phases::new(begin, s, s, s));
        // Warm-up; begun in it and ended in the window; in the window; ended behind it.
        for (from, to) in [(0.2, 0.4), (0.9, 1.1), (1.2, 1.3), (1.9, 2.4)] {
            let (from, to) = (begin + s.mul_f64(from), begin + s.mul_f64(to));
            recorder.operation("ping", from, to);
            recorder.bytes(10, 1, to);
        }
        let tally = recorder.tally();
        assert_eq!((tally.operations, tally.up_bytes, tally.down_bytes), (2, 20, 2));
        assert_eq!(tally.latencies["ping"].histogram().len(), 2);
        assert_eq!(tally.series.operations.iter().sum::<u64>(), 2);
        assert_eq!(tally.errors["dial"].count, 1);
        assert_eq!(recorder.live.state().operations(), 4);
    }

    #[test]
    fn kinds_and_examples_of_errors_are_bounded_and_all_are_counted() {
        let recorder = Recorder::new(LiveMetrics::default());
        for index in 0..200 {
            recorder.error(&format!("kind {index}"), &"x".repeat(10_000));
            recorder.error("kind 0", "again");
        }
        let tally = recorder.tally();
        assert_eq!(tally.errors.len(), ERROR_KINDS_MAX + 1);
        assert_eq!(tally.errors.values().map(|one| one.count).sum::<u64>(), 400);
        assert_eq!(tally.errors[OTHER].count, 200 - ERROR_KINDS_MAX as u64);
        assert!(tally.errors.values().flat_map(|one| &one.examples).all(|example| example.len() <= 300));
    }
}
