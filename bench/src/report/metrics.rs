//! What a running load has counted so far, shared between those who count and those who show it.
//!
//! Counting is cheap enough for every operation and every read: bytes are two atomics, the rest is one short lock.
//! Nothing here is a result: a [`crate::record::Sample`] is made by the load itself, of its window alone, while these
//! counts run from the program's start, warm-up included, as Prometheus wants counters to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::record::Latency;

/// Most kinds of errors that are told apart; what comes later counts as [`OTHER`].
pub const ERROR_KINDS_MAX: usize = 64;
/// The kind of every error beyond [`ERROR_KINDS_MAX`] kinds.
pub const OTHER: &str = "other";

/// Counts of a running load. Clones count into the same place.
#[derive(Clone, Debug, Default)]
pub struct LiveMetrics(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    labels: BTreeMap<String, String>,
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
    counts: Mutex<Counts>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    operations: BTreeMap<String, Latency>,
    errors: BTreeMap<String, u64>,
    processes: BTreeMap<u32, ProcessNow>,
}

/// A watched process as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessNow {
    /// Its command's name.
    pub name: String,
    /// CPU time in user mode since it began, in seconds.
    pub user_seconds: f64,
    /// CPU time in kernel mode since it began, in seconds.
    pub system_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
}

/// Everything counted up to one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveState {
    /// What tells this load from others: system, network, workload.
    pub labels: BTreeMap<String, String>,
    /// Payload that the target checked.
    pub up_bytes: u64,
    /// Payload that was checked here.
    pub down_bytes: u64,
    /// How long operations took, by name: `ping`, `dial`, `transfer`.
    pub operations: BTreeMap<String, Latency>,
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    /// Watched processes by ID.
    pub processes: BTreeMap<u32, ProcessNow>,
}

impl LiveMetrics {
    /// Nothing counted yet. The labels go onto every metric; names that Prometheus does not allow are changed there.
    #[must_use]
    pub fn new(labels: BTreeMap<String, String>) -> Self {
        Self(Arc::new(Shared { labels, ..Shared::default() }))
    }

    /// Counts an operation that ended well.
    pub fn operation(&self, name: &str, nanoseconds: u64) {
        let mut counts = self.counts();
        if let Some(latency) = counts.operations.get_mut(name) {
            latency.record(nanoseconds);
        } else {
            counts.operations.entry(name.to_owned()).or_default().record(nanoseconds);
        }
    }

    /// Counts verified payload: up at the target, down here.
    pub fn bytes(&self, up: u64, down: u64) {
        self.0.up_bytes.fetch_add(up, Ordering::Relaxed);
        self.0.down_bytes.fetch_add(down, Ordering::Relaxed);
    }

    /// Counts an error of a kind.
    pub fn error(&self, kind: &str) {
        self.errors(kind, 1);
    }

    /// Counts several errors of a kind.
    pub fn errors(&self, kind: &str, count: u64) {
        let errors = &mut self.counts().errors;
        let known = errors.contains_key(kind) || errors.len() < ERROR_KINDS_MAX;
        *errors.entry(if known { kind } else { OTHER }.to_owned()).or_default() += count;
    }

    /// Says what a watched process has taken by now; replaces what was said before.
    pub fn process(&self, pid: u32, now: ProcessNow) {
        self.counts().processes.insert(pid, now);
    }

    /// Everything up to now.
    #[must_use]
    pub fn state(&self) -> LiveState {
        let Counts { operations, errors, processes } = self.counts().clone();
        LiveState {
            labels: self.0.labels.clone(),
            up_bytes: self.0.up_bytes.load(Ordering::Relaxed),
            down_bytes: self.0.down_bytes.load(Ordering::Relaxed),
            operations,
            errors,
            processes,
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counts are whole after every statement, so a panic elsewhere leaves nothing half done.
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveState {
    /// What was counted after `earlier`, a state of the same load. Processes stay as they are now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        since.up_bytes = since.up_bytes.saturating_sub(earlier.up_bytes);
        since.down_bytes = since.down_bytes.saturating_sub(earlier.down_bytes);
        for (name, before) in &earlier.operations {
            if let Some(latency) = since.operations.get_mut(name) {
                latency.subtract(before);
            }
        }
        for (kind, before) in &earlier.errors {
            if let Some(count) = since.errors.get_mut(kind) {
                *count = count.saturating_sub(*before);
            }
        }
        since.operations.retain(|_, latency| !latency.histogram().is_empty());
        since.errors.retain(|_, count| *count > 0);
        since
    }

    /// Operations of all names.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations.values().map(|latency| latency.histogram().len()).sum()
    }

    /// Verified payload, both ways.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.up_bytes + self.down_bytes
    }

    /// Errors of all kinds.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{ERROR_KINDS_MAX, LiveMetrics, OTHER, ProcessNow};

    #[test]
    fn what_is_counted_after_a_mark_is_told_apart_from_before() {
        let metrics = LiveMetrics::new(BTreeMap::from([("system".into(), "direct".into())]));
        metrics.operation("ping", 1_000);
        metrics.bytes(5, 7);
        metrics.error("reset");
        let mark = metrics.state();
        assert_eq!(mark.since(&mark).operations(), 0);
        assert!(mark.since(&mark).errors.is_empty());

        let clone = metrics.clone();
        clone.operation("ping", 9_000_000);
        clone.operation("dial", 3_000);
        clone.bytes(1, 1);
        clone.error("short");
        clone.process(7, ProcessNow { name: "adit".into(), ..ProcessNow::default() });
        let since = metrics.state().since(&mark);
        assert_eq!((since.up_bytes, since.down_bytes, since.operations(), since.errors()), (1, 1, 2, 1));
        assert_eq!(since.operations["ping"].histogram().len(), 1);
        assert!(since.operations["ping"].quantile(0.5) > 8_000_000);
        assert_eq!(since.processes[&7].name, "adit");
        assert_eq!(since.labels["system"], "direct");
        assert_eq!(metrics.state().operations(), 3);
    }

    #[test]
    fn kinds_of_errors_are_bounded_and_all_errors_counted() {
        let metrics = LiveMetrics::default();
        for kind in 0..ERROR_KINDS_MAX + 10 {
            metrics.error(&kind.to_string());
        }
        let state = metrics.state();
        assert_eq!(state.errors.len(), ERROR_KINDS_MAX + 1);
        assert_eq!(state.errors[OTHER], 10);
        assert_eq!(state.errors(), (ERROR_KINDS_MAX + 10) as u64);
    }
}
