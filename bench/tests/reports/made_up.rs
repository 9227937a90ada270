//! Samples that look like a real run's, and were never measured: the same ones each time.

use std::collections::BTreeMap;

use adit_bench::record::{ErrorCount, Generator, Latency, ProcessUse, SCHEMA, Sample, Series, Stamp};

/// How a made-up system fares, each a factor by which the direct way's figure grows or shrinks.
struct System {
    name: &'static str,
    /// Of throughput, at most 1.
    throughput: f64,
    /// Of a round trip.
    round_trip: f64,
    /// CPU seconds per gigabyte; `None` has no process of its own.
    cpu_per_gb: Option<f64>,
    /// Mebibytes at rest.
    resident_mib: u64,
}

const SYSTEMS: [System; 7] = [
    System { name: "direct", throughput: 1.0, round_trip: 1.0, cpu_per_gb: None, resident_mib: 0 },
    System { name: "haproxy", throughput: 0.62, round_trip: 1.9, cpu_per_gb: Some(0.34), resident_mib: 14 },
    System { name: "ssh", throughput: 0.21, round_trip: 3.4, cpu_per_gb: Some(2.6), resident_mib: 19 },
    System {
        name: "adit-uring",
        throughput: 0.48,
        round_trip: 2.3,
        cpu_per_gb: Some(0.95),
        resident_mib: 11,
    },
    System { name: "adit-epoll", throughput: 0.44, round_trip: 2.6, cpu_per_gb: Some(1.1), resident_mib: 11 },
    System {
        name: "quinn-baseline",
        throughput: 0.17,
        round_trip: 4.4,
        cpu_per_gb: Some(3.1),
        resident_mib: 17,
    },
    System {
        name: "tokio-uring-baseline",
        throughput: 0.55,
        round_trip: 2.1,
        cpu_per_gb: Some(0.42),
        resident_mib: 6,
    },
];

const NETWORKS: [(&str, &str, f64, f64); 2] =
    [("loopback", "65536", 1.0, 1.0), ("veth-1500", "1500", 0.55, 1.3)];
const WORKLOADS: [&str; 7] =
    ["bulk-up", "bulk-down", "ping-pong", "dial", "idle", "slow-reader", "beside-bulk"];
/// Rounds of everything.
pub(crate) const ROUNDS: u32 = 3;
/// Slots of a window of two seconds.
const SLOTS: usize = 20;

/// A generator of numbers that is good enough to look like noise (Knuth's MMIX constants).
struct Noise(u64);

impl Noise {
    /// Between 0 and 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Around 1, mostly within the spread.
    fn around(&mut self, spread: f64) -> f64 {
        let bell = self.share() + self.share() + self.share() + self.share() - 2.0;
        spread.mul_add(bell, 1.0)
    }
}

/// A whole default run. Two samples of `ssh` have errors.
pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut noise = Noise(7);
    for (network, mtu, speed, distance) in NETWORKS {
        for workload in WORKLOADS {
            for round in 1..=ROUNDS {
                for system in &SYSTEMS {
                    let stamp = stamp(system.name, mtu, 1_795_000_000 + samples.len() as u64 * 3);
                    let mut sample = sample(system.name, network, workload, round, stamp);
                    fill(&mut sample, system, speed, distance, &mut noise);
                    samples.push(sample);
                }
            }
        }
    }
    let spoilt =
        |sample: &&mut Sample| sample.system == "ssh" && sample.workload == "slow-reader" && sample.round < 3;
    for sample in samples.iter_mut().filter(spoilt) {
        let examples = vec!["dial: no answer within 5 s".to_owned()];
        sample.errors.insert("dial-timeout".into(), ErrorCount { count: 4, examples });
    }
    samples
}

/// A sample of which nothing is known yet.
pub(crate) fn sample(system: &str, network: &str, workload: &str, round: u32, stamp: Stamp) -> Sample {
    let connections = match workload {
        "idle" => "1000",
        "ping-pong" | "dial" => "8",
        _ => "1",
    };
    Sample {
        schema: SCHEMA,
        system: system.into(),
        network: network.into(),
        workload: workload.into(),
        settings: BTreeMap::from([("connections".into(), connections.into())]),
        round,
        stamp,
        window_seconds: 2.0,
        operations: 0,
        verified_up_bytes: 0,
        verified_down_bytes: 0,
        errors: BTreeMap::new(),
        latencies: BTreeMap::new(),
        figures: BTreeMap::new(),
        series: Series { every_ms: 100, ..Series::default() },
        processes: Vec::new(),
        generator: Generator { cpu_seconds: 0.4, lateness: None },
    }
}

