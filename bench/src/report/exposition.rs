//! Counts in Prometheus' text format, version 0.0.4. Pure: a state in, a document out.
//!
//! | metric | labels beside the load's own |
//! |---|---|
//! | `adit_bench_operation_duration_seconds` (histogram; its `_count` is the number of operations) | `operation` |
//! | `adit_bench_verified_bytes_total` | `direction`: `up`, `down` |
//! | `adit_bench_errors_total` | `kind` |
//! | `adit_bench_process_cpu_seconds_total` | `process`, `pid`, `mode`: `user`, `system` |
//! | `adit_bench_process_resident_bytes` | `process`, `pid` |

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::LiveState;
use crate::record::Latency;

/// Upper bounds of the buckets, in nanoseconds: 10 µs to 60 s.
const BOUNDS_NANOSECONDS: [u64; 21] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// The document.
#[must_use]
pub fn exposition(state: LiveState) -> String {
    let labels: BTreeMap<String, String> =
        state.labels.iter().map(|(name, value)| (label_name(name), value.clone())).collect();
    let labels = labels.into_iter().map(|(name, value)| (Cow::Owned(name), Cow::Owned(value)));
    let mut registry = Registry::with_prefix_and_labels("adit_bench", labels);
    registry.register_collector(Box::new(Families(state)));
    let mut text = String::new();
    // A string takes everything, and the families below return no errors of their own.
    prometheus_text::encode(&mut text, &registry).unwrap_or_else(|error| unreachable!("{error}"));
    text
}

/// A label's name as Prometheus allows it (`[a-zA-Z_][a-zA-Z0-9_]*`): everything else becomes `_`.
fn label_name(name: &str) -> String {
    let mut allowed: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !allowed.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        allowed.insert(0, '_');
    }
    allowed
}

#[derive(Debug)]
struct Families(LiveState);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.operations(&mut encoder)?;
        let Self(state) = self;
        let bytes = [("up", state.up_bytes), ("down", state.down_bytes)];
        let help = "Payload that the receiving end found right";
        let counter = MetricType::Counter;
        let mut family = encoder.encode_descriptor("verified", help, Some(&Unit::Bytes), counter)?;
        for (direction, count) in bytes {
            ConstCounter::new(count).encode(family.encode_family(&[("direction", direction)])?)?;
        }
        let help = "Whatever went wrong, by kind";
        let mut family = encoder.encode_descriptor("errors", help, None, counter)?;
        for (kind, count) in &state.errors {
            ConstCounter::new(*count).encode(family.encode_family(&[("kind", kind.as_str())])?)?;
        }
        self.processes(&mut encoder)
    }
}

