//! adit's control plane: the `adit` program around the shards of `adit-dataplane`.
//!
//! ```text
//!   bin/adit ──▶ config (flags → validated) ──▶ server | agent (the control loop)
//!                                                 ├─ shards    threads that carry the bytes
//!                                                 ├─ agents    who is connected, routes
//!                                                 ├─ kubernetes  tokens and leases
//!                                                 ├─ resolve   names
//!                                                 └─ admin     health and metrics over HTTP
//!                demo, certs, forward: tools that stand beside it
//! ```
//!
//! Control answers the shards' questions and publishes snapshots. Payload of tunnels never passes through it: what
//! `forward` and `demo` carry, they carry as clients, from outside. It runs on tokio, on one thread.

#![forbid(unsafe_code)]

mod admin;
mod agent;
mod agent_port;
mod agents;
mod certs;
mod config;
mod connect;
mod cpus;
mod demo;
mod forward;
mod frontends;
mod kubernetes;
mod lifeline;
mod logging;
mod memory;
mod metrics;
mod random;
mod resolve;
mod server;
mod shards;
mod shutdown;
mod supervise;
mod tcp;
mod udp;
mod unix;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use config::cli::{Cli, Verb};
use config::validate::{agent_config, server_config};

/// Runs the program with its command line, the program's name first. Errors go to standard error, with the remedy;
/// the exit code is 0, or 1 for any failure.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::read(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not failures. A closed pipe is nobody's concern here.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(cli.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            let mut stderr = io::stderr().lock();
            for line in text.lines() {
                let _ = writeln!(stderr, "adit: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> Result<(), String> {
    match verb {
        Verb::Server(flags) => {
            logging::start(&flags.log, flags.klog.v);
            let config = server_config(&flags).map_err(|problems| problems.to_string())?;
            block_on(server::run(config))?.map_err(log)
        }
        Verb::Agent(flags) => {
            logging::start(&flags.log, flags.klog.v);
            let config = agent_config(&flags).map_err(|problems| problems.to_string())?;
            block_on(agent::run(config))?.map_err(log)
        }
        Verb::Demo(flags) => block_on(demo::run(flags))?,
        Verb::DemoTarget(flags) => block_on(demo::target::run(flags))?,
        Verb::Certs(flags) => {
            let written = certs::write_set(&flags).map_err(|e| e.to_string())?;
            for path in written {
                print_line(&format!("wrote {}", path.display()));
            }
            Ok(())
        }
        Verb::Forward(flags) => {
            logging::start(&flags.log, None);
            block_on(forward::run(flags))?
        }
    }
}

/// A failure of a program that logs belongs into the log, in the log's format: what is left to print is nothing.
fn log(error: String) -> String {
    tracing::error!("{error}");
    String::new()
}

/// Runs control's single-threaded runtime. Its blocking threads are the resolver's.
fn block_on<F: Future>(future: F) -> Result<F::Output, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(resolve::LOOKUPS_AT_ONCE_MAX + 8)
        .build()
        .map_err(|error| format!("cannot start the control runtime: {error}"))?;
    let output = runtime.block_on(future);
    // A lookup that hangs in the C library must not keep the process.
    runtime.shutdown_background();
    Ok(output)
}

/// A line of the program's answer on standard output. Nobody there to read it is no failure.
fn print_line(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
