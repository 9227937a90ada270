//! One sample: the target and the system are started, the load runs, what it found is completed, all is stopped.
//!
//! Everything is fresh for each sample, so that no system inherits what the load before it left in its tables, and
//! memory at rest is memory at rest. Only keys and certificates are made once for a network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::facts;
use super::machine;
use super::network::Wired;
use super::places::{Places, ports};
use super::process::{Running, get, look, until};
use super::schedule::Cell;
use super::spec::{Process, Ready, Side, System};
use crate::netns::{Netns, run};
use crate::record::{ErrorCount, SCHEMA, Sample, Stamp, read_lines};

/// The kind under which a sample is counted that the suite could not take.
pub const NO_SAMPLE: &str = "suite: no sample";
/// The kind under which the end of a system's process is counted.
const ENDED: &str = "suite: a process ended";
/// The figure that tells how much of the machine others used.
pub const FOREIGN: &str = "foreign_cpu_share_ratio";
/// The suite's ports in a namespace of its own; the kernel gives out higher ones.
const PORTS: std::ops::Range<u16> = 10_000..15_000;
/// How long the target may take to begin.
const TARGET_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at which children there are.
const SETTLE_INTERVAL: Duration = Duration::from_millis(10);
/// Looks at most.
const SETTLE_LOOKS: u32 = 50;
/// How long a load may take beyond its window and warm-up: connecting, comparing, finishing, closing.
const LOAD_SLACK: Duration = Duration::from_secs(60);

/// What holds for all samples of a suite.
#[derive(Clone, Debug)]
pub struct Common {
    /// `adit-bench`.
    pub bench: String,
    /// `adit`.
    pub adit: String,
    /// `--warm-up` of the load.
    pub warm_up: Duration,
    /// `--duration` of the load.
    pub duration: Duration,
    /// Further flags for the load, by workload.
    pub flags: BTreeMap<String, Vec<String>>,
    /// For every sample's stamp.
    pub more: BTreeMap<String, String>,
}

/// Where a system is measured: a network, and a folder for the system in it.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// What holds for all.
    pub common: &'a Common,
    /// The network.
    pub wired: &'a Wired,
    /// The system.
    pub system: &'a System,
    /// Its `{dir}`.
    pub dir: &'a Path,
}

