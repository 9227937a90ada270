//! `adit-bench load`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::OpenOptions;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::load::{Direction, Elapsed, Labels, Plan, Watched, Workload, round};
use crate::proxy::{Connector, Files, Mode, Options, Proxy};
use crate::record::{Sample, write_line};
use crate::report::text::{duration, memory};
use crate::report::{LiveMetrics, Progress, progress_line, serve};
use crate::sockets::raise_descriptor_limit;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to do.
    #[arg(long, value_enum)]
    workload: Workload,
    /// The way to the target: unix:PATH, https://HOST:PORT, http://HOST:PORT, forward:HOST:PORT or none.
    #[arg(long)]
    proxy: Proxy,
    /// An `adit-bench target`, as the proxy shall call it.
    #[arg(long, value_name = "HOST:PORT")]
    target: String,
    /// What is spoken to the proxy.
    #[arg(long, value_enum, default_value = "http-connect")]
    mode: Mode,
    /// In GRPC mode, one connection to the proxy for all, instead of one for each.
    #[arg(long)]
    reuse: bool,
    /// The proxy's certificate authority (PEM), for https://.
    #[arg(long, value_name = "FILE", requires_all = ["cert", "key"])]
    cacert: Option<PathBuf>,
    /// Our certificate (PEM), for https://.
    #[arg(long, value_name = "FILE", requires = "cacert")]
    cert: Option<PathBuf>,
    /// Our certificate's key (PEM), for https://.
    #[arg(long, value_name = "FILE", requires = "cacert")]
    key: Option<PathBuf>,
    /// How many connections at once (stopped readers, broken-off downloads), in place of the workload's own number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: Option<u32>,
    /// Operations a second, all connections together; without it each begins when the last has ended.
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Bytes of a transfer (without it, one transfer lasts the whole window) or of a ping (100).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    bytes: Option<u64>,
    /// Which way the transfers of slow-reader and beside-bulk go.
    #[arg(long, value_enum, default_value = "up")]
    direction: Direction,
    /// Work before the window.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// The window of the figures.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long what was begun in the window may take to end.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Rounds, one after another.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Number of the first round.
    #[arg(long, value_name = "N", default_value_t = 1)]
    first_round: u32,
    /// Threads of the generator. More than one takes cores away from what is measured.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// A process whose CPU time and memory are part of the figures. May be repeated.
    #[arg(long, value_name = "PID")]
    watch_pid: Vec<u32>,
    /// Congestion control of our TCP sockets; `default` leaves the kernel's.
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    congestion: String,
    /// Payloads and random choices follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the system under test is called in the sample.
    #[arg(long, default_value = "unnamed")]
    system: String,
    /// What the network is called in the sample.
    #[arg(long, default_value = "unnamed")]
    network: String,
    /// Something to be stamped on the sample. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    more: Vec<(String, String)>,
    /// Appends each sample to this file, one line of JSON each; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Answers `GET /metrics` there while the load runs, for Prometheus; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// Says nothing but errors.
    #[arg(long)]
    quiet: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= 1e7 => Ok(rate),
        _ => Err("a rate is a number above 0, at most 10000000".to_owned()),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    raise_descriptor_limit();
    let plan = Arc::new(arguments.plan()?);
    let labels = arguments.labels(&plan);
    let watched = arguments.watch_pid.iter().map(|&pid| Watched::new(pid)).collect::<Result<Vec<_>, _>>()?;
    let live = LiveMetrics::new(BTreeMap::from([
        ("system".to_owned(), labels.system.clone()),
        ("network".to_owned(), labels.network.clone()),
        ("workload".to_owned(), arguments.workload.name()),
    ]));
    if let Some(addr) = arguments.metrics {
        expose(addr, live.clone())?;
    }
    let mut progress = Progress::stderr();
    let mut clean = true;
    for number in (arguments.first_round..).take(arguments.repeats as usize) {
        let before = live.state();
        let title = format!("{} {}", arguments.system, arguments.workload.name());
        let mut tell = |Elapsed { elapsed, of }| {
            if !arguments.quiet && progress.is_due(elapsed) {
                progress
                    .show(elapsed, &progress_line(&title, &live.state().since(&before), elapsed, Some(of)));
            }
        };
        let sample = round(&plan, &labels, number, &watched, &live, &mut tell)?;
        progress.clear();
        clean &= sample.is_clean();
        arguments.write(&sample)?;
        if !arguments.quiet || !sample.is_clean() {
            eprint!("{}", text(&sample));
        }
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Arguments {
    fn congestion(&self) -> Option<&str> {
        Some(self.congestion.as_str()).filter(|&name| name != "default")
    }

    fn plan(&self) -> Result<Plan, Box<dyn Error + Send + Sync>> {
        let tls = match (&self.cacert, &self.cert, &self.key) {
            (Some(cacert), Some(cert), Some(key)) => {
                Some(Files { cacert: cacert.clone(), cert: cert.clone(), key: key.clone() })
            }
            _ => None,
        };
        let connector = Connector::new(Options {
            proxy: self.proxy.clone(),
            target: self.target.clone(),
            mode: self.mode,
            reuse: self.reuse,
            tls,
            congestion_control: self.congestion().map(str::to_owned),
        })?;
        Ok(Plan {
            connector,
            workload: self.workload,
            connections: self.connections.unwrap_or_else(|| self.workload.connections()),
            rate: self.rate,
            bytes: self.bytes,
            direction: self.direction,
            warm_up: self.warm_up,
            duration: self.duration,
            grace: self.grace,
            threads: self.threads,
            seed: self.seed,
        })
    }

    /// Settings that change what the figures mean; whoever compares samples compares only equal ones.
    fn labels(&self, plan: &Plan) -> Labels {
        let mut settings = BTreeMap::from([
            ("connections".to_owned(), plan.connections.to_string()),
            ("duration".to_owned(), format!("{:?}", plan.duration)),
        ]);
        let mut set = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                settings.insert(name.to_owned(), value);
            }
        };
        set("rate", plan.rate.map(|rate| rate.to_string()));
        set("bytes", plan.bytes.map(|bytes| bytes.to_string()));
        let grpc = if self.reuse { "grpc, one connection" } else { "grpc" };
        set("mode", (self.mode == Mode::Grpc).then(|| grpc.to_owned()));
        set("threads", (plan.threads > 1).then(|| plan.threads.to_string()));
        let directed = matches!(self.workload, Workload::SlowReader | Workload::BesideBulk);
        set("direction", directed.then(|| format!("{:?}", plan.direction).to_lowercase()));
        let mut more: BTreeMap<_, _> = self.more.iter().cloned().collect();
        more.insert("proxy".to_owned(), self.proxy.to_string());
        Labels {
            system: self.system.clone(),
            network: self.network.clone(),
            settings,
            more,
            congestion_control: self.congestion().map(str::to_owned),
        }
    }

    fn write(&self, sample: &Sample) -> io::Result<()> {
        match &self.json {
            None => Ok(()),
            Some(path) if path.as_os_str() == "-" => write_line(&mut io::stdout(), sample),
            Some(path) => {
                let named =
                    |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(named)?;
                write_line(&mut file, sample).map_err(named)
            }
        }
    }
}

