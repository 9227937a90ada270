//! `adit-bench suite`.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum as _};
use tokio::signal::unix::{SignalKind, signal};

use crate::baseline::Failure;
use crate::load::Workload;
use crate::netns::{find_program, run};
use crate::report::html;
use crate::sockets::raise_descriptor_limit;
use crate::suite::builtin;
use crate::suite::cell::Common;
use crate::suite::network::{Network, may_make};
use crate::suite::places::Places;
use crate::suite::run::{Suite, Summary};
use crate::suite::spec::System;

/// Workloads of the default report.
const DEFAULT: &[Workload] = &[
    Workload::BulkUp,
    Workload::BulkDown,
    Workload::PingPong,
    Workload::Dial,
    Workload::Idle,
    Workload::SlowReader,
    Workload::BesideBulk,
];
/// Systems of `--small`.
const SMALL_SYSTEMS: &[&str] = &["direct", "adit-uring", "adit-uring-grpc", "adit-epoll"];

/// Measures systems over networks, in turn, and writes a report.
///
/// Without flags: every system; bulk each way, ping-pong, dial, idle, slow-reader and beside-bulk; loopback and
/// veth-1500; 3 rounds of 2 s. As root each network is made of namespaces of its own, which are removed at the end.
#[derive(Debug, Args)]
pub struct SuiteArguments {
    /// Systems to measure, in the order of turns.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    systems: Vec<String>,
    /// A file, or a folder of files (.toml), with further systems. May be repeated.
    #[arg(long, value_name = "PATH")]
    system_files: Vec<PathBuf>,
    /// Workloads, as `adit-bench load` names them.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// Networks.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    networks: Vec<Network>,
    /// Every workload on every network.
    #[arg(long, conflicts_with = "small")]
    full: bool,
    /// Every workload against direct and adit, on loopback, in one short round: that they work, not how well.
    #[arg(long)]
    small: bool,
    /// How often each is measured; unset: 3.
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// The window of a sample; unset: 2s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Load before the window; unset: 300ms.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    warm_up: Option<Duration>,
    /// TCP congestion control in the namespaces; unset: cubic, or reno where the machine allows nothing else.
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// The adit to measure; unset: the one beside this program.
    #[arg(long, value_name = "FILE")]
    adit: Option<PathBuf>,
    /// The adit-bench that is run as target, load, forwarder and baseline; unset: this program.
    #[arg(long, value_name = "FILE")]
    bench: Option<PathBuf>,
    /// Results go to PATH.jsonl, the report to PATH.html.
    #[arg(long, value_name = "PATH", default_value = "adit-bench")]
    out: PathBuf,
    /// Replaces results that exist.
    #[arg(long)]
    force: bool,
    /// Says what would be measured, and ends.
    #[arg(long)]
    list: bool,
}

