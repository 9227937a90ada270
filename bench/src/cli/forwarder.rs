//! `adit-bench forwarder`.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::forwarder;
use crate::netns::Netns;

/// Joins two network namespaces with a delay (root).
#[derive(Debug, Args)]
pub struct Forwarder {
    /// A namespace, as `ip netns` knows it.
    #[arg(long, value_name = "NAME")]
    near: String,
    /// The other.
    #[arg(long, value_name = "NAME")]
    far: String,
    /// A TUN device of this name in each of them (`ip tuntap add dev NAME mode tun`).
    #[arg(long, value_name = "NAME", default_value = "w0")]
    device: String,
    /// How long each packet is on its way; a round trip takes twice as long.
    #[arg(long, value_name = "DURATION", default_value = "10ms", value_parser = humantime::parse_duration)]
    delay: Duration,
}

impl Forwarder {
    /// Carries packets until it is told to end (SIGINT, SIGTERM). Says `forwarding` on standard output.
    ///
    /// # Errors
    /// A namespace or a device that is not there, or a device that went.
    pub fn run(self) -> io::Result<()> {
        let open = |name: &str| forwarder::open(&Netns::open(name)?, &self.device);
        let (near, far) = (open(&self.near)?, open(&self.far)?);
        writeln!(io::stdout(), "forwarding")?;
        io::stdout().flush()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (mut interrupt, mut terminate) =
                (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            tokio::select! {
                error = forwarder::run(near, far, self.delay) => Err(error),
                _ = interrupt.recv() => Ok(()),
                _ = terminate.recv() => Ok(()),
            }
        })
    }
}
