//! Frontends over TCP that speak something else, or TLS to wear the server out: what the shard makes of it, while
//! somebody else's tunnel runs. What the session says to each is its unit tests' matter (`stream/tls/tests/abuse`).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit_dataplane::limits::CONNECT_HEAD_TIME_MAX;
use adit_io::{DatagramDriver, Driver, net::OwnedSocket};

use crate::stand::{DEADLINE, MakeDriver};
use crate::tls::{Client, Secure, TLS12, TLS13, head};

/// How long after its time a handshake may end: what a machine that has other things to do may take.
const LATE: Duration = Duration::from_secs(5);

/// A tunnel to an echo, which everything else must not disturb.
struct Innocent {
    client: Client,
    target: JoinHandle<()>,
}

impl Innocent {
    fn start(secure: &Secure) -> Self {
        let (address, target) = crate::streams::target(|mut stream| {
            let mut piece = [0; 4];
            while stream.read_exact(&mut piece).is_ok() {
                stream.write_all(&piece).unwrap();
            }
        });
        Self { client: secure.connect(TLS13, address), target }
    }

    /// There and back.
    fn is_well(&mut self) {
        let mut piece = [0; 4];
        self.client.write_all(b"ping").unwrap();
        self.client.read_exact(&mut piece).unwrap();
        assert_eq!(&piece, b"ping");
    }

    fn end(mut self) {
        self.client.conn.send_close_notify();
        self.client.flush().unwrap();
        assert_eq!(self.client.read_to_end(&mut Vec::new()).unwrap(), 0);
        self.target.join().unwrap();
    }
}

/// Whether the other side has ended the connection, in whatever way, within the deadline.
fn has_ended(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 1024];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Somebody who connects to TCP and says this.
fn stranger(secure: &Secure, said: &[u8]) {
    let mut stream = secure.tcp();
    // It may be refused before all of it was sent.
    let _ = stream.write_all(said);
    assert!(has_ended(&mut stream), "{:?} is left open", said.escape_ascii().to_string().get(..40));
}

/// Renews keys until that is too much. Somebody who has a certificate.
fn key_updates(secure: &Secure) {
    let mut client = secure.client(TLS13, Some(&secure.identity));
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < DEADLINE, "it goes on for ever");
        let renewed = client.conn.is_handshaking() || client.conn.refresh_traffic_keys().is_ok();
        if !renewed || client.flush().is_err() {
            break;
        }
    }
    assert!(has_ended(&mut client.sock));
}

/// A tunnel whose client sends one record that is not TLS 1.2 any more, behind some that are.
fn garbage_behind_a_tunnel(secure: &Secure, target: SocketAddr) {
    let mut client = secure.connect(TLS12, target);
    client.sock.write_all(head(target).as_bytes()).unwrap();
    assert!(has_ended(&mut client.sock));
}

pub(crate) fn strangers_and_floods_disturb_nobody_else<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let secure = Secure::start(make);
    let mut innocent = Innocent::start(&secure);
    let oversize: Vec<u8> = [0x16, 0x03, 0x01, 0x3f, 0xff, 0x01, 0x00, 0xff, 0xff]
        .into_iter()
        .chain(std::iter::repeat_n(0, 200_000))
        .collect();
    let strangers: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        &[0x80, 0x2e, 0x01, 0x00, 0x02, 0x00, 0x15, 0x00, 0x00, 0x00, 0x10],
        &oversize,
        &[0x17, 0x03, 0x03, 0x00, 0x00].repeat(10_000),
        &[0x15, 0x03, 0x03, 0x00, 0x02, 0x01, 0x5a].repeat(10_000),
    ];
    for said in strangers {
        stranger(&secure, said);
        innocent.is_well();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    key_updates(&secure);
    innocent.is_well();
    garbage_behind_a_tunnel(&secure, listener.local_addr().unwrap());
    innocent.is_well();
    secure.until("only the innocent is left", |(server, _)| server.stats.tunnels_open == 1);
    innocent.end();
    let (server, _) = secure.stand.stop();
    // Renewals that come together with the handshake's end are one with it.
    let (strangers, failed) = (strangers.len() as u64, server.stats.frontend_handshakes_failed);
    assert!((strangers..=strangers + 1).contains(&failed), "{failed} handshakes failed");
    assert_eq!(failed + server.stats.frontend_sessions_broken, strangers + 2);
}

pub(crate) fn a_trickled_client_hello_ends_in_time<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let secure = Secure::start(make);
    let mut innocent = Innocent::start(&secure);
    let mut hello = Vec::new();
    secure.client(TLS13, None).conn.write_tls(&mut hello).unwrap();
    let mut slow = secure.tcp();
    // A byte whenever nothing was heard for so long: a ClientHello of some hundred would take a minute.
    slow.set_read_timeout(Some(CONNECT_HEAD_TIME_MAX / 50)).unwrap();
    let began = Instant::now();
    for byte in hello.chunks(1) {
        if slow.write_all(byte).is_err() || has_ended(&mut slow) {
            break;
        }
        innocent.is_well();
    }
    let took = began.elapsed();
    assert!(took >= CONNECT_HEAD_TIME_MAX - Duration::from_secs(1), "ended after {took:?}");
    assert!(took <= CONNECT_HEAD_TIME_MAX + LATE, "ended after {took:?} only");
    innocent.is_well();
    innocent.end();
    let (server, _) = secure.stand.stop();
    // The client that lent its ClientHello said nothing itself.
    assert_eq!((server.stats.frontend_handshakes_failed, server.stats.frontend_sessions_broken), (1, 0));
}
