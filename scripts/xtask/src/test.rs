//! `cargo xtask test` and `cargo xtask sim`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::counterparts;
use crate::run::{self, Done, Failure};

/// Runs every Rust test; with `all`, what needs more than Rust as well.
pub(crate) fn test(all: bool, rest: &[String]) -> Done {
    let skipped = rust(rest)?;
    if all {
        counterparts::counterparts()?;
        counterparts::kube()?;
    } else {
        println!(
            "── not run without --all: the Go counterparts (cargo xtask counterparts, cargo xtask kube)"
        );
    }
    if skipped.is_empty() {
        println!("── no test was skipped");
    }
    for line in skipped {
        println!("── skipped: {line}");
    }
    Ok(())
}

/// Runs the simulator with these arguments. Deliberate defects are behind a feature, which is switched on for a run
/// that asks for them and for no other. No package is chosen, so that the dependencies are those of a release build of
/// adit: another choice would mean other features of theirs, and building them again.
pub(crate) fn sim(rest: &[String]) -> Done {
    let mut command = run::cargo(&["run", "--locked", "--release", "--bin", "sim"]);
    if rest.iter().any(|argument| matches!(argument.as_str(), "--defect" | "--defects")) {
        command.args(["--features", "adit-sim/defects"]);
    }
    run::step("simulator", command.arg("--").args(rest))
}

/// Builds adit and adit-bench with optimisation and runs the latter's suite where the caller stands, so that its files
/// are written there. The verb that this must not be is a test: figures are judged by people.
pub(crate) fn suite(rest: &[String]) -> Done {
    let build = ["build", "--locked", "--release", "--bin", "adit", "--bin", "adit-bench"];
    run::step("release build", &mut run::cargo(&build))?;
    let program = run::target_folder().join("release/adit-bench").display().to_string();
    let mut command = run::command(&program, &["suite"]);
    run::step("suite", command.current_dir(std::env::current_dir()?).args(rest))
}

/// Runs `cargo test`, shows its output, and returns the tests that were ignored or said that they skipped.
fn rust(rest: &[String]) -> Result<Vec<String>, Failure> {
    println!("── Rust tests");
    let mut command = run::cargo(&["test", "--locked", "--workspace"]);
    command.args(rest).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut skipped = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if let Some(test) = skip(&line) {
                skipped.push(test.to_owned());
            }
            println!("{line}");
        }
    }
    match child.wait()? {
        status if status.success() => Ok(skipped),
        status => Err(Failure::new(format!("Rust tests: {status}"))),
    }
}

/// The test and its reason, where a line of the test harness says that it did not run.
fn skip(line: &str) -> Option<&str> {
    line.strip_prefix("test ").filter(|rest| rest.contains(" ... ignored"))
}

#[cfg(test)]
mod tests {
    use super::skip;

    #[test]
    fn ignored_tests_are_noticed() {
        assert_eq!(skip("test a::b ... ok"), None);
        assert_eq!(skip("test a::b ... ignored, needs root"), Some("a::b ... ignored, needs root"));
        assert_eq!(skip("   Running test ... ignored"), None);
    }
}
