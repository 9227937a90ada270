//! `sim`: runs simulated worlds.
//!
//! `sim --seeds N [--start S]` runs N of them and requires that everything that can go wrong did; `sim --seed S`
//! replays one and prints its options and the end of its trace; `--lite` only looks for panics and failures, not
//! for what never occurred; `--twice N` compares the traces of N seeds run twice. With the feature `defects`:
//! `--defect NAME` plants a defect, `--defects` requires that each of them is found.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports to its terminal")]

use std::process::ExitCode;
use std::time::Instant;

use adit_sim::swarm::{Summary, Swarm, run_world};
use adit_sim::tally::Family;
use adit_sim::world::{Report, World};

const USAGE: &str = "\
usage: sim [--seeds N] [--start S] [--threads N] [--lite] [--keep-going]
       sim --seed S [--tail LINES]
       sim --scenario NAME [--seed S] [--tail LINES]
       sim --twice N [--start S]
       sim --defect NAME [--seeds N] | --defects  (feature `defects`)";

#[derive(Debug)]
struct Args {
    seeds: u64,
    start: u64,
    threads: usize,
    lite: bool,
    keep_going: bool,
    seed: Option<u64>,
    twice: Option<u64>,
    tail: usize,
    scenario: Option<String>,
    defect: Option<String>,
    defects: bool,
}

impl Args {
    fn parse() -> Result<Self, String> {
        let mut args = Self {
            seeds: 100,
            start: 0,
            threads: 2,
            lite: false,
            keep_going: false,
            seed: None,
            twice: None,
            tail: 200,
            scenario: None,
            defect: None,
            defects: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
            match word.as_str() {
                "--seeds" => args.seeds = number(value()?)?,
                "--start" => args.start = number(value()?)?,
                "--threads" => args.threads = usize::try_from(number(value()?)?).unwrap_or(1),
                "--seed" => args.seed = Some(number(value()?)?),
                "--twice" => args.twice = Some(number(value()?)?),
                "--tail" => args.tail = usize::try_from(number(value()?)?).unwrap_or(200),
                "--scenario" => args.scenario = Some(value()?),
                "--defect" => args.defect = Some(value()?),
                "--defects" => args.defects = true,
                "--keep-going" => args.keep_going = true,
                "--lite" => args.lite = true,
                other => return Err(format!("unknown argument {other:?}")),
            }
        }
        Ok(args)
    }

    fn swarm(&self) -> Swarm {
        Swarm {
            start: self.start,
            seeds: self.seeds,
            threads: self.threads,
            keep_going: self.keep_going,
            #[cfg(feature = "defects")]
            defect: None,
        }
    }
}

fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(args) => args,
        Err(problem) => {
            eprintln!("sim: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    say_seed_on_panic();
    let good = match (&args.seed, &args.twice) {
        _ if args.scenario.is_some() => tell(&args),
        (Some(seed), _) => replay(&args, *seed),
        (_, Some(seeds)) => twice(&args, *seeds),
        _ if args.defect.is_some() || args.defects => defects(&args),
        _ => swarm(&args),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A release build ends at a panic: the seed must be on the terminal by then.
fn say_seed_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        if let Some(seed) = adit_sim::swarm::seed_of_this_thread() {
            eprintln!("replay it with: sim --seed {seed}");
        }
    }));
}

/// Runs one hand-written story and prints what became of it.
fn tell(args: &Args) -> bool {
    let name = args.scenario.as_deref().unwrap_or_default();
    let Some(mut options) = adit_sim::scenario::options(name, args.seed.unwrap_or(0)) else {
        println!("stories are: {:?}", adit_sim::scenario::names().collect::<Vec<_>>());
        return false;
    };
    options.tail_lines = args.tail;
    println!("{options:?}");
    match World::new(options).run() {
        Ok(report) => print_report(&report),
        Err(failure) => {
            println!("{failure}");
            return false;
        }
    }
    true
}

fn print_report(report: &Report) {
    for line in &report.tail {
        println!("  {line}");
    }
    println!(
        "seed {}: {} dials, {} bytes of payload, {} events, {} ns of virtual time, trace {:016x}",
        report.seed, report.dials, report.payload_bytes, report.events, report.virtual_ns, report.trace_hash
    );
    for (index, tunnel) in report.tunnels.iter().enumerate() {
        println!("  tunnel {index}: {tunnel:?}");
    }
    for (index, hostile) in report.hostiles.iter().enumerate() {
        println!("  hostile {index}: {:?}, {} visits", hostile.kind, hostile.visits.len());
        for visit in hostile.visits.iter().take(3) {
            println!("    {visit:?}");
        }
    }
    for join in &report.joins {
        println!("  {join:?}");
    }
    println!("  server: {:?}, at the end {:?}", report.peak, report.left);
    println!("  agents: {:?}, at the end {:?}", report.agent_peak, report.agents_left);
    println!("  {:?}", report.hostile_server);
    for family in Family::ALL.into_iter().filter(|family| report.tally.count(*family) > 0) {
        println!("  {:>10} {family:?}", report.tally.count(family));
    }
}

