//! A histogram that can be written into a line.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Significant decimal digits that a histogram keeps.
pub const DIGITS: u8 = 3;
/// Longest time that is told apart; longer ones count as this one.
pub const NANOSECONDS_MAX: u64 = 600 * 1_000_000_000;

/// A distribution of times in nanoseconds.
///
/// In a line it is a list of `[value, count]` pairs: each bucket's largest value that counts as equal, rising. That
/// is all that [`Histogram`] knows, so lines of several rounds can be added without loss.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Latency(Histogram<u64>);

impl std::fmt::Debug for Latency {
    /// A few numbers: the buckets are thousands, and nobody reads them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (count, max) = (self.0.len(), self.0.max());
        write!(f, "Latency({count} × p50 {} p99 {} max {max} ns)", self.quantile(0.5), self.quantile(0.99))
    }
}

impl Default for Latency {
    fn default() -> Self {
        // Both bounds are constants that `new_with_bounds` accepts.
        Self(
            Histogram::new_with_bounds(1, NANOSECONDS_MAX, DIGITS)
                .unwrap_or_else(|error| unreachable!("{error}")),
        )
    }
}

impl Latency {
    /// Counts one time.
    pub fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// Adds another distribution.
    pub fn add(&mut self, other: &Self) {
        for (value, count) in other.pairs() {
            self.0.saturating_record_n(value, count);
        }
    }

    /// Takes away a distribution that is part of this one; what is not part of it is left out of account.
    pub fn subtract(&mut self, part: &Self) {
        let mut left = Self::default();
        for (value, count) in self.pairs() {
            let rest = count.saturating_sub(part.0.count_at(value));
            left.0.saturating_record_n(value, rest);
        }
        *self = left;
    }

    /// The histogram: counts, quantiles, iterators.
    #[must_use]
    pub const fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// The time that this share (0 to 1) of all does not exceed, in nanoseconds; 0 where nothing was recorded.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    fn pairs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }
}

impl From<Vec<(u64, u64)>> for Latency {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut latency = Self::default();
        for (value, count) in pairs {
            latency.0.saturating_record_n(value, count);
        }
        latency
    }
}

impl From<Latency> for Vec<(u64, u64)> {
    fn from(latency: Latency) -> Self {
        latency.pairs().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Latency;

    proptest! {
        #[test]
        fn a_line_keeps_the_distribution(times in prop::collection::vec(1u64..10_000_000_000, 0..200)) {
            let mut latency = Latency::default();
            for &time in &times {
                latency.record(time);
            }
            let text = serde_json::to_string(&latency).unwrap();
            let read: Latency = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read, &latency);
            for share in [0.0, 0.5, 0.99, 1.0] {
                prop_assert_eq!(read.quantile(share), latency.quantile(share));
            }
            let mut twice = latency.clone();
            twice.add(&read);
            prop_assert_eq!(twice.histogram().len(), 2 * latency.histogram().len());
            twice.subtract(&read);
            for share in [0.0, 0.5, 0.99, 1.0] {
                prop_assert_eq!(twice.quantile(share), latency.quantile(share));
            }
            twice.subtract(&latency);
            prop_assert!(twice.histogram().is_empty());
        }
    }

    #[test]
    fn a_time_beyond_the_longest_counts_as_the_longest() {
        let mut latency = Latency::default();
        latency.record(u64::MAX);
        assert_eq!(latency.histogram().len(), 1);
        assert!(latency.quantile(1.0) >= super::NANOSECONDS_MAX);
    }
}
