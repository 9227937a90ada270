//! A production shard on a thread and a socket of its own, and a hostile peer at the other end of loopback. The test
//! plays control.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit_dataplane::config::{AgentRole, FrontendProtocols, Role, ServerRole, ShardConfig, Transport};
use adit_dataplane::limits::{ANSWER_TIME_MAX, PROCESS_BUDGET_BYTES};
use adit_dataplane::port::{Command, Event, ServerTarget, ShardId, ShardReport, Verdict};
use adit_dataplane::quic::{ClusterKeys, QuicConfig};
use adit_dataplane::route::Strategy;
use adit_dataplane::shard::Shard;
use adit_dataplane::shard::mailbox::{ShardHandle, pair};
use adit_dataplane::wire::{Hello, Welcome};
use adit_io::net::{OwnedSocket, UdpOptions, bind_udp};
use adit_io::{DatagramDriver, Driver, DriverConfig, ResourceLimits, Wake};

use crate::peer::{APPLICATION, Peer, generous, id};
use crate::pki::{Pki, SERVER_NAME};

/// How a test waits: no longer than this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Datagram receive slots of the shards here: few, so that an attack that pins them is short.
pub(crate) const SLOTS: usize = 64;

/// What the shards' sockets hold while their thread does not run.
const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What makes a driver on its thread.
pub(crate) type MakeDriver<D> = fn(&DriverConfig) -> D;

/// The longest wait for one answer before all others are heard again.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct ControlThread(std::thread::Thread);

impl Wake for ControlThread {
    fn wake(&self) {
        self.0.unpark();
    }
}

/// See the module.
pub(crate) struct Running {
    handle: ShardHandle<OwnedSocket>,
    thread: JoinHandle<()>,
    pub(crate) address: SocketAddr,
    /// What the shard said and what was not answered or asked for here.
    pub(crate) events: Vec<Event>,
    reports: Vec<ShardReport>,
}

