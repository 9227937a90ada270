//! The figures of a sample by name: those it was written with, and those that follow from its counts.
//!
//! A name tells its unit and thereby how it is shown and which way is better:
//!
//! | name | shown as | better |
//! |---|---|---|
//! | `…bytes_per_second` | MB/s | higher |
//! | `…_per_second` | a rate | higher |
//! | `…_seconds`, `…_seconds_per_…` | a time | lower |
//! | `…_bytes` | memory | lower |
//! | `…_ratio` | a factor | lower |
//! | anything else | a number | not judged |

use std::collections::BTreeMap;

use crate::record::Sample;
use crate::report::text;

/// Quantiles that are judged, by their part of the name.
pub const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)];

/// Which way of a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Rates.
    Higher,
    /// Times, memory, ratios to an undisturbed state.
    Lower,
}

/// All figures of a sample.
///
/// Derived ones: `bytes_per_second`, `operations_per_second`, `LATENCY_p50_seconds` (p99, p999 where a thousand were
/// counted), `cpu_seconds_per_gb` (10^9 verified bytes), `cpu_seconds_per_1000_operations`, `resident_at_rest_bytes`,
/// `resident_loaded_bytes`, `resident_after_bytes` (sums of the watched processes). What the sample itself says of the
/// same name wins.
#[must_use]
pub fn figures(sample: &Sample) -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::new();
    let mut add = |name: &str, value: f64| {
        if value.is_finite() {
            figures.insert(name.to_owned(), value);
        }
    };
    let (bytes, operations) = (sample.verified_bytes() as f64, sample.operations as f64);
    if bytes > 0.0 {
        add("bytes_per_second", bytes / sample.window_seconds);
    }
    if operations > 0.0 {
        add("operations_per_second", operations / sample.window_seconds);
    }
    for (name, latency) in &sample.latencies {
        let count = latency.histogram().len() as f64;
        // A quantile of which fewer than one operation lies beyond is the maximum by another name.
        for (part, share) in QUANTILES.iter().filter(|(_, share)| count * (1.0 - share) >= 1.0) {
            add(&format!("{name}_{part}_seconds"), latency.quantile(*share) as f64 / 1e9);
        }
    }
    if let Some(cpu_seconds) = sample.cpu_seconds() {
        if bytes > 0.0 {
            add("cpu_seconds_per_gb", cpu_seconds / (bytes / 1e9));
        }
        if operations > 0.0 {
            add("cpu_seconds_per_1000_operations", cpu_seconds / (operations / 1e3));
        }
        let sum =
            |of: fn(&crate::record::ProcessUse) -> u64| sample.processes.iter().map(of).sum::<u64>() as f64;
        add("resident_at_rest_bytes", sum(|process| process.resident_at_rest_bytes));
        add("resident_loaded_bytes", sum(|process| process.resident_loaded_bytes));
        add("resident_after_bytes", sum(|process| process.resident_after_bytes));
    }
    for (name, value) in &sample.figures {
        add(name, *value);
    }
    figures
}

/// Which way of a figure is better; `None` for one that is not judged.
#[must_use]
pub fn better(name: &str) -> Option<Better> {
    match kind(name) {
        Kind::Bytes | Kind::Rate => Some(Better::Higher),
        Kind::Time | Kind::Memory | Kind::Ratio => Some(Better::Lower),
        Kind::Number => None,
    }
}

/// A figure's value with its unit.
#[must_use]
pub fn show(name: &str, value: f64) -> String {
    match kind(name) {
        Kind::Bytes => text::bytes_per_second(value),
        Kind::Rate => text::count_per_second(value),
        Kind::Time => text::seconds(value),
        Kind::Memory => text::memory(value),
        Kind::Ratio => format!("{} ×", text::number(value)),
        Kind::Number => text::number(value),
    }
}

/// The middle value, or the mean of the two middle ones; 0 of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Bytes,
    Rate,
    Time,
    Memory,
    Ratio,
    Number,
}

