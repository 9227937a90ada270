//! A fleet of agents that connect, say Hello, and stand idle: one QUIC endpoint driven by hand, in a process of its
//! own, so that a server's memory can be told from theirs. To the server each is an agent like any other: an id,
//! identifiers, a connection of its own.

use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use adit_dataplane::limits::{AGENT_STREAMS_INITIAL, HANDSHAKES_BEFORE_RETRY, MESSAGE_BYTES_MAX};
use adit_dataplane::quic::{ClusterKeys, ConnId, Quic, QuicConfig, QuicEvent, StreamId, tls};
use adit_dataplane::wire::{ControlMessage, FrameReader, Hello, StreamHeader};
use adit_io::Datagrams;
use bytes::BytesMut;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Handshakes under way at once: with more, the server would have every agent prove its address first.
const AT_ONCE: usize = HANDSHAKES_BEFORE_RETRY / 2;
/// The most that a turn waits.
const TURN_TIME_MAX: Duration = Duration::from_millis(20);

struct Fleet {
    quic: Quic,
    socket: UdpSocket,
    server: SocketAddr,
    /// Numbers of those that have no connection.
    waiting: Vec<u32>,
    /// Attempts that may yet fail.
    patience: u32,
    /// Those that were not welcomed yet, by number.
    greeting: HashMap<ConnId, (u32, Option<StreamId>, FrameReader)>,
    buffer: Vec<u8>,
}

/// Runs `count` agents, numbered from `first` on, until standard input ends. Says `welcome` once all are. Attempts that
/// fail are repeated, as every agent does: on a busy machine a socket's buffer overflows now and then.
///
/// `folder` holds what `adit certs` makes: `ca.crt`, `agent.crt` and `agent.key`; the server is to be `localhost`.
pub(crate) fn run(first: u32, count: u32, server: SocketAddr, folder: &Path) -> ! {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let config = QuicConfig {
        shard: 0,
        shards: 1,
        generation: 0,
        seed: [u8::try_from(first % 251).unwrap_or(0) + 1; 32],
        keys: ClusterKeys::derive(b"a key of the bench", "fleet"),
        server: None,
        client: Some(identity(folder)),
        mtu_max_bytes: 1452,
        gso_segments_max: 1,
        time_source: None,
    };
    let mut fleet = Fleet {
        quic: Quic::new(&config).expect("the configuration holds together"),
        socket,
        server,
        waiting: (first..first + count).collect(),
        patience: 10 + count / 100,
        greeting: HashMap::new(),
        buffer: Vec::new(),
    };
    let mut told = false;
    loop {
        fleet.turn();
        if fleet.waiting.is_empty() && fleet.greeting.is_empty() && !told {
            told = true;
            println!("welcome");
        }
    }
}

fn identity(folder: &Path) -> std::sync::Arc<rustls::ClientConfig> {
    let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
        let all = CertificateDer::pem_file_iter(folder.join(name)).expect("the file is there");
        all.collect::<Result<_, _>>().expect("it holds certificates")
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates("ca.crt") {
        roots.add(certificate).expect("a CA");
    }
    let key = PrivateKeyDer::from_pem_file(folder.join("agent.key")).expect("it holds a key");
    tls::client_config(roots, Some((certificates("agent.crt"), key))).expect("they fit together")
}

impl Fleet {
    fn turn(&mut self) {
        let now = Instant::now();
        while self.greeting.len() < AT_ONCE {
            let Some(number) = self.waiting.pop() else { break };
            let conn = self.quic.connect(now, self.server, "localhost", None).expect("it begins");
            self.greeting.insert(conn, (number, None, FrameReader::new()));
        }
        while let Some(event) = self.quic.poll_event() {
            match event {
                QuicEvent::Connected { conn, .. } => self.say_hello(conn),
                QuicEvent::Readable { conn, .. } => self.hear(conn),
                QuicEvent::Silent { conn } => self.quic.give_up(now, conn),
                QuicEvent::Lost { conn, reason } => self.lost(conn, &reason.text),
                _ => {}
            }
        }
        loop {
            match self.quic.poll_transmit(now, std::mem::take(&mut self.buffer)) {
                Ok(transmit) => {
                    for datagram in transmit.buffer.chunks(transmit.segment_bytes) {
                        self.socket.send_to(datagram, transmit.peer).expect("it is sent");
                    }
                    self.buffer = transmit.buffer;
                }
                Err(buffer) => {
                    self.buffer = buffer;
                    break;
                }
            }
        }
        self.receive();
        let now = Instant::now();
        if self.quic.next_timeout().is_some_and(|at| at <= now) {
            self.quic.handle_timeouts(now);
        }
    }

    fn say_hello(&mut self, conn: ConnId) {
        let Some((number, control, _)) = self.greeting.get_mut(&conn) else { return };
        let stream = self.quic.open(conn).expect("it is connected").expect("a control stream is granted");
        *control = Some(stream);
        let [_, _, high, low] = number.to_be_bytes();
        let hello = Hello {
            agent_id: format!("node-{number:05}.fleet.example"),
            instance_id: u128::from(*number).to_be_bytes().into(),
            identifiers: format!("ipv4=10.0.{high}.{low}&host=node-{number:05}.fleet.example"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Hello::default()
        };
        let messages = [StreamHeader::control().to_frame(), ControlMessage::Hello(hello).to_frame()];
        let mut messages: VecDeque<_> = messages.map(|frame| frame.expect("it fits")).into();
        self.quic.write(conn, stream, &mut messages).expect("it is connected");
        assert!(messages.is_empty(), "a Hello fits the first window");
    }

    fn hear(&mut self, conn: ConnId) {
        let Some((_, Some(stream), reader)) = self.greeting.get_mut(&conn) else { return };
        let mut chunks = Vec::new();
        self.quic.read(conn, *stream, MESSAGE_BYTES_MAX, &mut chunks).expect("it is connected");
        for chunk in chunks {
            reader.push(chunk);
        }
        let Some(message) = reader.poll().expect("the server speaks adit/1") else { return };
        match ControlMessage::decode(message) {
            Ok(Some(ControlMessage::Welcome(_))) => {}
            other => panic!("the server's first word is Welcome, not {other:?}"),
        }
        self.quic.welcome(conn, AGENT_STREAMS_INITIAL);
        self.greeting.remove(&conn);
    }

    fn lost(&mut self, conn: ConnId, reason: &str) {
        let Some((number, ..)) = self.greeting.remove(&conn) else {
            panic!("an agent lost its server: {reason}")
        };
        eprintln!("agent {number} tries again: {reason}");
        self.patience = self.patience.checked_sub(1).expect("fewer attempts fail");
        self.waiting.push(number);
    }

    /// Waits for a datagram, but not beyond the next timeout.
    fn receive(&mut self) {
        let now = Instant::now();
        let until = self.quic.next_timeout().map_or(TURN_TIME_MAX, |at| at.saturating_duration_since(now));
        let until = until.clamp(Duration::from_micros(1), TURN_TIME_MAX);
        self.socket.set_read_timeout(Some(until)).expect("it is not zero");
        let mut data = [0; 2048];
        if let Ok((bytes, peer)) = self.socket.recv_from(&mut data) {
            let data = BytesMut::from(&data[..bytes]);
            let datagrams = Datagrams { stride: bytes, data, peer, local_ip: None, ecn: None };
            self.quic.handle_datagrams(Instant::now(), datagrams);
        }
    }
}
