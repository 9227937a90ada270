//! A distribution in HdrHistogram's percentile format (`.hgrm`), which plotters of latencies read. Times are in
//! microseconds; five steps for each halving of the distance to 100 %, as `outputPercentileDistribution` of
//! HdrHistogram's Java original writes them (`AbstractHistogram.java`, format strings and all).

use std::fmt::Write;

use crate::record::{DIGITS, Latency, NANOSECONDS_MAX};

/// Steps per halving of the distance to 100 %.
const STEPS_PER_HALF: u32 = 5;
/// Sub-buckets that [`DIGITS`] need: the power of two that is not below 2 * 10^DIGITS.
const SUB_BUCKETS: u64 = 2 * 10_u64.pow(DIGITS as u32);

/// The text.
#[must_use]
pub fn hgrm(latency: &Latency) -> String {
    let histogram = latency.histogram();
    let micros = |nanoseconds: f64| nanoseconds / 1e3;
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for step in histogram.iter_quantiles(STEPS_PER_HALF) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (micros(step.value_iterated_to() as f64), step.quantile_iterated_to());
        // A string takes everything.
        let _ = write!(text, "{value:>12.3} {quantile:>14.12} {total:>10}");
        let _ =
            if quantile < 1.0 { writeln!(text, " {:>14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
    }
    let sub_buckets = SUB_BUCKETS.next_power_of_two();
    let buckets = 1 + (NANOSECONDS_MAX / sub_buckets).ilog2() + 1;
    let (mean, deviation) = (micros(histogram.mean()), micros(histogram.stdev()));
    let max = micros(histogram.max() as f64);
    let _ = write!(
        text,
        "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]\n\
         #[Max     = {max:>12.3}, Total count    = {:>12}]\n\
         #[Buckets = {buckets:>12}, SubBuckets     = {sub_buckets:>12}]\n",
        histogram.len()
    );
    text
}

/// A file's name made of labels: letters, digits, `.` and `-` stay, everything else becomes `_`.
#[must_use]
pub fn file_name<'a>(labels: impl IntoIterator<Item = &'a str>) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
    let parts: Vec<String> = labels
        .into_iter()
        .filter(|label| !label.is_empty())
        .map(|label| label.chars().map(allowed).collect())
        .collect();
    // A leading dot would hide the file, and two are a folder.
    format!("{}.hgrm", parts.join("_").trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{file_name, hgrm};
    use crate::record::Latency;

    #[test]
    fn the_text_is_that_of_the_original() {
        let mut latency = Latency::default();
        for time in [81_000, 82_000, 83_000, 1_000_000] {
            latency.record(time);
        }
        let text = hgrm(&latency);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        assert_eq!(lines[2], "      81.023 0.000000000000          1           1.00");
        assert!(lines.contains(&"    1000.447 1.000000000000          4"), "{text}");
        assert!(text.ends_with("#[Buckets =           30, SubBuckets     =         2048]\n"), "{text}");
        assert!(hgrm(&Latency::default()).contains("Total count    =            0]"));
    }

    #[test]
    fn names_of_files_stay_in_their_folder() {
        assert_eq!(file_name(["adit-uring", "veth 1500", "../a/b", ""]), "adit-uring_veth_1500_.._a_b.hgrm");
        assert_eq!(file_name(["../x"]), "_x.hgrm");
        assert_eq!(file_name(["..", "x"]), "_x.hgrm");
    }

    proptest! {
        #[test]
        fn counts_rise_to_the_sum_and_values_to_the_maximum(
            times in prop::collection::vec(1u64..10_000_000_000, 1..200),
        ) {
            let mut latency = Latency::default();
            for &time in &times {
                latency.record(time);
            }
            let text = hgrm(&latency);
            let rows: Vec<Vec<f64>> = text
                .lines()
                .skip(2)
                .take_while(|line| !line.starts_with('#'))
                .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
                .collect();
            prop_assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]));
            let last = rows.last().unwrap();
            prop_assert_eq!(last[2], times.len() as f64);
            prop_assert!((last[0] - latency.histogram().max() as f64 / 1e3).abs() < 1e-3);
            let total = format!("Total count    = {:>12}]", times.len());
            prop_assert!(text.contains(&total));
        }
    }
}