fn stamp(system: &str, mtu: &str, unix_seconds: u64) -> Stamp {
    let more = [
        ("commit", "0123456789abcdef"),
        ("MTU", mtu),
        ("driver", if system.starts_with("adit") { &system[5..] } else { "none" }),
        ("GSO batch", "10"),
        ("command", &format!("{system} --listen 10.0.0.1:4000 --to 10.0.1.1:5000")),
    ];
    Stamp {
        unix_seconds,
        kernel: "6.18.0".into(),
        cpu: "Imaginary CPU @ 2.80GHz".into(),
        cores: 2,
        version: env!("CARGO_PKG_VERSION").into(),
        congestion_control: "cubic".into(),
        more: more.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

fn fill(sample: &mut Sample, system: &System, speed: f64, distance: f64, noise: &mut Noise) {
    let round_trip = 42_000.0 * system.round_trip * distance * noise.around(0.05);
    let rate = 2.4e9 * system.throughput * speed * noise.around(0.06);
    let mut gigabytes = 0.0;
    match sample.workload.as_str() {
        "bulk-up" | "bulk-down" => {
            let slots = (0..SLOTS).map(|_| (rate * 0.1 * noise.around(0.09)) as u64).collect();
            sample.series.bytes = slots;
            let bytes = sample.series.bytes.iter().sum();
            let way = match sample.workload.as_str() {
                "bulk-up" => &mut sample.verified_up_bytes,
                _ => &mut sample.verified_down_bytes,
            };
            *way = bytes;
            gigabytes = bytes as f64 / 1e9;
            sample.operations = bytes / 1_000_000;
        }
        "dial" => operations(sample, "dial", round_trip * 3.5, 12_000, noise),
        "idle" => {
            sample.operations = 1_000;
            let per = 9_000.0 * system.round_trip * noise.around(0.02);
            sample.figures.insert("resident_per_idle_connection_bytes".into(), per);
        }
        "beside-bulk" => {
            operations(sample, "ping", round_trip * 5.0, 3_000, noise);
            sample.figures.insert("ping_p99_ratio".into(), 4.0 * system.round_trip * noise.around(0.1));
        }
        "slow-reader" => operations(sample, "ping", round_trip * 1.2, 8_000, noise),
        _ => operations(sample, "ping", round_trip, 30_000, noise),
    }
    if let Some(per_gb) = system.cpu_per_gb {
        let resident = system.resident_mib * 1024 * 1024;
        let cpu = per_gb.mul_add(gigabytes, sample.operations as f64 * 14e-6 * system.round_trip).min(1.9);
        sample.processes.push(ProcessUse {
            name: system.name.into(),
            pid: 4_000,
            user_seconds: cpu * 0.35,
            system_seconds: cpu * 0.65 * noise.around(0.04),
            resident_at_rest_bytes: resident,
            resident_loaded_bytes: resident + (3e6 * noise.around(0.1)) as u64,
            resident_after_bytes: resident + 500_000,
        });
    }
}

fn operations(sample: &mut Sample, name: &str, nanoseconds: f64, most: usize, noise: &mut Noise) {
    let mut latency = Latency::default();
    let count = ((most as f64 * 42_000.0 * 3.0 / nanoseconds) as usize).clamp(800, most);
    for _ in 0..count {
        let tail = 0.002 / noise.share().max(1e-6);
        latency.record((nanoseconds * noise.around(0.2).max(0.5) * tail.powf(0.7).clamp(1.0, 200.0)) as u64);
    }
    sample.operations = count as u64;
    let per_slot = count as f64 / SLOTS as f64;
    sample.series.operations = (0..SLOTS).map(|_| (per_slot * noise.around(0.12)) as u64).collect();
    sample.latencies.insert(name.to_owned(), latency);
}
