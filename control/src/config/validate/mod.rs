//! Flags to configuration. Every problem is found, not just the first, and each names its flag and the remedy.

pub(super) mod agent;
mod bundle;
pub(crate) mod files;
pub(super) mod frontends;
mod server;

use std::fmt;
use std::time::Duration;

use kube::config::Kubeconfig;

pub(crate) use agent::agent_config;
pub(crate) use server::server_config;

use super::cli::{IoFlags, KlogFlags, Pin, ShardFlags};
use super::values::{GoDuration, Shown};
use super::{Bind, BindHost, Common, DRAIN_TIME_DEFAULT};
use crate::kubernetes::shown;

/// Largest kubeconfig that is read: one with certificates of many clusters fits.
const KUBECONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// What is wrong with a command line: one line each, never empty when returned as an error.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    /// Notes a problem with `flag`.
    pub(crate) fn add(&mut self, flag: &str, text: impl fmt::Display) {
        self.0.push(format!("{flag}: {text}"));
    }

    /// Notes a problem whose text names its flags itself.
    pub(crate) fn add_text(&mut self, text: String) {
        self.0.push(text);
    }

    /// The value, or the problem noted.
    pub(crate) fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|text| self.add_text(text)).ok()
    }

    /// A port flag: 0 to 65535.
    pub(crate) fn port(&mut self, flag: &str, value: i64) -> u16 {
        u16::try_from(value).unwrap_or_else(|_| {
            self.add(flag, format_args!("{value} is no port: write 1 to 65535, or 0 for any free one"));
            0
        })
    }

    /// An address flag and a port flag, each given as (flag, value).
    pub(crate) fn bind(&mut self, host: (&str, &str), port: (&str, i64)) -> Bind {
        let host = self.take(BindHost::parse(host.1).map_err(|text| format!("{}: {text}", host.0)));
        Bind { host: host.unwrap_or(BindHost::All), port: self.port(port.0, port.1) }
    }

    /// Flags of Konnectivity that are not implemented: refused unless they ask for nothing.
    pub(crate) fn refuse_later(&mut self, flags: &[super::cli::Later<'_>]) {
        for (flag, given, neutral, text) in flags {
            if let Some(value) = given
                && !neutral.contains(value)
            {
                self.add(flag, text);
            }
        }
    }

    /// Whether nothing was noted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// What `--kubeconfig` names. It is read where nothing is asked of it, too: a wrong one is told of early.
fn kubeconfig(problems: &mut Problems, path: &str) -> Option<Box<Kubeconfig>> {
    if path.is_empty() {
        return None;
    }
    let read = match std::fs::metadata(path) {
        // What is no regular file may not end.
        Ok(found) if !found.is_file() => Err("it is no file".to_owned()),
        Ok(found) if found.len() > KUBECONFIG_BYTES_MAX => {
            Err(format!("more than {KUBECONFIG_BYTES_MAX} bytes"))
        }
        Ok(_) => Kubeconfig::read_from(path).map_err(|error| shown(&error.to_string())),
        Err(error) => Err(error.to_string()),
    };
    let read = read.map_err(|error| {
        format!(
            "--kubeconfig: cannot use {} ({error}): check the path and that it is a kubeconfig",
            Shown(path)
        )
    });
    problems.take(read).map(Box::new)
}

/// The settings that server and agent share.
fn common(
    io: &IoFlags,
    (shards, pinned): (u8, bool),
    klog: &KlogFlags,
    given: &[(&'static str, bool)],
) -> Common {
    let mut without_effect = klog.without_effect();
    without_effect.extend(given.iter().filter_map(|&(name, given)| given.then_some(name)));
    Common {
        io: io.io,
        mtu_max_bytes: io.mtu_max,
        shards,
        pinned,
        without_effect,
        until_stdin_closes: io.until_stdin_closes,
    }
}

/// Shards that `--shards auto` gives a server, at most.
const SERVER_SHARDS_AUTO_MAX: u8 = 4;

/// A server's threads: auto is one for each CPU that the process may use, pinned where there are several.
fn server_shards(flags: &ShardFlags) -> (u8, bool) {
    let cpus =
        std::thread::available_parallelism().map_or(1, |cpus| u8::try_from(cpus.get()).unwrap_or(u8::MAX));
    let shards = flags.shards.unwrap_or_else(|| cpus.min(SERVER_SHARDS_AUTO_MAX));
    let pinned = match flags.pin {
        Pin::Auto => shards > 1 && shards <= cpus,
        Pin::On => true,
        Pin::Off => false,
    };
    (shards, pinned)
}

/// An agent's threads: nodes have other things to do, so auto is one, which goes where the kernel puts it.
fn agent_shards(flags: &ShardFlags) -> (u8, bool) {
    (flags.shards.unwrap_or(1), flags.pin == Pin::On)
}

/// `--graceful-shutdown-timeout`: unset is our default; 0 and 1ns both mean at once.
fn drain_time(flag: Option<GoDuration>) -> Duration {
    flag.map_or(
        DRAIN_TIME_DEFAULT,
        |GoDuration(time)| if time.as_nanos() <= 1 { Duration::ZERO } else { time },
    )
}

/// An id given by flag or environment, or a random one. Ids end up in logs and metrics: no control characters.
fn id(problems: &mut Problems, flag: &str, given: &str) -> (String, bool) {
    if given.is_empty() {
        return (crate::random::uuid(), false);
    }
    if given.len() > 253 || given.chars().any(char::is_control) {
        problems.add(flag, "write at most 253 characters, none of them a control character");
    }
    (given.to_owned(), true)
}