/// Answers Prometheus for as long as the program runs.
fn expose(addr: SocketAddr, live: LiveMetrics) -> Result<(), Box<dyn Error + Send + Sync>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serving = runtime.block_on(serve(addr, live))?;
    eprintln!("metrics on http://{}/metrics", serving.local_addr());
    std::thread::Builder::new().name("adit-metrics".to_owned()).spawn(move || {
        runtime.block_on(std::future::pending::<()>());
        drop(serving);
    })?;
    Ok(())
}

/// A sample in words.
fn text(sample: &Sample) -> String {
    let mut lines =
        format!("{} over {}: {}, round {}\n", sample.system, sample.network, sample.workload, sample.round);
    for (name, &value) in &sample.figures {
        lines += &match name.strip_suffix("_bytes").map(|_| value) {
            Some(value) => format!("  {name} {}\n", memory(value)),
            None => format!("  {name} {value:.4}\n"),
        };
    }
    for (name, latency) in &sample.latencies {
        let at = |share| duration(latency.quantile(share));
        lines += &format!(
            "  {name}: {} × p50 {} p90 {} p99 {} p99.9 {} max {}\n",
            latency.histogram().len(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
    if !sample.is_clean() && sample.errors.is_empty() {
        lines += "  NOTHING was measured: no operation ended and no byte was verified in the window\n";
    }
    for (kind, error) in &sample.errors {
        lines += &format!("  ERROR {kind}: {} × e.g. {}\n", error.count, error.examples.join(" | "));
    }
    lines
}
