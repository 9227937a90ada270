//! A TCP server that does what the first line of each connection asks for.
//!
//! # Requests
//!
//! A request is one line of ASCII, ended by `\n`, at most [`REQUEST_BYTES_MAX`] bytes, complete within
//! [`REQUEST_TIME_MAX`]. What follows the line on the connection belongs to the behaviour. Payload is
//! [`crate::payload`]'s; `SEED`, `BYTES` and `BYTES_PER_SECOND` are decimal, of 64 bits.
//!
//! | request | what the target does |
//! |---|---|
//! | `echo` | returns every byte; after the client's FIN and the last byte, sends its own |
//! | `sink SEED BYTES` | checks payload by position. After `BYTES` right ones answers `ok BYTES`; at the first wrong one, or one too many, `bad at N`; at an early end `short at N`. Then reads on to the end and closes |
//! | `source SEED BYTES` | sends `BYTES` of payload and its FIN, then reads and discards to the client's |
//! | `meter SEED` | checks payload by position and says `at N` once `N` bytes were right: while more comes every [`METER_INTERVAL`], and when nothing more came for as long; at a wrong byte says `bad at N` and reads on to the end. Whoever sends can end at any position and knows what has arrived, without a FIN |
//! | `pull SEED BLOCK` | for each byte it receives sends the next `BLOCK` bytes of payload; ends at the client's FIN |
//! | `greet` | says [`GREETING`], then takes the next request |
//! | `stall` | reads nothing more, sends nothing, until the client resets |
//! | `trickle BYTES_PER_SECOND` | reads and discards at that rate, until the end |
//! | `reset BYTES` | sends `BYTES` of payload with seed 0, then resets; the client sees any prefix, then the reset |
//! | `half-close SEED BYTES` | reads and discards to the client's FIN, then sends `BYTES` of payload and its FIN |
//! | `finish-first SEED BYTES` | sends its FIN at once, then checks `BYTES` of payload up to the client's FIN; what it found shows in [`Stats`], and a wrong payload is answered by a reset |
//!
//! Anything else is answered by one line, `error: …`, and the end.
//!
//! A *greeting* listener ([`Target::start_greeting`]) says [`GREETING`] on every connection before it reads
//! anything, as a server of SMTP or SSH would, and then takes a request like the other.
//!
//! Deliberately absent: TLS, HTTP, and every kind of politeness that would hide what a tunnel did.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

mod meter;
mod request;
mod serve;

use crate::sockets;

pub use request::{Request, RequestError};

/// Longest request line, `\n` included.
pub const REQUEST_BYTES_MAX: usize = 128;
/// From accept to the end of the request line.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// How often a metering target says how far it got.
pub const METER_INTERVAL: Duration = Duration::from_millis(5);
/// What a target says of itself when it speaks first.
pub const GREETING: &[u8] = b"220 adit-bench target\n";
/// How long accepting pauses after an error such as EMFILE, which only other connections' ends can mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running target. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct Target {
    local_addr: SocketAddr,
    listener: Arc<TcpListener>,
    counts: Arc<Counts>,
    accepting: AbortHandle,
}

/// What a target has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Payload bytes that were received and found right.
    pub checked_bytes: u64,
    /// Connections whose payload was wrong, short or too long.
    pub wrong: u64,
}

/// The same as [`Stats`], shared by the connections' tasks.
#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    open: AtomicU64,
    checked_bytes: AtomicU64,
    wrong: AtomicU64,
}

/// Counts a connection as open for as long as it lives, however its task ends.
#[derive(Debug)]
struct Open(Arc<Counts>);

impl Target {
    /// Listens on `addr` (port 0: any free one) and serves on the current tokio runtime.
    ///
    /// # Errors
    /// What bind(2) and listen(2) say.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn start(addr: SocketAddr) -> io::Result<Self> {
        Self::start_with(addr, false).await
    }

    /// Like [`Target::start`], but the server speaks first.
    ///
    /// # Errors
    /// What bind(2) and listen(2) say.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn start_greeting(addr: SocketAddr) -> io::Result<Self> {
        Self::start_with(addr, true).await
    }

    /// Like [`Target::start`], on a listener that somebody else made, e.g. in another network namespace.
    ///
    /// # Errors
    /// What the system says of its registration.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn serve(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Self::serve_with(TcpListener::from_std(listener)?, false)
    }

    /// Sets the congestion control (TCP_CONGESTION of tcp(7)) of connections that are accepted from now on.
    ///
    /// # Errors
    /// The kernel's refusal, with the name and the remedy.
    pub fn set_congestion_control(&self, name: &str) -> io::Result<()> {
        sockets::set_congestion_control(&*self.listener, name)
    }

    async fn start_with(addr: SocketAddr, greets: bool) -> io::Result<Self> {
        Self::serve_with(TcpListener::bind(addr).await?, greets)
    }

    fn serve_with(listener: TcpListener, greets: bool) -> io::Result<Self> {
        let local_addr = listener.local_addr()?;
        let counts = Arc::<Counts>::default();
        let listener = Arc::new(listener);
        let accepting =
            tokio::spawn(accept(Arc::clone(&listener), Arc::clone(&counts), greets)).abort_handle();
        Ok(Self { local_addr, listener, counts, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What it has seen so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            accepted: self.counts.accepted.load(Ordering::Relaxed),
            open: self.counts.open.load(Ordering::Relaxed),
            checked_bytes: self.counts.checked_bytes.load(Ordering::Relaxed),
            wrong: self.counts.wrong.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Open {
    fn new(counts: Arc<Counts>) -> Self {
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        counts.open.fetch_add(1, Ordering::Relaxed);
        Self(counts)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until aborted; the set's end aborts the connections with it.
async fn accept(listener: Arc<TcpListener>, counts: Arc<Counts>, greets: bool) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let open = Open::new(Arc::clone(&counts));
                connections.spawn(async move {
                    // A connection's end, good or bad, is the client's to judge.
                    let _ = serve::serve(stream, greets, &open.0).await;
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        // Ended connections are forgotten here, so the set holds the open ones and a few more.
        while connections.try_join_next().is_some() {}
    }
}
