//! The one list of verbs: `cargo xtask <verb>`.
//!
//! A verb runs the same on a developer's machine and in CI (`.ci/run` calls these and little else). Each says what
//! it does before it does it. Deliberately absent: anything that edits the sources, publishes, or starts adit for
//! use; that is the `adit` program's own business.

#![forbid(unsafe_code)]
// A program for people: its output is the point.
#![allow(clippy::print_stdout)]

mod check;
mod counterparts;
mod deps;
mod lanes;
mod run;
mod set_up;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What can be done with this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version, about)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install what building and testing need. Says what it cannot do; safe to repeat.
    SetUp,
    /// Formatting, lints, documentation, dependency direction, licences and house rules.
    Check,
    /// Only the house rules.
    Tidy,
    /// Only the dependency direction.
    Deps,
    /// Every Rust test. With --all, the Go counterparts as well.
    Test {
        /// Everything that this machine can run, not only what Rust alone can.
        #[arg(long)]
        all: bool,
        /// Handed to `cargo test`, e.g. a test's name.
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// Run the simulator; the arguments are its own (`cargo xtask sim -- --help`).
    #[command(disable_help_flag = true)]
    Sim {
        /// Handed to the simulator.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Build adit and adit-bench for measuring, and run the benchmark suite; the arguments are its own
    /// (`cargo xtask suite -- --help`).
    #[command(disable_help_flag = true)]
    Suite {
        /// Handed to the suite.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Run adit against kube-apiserver's own dialer (needs Go).
    Counterparts,
    /// Build kube-apiserver and kubectl, and run adit between them and a kubelet (needs Go and etcd).
    Kube,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::SetUp => set_up::set_up(),
        Verb::Check => check::check(),
        Verb::Tidy => check::tidy(),
        Verb::Deps => deps::deps(),
        Verb::Test { all, rest } => test::test(all, &rest),
        Verb::Sim { rest } => test::sim(&rest),
        Verb::Suite { rest } => test::suite(&rest),
        Verb::Counterparts => counterparts::counterparts(),
        Verb::Kube => counterparts::kube(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
