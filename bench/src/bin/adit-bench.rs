//! The `adit-bench` program: what stands around a tunnel under test.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use adit_bench::cli::baseline::Baseline;
use adit_bench::cli::compare::Compare;
use adit_bench::cli::forwarder::Forwarder;
use adit_bench::cli::suite::SuiteArguments;
use adit_bench::target::Target;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Targets and load for tunnels; talks to everything from outside.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serves echo, sink, source and misbehaviour over TCP until it is told to end (SIGINT, SIGTERM).
    Target {
        /// Where to listen; port 0 takes a free one. May be repeated. Without any: 127.0.0.1:0.
        #[arg(long, value_name = "ADDR")]
        listen: Vec<SocketAddr>,
        /// Where to listen and speak first. May be repeated.
        #[arg(long, value_name = "ADDR")]
        greet: Vec<SocketAddr>,
    },
    /// A simple system of another making, for comparison.
    #[command(subcommand)]
    Baseline(Baseline),
    Forwarder(Forwarder),
    Compare(Compare),
    Suite(SuiteArguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Target { listen, greet } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let done = runtime.and_then(|runtime| runtime.block_on(target(listen, greet)));
            done.map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Verb::Baseline(baseline) => baseline.run().map(|()| ExitCode::SUCCESS),
        Verb::Forwarder(forwarder) => forwarder.run().map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Verb::Compare(compare) => compare.run().map_err(Into::into),
        Verb::Suite(suite) => suite.run().map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to be told where this cannot be.
            let _ = writeln!(io::stderr(), "adit-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs targets; says on standard output where, one line each.
async fn target(mut listen: Vec<SocketAddr>, greet: Vec<SocketAddr>) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    if listen.is_empty() && greet.is_empty() {
        listen.push(SocketAddr::from(([127, 0, 0, 1], 0)));
    }
    let mut targets = Vec::new();
    for addr in listen {
        let target = Target::start(addr).await?;
        writeln!(io::stdout(), "listening on {}", target.local_addr())?;
        targets.push(target);
    }
    for addr in greet {
        let target = Target::start_greeting(addr).await?;
        writeln!(io::stdout(), "greeting on {}", target.local_addr())?;
        targets.push(target);
    }
    io::stdout().flush()?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
