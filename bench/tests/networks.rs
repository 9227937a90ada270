//! The suite's networks: that they are what their names say, and that nothing of them stays. They need root, `ip`,
//! `nft` and `ethtool`; where one is missing every test is ignored with one line that says which, and in continuous
//! integration as root fails.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use adit_bench::netns::run;
use adit_bench::record::read_lines;
use adit_bench::suite::machine::with_descendants;
use adit_bench::suite::network::{Network, Wired, may_make};
use adit_bench::suite::process::Start;
use adit_bench::suite::spec::Side;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

const BENCH: &str = env!("CARGO_BIN_EXE_adit-bench");
/// For whatever is waited for.
const LIMIT: Duration = Duration::from_secs(20);

type Test = fn();

fn main() {
    let tests: [(&str, Test); 6] = [
        ("systems_are_measured_over_networks_of_their_own", systems_are_measured_over_networks_of_their_own),
        ("a_wire_has_the_mtu_of_its_name", a_wire_has_the_mtu_of_its_name),
        ("a_round_trip_over_the_delay_takes_20_ms_for_udp_and_tcp", a_round_trip_over_the_delay_takes_20_ms),
        ("one_packet_in_a_hundred_is_lost_and_it_is_one_packet", one_packet_in_a_hundred_is_lost),
        ("congestion_control_is_set_or_refused_with_the_remedy", congestion_control_is_set_or_refused),
        ("a_suite_that_is_told_to_end_leaves_nothing", a_suite_that_is_told_to_end_leaves_nothing),
    ];
    let trials = tests.map(|(name, test)| Trial::ignorable_test(name, move || told(test))).into();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Runs a test, or says what is missing.
fn told(test: Test) -> Result<Completion, Failed> {
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true") && rustix::process::geteuid().is_root();
    match may_make() {
        Err(reason) if ci => return Err(reason.into()),
        Err(reason) => return Ok(Completion::ignored_with(reason)),
        Ok(()) => test(),
    }
    Ok(Completion::Completed)
}

/// Makes a network, lets a test use it, and sees that it is gone afterwards.
fn with(network: Network, congestion: Option<&str>, test: impl FnOnce(&Wired)) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let start = Start { bench: BENCH, dir: dir.path() };
    let wired = runtime.block_on(Wired::make(network, congestion, &start)).unwrap();
    let sides = [Side::Near, Side::Far];
    let names = sides.map(|side| wired.side(side).expect("a namespace").name().to_owned());
    test(&wired);
    drop(wired);
    for name in names {
        assert!(!Path::new("/run/netns").join(&name).exists(), "{name} is still there");
    }
}

