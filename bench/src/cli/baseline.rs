//! `adit-bench baseline`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Subcommand;

use crate::baseline::{Failure, quic, uring};

/// Which baseline.
#[derive(Debug, Subcommand)]
pub enum Baseline {
    /// quinn on tokio: forwards TCP connections to the agent, one QUIC stream each.
    QuinnServer {
        /// TCP address whose connections are forwarded; port 0 takes a free one.
        #[arg(long, value_name = "ADDR")]
        listen: SocketAddr,
        /// UDP address for the agent.
        #[arg(long, value_name = "ADDR")]
        quic: SocketAddr,
        /// Where to write the certificate that is made for this run (PEM).
        #[arg(long, value_name = "FILE")]
        cert_out: PathBuf,
    },
    /// quinn on tokio: connects out to the server, and each stream to the target.
    QuinnAgent {
        /// The server's UDP address.
        #[arg(long, value_name = "ADDR")]
        server: SocketAddr,
        /// The server's certificate (PEM).
        #[arg(long, value_name = "FILE")]
        cert: PathBuf,
        /// Where each stream is connected to.
        #[arg(long, value_name = "HOST:PORT")]
        target: String,
    },
    /// tokio-uring: one plain TCP hop.
    TokioUring {
        /// Where to listen; port 0 takes a free one.
        #[arg(long, value_name = "ADDR")]
        listen: SocketAddr,
        /// Where each connection leads.
        #[arg(long, value_name = "ADDR")]
        to: SocketAddr,
    },
}

impl Baseline {
    /// Runs it until it fails or is killed.
    ///
    /// # Errors
    /// Why it could not start, or ended.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::QuinnServer { listen, quic, cert_out } => {
                runtime()?.block_on(quic::server(quic::ServerOptions { listen, quic, cert_out }))
            }
            Self::QuinnAgent { server, cert, target } => {
                runtime()?.block_on(quic::agent(quic::AgentOptions { server, cert, target }))
            }
            Self::TokioUring { listen, to } => Ok(uring::hop(listen, to)?),
        }
    }
}

/// What `#[tokio::main]` makes: a thread for each core.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