fn kind(name: &str) -> Kind {
    match name {
        _ if name.ends_with("bytes_per_second") => Kind::Bytes,
        _ if name.ends_with("_per_second") => Kind::Rate,
        _ if name.ends_with("_seconds") || name.contains("seconds_per_") => Kind::Time,
        _ if name.ends_with("_bytes") => Kind::Memory,
        _ if name.ends_with("_ratio") => Kind::Ratio,
        _ => Kind::Number,
    }
}

#[cfg(test)]
mod tests {
    use super::{Better, better, figures, median, show};
    use crate::record::{Latency, ProcessUse, SCHEMA, Sample};

    fn sample() -> Sample {
        let text = format!(
            "{{\"schema\":{SCHEMA},\"system\":\"a\",\"network\":\"b\",\"workload\":\"c\",\"settings\":{{}},\"round\":1,\
             \"stamp\":{{\"unix_seconds\":0,\"kernel\":\"\",\"cpu\":\"\",\"cores\":1,\"version\":\"\",\
             \"congestion_control\":\"\",\"more\":{{}}}},\"window_seconds\":2.0,\"operations\":0,\
             \"verified_up_bytes\":0,\"verified_down_bytes\":0,\"errors\":{{}},\"latencies\":{{}},\"figures\":{{}},\
             \"series\":{{\"every_ms\":100,\"bytes\":[],\"operations\":[]}},\"processes\":[],\
             \"generator\":{{\"cpu_seconds\":0.0,\"lateness\":null}}}}"
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn figures_follow_from_counts_and_the_samples_own_win() {
        let mut sample = sample();
        assert!(figures(&sample).is_empty());
        sample.operations = 4_000;
        sample.verified_down_bytes = 2_000_000_000;
        sample.processes = vec![
            ProcessUse { user_seconds: 0.5, resident_loaded_bytes: 10, ..ProcessUse::default() },
            ProcessUse { system_seconds: 0.5, resident_loaded_bytes: 5, ..ProcessUse::default() },
        ];
        let mut latency = Latency::default();
        (0..200).for_each(|_| latency.record(1_000_000));
        sample.latencies.insert("ping".into(), latency);
        sample.figures.insert("operations_per_second".into(), 7.0);
        sample.figures.insert("odd_ratio".into(), f64::NAN);
        let figures = figures(&sample);
        assert_eq!(figures["bytes_per_second"], 1e9);
        assert_eq!(figures["operations_per_second"], 7.0);
        assert_eq!(figures["cpu_seconds_per_gb"], 0.5);
        assert_eq!(figures["cpu_seconds_per_1000_operations"], 0.25);
        assert_eq!(figures["resident_loaded_bytes"], 15.0);
        assert!((figures["ping_p99_seconds"] - 1e-3).abs() < 1e-5);
        assert!(!figures.contains_key("ping_p999_seconds"), "200 operations have no such quantile");
        assert!(!figures.contains_key("odd_ratio"));
    }

    #[test]
    fn a_name_tells_its_unit_and_which_way_is_better() {
        let table = [
            ("bytes_per_second", Some(Better::Higher), "1.50 GB/s", 1.5e9),
            ("operations_per_second", Some(Better::Higher), "1,500/s", 1.5e3),
            ("ping_p99_seconds", Some(Better::Lower), "1.50 ms", 1.5e-3),
            ("cpu_seconds_per_gb", Some(Better::Lower), "1.50 s", 1.5),
            ("resident_after_bytes", Some(Better::Lower), "1.50 KiB", 1536.0),
            ("ping_p99_ratio", Some(Better::Lower), "1.50 ×", 1.5),
            ("connections", None, "15.0", 15.0),
        ];
        for (name, way, shown, value) in table {
            assert_eq!(better(name), way, "{name}");
            assert_eq!(show(name, value), shown, "{name}");
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