fn replay(args: &Args, seed: u64) -> bool {
    let mut swarm = args.swarm();
    if !plant(args, &mut swarm) {
        return false;
    }
    let mut options = swarm.options(seed);
    options.tail_lines = args.tail;
    println!("{options:?}");
    match run_world(options) {
        Ok(report) => {
            print_report(&report);
            true
        }
        Err(failure) => {
            println!("{failure}");
            false
        }
    }
}

fn swarm(args: &Args) -> bool {
    let began = Instant::now();
    let (summary, failures) = args.swarm().run();
    print_summary(&summary);
    println!("took {:.1} s on {} threads", began.elapsed().as_secs_f64(), args.threads);
    let missing = summary.missing();
    if !args.lite && !missing.is_empty() {
        println!("never occurred: {}", missing.join(", "));
    }
    for failure in &failures {
        if failures.len() == 1 {
            println!("{failure}");
        } else {
            println!("seed {}: {}", failure.seed, failure.what);
        }
        println!("replay it with: sim --seed {}", failure.seed);
    }
    failures.is_empty() && (args.lite || missing.is_empty())
}

fn print_summary(summary: &Summary) {
    println!(
        "{} worlds, {} dials, {} MiB of payload, {} events, {} s of virtual time",
        summary.worlds,
        summary.dials,
        summary.payload_bytes >> 20,
        summary.events,
        summary.virtual_ns / 1_000_000_000
    );
    for family in Family::ALL {
        println!("  {:>10} {family:?}", summary.tally.count(family));
    }
    for (cell, count) in &summary.cells {
        println!("  {count:>10} {cell:?}");
    }
}

fn twice(args: &Args, seeds: u64) -> bool {
    let swarm = args.swarm();
    for seed in args.start..args.start + seeds {
        let hash = || run_world(swarm.options(seed)).map(|report| (report.trace_hash, report.events));
        match (hash(), hash()) {
            (Ok(first), Ok(second)) if first == second => {}
            (Ok(first), Ok(second)) => {
                println!("seed {seed} ran differently: {first:x?} and {second:x?}");
                return false;
            }
            (Err(failure), _) | (_, Err(failure)) => {
                println!("{failure}");
                return false;
            }
        }
    }
    println!("{seeds} seeds ran alike twice");
    true
}

#[cfg(feature = "defects")]
fn plant(args: &Args, swarm: &mut Swarm) -> bool {
    use adit_dataplane::config::Defect;
    let Some(name) = &args.defect else { return true };
    let found = Defect::ALL.into_iter().find(|defect| format!("{defect:?}") == *name);
    if found.is_none() {
        println!("defects are: {:?}", Defect::ALL);
    }
    swarm.defect = found;
    found.is_some()
}

#[cfg(not(feature = "defects"))]
fn plant(args: &Args, _swarm: &mut Swarm) -> bool {
    if args.defect.is_some() {
        println!("built without the feature `defects`");
    }
    args.defect.is_none()
}

#[cfg(not(feature = "defects"))]
fn defects(_args: &Args) -> bool {
    println!("built without the feature `defects`");
    false
}

#[cfg(feature = "defects")]
fn defects(args: &Args) -> bool {
    use adit_dataplane::config::Defect;
    let mut swarm = args.swarm();
    if args.defect.is_some() {
        // As any failing run: non-zero at the first seed that finds it.
        return plant(args, &mut swarm)
            && match swarm.run().1.first() {
                None => {
                    println!("not found");
                    true
                }
                Some(failure) => {
                    println!("seed {}: {}", failure.seed, failure.what);
                    false
                }
            };
    }
    let mut all = true;
    for defect in Defect::ALL {
        // Each in a process of its own: in a release build a defect may end the process.
        let (name, seeds, start) = (format!("{defect:?}"), args.seeds.to_string(), args.start.to_string());
        let output = std::env::current_exe().and_then(|program| {
            std::process::Command::new(program)
                .args(["--defect", &name, "--seeds", &seeds, "--start", &start])
                .args(["--threads", &args.threads.to_string()])
                .output()
        });
        match output {
            Ok(output) if !output.status.success() => {
                let said = String::from_utf8_lossy(&output.stdout);
                println!("{name}: found: {}", said.lines().last().unwrap_or("the process ended"));
            }
            Ok(_) => {
                println!("{name}: NOT found in {seeds} worlds");
                all = false;
            }
            Err(error) => {
                println!("{name}: cannot run: {error}");
                all = false;
            }
        }
    }
    all
}
