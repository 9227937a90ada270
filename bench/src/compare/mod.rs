//! Whether one set of runs is worse than another.
//!
//! Samples that may be compared form a group: same network, workload and settings, and the same system unless two
//! systems are what is compared. Within a group each figure has one value per run. A figure is *worse* when its median
//! is worse by more than the threshold **and** the exact rank test says that dealing the runs at random would part
//! them as much at most as often as `alpha`. Medians alone would call noise a regression; the test alone would call a
//! difference that nobody cares about one. Runs, not operations, are what is ranked: a million round trips of one run
//! share its luck.
//!
//! Every figure of every group is tested by itself. With many of them `alpha` is how often the average one errs, so a
//! single surprise among a hundred deserves a second run.
//!
//! Deliberately absent: drawing ([`crate::report`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::record::Sample;

pub mod figures;
mod rank;
mod table;

use figures::{Better, better, median};
pub use rank::{RUNS_MAX, least_p, runs_needed, two_sided_p};
pub use table::table;

/// When a difference counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Most that chance may explain of a difference, as a probability.
    pub alpha: f64,
    /// The factor, at least 1, by which a median has to be worse (or better).
    pub threshold: f64,
}

/// What belongs together. The system is empty where two systems are compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// As in [`Sample::system`].
    pub system: String,
    /// As in [`Sample::network`].
    pub network: String,
    /// As in [`Sample::workload`].
    pub workload: String,
    /// As in [`Sample::settings`].
    pub settings: BTreeMap<String, String>,
}

/// What was found of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Worse by more than the threshold, and not by chance.
    Worse,
    /// Better by more than the threshold, and not by chance.
    Better,
    /// Apart by no more than the threshold, whatever the cause.
    Same,
    /// Apart by more than the threshold, but runs of no difference would be as often enough.
    Chance,
    /// Apart by more than the threshold, and so few runs that the test could not say so.
    TooFewRuns,
    /// One side has it and the other has not.
    Missing,
    /// Neither way is better.
    NotJudged,
}

/// One figure of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The figure's name.
    pub name: String,
    /// Its values in A, one per run.
    pub a: Vec<f64>,
    /// Its values in B.
    pub b: Vec<f64>,
    /// Median of B by median of A.
    pub ratio: f64,
    /// How much worse B is, as a factor; below 1 it is better, and 1 where neither way is.
    pub worse_by: f64,
    /// Two-sided, of the exact rank test.
    pub p: f64,
    /// The judgement.
    pub verdict: Verdict,
}

/// One group of both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What its samples have in common.
    pub key: Key,
    /// Runs of A and of B.
    pub runs: (usize, usize),
    /// Errors of A by kind.
    pub errors_a: BTreeMap<String, u64>,
    /// Errors of B by kind.
    pub errors_b: BTreeMap<String, u64>,
    /// Kinds that only B has; `nothing was measured` among them.
    pub new_errors: Vec<String>,
    /// Figure by figure; empty where a side has no runs.
    pub rows: Vec<Row>,
}

/// Everything found.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The rules that were applied.
    pub rules: Rules,
    /// Groups of either side.
    pub groups: Vec<Group>,
}

/// The whole judgement, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Something is worse, has new errors, or is missing.
    Regression,
    /// Something looks worse, and there are too few runs to say.
    Undecided,
    /// Neither.
    NoRegression,
}

/// The kind of error of a sample in which nothing was counted at all.
pub const NOTHING_MEASURED: &str = "nothing was measured";

/// Compares the samples of A with those of B. Where two systems are compared, choose their samples first and say so:
/// the groups then leave the system out.
#[must_use]
pub fn compare(a: &[Sample], b: &[Sample], across_systems: bool, rules: Rules) -> Comparison {
    let (a, b) = (by_key(a, across_systems), by_key(b, across_systems));
    let keys: BTreeSet<&Key> = a.keys().chain(b.keys()).collect();
    let one = |key: &Key| {
        let a = a.get(key).map_or(&[][..], Vec::as_slice);
        let b = b.get(key).map_or(&[][..], Vec::as_slice);
        group(key.clone(), a, b, rules)
    };
    let groups = keys.into_iter().map(one).collect();
    Comparison { rules, groups }
}

