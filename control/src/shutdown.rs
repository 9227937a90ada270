//! Signals: the first SIGTERM or SIGINT starts a drain, the second ends the process at once with status 1.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals, listened for.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts listening: from here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// The system's, when a handler cannot be installed.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for either and tells its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
