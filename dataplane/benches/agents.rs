//! What an idle agent's connection costs a server in memory, and in processor time.
//!
//! `cargo bench -p adit-dataplane --bench agents [-- --quick]`. A production shard and what control keeps of agents
//! (the route table) run in this process; the agents are processes of their own (`support/fleet.rs`), so that what is
//! resident here is the server's. A fifth of the fleet comes first and pays for what a server has anyway; the memory
//! that the rest adds once it stands idle is divided by their number. It prints; it judges nothing but that every
//! agent is there.
//!
//! `… -- --fleet FIRST COUNT ADDRESS FOLDER` is the fleet alone, for a server that runs already (`adit server`, with
//! the folder of `adit certs`). It stays until standard input ends.

#![allow(clippy::print_stdout, reason = "a program that reports to its terminal")]

#[path = "support/fleet.rs"]
mod fleet;

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit_dataplane::config::{FrontendProtocols, Role, ServerRole, ShardConfig};
use adit_dataplane::limits::{ANSWER_TIME_MAX, PROCESS_BUDGET_BYTES};
use adit_dataplane::port::{Command, Event, ShardId, ShardReport, Verdict};
use adit_dataplane::quic::{ClusterKeys, QuicConfig, tls};
use adit_dataplane::route::{AgentSession, Identifiers, Realm, RouteTableBuilder, Strategy};
use adit_dataplane::shard::Shard;
use adit_dataplane::shard::mailbox::{ShardHandle, pair};
use adit_dataplane::wire::{Hello, Welcome};
use adit_io::epoll::EpollDriver;
use adit_io::net::{OwnedSocket, UdpOptions, bind_udp};
use adit_io::{DriverConfig, ResourceLimits, Wake};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    agents: u32,
    /// How long agents stand idle before memory is read, so that handshakes are forgotten and keep-alives have gone by.
    idle: Duration,
}

const FULL: Size = Size { agents: 5_000, idle: Duration::from_secs(15) };
const QUICK: Size = Size { agents: 200, idle: Duration::from_secs(6) };

#[derive(Debug)]
struct ControlThread(std::thread::Thread);

impl Wake for ControlThread {
    fn wake(&self) {
        self.0.unpark();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--fleet") {
        let word = |place: usize| arguments.get(at + place).expect("--fleet FIRST COUNT ADDRESS FOLDER");
        let number = |place| word(place).parse::<u32>().expect("a number");
        let address = word(3).parse().expect("an address with a port");
        fleet::run(number(1), number(2), address, Path::new(word(4)));
    }
    let Size { agents, idle } =
        if arguments.iter().any(|argument| argument == "--quick") { QUICK } else { FULL };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let (empty, first) = (resident_bytes(), agents / 5);
    let some = Fleet::start(0, first, server.address, folder.path());
    let few = settled(idle);
    let began = Instant::now();
    let others = Fleet::start(first, agents - first, server.address, folder.path());
    let took = began.elapsed();
    let many = settled(idle);
    let report = server.report();
    assert_eq!(report.stats.sessions_ready, u64::from(agents), "every agent is there");
    let each = many.bytes.saturating_sub(few.bytes) / u64::from(agents - first);
    println!(
        "{agents} idle agents: {} KiB each; resident {} MiB without, {} MiB with {first}, {} MiB with all",
        each.div_ceil(1024),
        empty >> 20,
        few.bytes >> 20,
        many.bytes >> 20,
    );
    println!(
        "  {:.1} % of a core while idle; the last {} joined in {:.1} s",
        many.load * 100.0,
        agents - first,
        took.as_secs_f64()
    );
    drop((some, others));
    server.stop();
}

/// What this process takes once nothing happens but keep-alives.
struct Idle {
    bytes: u64,
    /// Share of one core.
    load: f64,
}

fn settled(idle: Duration) -> Idle {
    std::thread::sleep(idle / 3);
    let (ticks, began) = (processor_ticks(), Instant::now());
    std::thread::sleep(idle * 2 / 3);
    // proc_pid_stat(5): in clock ticks, of which Linux has 100 a second for programs.
    let seconds = f64::from(processor_ticks() - ticks) / 100.0;
    Idle { bytes: resident_bytes(), load: seconds / began.elapsed().as_secs_f64() }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("this is Linux");
    1024 * line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
}

/// User and system time of this process.
fn processor_ticks() -> u32 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    // Behind the name, which is in parentheses, utime and stime are words 12 and 13.
    let (_, words) = stat.rsplit_once(") ").expect("this is Linux");
    words.split(' ').skip(11).take(2).map(|word| word.parse::<u32>().expect("a number")).sum()
}

/// A process full of agents; it ends with its standard input.
struct Fleet(Child);

