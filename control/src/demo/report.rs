//! The demo's figures, as one JSON document and as text for a person. 1 GB is 10⁹ bytes.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Everything that the demo found out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Whether every byte was right and everything that must be refused was.
    pub(crate) ok: bool,
    /// What was not right.
    pub(crate) failures: Vec<String>,
    /// adit's version.
    pub(crate) version: &'static str,
    /// `--io` and `--mtu-max` as asked for.
    pub(crate) io: &'static str,
    /// See `io`.
    pub(crate) mtu_max_bytes: Option<u16>,
    /// HTTPS requests.
    pub(crate) requests: Option<Latencies>,
    /// Whether a certificate of another CA was refused by the client, end to end.
    pub(crate) other_ca_refused: bool,
    /// Dials.
    pub(crate) dials: Option<Latencies>,
    /// From here to the target.
    pub(crate) bulk_up: Option<Transfer>,
    /// From the target to here.
    pub(crate) bulk_down: Option<Transfer>,
    /// What a dial to a closed port was answered with.
    pub(crate) refused: Option<Refused>,
    /// Server and agents at the end.
    pub(crate) processes: Vec<ProcessFigures>,
}

/// How long something took, many times.
#[derive(Debug, Serialize)]
pub(crate) struct Latencies {
    pub(crate) count: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

impl From<&Histogram<u64>> for Latencies {
    fn from(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            max_us: histogram.max(),
        }
    }
}

/// A bulk transfer.
#[derive(Debug, Serialize)]
pub(crate) struct Transfer {
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) bytes_per_second: f64,
    pub(crate) server_cpu_seconds: f64,
    pub(crate) agents_cpu_seconds: f64,
    pub(crate) server_cpu_seconds_per_gb: f64,
    pub(crate) agents_cpu_seconds_per_gb: f64,
    pub(crate) cpu_seconds_per_gb: f64,
    /// Datagrams in one send, on average, of the side that sends the payload.
    pub(crate) segments_per_send: f64,
}

/// A dial that must fail.
#[derive(Debug, Serialize)]
pub(crate) struct Refused {
    pub(crate) target: String,
    pub(crate) status: u16,
    pub(crate) reason: String,
}

/// One process of adit.
#[derive(Debug, Serialize)]
pub(crate) struct ProcessFigures {
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) pid: u32,
    /// `uring` or `epoll`.
    pub(crate) driver: String,
    /// Why it is not io_uring; empty if it is, or was not asked for.
    pub(crate) fallback: String,
    /// UDP payload of its paths, as discovered: the largest.
    pub(crate) path_mtu_bytes: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) segments_per_send: f64,
    /// Tunnels in its table at the end: 0.
    pub(crate) tunnels_open: u64,
    /// By operation: submitted and completed.
    pub(crate) operations: BTreeMap<String, Operation>,
    /// The driver's other counters.
    pub(crate) io: BTreeMap<String, u64>,
}

/// One kind of operation.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Operation {
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {}, p99 {}, longest {}", Micros(self.p50_us), Micros(self.p99_us), Micros(self.max_us))
    }
}

struct Micros(u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us @ 0..=999 => write!(f, "{us} µs"),
            us @ 1_000..=99_999 => write!(f, "{}.{:02} ms", us / 1000, us % 1000 / 10),
            us => write!(f, "{} ms", us / 1000),
        }
    }
}

impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[allow(clippy::cast_precision_loss, reason = "for showing")]
        let gigabytes = self.bytes as f64 / 1e9;
        write!(
            f,
            "{gigabytes:.3} GB in {:.2} s: {:.0} MB/s; CPU-s/GB: server {:.2} + agents {:.2} = {:.2}; \
             {:.1} datagrams a send",
            self.seconds,
            self.bytes_per_second / 1e6,
            self.server_cpu_seconds_per_gb,
            self.agents_cpu_seconds_per_gb,
            self.cpu_seconds_per_gb,
            self.segments_per_send
        )
    }
}

impl Report {
    /// The figures as text; what is missing failed before it could be measured.
    pub(crate) fn text(&self) -> String {
        let mut out = String::from("\n  what travelled through the tunnel\n\n");
        let mut line = |name: &str, text: &dyn fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  {name:<12}{text}");
        };
        if let Some(requests) = &self.requests {
            let text = format!(
                "{} HTTPS requests, each in a tunnel of its own, certificate verified end to end: {requests}",
                requests.count
            );
            line("requests", &text);
        }
        if self.other_ca_refused {
            line("", &"a target with another CA's certificate was refused by the client, as it must be");
        }
        if let Some(dials) = &self.dials {
            line("dials", &format!("{} tunnels opened one after the other: {dials}", dials.count));
        }
        for (name, transfer) in [("bulk up", &self.bulk_up), ("bulk down", &self.bulk_down)] {
            if let Some(transfer) = transfer {
                line(name, transfer);
            }
        }
        if let Some(refused) = &self.refused {
            line(
                "refused",
                &format!("CONNECT {} was answered {} {}", refused.target, refused.status, refused.reason),
            );
        }
        self.processes_text(&mut out);
        for failure in &self.failures {
            let _ = writeln!(out, "  FAILED      {failure}");
        }
        if self.ok {
            out.push_str("\n  every byte was right\n");
        }
        out
    }

    fn processes_text(&self, out: &mut String) {
        if self.processes.is_empty() {
            return;
        }
        let _ = write!(out, "\n  {:<28}", "");
        for process in &self.processes {
            let _ = write!(out, "{:>14}", process.name);
        }
        out.push('\n');
        let mut row = |name: &str, cell: &dyn Fn(&ProcessFigures) -> String| {
            let _ = write!(out, "  {name:<28}");
            for process in &self.processes {
                let _ = write!(out, "{:>14}", cell(process));
            }
            out.push('\n');
        };
        row("driver", &|p| p.driver.clone());
        row("path MTU (UDP payload)", &|p| p.path_mtu_bytes.to_string());
        row("CPU seconds", &|p| format!("{:.2}", p.cpu_seconds));
        row("datagrams a send", &|p| format!("{:.1}", p.segments_per_send));
        let mut operations: Vec<&String> = self.processes.iter().flat_map(|p| p.operations.keys()).collect();
        operations.sort();
        operations.dedup();
        let counted = |p: &ProcessFigures, op: &String| p.operations.get(op).copied().unwrap_or_default();
        for op in
            operations.into_iter().filter(|op| self.processes.iter().any(|p| counted(p, op).submitted > 0))
        {
            row(op, &|p| counted(p, op).submitted.to_string());
        }
        for process in self.processes.iter().filter(|process| !process.fallback.is_empty()) {
            let _ = writeln!(out, "  {}: not on io_uring: {}", process.name, process.fallback);
        }
    }
}