impl Site<'_> {
    /// Runs what comes before the first sample.
    ///
    /// # Errors
    /// What a command line complained about.
    pub fn prepare(&self) -> Result<(), String> {
        let places = self.lasting_places();
        for step in &self.system.prepare {
            let command = places.fill_all(&step.command).map_err(|error| error.to_string())?;
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let (program, arguments) = words.split_first().ok_or("no command")?;
            run(program, arguments, "").map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Takes one sample. One that could not be taken has the error [`NO_SAMPLE`] and nothing else.
    pub async fn sample(&self, cell: &Cell, ports: &mut Ports) -> Sample {
        match self.try_sample(cell, ports).await {
            Ok(sample) => sample,
            Err(why) => none(self.common, cell, why),
        }
    }

    async fn try_sample(&self, cell: &Cell, ports: &mut Ports) -> Result<Sample, String> {
        let text = |error: io::Error| error.to_string();
        let places = self.places(ports).map_err(text)?;
        for file in &self.system.files {
            let filled = places.fill(&file.text).map_err(|error| error.to_string())?;
            let path = self.dir.join(&file.path);
            path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(text)?;
            std::fs::write(path, filled).map_err(text)?;
        }
        let target = self.start_target(&places).await?;
        let mut processes = Vec::new();
        for process in &self.system.processes {
            processes.push(self.start_process(process, &places).await?);
        }
        let measured = self.load(cell, &places, &target, &processes).await;
        let mut sample = measured?;
        self.add_facts(&mut sample, &places, &processes)?;
        for process in &mut processes {
            if let Some(status) = process.ended() {
                let said = format!("{}: {status}; {}", process.name(), process.last_words());
                add_error(&mut sample, ENDED, said);
            }
        }
        for process in processes {
            process.stop().await;
        }
        target.stop().await;
        Ok(sample)
    }

    fn lasting_places(&self) -> Places {
        let mut places = Places::default();
        places.set("dir", self.dir.display());
        places.set("near", self.wired.address(Side::Near));
        places.set("far", self.wired.address(Side::Far));
        places.set("adit", &self.common.adit);
        places.set("adit-bench", &self.common.bench);
        places
    }

    /// Ports are new for each sample: those of the one before may still be waiting to be forgotten.
    fn places(&self, free: &mut Ports) -> io::Result<Places> {
        let mut places = self.lasting_places();
        let names: BTreeSet<&str> = self.system.texts().iter().flat_map(|(_, text)| ports(text)).collect();
        for name in names {
            places.set(format!("port:{name}"), free.next(self.wired.is_apart())?);
        }
        let target = free.next(self.wired.is_apart())?;
        places.set("target", format!("{}:{target}", self.wired.address(Side::Far)));
        Ok(places)
    }

    async fn start_target(&self, places: &Places) -> Result<Running, String> {
        let words = ["{adit-bench}", "target", "--listen", "{target}"].map(str::to_owned);
        let process = Process {
            name: "target".to_owned(),
            side: Side::Far,
            command: words.to_vec(),
            ready: Ready::Log("listening on".to_owned()),
            ready_within: TARGET_WITHIN,
        };
        self.start_process(&process, places).await
    }

    async fn start_process(&self, process: &Process, places: &Places) -> Result<Running, String> {
        let fill = |text: &String| places.fill(text).map_err(|error| error.to_string());
        let command = places.fill_all(&process.command).map_err(|error| error.to_string())?;
        let ready = match &process.ready {
            Ready::Tcp(text) => Ready::Tcp(fill(text)?),
            Ready::Unix(text) => Ready::Unix(fill(text)?),
            Ready::Http(text) => Ready::Http(fill(text)?),
            Ready::Log(text) => Ready::Log(fill(text)?),
        };
        let netns = self.wired.side(process.side);
        let mut running =
            Running::start(&process.name, &command, netns, self.dir).map_err(|error| error.to_string())?;
        until(&mut running, process.ready_within, |running| look(running, &ready, netns)).await?;
        Ok(running)
    }

    async fn load(
        &self,
        cell: &Cell,
        places: &Places,
        target: &Running,
        processes: &[Running],
    ) -> Result<Sample, String> {
        let roots: Vec<u32> = processes.iter().map(Running::pid).collect();
        let watched = settled(&roots).await;
        let mut ours = watched.clone();
        ours.extend([target.pid()].into_iter().chain(self.wired.pid()));
        let found = self.dir.join("sample.jsonl");
        // What is not there needs no removing.
        let _ = std::fs::remove_file(&found);
        let command = self.command(cell, places, &watched, &found)?;
        let before = machine::read(&ours).map_err(|error| error.to_string())?;
        let netns: Option<&Netns> = self.wired.side(Side::Near);
        let mut load =
            Running::start("load", &command, netns, self.dir).map_err(|error| error.to_string())?;
        // Some workloads have a window of the same length before the one of the figures.
        let limit = self.common.warm_up + self.common.duration * 2 + LOAD_SLACK;
        load.end_within(limit).await?;
        let after = machine::read(&ours).map_err(|error| error.to_string())?;
        let samples =
            File::open(&found).map_err(Into::into).and_then(|file| read_lines(BufReader::new(file)));
        let mut sample = match samples.map(|mut samples| samples.pop()) {
            Ok(Some(sample)) => sample,
            Ok(None) => return Err(load.last_words()),
            Err(error) => return Err(format!("{error}; {}", load.last_words())),
        };
        cell.system.clone_into(&mut sample.system);
        cell.network.clone_into(&mut sample.network);
        sample.round = cell.round;
        if let Some(share) = machine::foreign_share(&before, &after) {
            sample.figures.insert(FOREIGN.to_owned(), share);
        }
        Ok(sample)
    }

    fn command(
        &self,
        cell: &Cell,
        places: &Places,
        watched: &BTreeSet<u32>,
        found: &Path,
    ) -> Result<Vec<String>, String> {
        let filled = |text: &str| places.fill(text).map_err(|error| error.to_string());
        let time = |time: Duration| humantime::format_duration(time).to_string();
        let mut command = vec![self.common.bench.clone(), "load".to_owned(), "--quiet".to_owned()];
        let mut flag = |name: &str, value: String| command.extend([name.to_owned(), value]);
        flag("--workload", cell.workload.clone());
        flag("--proxy", filled(&self.system.load.proxy)?);
        flag("--target", filled("{target}")?);
        flag("--warm-up", time(self.common.warm_up));
        flag("--duration", time(self.common.duration));
        flag("--system", cell.system.clone());
        flag("--network", cell.network.clone());
        flag("--json", found.display().to_string());
        for pid in watched {
            flag("--watch-pid", pid.to_string());
        }
        // Where the machine's own loopback is used, everybody has what the machine has; the load stamps it.
        flag("--congestion", self.wired.congestion.clone().unwrap_or_else(|| "default".to_owned()));
        command.extend(self.common.flags.get(&cell.workload).into_iter().flatten().cloned());
        command.extend(places.fill_all(&self.system.load.flags).map_err(|error| error.to_string())?);
        Ok(command)
    }

    fn add_facts(&self, sample: &mut Sample, places: &Places, processes: &[Running]) -> Result<(), String> {
        let more = &mut sample.stamp.more;
        more.extend(self.common.more.clone());
        if let Some(congestion) = &self.wired.congestion {
            more.insert("namespace_congestion_control".to_owned(), congestion.clone());
        }
        // As the system's file has them: which folder and which free port it was says nothing, and would make each
        // sample's stamp another.
        for process in &self.system.processes {
            more.insert(format!("command_{}", process.name), process.command.join(" "));
        }
        more.insert("proxy".to_owned(), self.system.load.proxy.clone());
        for fact in &self.system.facts {
            let log = fact.log.as_ref().and_then(|log| {
                let process = processes.iter().find(|running| running.name() == log.process)?;
                facts::word_after(&process.log(), &log.after)
            });
            let metric = fact.metric.as_ref().and_then(|metric| {
                let side = self.system.processes.iter().find(|process| process.name == metric.process)?.side;
                let url = places.fill(&metric.url).ok()?;
                let text = get(&url, self.wired.side(side)).ok()?;
                facts::metric(&text, &metric.value, metric.per.as_deref())
            });
            // A fact that is not to be had is said to be unknown: whoever reads the stamp knows that it was asked for.
            more.insert(fact.name.clone(), log.or(metric).unwrap_or_else(|| "unknown".to_owned()));
        }
        Ok(())
    }
}

/// A sample that says why there is none.
#[must_use]
pub fn none(common: &Common, cell: &Cell, why: String) -> Sample {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut sample = Sample {
        schema: SCHEMA,
        system: cell.system.clone(),
        network: cell.network.clone(),
        workload: cell.workload.clone(),
        settings: BTreeMap::new(),
        round: cell.round,
        stamp: Stamp {
            unix_seconds: since.map_or(0, |since| since.as_secs()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            more: common.more.clone(),
            ..Stamp::default()
        },
        window_seconds: 0.0,
        operations: 0,
        verified_up_bytes: 0,
        verified_down_bytes: 0,
        errors: BTreeMap::new(),
        latencies: BTreeMap::new(),
        figures: BTreeMap::new(),
        series: crate::record::Series::default(),
        processes: Vec::new(),
        generator: crate::record::Generator::default(),
    };
    add_error(&mut sample, NO_SAMPLE, why);
    sample
}

/// The processes and their children, when no child has come or gone for a moment: some have helpers for the start.
async fn settled(roots: &[u32]) -> BTreeSet<u32> {
    let mut found = machine::with_descendants(roots);
    for _ in 0..SETTLE_LOOKS {
        tokio::time::sleep(SETTLE_INTERVAL).await;
        let now = machine::with_descendants(roots);
        if now == found {
            break;
        }
        found = now;
    }
    found
}

fn add_error(sample: &mut Sample, kind: &str, example: String) {
    let error: &mut ErrorCount = sample.errors.entry(kind.to_owned()).or_default();
    error.count += 1;
    if error.examples.len() < crate::record::ERROR_EXAMPLES_MAX {
        error.examples.push(example);
    }
}

/// Ports that nobody uses.
#[derive(Debug)]
pub struct Ports {
    next: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { next: PORTS.start }
    }
}

impl Ports {
    /// The next one: in a namespace of our own simply the next, elsewhere one that is free for TCP and UDP just now.
    ///
    /// # Errors
    /// There is none.
    pub fn next(&mut self, apart: bool) -> io::Result<u16> {
        if apart {
            let port = self.next;
            self.next = if port + 1 < PORTS.end { port + 1 } else { PORTS.start };
            return Ok(port);
        }
        let mut last = io::Error::other("no port is free");
        for _ in 0..100 {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            match UdpSocket::bind(("127.0.0.1", port)) {
                Ok(_) => return Ok(port),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::{PORTS, Ports};

    #[test]
    fn ports_of_a_namespace_are_used_again_only_when_all_were() {
        let mut ports = Ports::default();
        let taken: Vec<u16> = (0..PORTS.len()).map(|_| ports.next(true).unwrap()).collect();
        assert!(taken.iter().copied().eq(PORTS));
        assert_eq!(ports.next(true).unwrap(), PORTS.start);
        assert_ne!(ports.next(false).unwrap(), 0);
    }
}
