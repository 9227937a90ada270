//! What one run of one workload found: the line that `adit-bench load` writes, the suite collects, and reports are
//! made of.
//!
//! A file of results is JSON lines, one [`Sample`] a line, so that runs can be joined with `cat` and cut with `grep`.
//! Everything a reader needs to judge a figure is in its line: the errors beside it, the processes that were watched,
//! the generator's own cost and lateness, and the [`Stamp`] of the machine.
//!
//! Deliberately absent: judging and drawing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod latency;
mod lines;

pub use latency::{DIGITS, Latency, NANOSECONDS_MAX};
pub use lines::{LinesError, read_lines, write_line};

/// The form of [`Sample`]; a reader refuses another.
pub const SCHEMA: u32 = 1;
/// Most examples of one kind of error that are kept word by word; all are counted.
pub const ERROR_EXAMPLES_MAX: usize = 3;
/// The kind under which a transfer is counted that was still running when the time for finishing had passed.
pub const UNFINISHED: &str = "unfinished";

/// One round of one workload through one system over one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was measured, in the words of whoever measured: `direct`, `adit-uring`.
    pub system: String,
    /// Over which network: `loopback`, `veth-1500`.
    pub network: String,
    /// The workload's name as on the command line.
    pub workload: String,
    /// Workload, connections, rate and every other setting that changes what the figures mean, as text.
    pub settings: BTreeMap<String, String>,
    /// Counted from 1.
    pub round: u32,
    /// Machine, time and versions.
    pub stamp: Stamp,
    /// Length of the measured window in seconds; the warm-up is not in it.
    pub window_seconds: f64,
    /// Operations that ended well within the window (transfers, dials, round trips).
    pub operations: u64,
    /// Bytes that the target received from us within the window, checked there.
    pub verified_up_bytes: u64,
    /// Bytes that we received from the target within the window, checked here.
    pub verified_down_bytes: u64,
    /// Whatever went wrong in the whole run, warm-up included, by kind. Empty means that nothing did.
    pub errors: BTreeMap<String, ErrorCount>,
    /// Latencies by what was waited for: `ping`, `dial`, `transfer`. From the intended start where a rate was set.
    pub latencies: BTreeMap<String, Latency>,
    /// Figures that only some workloads have, by name with the unit at its end: `resident_per_idle_connection_bytes`.
    pub figures: BTreeMap<String, f64>,
    /// The course of the window.
    pub series: Series,
    /// The processes that were watched, in the order of the command line.
    pub processes: Vec<ProcessUse>,
    /// The generator itself. Its CPU time is never part of a system's.
    pub generator: Generator,
}

/// How often one kind of error came, and its first words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    /// All of them.
    pub count: u64,
    /// The first few, [`ERROR_EXAMPLES_MAX`] at most.
    pub examples: Vec<String>,
}

/// Counts over time, one entry per [`Series::every_ms`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Length of one slot in milliseconds.
    pub every_ms: u32,
    /// Verified bytes, both ways together.
    pub bytes: Vec<u64>,
    /// Operations that ended well.
    pub operations: Vec<u64>,
}

/// What one watched process took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUse {
    /// Its command's name.
    pub name: String,
    /// As on the command line.
    pub pid: u32,
    /// CPU time in user mode within the window, in seconds (`utime` of proc_pid_stat(5)).
    pub user_seconds: f64,
    /// CPU time in kernel mode within the window, in seconds (`stime`).
    pub system_seconds: f64,
    /// Resident memory before the first connection (`VmRSS` of proc_pid_status(5)).
    pub resident_at_rest_bytes: u64,
    /// Resident memory at the end of the window, connections open.
    pub resident_loaded_bytes: u64,
    /// Resident memory after all connections were closed.
    pub resident_after_bytes: u64,
}

/// What the instrument took itself, and whether it kept up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// CPU time within the window, in seconds, user and kernel together.
    pub cpu_seconds: f64,
    /// With a rate: how long after their intended time operations were begun. High values mean that the generator
    /// itself, or its connections, could not keep the rate; latencies count from the intended time all the same.
    pub lateness: Option<Latency>,
}

/// Where and with what a sample was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Start of the window, seconds since 1970.
    pub unix_seconds: u64,
    /// `uname -r`.
    pub kernel: String,
    /// `model name` of /proc/cpuinfo.
    pub cpu: String,
    /// Cores this process may run on.
    pub cores: u32,
    /// Version of adit-bench.
    pub version: String,
    /// The congestion control that the generator's TCP sockets had, as the kernel said afterwards.
    pub congestion_control: String,
    /// What the suite knows beyond that: commit, MTU, driver, GSO batch, command lines, by name.
    pub more: BTreeMap<String, String>,
}

impl Sample {
    /// Whether nothing went wrong and something was measured.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty() && (self.operations > 0 || self.verified_bytes() > 0)
    }

    /// Verified bytes, both ways.
    #[must_use]
    pub const fn verified_bytes(&self) -> u64 {
        self.verified_up_bytes + self.verified_down_bytes
    }

    /// CPU seconds of all watched processes in the window; `None` where none was watched.
    #[must_use]
    pub fn cpu_seconds(&self) -> Option<f64> {
        let sum = self.processes.iter().map(|one| one.user_seconds + one.system_seconds).sum();
        (!self.processes.is_empty()).then_some(sum)
    }
}
