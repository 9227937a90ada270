//! The flags as they are written. Names, defaults and spelling are Konnectivity's (`cmd/server/app/options`,
//! `cmd/agent/app/options`), which are pflag's: `--flag=value` or `--flag value`, booleans as `--flag` or
//! `--flag=true`, the last of several wins, an unknown flag ends the program with status 1.
//!
//! Nothing is judged here beyond the type of a value; that is [`super::validate`]'s part.

mod agent;
mod server;
mod tools;

use std::ffi::OsString;
use std::path::Path;

use adit_io::DriverChoice;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use agent::AgentFlags;
pub(crate) use server::{Later, ServerFlags};
pub(crate) use tools::{CertsFlags, DemoFlags, ForwardFlags, TargetFlags};

use super::values::{Shown, go_bool};

/// adit carries a Kubernetes control plane's traffic to its nodes through QUIC.
#[derive(Debug, Parser)]
#[command(name = "adit", version, args_override_self = true, max_term_width = 110)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The programs in the binary.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Runs beside kube-apiserver: accepts its CONNECTs and the agents' QUIC connections
    Server(Box<ServerFlags>),
    /// Runs on the nodes: keeps a QUIC connection to the server and dials for it
    Agent(Box<AgentFlags>),
    /// Shows a whole tunnel at work on this machine, with figures; needs no set-up
    Demo(DemoFlags),
    /// Makes a throw-away CA and certificates for trying things out
    Certs(CertsFlags),
    /// Opens a local port whose connections go through the tunnel
    Forward(ForwardFlags),
    /// The targets that the demo reaches through the tunnel
    #[command(hide = true)]
    DemoTarget(TargetFlags),
}

impl Cli {
    /// Reads the command line. Called as `proxy-server` or `proxy-agent` (a link to the binary), the verb is implied.
    ///
    /// Control characters are refused in every argument: none has a use for them, and what is said of an argument
    /// must not change the terminal or add lines to the log.
    ///
    /// # Errors
    /// clap's, which also carries the answers to `--help` and `--version`. The text is short, whatever was given.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut args: Vec<OsString> = args.into_iter().collect();
        let called = args.first().and_then(|a| Path::new(a).file_name()).and_then(|n| n.to_str());
        match called {
            Some("proxy-server") => args.insert(1, "server".into()),
            Some("proxy-agent") => args.insert(1, "agent".into()),
            _ => {}
        }
        for (number, argument) in args.iter().enumerate().skip(1) {
            let argument = argument.to_string_lossy();
            if argument.chars().any(char::is_control) {
                let text = format!(
                    "argument {number}, {}, has a control character: write it without, also at its end\n",
                    Shown(&argument)
                );
                return Err(clap::Error::raw(ErrorKind::InvalidValue, text));
            }
        }
        Self::try_parse_from(args).map_err(short)
    }
}

/// Most bytes of an error's text. clap's longest of ordinary values, with the usage, has about 500.
const ERROR_BYTES_MAX: usize = 2000;

/// The error itself, or where a long value made it long, its first words and the argument that it is about.
fn short(error: clap::Error) -> clap::Error {
    let text = error.to_string();
    if !error.use_stderr() || text.len() <= ERROR_BYTES_MAX {
        return error;
    }
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.as_str(),
        _ => "",
    };
    let text = text.trim_start_matches("error: ");
    clap::Error::raw(error.kind(), format!("{}: {}\n", Shown(argument), Shown(text)))
}

/// `--transport`: how an agent reaches its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// QUIC, and TCP where UDP does not pass
    #[default]
    Auto,
    /// QUIC alone
    Quic,
    /// TCP alone, through the proxy of HTTPS_PROXY if there is one
    Tcp,
}

impl From<Transport> for adit_dataplane::config::Transport {
    fn from(flag: Transport) -> Self {
        match flag {
            Transport::Auto => Self::Auto,
            Transport::Quic => Self::Quic,
            Transport::Tcp => Self::Tcp,
        }
    }
}

impl Transport {
    /// The word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        }
    }
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// `--log-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Only what needs a person.
    Error,
    /// And what will.
    Warn,
    /// And what changes: agents, servers, configuration.
    Info,
    /// And every dial.
    Debug,
    /// And everything else.
    Trace,
}

/// Reads `--io`.
fn driver_choice(text: &str) -> Result<DriverChoice, String> {
    match text {
        "auto" => Ok(DriverChoice::Auto),
        "uring" => Ok(DriverChoice::Uring),
        "epoll" => Ok(DriverChoice::Epoll),
        _ => Err("write auto, uring or epoll".to_owned()),
    }
}

/// The word for `--io`, to pass it on to a child.
pub(crate) const fn driver_word(choice: DriverChoice) -> &'static str {
    match choice {
        DriverChoice::Auto => "auto",
        DriverChoice::Uring => "uring",
        DriverChoice::Epoll => "epoll",
    }
}

/// The data plane's flags.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "adit")]
pub(crate) struct IoFlags {
    /// How the kernel is spoken to: auto (io_uring, or epoll where it is denied), uring, epoll
    #[arg(long, value_name = "DRIVER", default_value = "auto", value_parser = driver_choice)]
    pub(crate) io: DriverChoice,
    /// Largest UDP payload to send, 1200 to 65468; unset: what the interface carries
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1200..=65468))]
    pub(crate) mtu_max: Option<u16>,
    /// End when standard input does; for whoever starts this as a child
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

/// A number, or `None` for `auto`. By another name than `Option`, which clap takes for a flag without a default.
pub(crate) type CountOrAuto = Option<u8>;