impl Running {
    fn start<D>(make: MakeDriver<D>, role: Role, pki: &Pki) -> Self
    where
        D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
    {
        let options = UdpOptions {
            receive_buffer_bytes: Some(UDP_BUFFER_BYTES),
            send_buffer_bytes: Some(UDP_BUFFER_BYTES),
            ..UdpOptions::default()
        };
        let (udp, address) = bind_udp((Ipv4Addr::LOCALHOST, 0).into(), &options).unwrap();
        let is_server = matches!(role, Role::Server(_));
        let quic = QuicConfig {
            shard: 0,
            shards: 1,
            generation: 0,
            seed: [4; 32],
            keys: ClusterKeys::derive(b"a private key", "test"),
            server: is_server.then(|| Arc::clone(&pki.server)),
            client: (!is_server).then(|| Arc::clone(&pki.agent)),
            mtu_max_bytes: 1452,
            gso_segments_max: 16,
            time_source: None,
        };
        let size =
            DriverConfig { datagram_slots: SLOTS, ..DriverConfig::sized_for(ResourceLimits::current()) };
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
            assert_eq!((left.tunnels, left.streams, left.sessions, left.connections), (0, 0, 0, 0));
        });
        let handle = receive.recv_timeout(DEADLINE).unwrap();
        Self { handle, thread, address, events: Vec::new(), reports: Vec::new() }
    }

    pub(crate) fn server<D>(make: MakeDriver<D>, pki: &Pki) -> Self
    where
        D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
    {
        let role = ServerRole {
            strategies: vec![Strategy::Default],
            answer_time: ANSWER_TIME_MAX,
            retire_after: None,
            keep_alive: Duration::from_secs(30),
            frontend_keep_alive: Duration::from_secs(3600),
            frontend_protocols: FrontendProtocols::ALL,
        };
        Self::start(make, Role::Server(role), pki)
    }

    /// An agent of the server at this address.
    pub(crate) fn agent<D>(make: MakeDriver<D>, pki: &Pki, server: SocketAddr) -> Self
    where
        D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
    {
        let role = AgentRole {
            transport: Transport::Quic,
            tcp_tls: None,
            keep_alive: Duration::from_secs(35),
            hello: Hello { agent_id: "agent".into(), instance_id: vec![7; 16], ..Hello::default() },
            connections: Some(1),
            sync_forever: false,
            retry_interval: Duration::from_millis(100),
            retry_interval_max: Duration::from_secs(1),
            first_shard: 0,
            shards: 1,
        };
        let agent = Self::start(make, Role::Agent(role), pki);
        let target = ServerTarget { addresses: vec![server], tcp: None, server_name: SERVER_NAME.to_owned() };
        agent.handle.send(Command::Server(target)).unwrap();
        agent
    }

    /// Hears what the shard says, and welcomes every agent.
    pub(crate) fn listen(&mut self) {
        while let Some(event) = self.handle.try_recv() {
            match event {
                Event::AgentPresented { connection, .. } => {
                    let verdict = Verdict::Accept(welcome());
                    self.handle.send(Command::Verdict { connection, verdict }).unwrap();
                }
                Event::Stats(report) => self.reports.push(*report),
                event => self.events.push(event),
            }
        }
    }

    /// Its figures now, while the peers at the links go on.
    pub(crate) fn report(&mut self, links: &mut [&mut Link]) -> ShardReport {
        self.handle.send(Command::Stats).unwrap();
        let begun = Instant::now();
        loop {
            self.listen();
            if let Some(report) = self.reports.pop() {
                return report;
            }
            assert!(begun.elapsed() < DEADLINE, "the shard does not answer");
            links.iter_mut().for_each(|link| link.talk());
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Waits until the figures are as they should be.
    pub(crate) fn until(
        &mut self,
        what: &str,
        links: &mut [&mut Link],
        done: impl Fn(&ShardReport) -> bool,
    ) -> ShardReport {
        let begun = Instant::now();
        loop {
            let report = self.report(links);
            if done(&report) {
                return report;
            }
            assert!(begun.elapsed() < DEADLINE, "{what}: {report:?}");
        }
    }

    /// Drains the shard, which must leave nothing.
    pub(crate) fn stop(self) {
        self.handle.send(Command::Drain { deadline: Instant::now() + Duration::from_secs(1) }).unwrap();
        self.thread.join().unwrap();
    }
}

/// What a server says to agents that it takes.
pub(crate) fn welcome() -> Welcome {
    Welcome {
        server_id: "server".into(),
        instance_id: vec![9; 16],
        server_count: 1,
        shards: 1,
        ..Welcome::default()
    }
}

/// A hostile peer and its socket.
pub(crate) struct Link {
    socket: UdpSocket,
    shard: SocketAddr,
    pub(crate) peer: Peer,
}

impl Link {
    /// A client that TLS takes for an agent; returns when its handshake has ended.
    pub(crate) fn agent(running: &Running, pki: &Pki, number: u64) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(PAUSE)).unwrap();
        let peer = Peer::client(&pki.agent, number, generous(&id(number), &[]));
        let mut link = Self { socket, shard: running.address, peer };
        link.until("the handshake", |peer| peer.is_connected());
        link
    }

    /// A server that an agent's shard dials, once it does.
    pub(crate) fn server(socket: UdpSocket, pki: &Pki) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut buffer = [0; 2048];
        let (bytes, shard) = socket.recv_from(&mut buffer).expect("the agent dials");
        socket.set_read_timeout(Some(PAUSE)).unwrap();
        let mut peer = Peer::server(&pki.server, &buffer[..bytes]);
        peer.receive(&buffer[..bytes]);
        let mut link = Self { socket, shard, peer };
        link.until("the handshake", |peer| peer.is_connected());
        link
    }

    /// Sends one 1-RTT packet.
    pub(crate) fn send(&mut self, payload: &[u8]) {
        let packet = self.peer.packet(APPLICATION, payload);
        self.socket.send_to(&packet, self.shard).unwrap();
    }

    /// Hears what comes within a moment and sends what the peer's TLS and its acknowledgements have to send.
    pub(crate) fn talk(&mut self) {
        let mut buffer = [0; 65_536];
        while let Ok(bytes) = self.socket.recv(&mut buffer) {
            self.peer.receive(&buffer[..bytes]);
        }
        for datagram in self.peer.pending() {
            self.socket.send_to(&datagram, self.shard).unwrap();
        }
    }

    /// Talks until something is so.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Peer) -> bool) {
        let begun = Instant::now();
        loop {
            self.talk();
            if done(&self.peer) {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "{what}: {:?}", self.peer.heard);
        }
    }
}
