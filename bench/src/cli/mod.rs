//! The command line: one file a verb, each with its flags and what it does with them.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::record::{Sample, read_lines};

pub mod baseline;
pub mod compare;
pub mod forwarder;
mod load;
pub mod report;
pub mod suite;
mod target;

/// Load, targets and reports for tunnels; talks to everything from outside.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serves echo, sink, source and misbehaviour over TCP until it is told to end (SIGINT, SIGTERM).
    Target(target::Arguments),
    /// Puts load on a target through a proxy or tunnel, and measures. Exits 0 only if every byte was right.
    Load(Box<load::Arguments>),
    /// A simple system of another making, for comparison.
    #[command(subcommand)]
    Baseline(baseline::Baseline),
    Forwarder(forwarder::Forwarder),
    Compare(compare::Compare),
    Report(report::Report),
    Suite(suite::SuiteArguments),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Target(arguments) => target::run(arguments),
        Verb::Load(arguments) => load::run(&arguments),
        Verb::Baseline(baseline) => baseline.run().map(|()| ExitCode::SUCCESS),
        Verb::Forwarder(forwarder) => forwarder.run().map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Verb::Compare(compare) => compare.run().map_err(Into::into),
        Verb::Report(report) => report.run().map_err(Into::into),
        Verb::Suite(suite) => suite.run().map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("adit-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads a file of samples; `-` is standard input.
///
/// # Errors
/// What the system says, or the first line that is no sample, with the file's name.
fn read_samples(path: &Path) -> io::Result<Vec<Sample>> {
    let samples = if path == Path::new("-") {
        read_lines(io::stdin().lock())
    } else {
        File::open(path).map_err(Into::into).and_then(|file| read_lines(BufReader::new(file)))
    };
    samples.map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}
