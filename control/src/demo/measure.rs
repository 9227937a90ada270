//! The demo's work in order, with what it cost: CPU time and counters of server and agents before and after.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::accounts::{Metrics, cpu_seconds};
use super::cluster::{Places, Ports};
use super::progress::Progress;
use super::report::{Latencies, Operation, ProcessFigures, Refused, Report, Transfer};
use super::work;
use crate::config::cli::DemoFlags;

const MIB: u64 = 1024 * 1024;
/// After the last byte, tables must be empty within this time.
const EMPTY_TIME_MAX: Duration = Duration::from_secs(10);

/// Everything. What is found out goes to `report` as it is, so that a failure leaves the rest to be seen.
///
/// # Errors
/// The text to show for the first thing that was not right.
pub(crate) async fn all(flags: &DemoFlags, places: &Places, report: &mut Report) -> Result<(), String> {
    let (socket, target) = (places.socket.as_path(), places.target);
    let mut progress = Progress::new("HTTPS requests", flags.requests.into(), ("requests", 1));
    let latencies =
        work::https_requests(socket, target.https, &places.trusting, flags.requests, |n| progress.at(n))
            .await?;
    report.requests = Some(Latencies::from(&latencies));
    work::wrong_ca_is_refused(socket, target.https, &places.mistrusting).await?;
    report.other_ca_refused = true;

    let mut progress = Progress::new("dials", flags.dials.into(), ("dials", 1));
    let latencies = work::dials(socket, target.tcp, flags.dials, |n| progress.at(n)).await?;
    report.dials = Some(Latencies::from(&latencies));

    let total = flags.bulk_mib * MIB;
    let mut progress = Progress::new("bulk up", total, ("MiB", MIB));
    let before = Costs::take(places).await?;
    let elapsed = work::bulk_up(socket, target.tcp, total, |n| progress.at(n)).await?;
    report.bulk_up = Some(before.transfer(places, "server", total, elapsed).await?);

    let mut progress = Progress::new("bulk down", total, ("MiB", MIB));
    let before = Costs::take(places).await?;
    let elapsed = work::bulk_down(socket, target.tcp, total, |n| progress.at(n)).await?;
    report.bulk_down = Some(before.transfer(places, "agent", total, elapsed).await?);
    drop(progress);

    let closed = closed_port()?;
    let (status, reason) = work::refused(socket, closed).await?;
    report.refused = Some(Refused { target: closed.to_string(), status, reason });

    let last = emptied(places).await?;
    for (ports, metrics) in places.ports.iter().zip(&last) {
        report.processes.push(figures(ports, metrics)?);
    }
    match report.processes.iter().find(|process| process.tunnels_open > 0) {
        None => Ok(()),
        Some(p) => Err(format!("{} tunnels are left behind in {}", p.tunnels_open, p.name)),
    }
}

/// An address that nobody listens on: it was free a moment ago.
fn closed_port() -> Result<SocketAddr, String> {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| format!("no free port: {e}"))
}

