//! The flags of `adit demo`, `adit certs`, `adit forward` and the demo's target.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::{IoFlags, LogFlags};

/// The flags of `adit demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoFlags {
    /// MiB to move each way in the bulk transfer
    #[arg(long, value_name = "MIB", default_value_t = 954,
          value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub(crate) bulk_mib: u64,
    /// HTTPS requests to make
    #[arg(long, value_name = "N", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) requests: u32,
    /// Dials to time
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) dials: u32,
    /// Leave everything up until Ctrl-C and print commands that work against it
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// The data plane's flags, passed on to server and agents.
    #[command(flatten)]
    pub(crate) io: IoFlags,
}

/// The flags of `adit certs`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CertsFlags {
    /// Directory to write ca, server, agent and frontend .crt and .key into; made if missing
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Further host names and addresses for the server's certificate (localhost is always there); may be repeated
    #[arg(long = "host", value_name = "HOST", action = clap::ArgAction::Append)]
    pub(crate) hosts: Vec<String>,
    /// Days that the certificates are valid
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
}

/// The flags of `adit forward`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ForwardFlags {
    /// The server's Unix socket
    #[arg(long, value_name = "PATH")]
    pub(crate) uds_name: PathBuf,
    /// Where the agent connects to
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) target: String,
    /// Where to listen; port 0: any free port, printed
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// The log's flags.
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// The flags of the demo's target process.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetFlags {
    /// Certificate of its HTTPS server (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: PathBuf,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
}
