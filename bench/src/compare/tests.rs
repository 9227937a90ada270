//! What is a regression and what is not, on samples of a few numbers.

use super::{Comparison, NOTHING_MEASURED, Outcome, Rules, Verdict, compare, table};
use crate::record::{ErrorCount, Generator, SCHEMA, Sample, Series, Stamp};

const RULES: Rules = Rules { alpha: 0.01, threshold: 1.05 };

fn sample(system: &str, round: u32, operations: u64) -> Sample {
    Sample {
        schema: SCHEMA,
        system: system.into(),
        network: "loopback".into(),
        workload: "dial".into(),
        settings: [("connections".to_owned(), "1".to_owned())].into(),
        round,
        stamp: Stamp::default(),
        window_seconds: 1.0,
        operations,
        verified_up_bytes: 0,
        verified_down_bytes: 0,
        errors: [].into(),
        latencies: [].into(),
        figures: [].into(),
        series: Series::default(),
        processes: Vec::new(),
        generator: Generator::default(),
    }
}

fn runs(system: &str, operations: &[u64]) -> Vec<Sample> {
    (1..).zip(operations).map(|(round, operations)| sample(system, round, *operations)).collect()
}

fn verdict(comparison: &Comparison) -> (Verdict, Outcome) {
    assert_eq!(comparison.groups.len(), 1);
    (comparison.groups[0].rows[0].verdict, comparison.outcome())
}

#[test]
fn a_figure_is_worse_when_it_is_so_by_more_than_the_threshold_and_chance() {
    let before = runs("a", &[100, 101, 102, 103, 104]);
    let table = [
        (vec![80, 81, 82, 83, 84], Verdict::Worse, Outcome::Regression),
        (vec![120, 121, 122, 123, 124], Verdict::Better, Outcome::NoRegression),
        (vec![98, 99, 99, 99, 98], Verdict::Same, Outcome::NoRegression),
        (vec![80, 81, 82, 110, 111], Verdict::Chance, Outcome::NoRegression),
        // Four against five reach 2/126 at best. What looks better asks for no more runs.
        (vec![80, 81, 82, 83], Verdict::TooFewRuns, Outcome::Undecided),
        (vec![130, 131, 132, 133], Verdict::TooFewRuns, Outcome::NoRegression),
    ];
    for (after, expected, outcome) in table {
        let found = compare(&before, &runs("a", &after), false, RULES);
        assert_eq!(verdict(&found), (expected, outcome), "{after:?}");
    }
}

#[test]
fn lower_is_better_for_times() {
    let with = |seconds: f64| {
        let mut samples = runs("a", &[1, 1, 1, 1, 1]);
        for (index, sample) in samples.iter_mut().enumerate() {
            sample.figures.insert("reconnect_seconds".into(), seconds + index as f64 / 1e3);
        }
        samples
    };
    let found = compare(&with(1.0), &with(2.0), false, RULES);
    let row = found.groups[0].rows.iter().find(|row| row.name == "reconnect_seconds").unwrap();
    assert_eq!(row.verdict, Verdict::Worse);
    assert_eq!(compare(&with(2.0), &with(1.0), false, RULES).outcome(), Outcome::NoRegression);
}

#[test]
fn errors_that_only_b_has_are_a_regression_however_fast_it_is() {
    let before = runs("a", &[100, 101, 102, 103, 104]);
    let mut after = runs("a", &[200, 201, 202, 203, 204]);
    after[3].errors.insert("reset".into(), ErrorCount { count: 2, examples: Vec::new() });
    let found = compare(&before, &after, false, RULES);
    assert_eq!(found.groups[0].new_errors, ["reset"]);
    assert_eq!(found.outcome(), Outcome::Regression);
    assert!(table(&found).contains("NEW ERRORS in B: reset"), "{}", table(&found));
    // The same kind on both sides is not new.
    assert_eq!(compare(&after, &after, false, RULES).outcome(), Outcome::NoRegression);

    let nothing = runs("a", &[200, 201, 202, 203, 0]);
    assert_eq!(compare(&before, &nothing, false, RULES).groups[0].new_errors, [NOTHING_MEASURED]);
}

#[test]
fn what_one_side_lacks_is_a_regression() {
    let a = runs("a", &[1, 1, 1, 1, 1]);
    let mut b = a.clone();
    b.iter_mut().for_each(|sample| sample.settings = [("connections".to_owned(), "2".to_owned())].into());
    let found = compare(&a, &b, false, RULES);
    assert_eq!((found.groups.len(), found.outcome()), (2, Outcome::Regression));
    let text = table(&found);
    assert!(text.contains("a, loopback, dial, connections=1\n  MISSING in B (5 runs in A)"), "{text}");
    assert!(text.contains("a, loopback, dial, connections=2\n  MISSING in A (5 runs in B)"), "{text}");

    let mut a = runs("a", &[1, 1, 1, 1, 1]);
    a[0].figures.insert("reconnect_seconds".into(), 1.0);
    assert_eq!(compare(&a, &runs("a", &[1]), false, RULES).count(Verdict::Missing), 1);
    assert_eq!(compare(&[], &[], false, RULES).outcome(), Outcome::Regression);
}

#[test]
fn two_systems_are_compared_across_their_names() {
    let (a, b) = (runs("direct", &[5, 5, 5, 5, 5]), runs("adit", &[5, 5, 5, 5, 5]));
    assert_eq!(compare(&a, &b, false, RULES).groups.len(), 2);
    assert_eq!(verdict(&compare(&a, &b, true, RULES)), (Verdict::Same, Outcome::NoRegression));
}

#[test]
fn the_table_says_how_many_runs_would_decide() {
    let found = compare(&runs("a", &[100, 101, 102]), &runs("a", &[50, 51, 52]), false, RULES);
    let text = table(&found);
    assert!(
        text.contains("operations_per_second        101/s       51.0/s    0.505   0.1000  too few runs"),
        "{text}"
    );
    assert!(text.contains("Too few runs to decide at --alpha 0.01: 5 of each side can."), "{text}");
    assert!(text.ends_with("UNDECIDED.\n"), "{text}");
}