/// Scrapes until no process has a tunnel, or time is up.
async fn emptied(places: &Places) -> Result<Vec<Metrics>, String> {
    let deadline = Instant::now() + EMPTY_TIME_MAX;
    loop {
        let mut all = Vec::new();
        for ports in &places.ports {
            all.push(Metrics::scrape(ports.admin).await?);
        }
        let open: f64 = all.iter().map(|metrics| metrics.sum("adit_tunnels_open", "")).sum();
        if open < 0.5 || Instant::now() > deadline {
            return Ok(all);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// CPU time and counters of every process at one moment, in the order of [`Places::ports`].
struct Costs {
    cpu_seconds: Vec<f64>,
    metrics: Vec<Metrics>,
}

impl Costs {
    async fn take(places: &Places) -> Result<Self, String> {
        let mut costs = Self { cpu_seconds: Vec::new(), metrics: Vec::new() };
        for ports in &places.ports {
            costs.metrics.push(Metrics::scrape(ports.admin).await?);
        }
        for ports in &places.ports {
            let seconds = cpu_seconds(ports.pid).map_err(|e| format!("CPU time of {}: {e}", ports.name))?;
            costs.cpu_seconds.push(seconds);
        }
        Ok(costs)
    }

    /// What was used since; `sender` is the role whose datagrams carried the payload.
    async fn transfer(
        self,
        places: &Places,
        sender: &str,
        bytes: u64,
        elapsed: Duration,
    ) -> Result<Transfer, String> {
        let after = Self::take(places).await?;
        let cpu = |role: &str| -> f64 {
            let both = self.cpu_seconds.iter().zip(&after.cpu_seconds);
            both.zip(&places.ports).filter(|(_, ports)| ports.role == role).map(|((a, b), _)| b - a).sum()
        };
        let counted = |family: &str| -> f64 {
            let both = self.metrics.iter().zip(&after.metrics);
            both.zip(&places.ports)
                .filter(|(_, ports)| ports.role == sender)
                .map(|((a, b), _)| b.sum(family, "") - a.sum(family, ""))
                .sum()
        };
        #[allow(clippy::cast_precision_loss, reason = "for showing")]
        let (size, seconds) = (bytes as f64, elapsed.as_secs_f64().max(1e-9));
        let gigabytes = size / 1e9;
        let (server, agents) = (cpu("server"), cpu("agent"));
        Ok(Transfer {
            bytes,
            seconds,
            bytes_per_second: size / seconds,
            server_cpu_seconds: server,
            agents_cpu_seconds: agents,
            server_cpu_seconds_per_gb: server / gigabytes,
            agents_cpu_seconds_per_gb: agents / gigabytes,
            cpu_seconds_per_gb: (server + agents) / gigabytes,
            segments_per_send: counted("adit_io_datagrams_sent_total")
                / counted("adit_io_datagram_trains_sent_total").max(1.0),
        })
    }
}

/// A process's figures from its metrics.
fn figures(ports: &Ports, metrics: &Metrics) -> Result<ProcessFigures, String> {
    let first = |family: &str, label: &str| {
        metrics.by_label(family, label).into_iter().next().map_or_else(String::new, |(value, _)| value)
    };
    let mut operations: BTreeMap<String, Operation> = BTreeMap::new();
    for (op, count) in metrics.by_label("adit_io_operations_total", "op") {
        operations.entry(op).or_default().submitted += whole(count);
    }
    for (op, count) in metrics.by_label("adit_io_completions_total", "op") {
        operations.entry(op).or_default().completed += whole(count);
    }
    let io = IO_FAMILIES.iter().map(|name| {
        let family = format!("adit_io_{name}");
        (name.trim_end_matches("_total").to_owned(), whole(metrics.sum(&family, "")))
    });
    let trains = metrics.sum("adit_io_datagram_trains_sent_total", "").max(1.0);
    Ok(ProcessFigures {
        name: ports.name.clone(),
        role: ports.role,
        pid: ports.pid,
        driver: first("adit_io_driver", "driver"),
        fallback: first("adit_io_driver", "fallback"),
        path_mtu_bytes: whole(metrics.sum("adit_path_mtu_bytes", "extreme=\"max\"")),
        cpu_seconds: cpu_seconds(ports.pid).map_err(|e| format!("CPU time of {}: {e}", ports.name))?,
        segments_per_send: metrics.sum("adit_io_datagrams_sent_total", "") / trains,
        tunnels_open: whole(metrics.sum("adit_tunnels_open", "")),
        operations,
        io: io.collect(),
    })
}

/// The driver's counters that are shown, without `adit_io_`.
const IO_FAMILIES: &[&str] = &[
    "turns_total",
    "syscalls_total",
    "provided_buffer_receives_total",
    "no_buffers_total",
    "refused_full_total",
    "datagrams_received_total",
    "datagram_trains_received_total",
    "datagrams_sent_total",
    "datagram_trains_sent_total",
    "stream_received_bytes_total",
    "stream_sent_bytes_total",
    "zero_copy_copied_total",
    "completion_overflows_total",
    "sockets_open",
];

/// A counter's value: a whole number that fits.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole and not negative"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}
