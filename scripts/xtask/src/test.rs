//! `cargo xtask test` and `cargo xtask sim`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::counterparts;
use crate::lanes;
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

/// Runs the Rust tests, shows what they print, and returns the tests that were ignored or said that they skipped.
/// Without arguments the programs run in lanes; with some it is `cargo test` itself, which knows what they mean.
fn rust(rest: &[String]) -> Result<Vec<String>, Failure> {
    println!("── Rust tests");
    let printed = if rest.is_empty() {
        let printed = lanes::run()?;
        run::step(
            "examples in documentation",
            &mut run::cargo(&["test", "--locked", "--workspace", "--doc"]),
        )?;
        printed
    } else {
        shown(run::cargo(&["test", "--locked", "--workspace"]).args(rest))?
    };
    Ok(printed.lines().filter_map(skip).map(str::to_owned).collect())
}

/// Runs a command, shows what it prints while it does, and returns it.
fn shown(command: &mut Command) -> Result<String, Failure> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut printed = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("{line}");
            printed.push_str(&line);
            printed.push('\n');
        }
    }
    match child.wait()? {
        status if status.success() => Ok(printed),
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
