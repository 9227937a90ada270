//! Samples sorted for drawing: what is shown side by side, and in which order and colour.

use std::collections::BTreeMap;

use crate::compare::figures::{figures, median};
use crate::record::{ErrorCount, Latency, Sample};

/// The system that has nothing between client and target; it is drawn as a reference, not as a contender.
const REFERENCE: &str = "direct";
/// Colours of contenders; the ninth has the first one's.
const COLOURS: usize = 8;

/// Everything, in the order in which it first occurred.
#[derive(Debug)]
pub(super) struct Sorted<'a> {
    /// Systems with their colour's class.
    pub(super) systems: Vec<(&'a str, String)>,
    pub(super) networks: Vec<&'a str>,
    pub(super) groups: Vec<Group<'a>>,
}

/// One workload with one choice of settings over one network: what is compared side by side.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) network: &'a str,
    pub(super) workload: &'a str,
    pub(super) settings: &'a BTreeMap<String, String>,
    /// One per system that was measured, in the order of [`Sorted::systems`].
    pub(super) cells: Vec<Cell<'a>>,
}

/// One system in a group.
#[derive(Debug)]
pub(super) struct Cell<'a> {
    pub(super) system: &'a str,
    /// Its colour's class: `s0` to `s7`, or `ref`.
    pub(super) class: String,
    pub(super) samples: Vec<&'a Sample>,
    /// Values by figure, one per round.
    pub(super) figures: BTreeMap<String, Vec<f64>>,
    /// All rounds' latencies together.
    pub(super) latencies: BTreeMap<&'a str, Latency>,
    /// All rounds' errors together.
    pub(super) errors: BTreeMap<&'a str, ErrorCount>,
}

/// A figure's rounds: the middle and the ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// Sorts.
pub(super) fn sort(samples: &[Sample]) -> Sorted<'_> {
    let mut names: Vec<&str> = Vec::new();
    let mut networks: Vec<&str> = Vec::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for sample in samples {
        note(&mut names, &sample.system);
        note(&mut networks, &sample.network);
        let key = (sample.network.as_str(), sample.workload.as_str(), &sample.settings);
        if !groups.iter().any(|group| (group.network, group.workload, group.settings) == key) {
            groups.push(Group { network: key.0, workload: key.1, settings: key.2, cells: Vec::new() });
        }
    }
    let mut colour = 0;
    let class = |name: &str| {
        if name == REFERENCE {
            return "ref".to_owned();
        }
        colour += 1;
        format!("s{}", (colour - 1) % COLOURS)
    };
    let classes: Vec<String> = names.iter().copied().map(class).collect();
    let systems: Vec<(&str, String)> = names.into_iter().zip(classes).collect();
    for group in &mut groups {
        for (system, class) in &systems {
            let belongs = |sample: &&Sample| {
                let key = (sample.network.as_str(), sample.workload.as_str(), &sample.settings);
                sample.system == *system && key == (group.network, group.workload, group.settings)
            };
            let samples: Vec<&Sample> = samples.iter().filter(belongs).collect();
            if !samples.is_empty() {
                group.cells.push(cell(system, class.clone(), samples));
            }
        }
    }
    Sorted { systems, networks, groups }
}

fn note<'a>(seen: &mut Vec<&'a str>, name: &'a str) {
    if !seen.contains(&name) {
        seen.push(name);
    }
}

fn cell<'a>(system: &'a str, class: String, samples: Vec<&'a Sample>) -> Cell<'a> {
    let mut cell = Cell {
        system,
        class,
        samples,
        figures: BTreeMap::new(),
        latencies: BTreeMap::new(),
        errors: BTreeMap::new(),
    };
    for sample in &cell.samples {
        for (name, value) in figures(sample) {
            cell.figures.entry(name).or_default().push(value);
        }
        for (name, latency) in &sample.latencies {
            cell.latencies.entry(name).or_default().add(latency);
        }
        for (kind, count) in &sample.errors {
            let all = cell.errors.entry(kind).or_default();
            all.count += count.count;
            all.examples.extend_from_slice(&count.examples);
        }
    }
    cell
}

impl<'a> Sorted<'a> {
    /// The groups of a network, with their places among all.
    pub(super) fn of_network(&self, network: &str) -> impl Iterator<Item = (usize, &Group<'a>)> {
        self.groups.iter().enumerate().filter(move |(_, group)| group.network == network)
    }
}

impl Cell<'_> {
    /// Errors of all kinds.
    pub(super) fn error_count(&self) -> u64 {
        self.errors.values().map(|error| error.count).sum()
    }

    /// Rounds that are not clean: with errors, or without anything measured.
    pub(super) fn unclean_rounds(&self) -> usize {
        self.samples.iter().filter(|sample| !sample.is_clean()).count()
    }

    /// What a mark beside a figure says: `None` where every round was clean.
    pub(super) fn mark(&self) -> Option<String> {
        match (self.error_count(), self.unclean_rounds()) {
            (0, 0) => None,
            (0, rounds) => Some(format!("nothing measured in {rounds} of {}", self.samples.len())),
            (1, _) => Some("1 error".to_owned()),
            (errors, _) => Some(format!("{} errors", crate::report::text::count(errors))),
        }
    }

    /// A figure's rounds; `None` where there is none.
    pub(super) fn spread(&self, figure: &str) -> Option<Spread> {
        let values = self.figures.get(figure)?;
        let min = values.iter().copied().min_by(f64::total_cmp)?;
        let max = values.iter().copied().max_by(f64::total_cmp)?;
        Some(Spread { median: median(values), min, max })
    }
}

impl Group<'_> {
    /// The place in the page.
    pub(super) fn anchor(&self, index: usize) -> String {
        let word: String = format!("{}-{}", self.workload, self.network)
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        format!("{word}-{index}")
    }

    /// Names of figures that some system has, those that this workload is about first.
    pub(super) fn figure_names(&self) -> Vec<&str> {
        let mut names = self.headlines();
        for cell in &self.cells {
            for name in cell.figures.keys() {
                note(&mut names, name);
            }
        }
        names
    }

    /// The figures that this workload is about, as far as there are any.
    pub(super) fn headlines(&self) -> Vec<&str> {
        let there = |name: &&str| self.cells.iter().any(|cell| cell.figures.contains_key(*name));
        let names: Vec<&str> = super::words::headlines(self.workload).iter().copied().filter(there).collect();
        if !names.is_empty() {
            return names;
        }
        let any = self.cells.iter().flat_map(|cell| cell.figures.keys().map(String::as_str));
        let mut names = Vec::new();
        any.for_each(|name| note(&mut names, name));
        names.truncate(3);
        names
    }
}
