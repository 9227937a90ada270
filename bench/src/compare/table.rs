//! A comparison as text for people.

use std::fmt::Write;

use super::figures::{median, show};
use super::{Comparison, Group, Key, Outcome, RUNS_MAX, Row, Verdict, runs_needed};

/// The table and, below it, what it comes to.
#[must_use]
pub fn table(comparison: &Comparison) -> String {
    let mut text = String::new();
    let names = comparison.groups.iter().flat_map(|group| &group.rows).map(|row| row.name.chars().count());
    let width = names.max().unwrap_or_default().max("figure".len());
    for group in &comparison.groups {
        // A string takes everything.
        let _ = one_group(&mut text, group, width);
    }
    let _ = summary(&mut text, comparison);
    text
}

/// A group's name: `adit-uring, loopback, bulk-up, connections=1`.
fn title(key: &Key) -> String {
    let mut parts = vec![key.system.clone(), key.network.clone(), key.workload.clone()];
    parts.extend(key.settings.iter().map(|(name, value)| format!("{name}={value}")));
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

fn one_group(text: &mut String, group: &Group, width: usize) -> std::fmt::Result {
    writeln!(text, "{}", title(&group.key))?;
    let (a, b) = group.runs;
    match group.runs {
        (_, 0) => writeln!(text, "  MISSING in B ({a} runs in A)\n")?,
        (0, _) => writeln!(text, "  MISSING in A ({b} runs in B)\n")?,
        _ => {}
    }
    if group.is_missing() {
        return Ok(());
    }
    let errors = |errors: &std::collections::BTreeMap<String, u64>| {
        let list: Vec<String> = errors.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        if list.is_empty() { "none".to_owned() } else { list.join(", ") }
    };
    writeln!(
        text,
        "  runs: {a} in A, {b} in B. errors: A {}; B {}",
        errors(&group.errors_a),
        errors(&group.errors_b)
    )?;
    if a.max(b) > RUNS_MAX {
        writeln!(text, "  the test ranks the first {RUNS_MAX} runs of each side")?;
    }
    for kind in &group.new_errors {
        writeln!(text, "  NEW ERRORS in B: {kind}")?;
    }
    writeln!(
        text,
        "  {:width$} {:>12} {:>12} {:>8} {:>8}  verdict",
        "figure", "median A", "median B", "B/A", "p"
    )?;
    for row in &group.rows {
        writeln!(text, "  {}", line(row, width))?;
    }
    writeln!(text)
}

fn line(row: &Row, width: usize) -> String {
    let shown =
        |values: &[f64]| if values.is_empty() { "–".to_owned() } else { show(&row.name, median(values)) };
    let (ratio, p) = match row.verdict {
        Verdict::Missing => ("–".to_owned(), "–".to_owned()),
        _ => (format!("{:.3}", row.ratio), format!("{:.4}", row.p)),
    };
    let verdict = match row.verdict {
        Verdict::Worse => "WORSE",
        Verdict::Better => "better",
        Verdict::Same => "same",
        Verdict::Chance => "may be chance",
        Verdict::TooFewRuns => "too few runs to decide",
        Verdict::Missing if row.a.is_empty() => "MISSING in A",
        Verdict::Missing => "MISSING in B",
        Verdict::NotJudged => "",
    };
    let (a, b) = (shown(&row.a), shown(&row.b));
    format!("{:width$} {a:>12} {b:>12} {ratio:>8} {p:>8}  {verdict}", row.name).trim_end().to_owned()
}

fn summary(text: &mut String, comparison: &Comparison) -> std::fmt::Result {
    let rules = comparison.rules;
    let count = |verdict| comparison.count(verdict);
    let missing = comparison.groups.iter().filter(|group| group.is_missing()).count();
    let errors: usize = comparison.groups.iter().map(|group| group.new_errors.len()).sum();
    writeln!(
        text,
        "{} groups, {missing} of them missing; {errors} new kinds of errors. Figures: {} worse, {} better, {} same, \
         {} may be chance, {} undecided, {} missing.",
        comparison.groups.len(),
        count(Verdict::Worse),
        count(Verdict::Better),
        count(Verdict::Same),
        count(Verdict::Chance),
        count(Verdict::TooFewRuns),
        count(Verdict::Missing),
    )?;
    if count(Verdict::TooFewRuns) > 0 {
        let needed = runs_needed(rules.alpha)
            .map_or_else(|| "no number of them can".to_owned(), |runs| format!("{runs} of each side can"));
        writeln!(
            text,
            "Too few runs to decide at --alpha {}: {needed}. Measure more rounds, or choose a larger --alpha.",
            rules.alpha
        )?;
    }
    let outcome = match comparison.outcome() {
        Outcome::Regression if comparison.groups.is_empty() => {
            "NOTHING TO COMPARE: no samples on either side."
        }
        Outcome::Regression => "REGRESSION.",
        Outcome::Undecided => "UNDECIDED.",
        Outcome::NoRegression => "No regression.",
    };
    writeln!(text, "{outcome}")
}