fn listener(wired: &Wired, side: Side) -> (TcpListener, SocketAddr) {
    let at = (wired.address(side), 0);
    let listener = wired.side(side).unwrap().within(|| TcpListener::bind(at)).unwrap().unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn udp(wired: &Wired, side: Side) -> UdpSocket {
    let at = (wired.address(side), 0);
    let socket = wired.side(side).unwrap().within(|| UdpSocket::bind(at)).unwrap().unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

fn connect(wired: &Wired, side: Side, addr: SocketAddr) -> io::Result<TcpStream> {
    wired.side(side).unwrap().within(|| TcpStream::connect_timeout(&addr, LIMIT)).unwrap()
}

fn a_wire_has_the_mtu_of_its_name() {
    for (network, mtu) in [(Network::Loopback, 65_536), (Network::Veth1500, 1500), (Network::Veth9000, 9000)]
    {
        with(network, None, |wired| {
            let (_listener, addr) = listener(wired, Side::Far);
            connect(wired, Side::Near, addr).unwrap();
            let device = if network == Network::Loopback { "lo" } else { "w0" };
            for side in [Side::Near, Side::Far] {
                let said = wired.side(side).unwrap().ip(&["link", "show", device]).unwrap();
                assert!(said.contains(&format!(" mtu {mtu} ")), "{network}: {said}");
            }
        });
    }
}

fn a_round_trip_over_the_delay_takes_20_ms() {
    let least = Duration::from_millis(20);
    with(Network::Delay20ms, None, |wired| {
        let (listener, addr) = listener(wired, Side::Far);
        let begun = Instant::now();
        let mut stream = connect(wired, Side::Near, addr).unwrap();
        assert!(begun.elapsed() >= least, "a connection was there after {:?}", begun.elapsed());
        let (near, far) = (udp(wired, Side::Near), udp(wired, Side::Far));
        let begun = Instant::now();
        near.send_to(b"there", far.local_addr().unwrap()).unwrap();
        let (length, from) = far.recv_from(&mut [0; 16]).unwrap();
        far.send_to(b"back", from).unwrap();
        near.recv(&mut [0; 16]).unwrap();
        assert!(length == 5 && begun.elapsed() >= least, "UDP was back after {:?}", begun.elapsed());
        // More than the queues hold at once comes through whole.
        let sent = thread::spawn(move || {
            let payload: Vec<u8> = (0..4_000_000_u32).map(|index| index.to_le_bytes()[1]).collect();
            stream.write_all(&payload).unwrap();
            payload
        });
        let mut received = Vec::new();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.read_to_end(&mut received).unwrap();
        assert!(received == sent.join().unwrap(), "{} bytes came", received.len());
    });
}

/// Packets and bytes of a counter.
fn counted(wired: &Wired, side: Side, counter: &str) -> (u64, u64) {
    let text = wired.side(side).unwrap();
    let text = text.run("nft", &["list", "counter", "inet", "adit_bench", counter], "").unwrap();
    let after = |word: &str| {
        let rest = text.split(word).nth(1).and_then(|rest| rest.split_whitespace().next());
        rest.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {word} in {text}"))
    };
    (after("packets "), after("bytes "))
}

fn one_packet_in_a_hundred_is_lost() {
    with(Network::Loss1, None, |wired| {
        let (listener, addr) = listener(wired, Side::Far);
        let mut stream = connect(wired, Side::Near, addr).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let sending = thread::spawn(move || stream.write_all(&vec![7; 20_000_000]));
        let received = io::copy(&mut accepted, &mut io::sink()).unwrap();
        sending.join().unwrap().unwrap();
        let ((seen, bytes), (lost, _)) =
            (counted(wired, Side::Far, "seen"), counted(wired, Side::Far, "lost"));
        assert!(received == 20_000_000 && seen >= 13_000, "{received} bytes in {seen} packets");
        assert!(bytes / seen <= 1500, "trains of {} bytes are lost as one", bytes / seen);
        // 1 % of 14,000 is 140 with a deviation of 12.
        assert!((seen / 200..=seen / 60).contains(&lost), "{lost} of {seen} were lost");
        let (back, lost_back) = (counted(wired, Side::Near, "seen").0, counted(wired, Side::Near, "lost").0);
        assert!(back > 1_000 && (back / 400..=back / 30).contains(&lost_back), "{lost_back} of {back}");
    });
}

fn congestion_control_is_set_or_refused() {
    let allowed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control").unwrap();
    let expected = if allowed.split_whitespace().any(|name| name == "cubic") { "cubic" } else { "reno" };
    with(Network::Veth1500, None, |wired| {
        assert_eq!(wired.congestion.as_deref(), Some(expected));
        let (_listener, addr) = listener(wired, Side::Far);
        let stream = connect(wired, Side::Near, addr).unwrap();
        assert_eq!(adit_bench::sockets::congestion_control(&stream).unwrap(), expected);
    });
    with(Network::Loopback, Some("reno"), |wired| assert_eq!(wired.congestion.as_deref(), Some("reno")));
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(BENCH)
        .args([
            "suite",
            "--systems",
            "direct",
            "--networks",
            "veth-1500",
            "--congestion",
            "nonesuch",
            "--out",
        ])
        .arg(dir.path().join("out"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let refused = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("tcp_allowed_congestion_control"), "{said}");
    assert_eq!(namespaces_of(pid), [""; 0], "a network that could not be made must not stay in part");
}

fn systems_are_measured_over_networks_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let output = Command::new(BENCH)
        .args(["suite", "--small", "--systems", "direct,quinn-baseline,tokio-uring-baseline"])
        .args(["--networks", "loopback,veth-9000,delay-20ms", "--workloads", "bulk-down,dial", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let lines = std::fs::read(out.with_added_extension("jsonl")).unwrap();
    let samples = read_lines(lines.as_slice()).unwrap();
    assert_eq!(samples.len(), 18, "{said}");
    for sample in samples.iter().filter(|sample| sample.network == "delay-20ms" && sample.workload == "dial")
    {
        // One round trip to connect and one for the byte: whatever carries it, it went over the wire.
        let least = sample.latencies["dial"].quantile(0.0);
        assert!(least >= 20_000_000, "{}: a dial took {least} ns", sample.system);
    }
    let mtu = |network: &str| {
        let sample = samples.iter().find(|sample| sample.network == network).expect("it was measured");
        sample.stamp.more["mtu_bytes"].clone()
    };
    assert_eq!(["loopback", "veth-9000", "delay-20ms"].map(mtu), ["65536", "9000", "1500"]);
}

/// The namespaces that a process made and that are still there.
fn namespaces_of(pid: u32) -> Vec<String> {
    let list = run("ip", &["netns", "list"], "").unwrap();
    let names = list.lines().filter_map(|line| line.split(' ').next().map(str::to_owned));
    names.filter(|name| name.starts_with(&format!("adit-bench-{pid}-"))).collect()
}

/// Waits until a look finds something.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come in {LIMIT:?}");
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// Ends a process whatever happens to its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn a_suite_that_is_told_to_end_leaves_nothing() {
    for signal in ["INT", "TERM"] {
        let dir = tempfile::tempdir().unwrap();
        let system = dir.path().join("waits.toml");
        std::fs::write(&system, WAITS).unwrap();
        let child = Command::new(BENCH)
            .args(["suite", "--systems", "waits", "--networks", "delay-20ms", "--workloads", "idle"])
            .arg("--system-files")
            .arg(&system)
            .arg("--out")
            .arg(dir.path().join("out"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut suite = Ended(child);
        let pid = suite.0.id();
        // The suite itself, its forwarder, the target, and the system with its child.
        let processes = until("a suite at work", || {
            let processes = with_descendants(&[pid]);
            (processes.len() >= 5).then_some(processes)
        });
        assert_eq!(namespaces_of(pid).len(), 2);
        run("kill", &[&format!("-{signal}"), &pid.to_string()], "").unwrap();
        let status = until("its end", || suite.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(1));
        assert_eq!(namespaces_of(pid), [""; 0]);
        for process in processes {
            let left = Path::new("/proc").join(process.to_string()).join("stat");
            let state = std::fs::read_to_string(left).unwrap_or_default();
            assert!(state.is_empty() || state.contains(") Z "), "{signal}: {state}");
        }
    }
}

/// A system that never becomes ready, with a child.
const WAITS: &str = r#"
name = "waits"
about = "is never ready"
[[processes]]
name = "waits"
side = "far"
command = ["sh", "-c", "sleep 300 & wait"]
ready = { log = "never" }
ready_within = "5m"
[load]
proxy = "none"
"#;
