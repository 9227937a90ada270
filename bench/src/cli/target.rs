//! `adit-bench target`.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::sockets::raise_descriptor_limit;
use crate::target::Target;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where to listen; port 0 takes a free one. May be repeated. Without any: 127.0.0.1:0.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<SocketAddr>,
    /// Where to listen and speak first. May be repeated.
    #[arg(long, value_name = "ADDR")]
    greet: Vec<SocketAddr>,
    /// Congestion control of accepted connections; the kernel's default where it is not given.
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
}

pub(super) fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(arguments))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs targets; says on standard output where, one line each.
async fn serve(Arguments { mut listen, greet, congestion }: Arguments) -> io::Result<()> {
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
    for target in congestion.iter().flat_map(|name| targets.iter().map(move |target| (target, name))) {
        target.0.set_congestion_control(target.1)?;
    }
    io::stdout().flush()?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