impl SuiteArguments {
    /// Measures.
    ///
    /// # Errors
    /// What cannot be done, before anything is; or that samples had errors, at the end.
    pub fn run(self) -> Result<(), Failure> {
        let suite = self.suite()?;
        if self.list {
            return list(&suite);
        }
        let path = self.out.with_added_extension("jsonl");
        let mut options = OpenOptions::new();
        options.write(true).create(true).create_new(!self.force).truncate(self.force);
        let mut out = options
            .open(&path)
            .map_err(|error| format!("{}: {error} (--force replaces results that exist)", path.display()))?;
        raise_descriptor_limit();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut progress = io::stderr();
        let summary = runtime.block_on(async {
            let (mut interrupt, mut terminate) =
                (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            tokio::select! {
                summary = suite.run(&mut out, &mut progress) => summary,
                _ = interrupt.recv() => Err(io::Error::other("interrupted; what was measured is written down")),
                _ = terminate.recv() => Err(io::Error::other("terminated; what was measured is written down")),
            }
        })?;
        let Summary { samples, bad } = summary;
        let page = self.out.with_added_extension("html");
        let title = format!("adit-bench suite: {}", self.out.file_name().unwrap_or_default().display());
        std::fs::write(&page, html(&title, &super::read_samples(&path)?))
            .map_err(|error| format!("{}: {error}", page.display()))?;
        writeln!(
            io::stderr(),
            "{samples} samples are in {}, the report is {}",
            path.display(),
            page.display()
        )?;
        if bad > 0 {
            return Err(
                format!("{bad} of {samples} samples have errors, which stand in {}", path.display()).into()
            );
        }
        Ok(())
    }

    fn suite(&self) -> Result<Suite, Failure> {
        let this = std::env::current_exe()?;
        let adit = self.adit.clone().unwrap_or_else(|| this.with_file_name("adit"));
        let bench = self.bench.clone().unwrap_or_else(|| this.clone());
        let (networks, apart) = self.networks()?;
        if !apart && self.congestion.is_some() {
            return Err(
                "--congestion is for namespaces, and without root there are none: leave it out".into()
            );
        }
        let (rounds, duration, warm_up) = if self.small { (1, 200, 50) } else { (3, 2000, 300) };
        let workloads = self.workloads();
        let mut flags = BTreeMap::new();
        if self.small {
            for name in ["idle", "slow-reader", "cut-off"] {
                flags.insert(name.to_owned(), vec!["--connections".to_owned(), "12".to_owned()]);
            }
        }
        Ok(Suite {
            systems: self.systems(&adit)?,
            networks,
            workloads,
            rounds: self.rounds.unwrap_or(rounds),
            congestion: self.congestion.clone(),
            apart,
            again: !self.small,
            common: Common {
                bench: bench.display().to_string(),
                adit: adit.display().to_string(),
                warm_up: self.warm_up.unwrap_or_else(|| Duration::from_millis(warm_up)),
                duration: self.duration.unwrap_or_else(|| Duration::from_millis(duration)),
                flags,
                more: stamp(&this),
            },
        })
    }

    fn workloads(&self) -> Vec<String> {
        let asked = match (self.workloads.as_slice(), self.full || self.small) {
            ([], true) => Workload::value_variants(),
            ([], false) => DEFAULT,
            (asked, _) => asked,
        };
        asked.iter().map(|workload| workload.name()).collect()
    }

    /// The networks, and whether they are made: without root there is only the machine's loopback.
    fn networks(&self) -> Result<(Vec<Network>, bool), Failure> {
        let networks = match (self.networks.as_slice(), self.full, self.small) {
            ([], true, _) => Network::ALL.to_vec(),
            ([], _, true) => vec![Network::Loopback],
            ([], _, _) => vec![Network::Loopback, Network::Veth1500],
            (asked, _, _) => asked.to_vec(),
        };
        let Err(why) = may_make() else { return Ok((networks, true)) };
        let out: Vec<&str> = networks
            .iter()
            .filter(|&&network| network != Network::Loopback)
            .map(|network| network.name())
            .collect();
        if out.len() == networks.len() || (!self.networks.is_empty() && !out.is_empty()) {
            return Err(why.into());
        }
        let left_out = if out.is_empty() { String::new() } else { format!(" ({} left out)", out.join(", ")) };
        writeln!(io::stderr(), "{why}: measuring on the machine's own loopback{left_out}")?;
        Ok((vec![Network::Loopback], false))
    }

    fn systems(&self, adit: &Path) -> Result<Vec<System>, Failure> {
        let mut known = builtin::systems()?;
        for path in &self.system_files {
            builtin::join(&mut known, builtin::read(path)?);
        }
        let names: Vec<&str> = match (self.systems.as_slice(), self.small) {
            ([], true) => SMALL_SYSTEMS.to_vec(),
            ([], false) => known.iter().map(|system| system.name.as_str()).collect(),
            (asked, _) => asked.iter().map(String::as_str).collect(),
        };
        let mut systems = Vec::new();
        for name in names {
            let Some(system) = known.iter().find(|system| system.name == name) else {
                let all: Vec<&str> = known.iter().map(|system| system.name.as_str()).collect();
                return Err(format!("there is no system {name:?}; there are {}", all.join(", ")).into());
            };
            match missing(system, adit)? {
                None => systems.push(system.clone()),
                Some(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => return Err(why.into()),
                Some(why) => writeln!(io::stderr(), "left out: {why}")?,
            }
        }
        if systems.is_empty() { Err("no system is left to measure".into()) } else { Ok(systems) }
    }
}

/// What a system lacks on this machine, in one line.
fn missing(system: &System, adit: &Path) -> Result<Option<String>, Failure> {
    let mut places = Places::default();
    places.set("adit", adit.display());
    for need in &system.needs {
        let program = places.fill(&need.program)?;
        if find_program(&program).is_none() {
            return Ok(Some(format!("{}: there is no {program}; get it with {}", system.name, need.package)));
        }
    }
    Ok(None)
}

fn list(suite: &Suite) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for system in &suite.systems {
        writeln!(out, "{}: {}", system.name, system.about)?;
    }
    let networks: Vec<&str> = suite.networks.iter().map(|network| network.name()).collect();
    let samples = suite.systems.len() * suite.networks.len() * suite.workloads.len() * suite.rounds as usize;
    writeln!(out, "networks: {}", networks.join(", "))?;
    writeln!(out, "workloads: {}", suite.workloads.join(", "))?;
    writeln!(out, "{samples} samples in {} rounds", suite.rounds)?;
    Ok(())
}

/// What is the same for all samples: the commit of the checkout that the program was built in.
fn stamp(this: &Path) -> BTreeMap<String, String> {
    let folder = this.parent().unwrap_or_else(|| Path::new(".")).display().to_string();
    let commit = run("git", &["-C", &folder, "describe", "--always", "--dirty", "--abbrev=12"], "");
    let named = |commit: String| ("commit".to_owned(), commit.trim().to_owned());
    commit.ok().map(named).into_iter().collect()
}
