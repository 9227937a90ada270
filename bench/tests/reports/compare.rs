//! The codes that a script sees.

use crate::{adit_bench, made_up, said, write};

#[test]
fn a_run_beside_itself_is_no_regression() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder.path().join("a.jsonl"), &made_up::samples());
    let output = adit_bench(&["compare", &file, &file]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).ends_with("No regression.\n"), "{}", said(&output));
}

#[test]
fn slower_runs_are_a_regression_once_there_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let before: Vec<_> = made_up::samples().into_iter().filter(|sample| sample.workload == "dial").collect();
    let mut after = before.clone();
    for sample in &mut after {
        sample.operations /= 2;
    }
    let (a, b) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
    let (a, b) = (write(&a, &before), write(&b, &after));
    let output = adit_bench(&["compare", &a, &b]);
    assert_eq!(output.status.code(), Some(3), "three rounds cannot reach 0.01: {}", said(&output));
    assert!(said(&output).contains("5 of each side can"), "{}", said(&output));
    let output = adit_bench(&["compare", &a, &b, "--alpha", "0.1"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("WORSE"), "{}", said(&output));
    let output = adit_bench(&["compare", &b, &a, "--alpha", "0.1", "--threshold", "2.5"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn two_systems_of_one_file_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let samples: Vec<_> =
        made_up::samples().into_iter().filter(|sample| sample.workload == "ping-pong").collect();
    let file = write(&folder.path().join("a.jsonl"), &samples);
    let between = |a, b| adit_bench(&["compare", &file, "--alpha", "0.1", "--baseline", a, "--candidate", b]);
    assert_eq!(between("quinn-baseline", "adit-uring").status.code(), Some(0));
    let output = between("adit-uring", "quinn-baseline");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("ping_p50_seconds"), "{}", said(&output));

    let output = between("adit-uring", "frp");
    assert!(!output.status.success());
    assert!(
        said(&output).contains("--candidate frp: no such samples; there are: adit-epoll, "),
        "{}",
        said(&output)
    );
}

#[test]
fn a_file_that_is_no_samples_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.jsonl");
    std::fs::write(&file, "\nnonsense\n").unwrap();
    let file = file.to_str().unwrap();
    let output = adit_bench(&["compare", file, file]);
    assert!(!output.status.success());
    assert!(said(&output).contains(&format!("{file}: line 2: ")), "{}", said(&output));
    assert!(!adit_bench(&["compare", file]).status.success(), "one file and no two systems");
}
