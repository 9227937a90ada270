//! The stand: two shards on threads of their own, and a control that says yes.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit_dataplane::config::{AgentRole, FrontendProtocols, Role, ServerRole, ShardConfig, Transport};
use adit_dataplane::limits::{ANSWER_TIME_MAX, PROCESS_BUDGET_BYTES};
use adit_dataplane::port::{Command, Event, ListenerKind, ServerTarget, ShardId, ShardReport, Verdict};
use adit_dataplane::quic::{ClusterKeys, QuicConfig, tls};
use adit_dataplane::route::{AgentSession, Identifiers, Realm, RouteTableBuilder, Strategy};
use adit_dataplane::shard::Shard;
use adit_dataplane::shard::mailbox::{ShardHandle, pair};
use adit_dataplane::wire::{Hello, Welcome};
use adit_io::net::{OwnedSocket, UdpOptions, bind_udp};
use adit_io::{DatagramDriver, Driver, DriverConfig, ResourceLimits, Wake};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// How a test waits: no longer than this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Kernel buffers of the shards' UDP sockets, each way.
const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What makes a driver on its thread.
pub(crate) type MakeDriver<D> = fn(&DriverConfig) -> D;

#[derive(Debug)]
struct ControlThread(std::thread::Thread);

impl Wake for ControlThread {
    fn wake(&self) {
        self.0.unpark();
    }
}

struct Running {
    handle: Arc<ShardHandle<OwnedSocket>>,
    thread: JoinHandle<()>,
}

/// The last figures of both shards, server first.
pub(crate) type Reports = (ShardReport, ShardReport);

/// What the test tells the thread that plays control.
#[derive(Default)]
struct Wishes {
    stop: AtomicBool,
    report: AtomicBool,
}

/// What that thread tells the test.
struct Tidings {
    ready: Sender<()>,
    reports: Sender<Reports>,
}

/// Both shards and the thread that plays control.
pub(crate) struct Stand {
    pub(crate) socket: PathBuf,
    wishes: Arc<Wishes>,
    reports: Receiver<Reports>,
    control: JoinHandle<Reports>,
    _folder: tempfile::TempDir,
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn roots(&self) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }

    fn identity(&self) -> Identity {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }
}

fn quic(server: Option<Arc<rustls::ServerConfig>>, client: Option<Arc<rustls::ClientConfig>>) -> QuicConfig {
    QuicConfig {
        shard: 0,
        shards: 1,
        generation: 0,
        seed: [if server.is_some() { 1 } else { 2 }; 32],
        keys: ClusterKeys::derive(b"a key of the test", "server"),
        server,
        client,
        mtu_max_bytes: 65_468,
        gso_segments_max: 64,
        time_source: None,
    }
}

fn start<D>(
    role: Role,
    quic: QuicConfig,
    udp: OwnedSocket,
    make: MakeDriver<D>,
    size: DriverConfig,
) -> Running
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let control: Arc<dyn Wake> = Arc::new(ControlThread(std::thread::current()));
    let (send, receive) = channel();
    let thread = std::thread::spawn(move || {
        let driver = make(&size);
        let (handle, mailbox) = pair(driver.waker(), control);
        let config = ShardConfig {
            id: ShardId(0),
            role,
            quic,
            seed: [3; 32],
            zero_copy: false,
            budget_bytes: PROCESS_BUDGET_BYTES,
            #[cfg(feature = "defects")]
            defect: None,
        };
        let mut shard = Shard::new(config, driver, mailbox, udp).unwrap();
        send.send(handle).unwrap();
        shard.run().unwrap();
        let left = shard.holdings();
        assert_eq!((left.tunnels, left.streams, left.sessions, left.sending, left.deferred), (0, 0, 0, 0, 0));
    });
    Running { handle: Arc::new(receive.recv_timeout(DEADLINE).unwrap()), thread }
}

impl Stand {
    /// Starts both and waits until the agent is welcome.
    pub(crate) fn start<D>(make: MakeDriver<D>) -> Self
    where
        D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
    {
        Self::start_sized(make, &DriverConfig::sized_for(ResourceLimits::current()))
    }

    /// The same with drivers of this size.
    pub(crate) fn start_sized<D>(make: MakeDriver<D>, size: &DriverConfig) -> Self
    where
        D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
    {
        Self::start_telling(make, size, Vec::new())
    }

    /// The same, where the server's shard is told more before anything happens.
    pub(crate) fn start_telling<D>(
        make: MakeDriver<D>,
        size: &DriverConfig,
        more: Vec<Command<OwnedSocket>>,
    ) -> Self
    where
        D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
    {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("frontend.socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let listen = Command::Listen { socket: listener.into(), kind: ListenerKind::UnixFrontends };
        let commands: Vec<_> = more.into_iter().chain([listen]).collect();
        let wishes = Arc::new(Wishes::default());
        let (ready, wait) = channel();
        let (send, reports) = channel();
        let tidings = Tidings { ready, reports: send };
        let (wished, size) = (wishes.clone(), *size);
        let control = std::thread::spawn(move || control(make, &size, commands, &wished, &tidings));
        wait.recv_timeout(DEADLINE).expect("the agent is welcome");
        Self { socket, wishes, reports, control, _folder: folder }
    }

    /// A connection through the tunnel.
    pub(crate) fn connect(&self, target: SocketAddr) -> UnixStream {
        let (answer, stream) = self.ask(&format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
        assert_eq!(answer, "HTTP/1.1 200 Connection Established\r\n\r\n");
        stream
    }

    /// Sends a head and reads the answer's head, not a byte more.
    pub(crate) fn ask(&self, head: &str) -> (String, UnixStream) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "{:?}", String::from_utf8_lossy(&answer));
            answer.push(byte[0]);
        }
        (String::from_utf8(answer).unwrap(), stream)
    }

    /// Figures of both shards.
    pub(crate) fn report(&self) -> Reports {
        self.wishes.report.store(true, Ordering::SeqCst);
        self.control.thread().unpark();
        self.reports.recv_timeout(DEADLINE).expect("both shards answer")
    }

    /// Drains both shards; their last figures.
    pub(crate) fn stop(self) -> Reports {
        self.wishes.stop.store(true, Ordering::SeqCst);
        self.control.thread().unpark();
        self.control.join().unwrap()
    }
}