impl Group {
    /// Whether a side has no runs.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        self.runs.0 == 0 || self.runs.1 == 0
    }
}

impl Comparison {
    /// How many figures were judged so.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows().filter(|row| row.verdict == verdict).count()
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.groups.iter().flat_map(|group| &group.rows)
    }

    /// The whole judgement. Nothing to compare at all is a regression, too.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let spoilt = |group: &Group| group.is_missing() || !group.new_errors.is_empty();
        if self.groups.is_empty()
            || self.groups.iter().any(spoilt)
            || self.count(Verdict::Worse) + self.count(Verdict::Missing) > 0
        {
            Outcome::Regression
        } else if self.rows().any(|row| row.verdict == Verdict::TooFewRuns && row.worse_by > 1.0) {
            Outcome::Undecided
        } else {
            Outcome::NoRegression
        }
    }
}

fn by_key(samples: &[Sample], across_systems: bool) -> BTreeMap<Key, Vec<&Sample>> {
    let mut groups = BTreeMap::<Key, Vec<&Sample>>::new();
    for sample in samples {
        let key = Key {
            system: if across_systems { String::new() } else { sample.system.clone() },
            network: sample.network.clone(),
            workload: sample.workload.clone(),
            settings: sample.settings.clone(),
        };
        groups.entry(key).or_default().push(sample);
    }
    groups
}

fn group(key: Key, a: &[&Sample], b: &[&Sample], rules: Rules) -> Group {
    let (errors_a, errors_b) = (errors(a), errors(b));
    let new_errors = errors_b.keys().filter(|kind| !errors_a.contains_key(*kind)).cloned().collect();
    let rows = if a.is_empty() || b.is_empty() { Vec::new() } else { rows(a, b, rules) };
    Group { key, runs: (a.len(), b.len()), errors_a, errors_b, new_errors, rows }
}

fn errors(samples: &[&Sample]) -> BTreeMap<String, u64> {
    let mut errors = BTreeMap::new();
    for sample in samples {
        for (kind, count) in &sample.errors {
            *errors.entry(kind.clone()).or_default() += count.count;
        }
        if sample.errors.is_empty() && !sample.is_clean() {
            *errors.entry(NOTHING_MEASURED.to_owned()).or_default() += 1;
        }
    }
    errors
}

fn rows(a: &[&Sample], b: &[&Sample], rules: Rules) -> Vec<Row> {
    let (a, b) = (values(a), values(b));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let of = |side: &BTreeMap<String, Vec<f64>>, name| side.get(name).cloned().unwrap_or_default();
    names.into_iter().map(|name| row(name, of(&a, name), of(&b, name), rules)).collect()
}

fn values(samples: &[&Sample]) -> BTreeMap<String, Vec<f64>> {
    let mut values = BTreeMap::<String, Vec<f64>>::new();
    for sample in samples {
        for (name, value) in figures::figures(sample) {
            values.entry(name).or_default().push(value);
        }
    }
    values
}

fn row(name: &str, a: Vec<f64>, b: Vec<f64>, rules: Rules) -> Row {
    let (before, after) = (median(&a), median(&b));
    let ratio = if before == after { 1.0 } else { after / before };
    let p = two_sided_p(&a, &b);
    let way = better(name);
    let worse_by = match way {
        Some(Better::Lower) => ratio,
        Some(Better::Higher) => ratio.recip(),
        None => 1.0,
    };
    let verdict = match () {
        () if a.is_empty() || b.is_empty() => Verdict::Missing,
        () if way.is_none() => Verdict::NotJudged,
        () if worse_by < rules.threshold && worse_by.recip() < rules.threshold => Verdict::Same,
        () if least_p(a.len(), b.len()) > rules.alpha => Verdict::TooFewRuns,
        () if p > rules.alpha => Verdict::Chance,
        () if worse_by > 1.0 => Verdict::Worse,
        () => Verdict::Better,
    };
    Row { name: name.to_owned(), a, b, ratio, worse_by, p, verdict }
}

#[cfg(test)]
mod tests;
