//! Where io_uring is denied, as containers deny it: the same bytes on epoll, and the reason.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::Value;

use crate::support::process::ADIT;

/// `io_uring_setup`, `io_uring_enter`, `io_uring_register`: the same numbers on every architecture.
const IO_URING_CALLS: [i64; 3] = [425, 426, 427];

/// Runs the program under a filter that answers io_uring's system calls with EPERM. The filter belongs to a thread
/// and is inherited by what it starts; so the thread is one of its own.
fn without_io_uring(args: &'static [&'static str]) -> Output {
    let rules: BTreeMap<_, _> = IO_URING_CALLS.into_iter().map(|call| (call, Vec::new())).collect();
    let eperm = SeccompAction::Errno(1);
    let arch = std::env::consts::ARCH.try_into().expect("an architecture that seccomp knows");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, eperm, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    let thread = std::thread::spawn(move || {
        seccompiler::apply_filter(&program).expect("anybody may filter themselves");
        Command::new(ADIT).args(args).stdin(std::process::Stdio::null()).output().expect("it starts")
    });
    thread.join().expect("the thread ends")
}

#[test]
fn the_demo_falls_back_to_epoll_and_says_why() {
    let args = &["demo", "--json", "--bulk-mib", "32", "--requests", "10", "--dials", "20"];
    let output = without_io_uring(args);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}"));
    assert_eq!(report["ok"], Value::Bool(true));
    let processes = report["processes"].as_array().expect("processes");
    assert_eq!(processes.len(), 3);
    for process in processes {
        assert_eq!(process["driver"], "epoll", "{process}");
        let fallback = process["fallback"].as_str().unwrap_or_default();
        assert!(fallback.contains("io_uring_setup") && fallback.contains("seccomp"), "{fallback:?}");
    }
}

#[test]
fn an_explicit_choice_fails_instead_and_names_the_remedy() {
    let output = without_io_uring(&["demo", "--io", "uring", "--bulk-mib", "1"]);
    assert!(!output.status.success());
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("seccomp") && stdout.contains("--io epoll"), "{stdout}");
}
