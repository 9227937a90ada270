//! The `adit-bench` program: what stands around a tunnel under test.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    adit_bench::cli::main()
}
