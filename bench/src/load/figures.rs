//! Figures that follow from counts: per second, per gigabyte, per connection. Pure.

use std::time::Duration;

use super::plan::{Plan, Workload};
use crate::record::Sample;

/// Fewest bytes for which a cost per gigabyte says anything: CPU time is read in steps of 10 ms.
const BYTES_MIN: u64 = 10_000_000;
/// Fewest operations for which a cost per thousand says anything.
const OPERATIONS_MIN: u64 = 100;

/// Adds what follows from the counts. `resident` is the memory of all watched processes over the window.
pub(super) fn add(sample: &mut Sample, plan: &Plan, resident: &[(Duration, u64)]) {
    let bytes = sample.verified_bytes();
    let mut figures = vec![
        ("bytes_per_second", ratio(bytes, sample.window_seconds)),
        ("operations_per_second", ratio(sample.operations, sample.window_seconds)),
    ];
    if let Some(cpu) = sample.cpu_seconds() {
        if bytes >= BYTES_MIN && is_bulk(plan.workload) {
            figures.push(("cpu_seconds_per_gb", cpu / (float(bytes) / 1e9)));
        }
        if sample.operations >= OPERATIONS_MIN {
            figures.push(("cpu_seconds_per_1000_operations", cpu / (float(sample.operations) / 1e3)));
        }
        let sum =
            |what: fn(&crate::record::ProcessUse) -> u64| sample.processes.iter().map(what).sum::<u64>();
        let (rest, loaded) = (sum(|one| one.resident_at_rest_bytes), sum(|one| one.resident_loaded_bytes));
        figures.push(("resident_at_rest_bytes", float(rest)));
        figures.push(("resident_loaded_bytes", float(loaded)));
        figures.push(("resident_after_bytes", float(sum(|one| one.resident_after_bytes))));
        if plan.workload == Workload::Idle && plan.connections > 0 {
            let per_connection = float(loaded.saturating_sub(rest)) / f64::from(plan.connections);
            figures.push(("resident_per_idle_connection_bytes", per_connection));
        }
        if let Some(slope) = slope_per_second(resident).filter(|_| plan.workload == Workload::Soak) {
            figures.push(("resident_growth_bytes_per_hour", slope * 3600.0));
        }
    }
    for (with, without, name) in
        [("ping", "ping_without", "ping_p99_ratio"), ("dial", "dial_without", "dial_p99_ratio")]
    {
        if let (Some(with), Some(without)) = (sample.latencies.get(with), sample.latencies.get(without)) {
            figures.push((name, float(with.quantile(0.99)) / float(without.quantile(0.99).max(1))));
        }
    }
    sample.figures.extend(figures.into_iter().map(|(name, value)| (name.to_owned(), value)));
}

const fn is_bulk(workload: Workload) -> bool {
    matches!(
        workload,
        Workload::BulkUp | Workload::BulkDown | Workload::BulkBoth | Workload::BesideBulk | Workload::Soak
    )
}

fn ratio(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { float(count) / seconds } else { 0.0 }
}

/// Counts beyond 2⁵³ do not occur, and figures need no such precision.
#[expect(clippy::cast_precision_loss, reason = "see above")]
const fn float(count: u64) -> f64 {
    count as f64
}

/// Least squares: how fast the values rise; `None` with fewer than three.
fn slope_per_second(points: &[(Duration, u64)]) -> Option<f64> {
    if points.len() < 3 {
        return None;
    }
    let n = float(points.len() as u64);
    let (mut x, mut y) = (0.0, 0.0);
    for &(at, value) in points {
        x += at.as_secs_f64() / n;
        y += float(value) / n;
    }
    let (mut above, mut below) = (0.0, 0.0);
    for &(at, value) in points {
        let dx = at.as_secs_f64() - x;
        above += dx * (float(value) - y);
        below += dx * dx;
    }
    (below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::slope_per_second;

    #[test]
    fn the_slope_is_that_of_the_line() {
        let points: Vec<_> = (0..10).map(|s| (Duration::from_secs(s), 1000 + 7 * s)).collect();
        assert!((slope_per_second(&points).unwrap() - 7.0).abs() < 1e-9);
        assert_eq!(slope_per_second(&points[..2]), None);
    }
}