/// Reads `--shards` and `--connections`.
fn shard_count(text: &str) -> Result<CountOrAuto, String> {
    match text.parse() {
        Ok(count @ 1..=SHARDS_MAX) => Ok(Some(count)),
        _ if text == "auto" => Ok(None),
        _ => Err(format!("write auto, or 1 to {SHARDS_MAX}")),
    }
}

/// [`adit_dataplane::limits::SHARDS_MAX`], as flags have it.
#[allow(clippy::cast_possible_truncation, reason = "32")]
const SHARDS_MAX: u8 = adit_dataplane::limits::SHARDS_MAX as u8;

/// `--pin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pin {
    /// A server's shards, where there are several and each can have a CPU of its own.
    #[default]
    Auto,
    /// Every shard to one CPU.
    On,
    /// The kernel decides.
    Off,
}

/// The threads that carry tunnels.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "adit")]
pub(crate) struct ShardFlags {
    /// Threads that carry tunnels: auto (a server: one for each CPU it may use, at most 4; an agent: one), or 1 to 32
    #[arg(long, value_name = "N", default_value = "auto", value_parser = shard_count)]
    pub(crate) shards: CountOrAuto,
    /// Whether each of them keeps to one of the CPUs it may use
    #[arg(long, value_enum, default_value_t = Pin::Auto)]
    pub(crate) pin: Pin,
}

/// The log's flags.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "adit")]
pub(crate) struct LogFlags {
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What is logged; unset: info, or what --v asks for (5: debug, 8: trace)
    #[arg(long, value_enum)]
    pub(crate) log_level: Option<LogLevel>,
}

/// klog's flags, which every Konnectivity manifest passes. Only `--v` has an effect: logs go to standard error.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Accepted for compatibility (klog)")]
pub(crate) struct KlogFlags {
    /// klog's verbosity: up to 4 is info, up to 7 debug, above it trace
    #[arg(short = 'v', long = "v", value_name = "LEVEL")]
    pub(crate) v: Option<i32>,
    /// Always so
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "true", value_parser = go_bool, action = clap::ArgAction::Set)]
    pub(crate) logtostderr: bool,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    add_dir_header: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    alsologtostderr: Option<String>,
    #[arg(long, hide = true)]
    alsologtostderrthreshold: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    legacy_stderr_threshold_behavior: Option<String>,
    #[arg(long, hide = true)]
    log_backtrace_at: Option<String>,
    #[arg(long, hide = true)]
    log_dir: Option<String>,
    #[arg(long, hide = true)]
    log_file: Option<String>,
    #[arg(long, hide = true)]
    log_file_max_size: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    one_output: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    skip_headers: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    skip_log_headers: Option<String>,
    #[arg(long, hide = true)]
    stderrthreshold: Option<String>,
    #[arg(long, hide = true)]
    vmodule: Option<String>,
}

impl KlogFlags {
    /// The flags that were given and do nothing here.
    pub(crate) fn without_effect(&self) -> Vec<&'static str> {
        let given = [
            ("--logtostderr=false", !self.logtostderr),
            ("--add-dir-header", self.add_dir_header.is_some()),
            ("--alsologtostderr", self.alsologtostderr.is_some()),
            ("--alsologtostderrthreshold", self.alsologtostderrthreshold.is_some()),
            ("--legacy-stderr-threshold-behavior", self.legacy_stderr_threshold_behavior.is_some()),
            ("--log-backtrace-at", self.log_backtrace_at.is_some()),
            ("--log-dir", self.log_dir.is_some()),
            ("--log-file", self.log_file.is_some()),
            ("--log-file-max-size", self.log_file_max_size.is_some()),
            ("--one-output", self.one_output.is_some()),
            ("--skip-headers", self.skip_headers.is_some()),
            ("--skip-log-headers", self.skip_log_headers.is_some()),
            ("--stderrthreshold", self.stderrthreshold.is_some()),
            ("--vmodule", self.vmodule.is_some()),
        ];
        given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::read(words.iter().map(OsString::from))
    }

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn booleans_are_written_as_pflag_wants_them() {
        let table = [
            (vec!["adit", "server"], true),
            (vec!["adit", "server", "--delete-existing-uds-file"], true),
            (vec!["adit", "server", "--delete-existing-uds-file=false"], false),
            (vec!["adit", "server", "--delete-existing-uds-file=0"], false),
            (vec!["adit", "server", "--delete-existing-uds-file=false", "--delete-existing-uds-file"], true),
        ];
        for (words, want) in table {
            let Verb::Server(flags) = read(&words).unwrap().verb else { panic!("not the server's flags") };
            assert_eq!(flags.delete_existing_uds_file, want, "{words:?}");
        }
    }

    #[test]
    fn the_last_of_several_wins() {
        let cli = read(&["adit", "server", "--agent-port=1", "--agent-port", "2"]).unwrap();
        let Verb::Server(flags) = cli.verb else { panic!("not the server's flags") };
        assert_eq!(flags.agent_port, 2);
    }

    #[test]
    fn konnectivitys_program_names_imply_the_verb() {
        assert!(matches!(read(&["/usr/bin/proxy-server"]).unwrap().verb, Verb::Server(_)));
        assert!(matches!(read(&["proxy-agent", "--v=2"]).unwrap().verb, Verb::Agent(_)));
    }

    #[test]
    fn an_unknown_flag_is_an_error() {
        assert!(read(&["adit", "agent", "--no-such-flag"]).is_err());
        assert!(read(&["adit", "server", "--feature-gates=X=true"]).is_err());
    }
}
