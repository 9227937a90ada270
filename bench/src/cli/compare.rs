//! `adit-bench compare`: decides whether runs have become worse.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::read_samples;
use crate::compare::{Outcome, Rules, compare, table};
use crate::record::Sample;

/// The exit code where there are too few runs to decide.
pub const UNDECIDED: u8 = 3;

/// Compares the runs of B with those of A, or of two systems within one file.
///
/// Ends with 0 where nothing is worse, with 1 where something is, has errors that A has not, or is missing, and with 3
/// where something looks worse and there are too few runs to say.
#[derive(Debug, clap::Args)]
pub struct Compare {
    /// JSON lines of `adit-bench load --json` or `adit-bench suite`: how it was. `-` is standard input.
    a: PathBuf,
    /// How it is. May be left out where two systems of A are compared.
    #[arg(required_unless_present = "baseline")]
    b: Option<PathBuf>,
    /// Compare this system (of A) ...
    #[arg(long, value_name = "SYSTEM", requires = "candidate")]
    baseline: Option<String>,
    /// ... with this one (of B, or of A where there is no B).
    #[arg(long, value_name = "SYSTEM", requires = "baseline")]
    candidate: Option<String>,
    /// Most that chance may explain of a difference: the probability of the rank test, two-sided. 5 runs of each side
    /// can reach 0.01, 4 can reach 0.03, and 3 can reach 0.1.
    #[arg(long, default_value_t = 0.01, value_parser = probability)]
    alpha: f64,
    /// The factor by which a median has to be worse.
    #[arg(long, default_value_t = 1.05, value_parser = factor)]
    threshold: f64,
}

impl Compare {
    /// Prints the table; the code tells the outcome.
    ///
    /// # Errors
    /// A file that cannot be read, a system that has no samples, and standard output.
    pub fn run(&self) -> io::Result<ExitCode> {
        let mut a = read_samples(&self.a)?;
        let mut b = match &self.b {
            Some(path) => read_samples(path)?,
            None => a.clone(),
        };
        if let Some(system) = &self.baseline {
            choose(&mut a, system, "--baseline")?;
        }
        if let Some(system) = &self.candidate {
            choose(&mut b, system, "--candidate")?;
        }
        let rules = Rules { alpha: self.alpha, threshold: self.threshold };
        let comparison = compare(&a, &b, self.baseline.is_some(), rules);
        let mut out = io::stdout().lock();
        out.write_all(table(&comparison).as_bytes())?;
        out.flush()?;
        Ok(match comparison.outcome() {
            Outcome::Regression => ExitCode::FAILURE,
            Outcome::Undecided => ExitCode::from(UNDECIDED),
            Outcome::NoRegression => ExitCode::SUCCESS,
        })
    }
}

/// Keeps the samples of one system.
fn choose(samples: &mut Vec<Sample>, system: &str, option: &str) -> io::Result<()> {
    let there: BTreeSet<String> = samples.iter().map(|sample| sample.system.clone()).collect();
    if !there.contains(system) {
        let there = there.into_iter().collect::<Vec<_>>().join(", ");
        return Err(io::Error::other(format!("{option} {system}: no such samples; there are: {there}")));
    }
    samples.retain(|sample| sample.system == system);
    Ok(())
}

fn probability(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if value > 0.0 && value < 1.0 { Ok(value) } else { Err("between 0 and 1".to_owned()) }
}

fn factor(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if value.is_finite() && value >= 1.0 {
        Ok(value)
    } else {
        Err("a factor of at least 1, e.g. 1.05".to_owned())
    }
}
