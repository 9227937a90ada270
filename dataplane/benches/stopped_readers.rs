//! What stopped readers cost everybody else: echoes and new dials through a pair of shards beside N of them, against
//! the same without them, in turns.
//!
//! `cargo bench -p adit-dataplane --bench stopped_readers [-- --quick]`. The stopped readers stand in a pair of
//! shards of their own kind beside a clean pair, so that both are measured in the same minute, A B A B. A third of the
//! readers trickle all the while. It prints; it judges nothing.

#![allow(clippy::print_stdout, reason = "a program that reports to its terminal")]

#[path = "../tests/pair/readers.rs"]
mod readers;
#[path = "../tests/pair/stand.rs"]
mod stand;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use adit_io::epoll::EpollDriver;
use adit_io::uring::UringDriver;
use adit_io::{DatagramDriver, Driver, net::OwnedSocket};

use readers::{Direction, SetOnDrop, StoppedReaders};
use stand::{MakeDriver, Stand};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    counts: &'static [usize],
    rounds: usize,
    echoes: usize,
    dials: usize,
}

const FULL: Size = Size { counts: &[1, 100, 1000], rounds: 9, echoes: 2000, dials: 300 };
const QUICK: Size = Size { counts: &[1, 10], rounds: 3, echoes: 200, dials: 50 };

/// The 99th percentiles of one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    echo: Duration,
    dial: Duration,
}

fn main() {
    let size = if std::env::args().any(|argument| argument == "--quick") { QUICK } else { FULL };
    println!(
        "p99 beside N stopped readers / p99 without, median of {} pairs (least–most); RSS of the bench",
        size.rounds
    );
    measure("uring", |config| UringDriver::new(config).expect("io_uring works here"), size);
    measure("epoll", |config| EpollDriver::new(config).expect("epoll works everywhere"), size);
}

fn measure<D>(name: &str, make: MakeDriver<D>, size: Size)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    for direction in [&[Direction::Upload][..], &[Direction::Download][..]] {
        for count in size.counts {
            let (clean, beside) = (Stand::start(make), Stand::start(make));
            let before = resident_mib();
            let readers = StoppedReaders::fill(&beside, *count, direction);
            let after = resident_mib();
            let (done, paused) = (AtomicBool::new(false), AtomicBool::new(false));
            let pairs: Vec<(Round, Round)> = std::thread::scope(|scope| {
                let _done = SetOnDrop(&done);
                scope.spawn(|| readers.trickle(&paused, &done));
                let echo = echo_target();
                let _warm_up = (round(&clean, echo, size), round(&beside, echo, size));
                (0..size.rounds).map(|_| (round(&clean, echo, size), round(&beside, echo, size))).collect()
            });
            println!(
                "{name:5} {:8} N={count:<4} echo {}  dial {}  memory {before} → {after} MiB",
                format!("{:?}", direction[0]).to_lowercase(),
                ratio(&pairs, |round| round.echo),
                ratio(&pairs, |round| round.dial),
            );
            drop(readers);
            clean.stop();
            let (server, agent) = beside.stop();
            let reset = server.stats.tunnels_over_budget + agent.stats.tunnels_over_budget;
            assert_eq!(reset, 0, "stopped readers were reset although they fit the budget");
        }
    }
}

/// One connection's echoes, then dials with one byte echoed.
fn round(stand: &Stand, echo: SocketAddr, size: Size) -> Round {
    let mut stream = stand.connect(echo);
    let ping = |stream: &mut std::os::unix::net::UnixStream| {
        let mut answer = [0; 100];
        stream.write_all(&[0x5a; 100]).expect("the echo is sent");
        stream.read_exact(&mut answer).expect("the echo comes back");
    };
    let echoes = (0..size.echoes).map(|_| timed(|| ping(&mut stream))).collect();
    let dials = (0..size.dials)
        .map(|_| {
            timed(|| {
                let mut stream = stand.connect(echo);
                stream.write_all(&[1]).expect("a byte is sent");
                stream.read_exact(&mut [0]).expect("the byte comes back");
            })
        })
        .collect();
    Round { echo: p99(echoes), dial: p99(dials) }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99).div_ceil(100) - 1]
}

fn ratio(pairs: &[(Round, Round)], of: impl Fn(&Round) -> Duration) -> String {
    let mut ratios: Vec<f64> = pairs.iter().map(|(a, b)| of(b).as_secs_f64() / of(a).as_secs_f64()).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let mut clean: Vec<Duration> = pairs.iter().map(|(a, _)| of(a)).collect();
    clean.sort_unstable();
    format!(
        "{:.2} ({:.2}–{:.2}; without {} µs)",
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1],
        clean[clean.len() / 2].as_micros()
    )
}

/// A target that gives back what it gets, a thread for each connection, until the process ends.
fn echo_target() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}
