//! `adit forward`: a local TCP port whose connections go through the tunnel, for tools such as curl that cannot
//! CONNECT through a Unix socket. Half-close is kept; a failure resets the local connection, so that nothing cut
//! short looks complete.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adit_dataplane::route::Target;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::config::cli::ForwardFlags;
use crate::config::values::Shown;
use crate::connect::connect;
use crate::shutdown::Signals;

/// Local connections at once; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 4096;

/// Checks `--target` as the server will.
///
/// # Errors
/// The text to show.
pub(crate) fn check_target(text: &str) -> Result<(), String> {
    match Target::parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("--target {}: {error}: write HOST:PORT", Shown(text))),
    }
}

/// A forward that listens already.
#[derive(Debug)]
pub(crate) struct Forward {
    listener: TcpListener,
    socket: PathBuf,
    target: String,
}

impl Forward {
    /// Binds the local port.
    ///
    /// # Errors
    /// The text to show.
    pub(crate) async fn bind(socket: PathBuf, target: String, listen: SocketAddr) -> Result<Self, String> {
        check_target(&target)?;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| format!("--listen {listen}: {error} (port 0 takes any free one)"))?;
        Ok(Self { listener, socket, target })
    }

    /// The local address.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until dropped.
    pub(crate) async fn serve(self) {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: it passes when connections end.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (socket, target) = (self.socket.clone(), self.target.clone());
            tokio::spawn(async move {
                let _permit = permit;
                tracing::debug!(%peer, target, "connection");
                if let Err(error) = carry(stream, &socket, &target).await {
                    tracing::error!(%peer, target, "{error}");
                }
            });
        }
    }
}

/// One local connection through one tunnel.
async fn carry(mut local: TcpStream, socket: &std::path::Path, target: &str) -> Result<(), String> {
    let outcome = async {
        local.set_nodelay(true).map_err(|e| e.to_string())?;
        let mut tunnel = connect(socket, target).await.map_err(|e| e.to_string())?;
        local.write_all(&tunnel.early).await.map_err(|e| format!("the local connection failed: {e}"))?;
        tokio::io::copy_bidirectional(&mut local, &mut tunnel.stream)
            .await
            .map(drop)
            .map_err(|e| format!("the tunnel was cut: {e}"))
    }
    .await;
    if outcome.is_err() {
        let _ = socket2::SockRef::from(&local).set_linger(Some(Duration::ZERO));
    }
    outcome
}

/// Runs `adit forward` until a signal.
///
/// # Errors
/// The text to show.
pub(crate) async fn run(flags: ForwardFlags) -> Result<(), String> {
    let mut signals = Signals::listen().map_err(|e| format!("cannot listen for signals: {e}"))?;
    let shown = (flags.uds_name.display().to_string(), flags.target.clone());
    let forward = Forward::bind(flags.uds_name, flags.target, flags.listen).await?;
    let address = forward.local_addr().map_err(|e| e.to_string())?;
    crate::print_line(&format!("forwarding {address} to {} through {}", shown.1, shown.0));
    tokio::select! {
        () = forward.serve() => {}
        signal = signals.next() => tracing::info!(signal, "stopping"),
    }
    Ok(())
}
