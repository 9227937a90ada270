//! The `adit` program. Everything it does is in the library; this picks the allocator and hands over the command line.

#![forbid(unsafe_code)]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    adit_control::run(std::env::args_os())
}