fn control<D>(
    make: MakeDriver<D>,
    size: &DriverConfig,
    commands: Vec<Command<OwnedSocket>>,
    wishes: &Wishes,
    tidings: &Tidings,
) -> Reports
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let authority = Authority::new();
    let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    // As in production: what comes while a shard is not running must fit, or it is lost.
    let options = UdpOptions {
        receive_buffer_bytes: Some(UDP_BUFFER_BYTES),
        send_buffer_bytes: Some(UDP_BUFFER_BYTES),
        ..UdpOptions::default()
    };
    let (udp, address) = bind_udp(loopback, &options).unwrap();
    let (certs, key) = authority.identity();
    let tls = tls::server_config(certs, key, Some(authority.roots())).unwrap();
    let role = ServerRole {
        strategies: vec![Strategy::Default],
        answer_time: ANSWER_TIME_MAX,
        retire_after: None,
        keep_alive: Duration::from_secs(30),
        frontend_keep_alive: Duration::from_secs(3600),
        frontend_protocols: FrontendProtocols::ALL,
    };
    let server = start(Role::Server(role), quic(Some(tls), None), udp, make, *size);
    for command in commands {
        server.handle.send(command).unwrap();
    }

    let (udp, _) = bind_udp(loopback, &options).unwrap();
    let tls = tls::client_config(authority.roots(), Some(authority.identity())).unwrap();
    let hello = Hello { agent_id: "agent".into(), instance_id: vec![7; 16], ..Hello::default() };
    let role = AgentRole {
        hello,
        transport: Transport::Quic,
        tcp_tls: None,
        keep_alive: Duration::from_secs(35),
        connections: Some(1),
        sync_forever: false,
        retry_interval: Duration::from_millis(100),
        retry_interval_max: Duration::from_secs(1),
        first_shard: 0,
        shards: 1,
    };
    let agent = start(Role::Agent(role), quic(None, Some(tls)), udp, make, *size);
    let target = ServerTarget { addresses: vec![address], tcp: None, server_name: "localhost".into() };
    agent.handle.send(Command::Server(target)).unwrap();
    play(&server, &agent, wishes, tidings)
}

/// Control's part: accept every agent, resolve `localhost`, and stop when told.
fn play(server: &Running, agent: &Running, wishes: &Wishes, tidings: &Tidings) -> Reports {
    let mut routes = RouteTableBuilder::new();
    let mut reports = (None, None);
    let (mut stopping, mut reporting) = (false, false);
    loop {
        // Looked at first: what was said before the end is still heard below.
        let finished = server.thread.is_finished() && agent.thread.is_finished();
        if !stopping && wishes.report.swap(false, Ordering::SeqCst) {
            (reporting, reports) = (true, (None, None));
            for shard in [server, agent] {
                shard.handle.send(Command::Stats).unwrap();
            }
        }
        if !stopping && wishes.stop.load(Ordering::SeqCst) {
            stopping = true;
            for shard in [server, agent] {
                shard.handle.send(Command::Stats).unwrap();
                shard
                    .handle
                    .send(Command::Drain { deadline: Instant::now() + Duration::from_secs(5) })
                    .unwrap();
            }
        }
        while let Some(event) = server.handle.try_recv() {
            match event {
                Event::AgentPresented { connection, hello, certificates, .. } => {
                    assert_eq!(certificates.len(), 1);
                    let session = AgentSession {
                        realm: Realm::default(),
                        agent_id: hello.agent_id.into(),
                        instance_id: hello.instance_id.into(),
                        identifiers: Arc::new(Identifiers::default()),
                        since: Instant::now(),
                    };
                    routes.add_connection(connection, session);
                    server.handle.send(Command::Routes(routes.snapshot())).unwrap();
                    let welcome = Welcome {
                        server_id: "server".into(),
                        instance_id: vec![9; 16],
                        server_count: 1,
                        shards: 1,
                        ..Welcome::default()
                    };
                    server
                        .handle
                        .send(Command::Verdict { connection, verdict: Verdict::Accept(welcome) })
                        .unwrap();
                }
                Event::Stats(report) => reports.0 = Some(*report),
                _ => {}
            }
        }
        while let Some(event) = agent.handle.try_recv() {
            match event {
                Event::ServerReady { .. } => tidings.ready.send(()).unwrap(),
                Event::Resolve { key, name } => {
                    let result = match name.as_str() {
                        "localhost" => Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]),
                        _ => Err(format!("lookup {name}: no such host")),
                    };
                    agent.handle.send(Command::Resolved { key, result }).unwrap();
                }
                Event::Stats(report) => reports.1 = Some(*report),
                _ => {}
            }
        }
        if finished {
            break;
        }
        if reporting && reports.0.is_some() && reports.1.is_some() {
            reporting = false;
            let both = (reports.0.take().unwrap(), reports.1.take().unwrap());
            tidings.reports.send(both).unwrap();
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    (reports.0.expect("the server's report"), reports.1.expect("the agent's report"))
}
