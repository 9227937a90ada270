//! The baselines as processes, with checked payload through them. A comparison with something that loses bytes would
//! be worth nothing.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adit_bench::client;
use adit_bench::target::Target;
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);
const MIB: u64 = 1024 * 1024;

/// A process of the program, ended on drop.
struct Process(Child);

impl Process {
    /// Starts it, and waits for its first line.
    fn start(args: &[&str]) -> (Self, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_adit-bench"))
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("adit-bench starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        let process = Self(child);
        BufReader::new(output).read_line(&mut line).expect("a line");
        (process, line.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn address(line: &str) -> SocketAddr {
    let text = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?} is no address"));
    text.parse().expect("an address")
}

/// A UDP port that is free now.
fn free_udp() -> SocketAddr {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
    socket.local_addr().expect("it has an address")
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(LIMIT, test).await.expect("in time") });
}

/// Every manner of conversation, one after the other and many at once.
async fn carries_every_byte(front: SocketAddr, target: &Target, greeting: SocketAddr, greeter: &Target) {
    let dial = || async { TcpStream::connect(front).await.expect("it listens") };
    for bytes in [0, 1, 3 * MIB + 5] {
        client::upload(&mut dial().await, 1, bytes).await.unwrap();
        client::download(&mut dial().await, 2, bytes).await.unwrap();
        client::echo(&mut dial().await, 3, bytes).await.unwrap();
        client::half_close(&mut dial().await, 4, bytes).await.unwrap();
        client::finish_first(&mut dial().await, 5, bytes).await.unwrap();
    }
    let mut greeted = TcpStream::connect(greeting).await.expect("it listens");
    client::greeting(&mut greeted).await.unwrap();
    drop(greeted);
    let mut many = Vec::new();
    for _ in 0..150 {
        many.push(dial().await);
    }
    for (seed, stream) in (0..).zip(&mut many) {
        client::echo(stream, seed, 1_000).await.unwrap();
    }
    drop(many);
    while target.stats().open + greeter.stats().open > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((target.stats().wrong, target.stats().accepted), (0, 165));
}

async fn targets() -> (Target, Target) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    (Target::start(any).await.unwrap(), Target::start_greeting(any).await.unwrap())
}

/// Starts both halves of the QUIC baseline towards a target.
fn quinn(dir: &tempfile::TempDir, name: &str, target: &Target) -> (Vec<Process>, SocketAddr) {
    let (quic, cert) = (free_udp().to_string(), dir.path().join(name).display().to_string());
    let (server, line) = Process::start(&[
        "baseline",
        "quinn-server",
        "--listen",
        "127.0.0.1:0",
        "--quic",
        &quic,
        "--cert-out",
        &cert,
    ]);
    let front = address(&line);
    let target = target.local_addr().to_string();
    let (agent, said) =
        Process::start(&["baseline", "quinn-agent", "--server", &quic, "--cert", &cert, "--target", &target]);
    assert_eq!(said, "connected");
    (vec![server, agent], front)
}

#[test]
fn quinn_carries_every_byte() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (target, greeter) = targets().await;
        let (_one, front) = quinn(&dir, "one.pem", &target);
        let (_other, greeting) = quinn(&dir, "other.pem", &greeter);
        carries_every_byte(front, &target, greeting, &greeter).await;
    });
}

#[test]
fn an_agent_of_quinn_trusts_one_certificate_only() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let (target, other) = targets().await;
        let (_one, _) = quinn(&dir, "one.pem", &target);
        let quic = free_udp().to_string();
        let cert = dir.path().join("two.pem").display().to_string();
        let (_server, _) = Process::start(&[
            "baseline",
            "quinn-server",
            "--listen",
            "127.0.0.1:0",
            "--quic",
            &quic,
            "--cert-out",
            &cert,
        ]);
        let wrong = dir.path().join("one.pem").display().to_string();
        let refused = Command::new(env!("CARGO_BIN_EXE_adit-bench"))
            .args(["baseline", "quinn-agent", "--server", &quic, "--cert", &wrong, "--target"])
            .arg(other.local_addr().to_string())
            .output()
            .expect("adit-bench starts");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("certificate"), "{said}");
    });
}

#[test]
fn tokio_uring_carries_every_byte() {
    run(async {
        let (target, greeter) = targets().await;
        let hop = |to: &Target| {
            let to = to.local_addr().to_string();
            Process::start(&["baseline", "tokio-uring", "--listen", "127.0.0.1:0", "--to", &to])
        };
        let ((_one, front), (_other, greeting)) = (hop(&target), hop(&greeter));
        carries_every_byte(address(&front), &target, address(&greeting), &greeter).await;
    });
}