impl Families {
    fn operations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How long operations took that ended well, from their intended start";
        let mut family = encoder.encode_descriptor(
            "operation_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (name, latency) in &self.0.operations {
            let (sum, count) = (sum_seconds(latency), latency.histogram().len());
            family.encode_family(&[("operation", name.as_str())])?.encode_histogram::<NoLabelSet>(
                sum,
                count,
                &buckets(latency),
                None,
            )?;
        }
        Ok(())
    }

    fn processes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "CPU time of a watched process since it began";
        let mut family =
            encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
        for (pid, process) in &self.0.processes {
            for (mode, seconds) in [("user", process.user_seconds), ("system", process.system_seconds)] {
                let pid = pid.to_string();
                let labels = [("process", process.name.as_str()), ("pid", &pid), ("mode", mode)];
                ConstCounter::new(seconds).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Resident memory of a watched process";
        let mut family =
            encoder.encode_descriptor("process_resident", help, Some(&Unit::Bytes), MetricType::Gauge)?;
        for (pid, process) in &self.0.processes {
            let labels = [("process", process.name.as_str()), ("pid", &pid.to_string())];
            ConstGauge::new(process.resident_bytes).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Counts by upper bound in seconds, not yet summed up; the encoder adds the unbounded rest. A time counts as its
/// histogram's bucket does, which is exact to three digits.
fn buckets(latency: &Latency) -> Vec<(f64, u64)> {
    let mut counts = [0; BOUNDS_NANOSECONDS.len()];
    let histogram = latency.histogram();
    for step in histogram.iter_recorded() {
        let value = histogram.lowest_equivalent(step.value_iterated_to());
        let index = BOUNDS_NANOSECONDS.partition_point(|bound| *bound < value);
        if let Some(count) = counts.get_mut(index) {
            *count += step.count_at_value();
        }
    }
    BOUNDS_NANOSECONDS.iter().map(|bound| seconds(*bound)).zip(counts).collect()
}

/// The sum of all times, as exact as the histogram.
fn sum_seconds(latency: &Latency) -> f64 {
    let histogram = latency.histogram();
    histogram
        .iter_recorded()
        .map(|step| {
            seconds(histogram.median_equivalent(step.value_iterated_to())) * step.count_at_value() as f64
        })
        .sum()
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::{LiveMetrics, ProcessNow};
    use super::{buckets, exposition, label_name};
    use crate::record::Latency;

    #[test]
    fn every_count_is_in_the_document_with_the_loads_labels() {
        let metrics = LiveMetrics::new(BTreeMap::from([
            ("system".into(), "adit \"uring\"".into()),
            ("more-than".into(), "1".into()),
        ]));
        metrics.operation("ping", 10_000);
        metrics.operation("ping", 3_000_000);
        metrics.operation("ping", 120_000_000_000);
        metrics.bytes(11, 22);
        metrics.error("reset");
        let process =
            ProcessNow { name: "adit".into(), user_seconds: 0.5, system_seconds: 0.25, resident_bytes: 4096 };
        metrics.process(12, process);
        let text = exposition(metrics.state());
        for line in [
            "# TYPE adit_bench_operation_duration_seconds histogram",
            "adit_bench_operation_duration_seconds_count{LOAD,operation=\"ping\"} 3",
            "adit_bench_operation_duration_seconds_bucket{LOAD,operation=\"ping\",le=\"1e-05\"} 1",
            "adit_bench_operation_duration_seconds_bucket{LOAD,operation=\"ping\",le=\"0.0025\"} 1",
            "adit_bench_operation_duration_seconds_bucket{LOAD,operation=\"ping\",le=\"0.005\"} 2",
            "adit_bench_operation_duration_seconds_bucket{LOAD,operation=\"ping\",le=\"60\"} 2",
            "adit_bench_operation_duration_seconds_bucket{LOAD,operation=\"ping\",le=\"+Inf\"} 3",
            "# TYPE adit_bench_verified_bytes_total counter",
            "adit_bench_verified_bytes_total{LOAD,direction=\"up\"} 11",
            "adit_bench_verified_bytes_total{LOAD,direction=\"down\"} 22",
            "adit_bench_errors_total{LOAD,kind=\"reset\"} 1",
            "adit_bench_process_cpu_seconds_total{LOAD,process=\"adit\",pid=\"12\",mode=\"user\"} 0.5",
            "adit_bench_process_cpu_seconds_total{LOAD,process=\"adit\",pid=\"12\",mode=\"system\"} 0.25",
            "adit_bench_process_resident_bytes{LOAD,process=\"adit\",pid=\"12\"} 4096",
        ] {
            let line = line.replace("LOAD", "more_than=\"1\",system=\"adit \\\"uring\\\"\"");
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn names_of_labels_become_allowed_ones() {
        assert_eq!(label_name("gso-batch"), "gso_batch");
        assert_eq!(label_name("9p"), "_9p");
        assert_eq!(label_name(""), "_");
    }

    proptest! {
        #[test]
        fn buckets_hold_every_operation_once(times in prop::collection::vec(1u64..60_000_000_000, 0..100)) {
            let mut latency = Latency::default();
            for &time in &times {
                latency.record(time);
            }
            let buckets = buckets(&latency);
            prop_assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), times.len() as u64);
            prop_assert!(buckets.is_sorted_by(|a, b| a.0 < b.0));
        }
    }
}