impl Fleet {
    /// Starts it and waits until all of its agents are welcome.
    fn start(first: u32, count: u32, server: SocketAddr, folder: &Path) -> Self {
        let mut child = Program::new(std::env::current_exe().expect("this program is a file"))
            .args(["--fleet", &first.to_string(), &count.to_string(), &server.to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        said.read_line(&mut line).expect("it says something or ends");
        assert_eq!(line, "welcome\n", "the fleet ended early");
        Self(child)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A server's shard, and the thread that plays control: it takes every agent at its word and publishes the routes.
struct Server {
    address: SocketAddr,
    wishes: Sender<Wish>,
    reports: Receiver<ShardReport>,
    control: JoinHandle<()>,
}

enum Wish {
    Report,
    Stop,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let (chain, key, roots) = certificates(folder);
        let tls = tls::server_config(chain, key, Some(roots)).expect("they fit together");
        let buffer = Some(4 << 20);
        let options =
            UdpOptions { receive_buffer_bytes: buffer, send_buffer_bytes: buffer, ..UdpOptions::default() };
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let (udp, address) = bind_udp(loopback, &options).expect("a free port");
        let (wishes, wished) = channel();
        let (tell, reports) = channel();
        let control = std::thread::spawn(move || {
            let (send, handle) = channel();
            let waker: Arc<dyn Wake> = Arc::new(ControlThread(std::thread::current()));
            let shard = std::thread::spawn(move || {
                let driver = EpollDriver::new(&DriverConfig::sized_for(ResourceLimits::current()))
                    .expect("epoll works everywhere");
                let (handle, mailbox) = pair(adit_io::Driver::waker(&driver), waker);
                let mut shard = Shard::new(config(tls), driver, mailbox, udp).expect("it starts");
                send.send(handle).expect("control waits for it");
                shard.run().expect("the driver works");
            });
            control(&handle.recv().expect("the shard starts"), &wished, &tell);
            shard.join().expect("the shard ends well");
        });
        Self { address, wishes, reports, control }
    }

    fn report(&self) -> ShardReport {
        self.wishes.send(Wish::Report).expect("control runs");
        self.reports.recv().expect("control answers")
    }

    fn stop(self) {
        self.wishes.send(Wish::Stop).expect("control runs");
        self.control.join().expect("it ends well");
    }
}

fn config(tls: Arc<rustls::ServerConfig>) -> ShardConfig {
    ShardConfig {
        id: ShardId(0),
        role: Role::Server(ServerRole {
            strategies: vec![Strategy::DestHost, Strategy::Default],
            answer_time: ANSWER_TIME_MAX,
            retire_after: None,
            keep_alive: Duration::from_secs(30),
            frontend_keep_alive: Duration::from_secs(3600),
            frontend_protocols: FrontendProtocols::ALL,
        }),
        quic: QuicConfig {
            shard: 0,
            shards: 1,
            generation: 0,
            seed: [1; 32],
            keys: ClusterKeys::derive(b"a key of the bench", "server"),
            server: Some(tls),
            client: None,
            mtu_max_bytes: 1452,
            gso_segments_max: 64,
            time_source: None,
        },
        seed: [2; 32],
        zero_copy: false,
        budget_bytes: PROCESS_BUDGET_BYTES,
        #[cfg(feature = "defects")]
        defect: None,
    }
}

fn control(shard: &ShardHandle<OwnedSocket>, wished: &Receiver<Wish>, tell: &Sender<ShardReport>) {
    let mut routes = RouteTableBuilder::new();
    loop {
        while let Some(event) = shard.try_recv() {
            match event {
                Event::AgentPresented { connection, hello, .. } => {
                    routes.add_connection(connection, session(*hello));
                    shard.send(Command::Routes(routes.snapshot())).expect("the mailbox has room");
                    let welcome = Welcome {
                        server_id: "server".to_owned(),
                        instance_id: vec![9; 16],
                        server_count: 1,
                        shards: 1,
                        ..Welcome::default()
                    };
                    let verdict = Verdict::Accept(welcome);
                    shard.send(Command::Verdict { connection, verdict }).expect("the mailbox has room");
                }
                Event::AgentGone { connection, .. } => {
                    routes.remove_connection(connection);
                    shard.send(Command::Routes(routes.snapshot())).expect("the mailbox has room");
                }
                Event::Stats(report) => tell.send(*report).expect("somebody asked"),
                Event::Drained { .. } => return,
                _ => {}
            }
        }
        match wished.try_recv() {
            Ok(Wish::Report) => shard.send(Command::Stats).expect("the mailbox has room"),
            Ok(Wish::Stop) => {
                shard.send(Command::Drain { deadline: Instant::now() }).expect("the mailbox has room");
            }
            Err(_) => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

fn session(hello: Hello) -> AgentSession {
    AgentSession {
        realm: Realm::default(),
        agent_id: hello.agent_id.into(),
        instance_id: hello.instance_id.into(),
        identifiers: Arc::new(Identifiers::parse(&hello.identifiers).expect("the fleet's are well-formed")),
        since: Instant::now(),
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, rustls::RootCertStore);

/// A CA of its own: what the server needs, and what the fleet needs as files.
fn certificates(folder: &Path) -> Identity {
    let ca_key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).expect("a certificate");
    let issuer = Issuer::new(params, ca_key);
    let signed = || {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        (certificate, key)
    };
    let (agent, agent_key) = signed();
    let write = |name: &str, text: String| {
        let path: PathBuf = folder.join(name);
        std::fs::write(path, text).expect("the folder is ours");
    };
    write("ca.crt", ca.pem());
    write("agent.crt", agent.pem());
    write("agent.key", agent_key.serialize_pem());
    let (server, server_key) = signed();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).expect("a CA");
    (vec![server.der().clone()], PrivateKeyDer::Pkcs8(server_key.serialize_der().into()), roots)
}
