//! Frontends over TCP with mutual TLS, on each driver: rustls' own client on real sockets.
//!
//! The session's own cases are unit tests (`dataplane/src/stream/tls`); here is what the shard makes of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use adit_dataplane::limits::{CONNECT_HEAD_TIME_MAX, FRONTEND_HANDSHAKES_MAX};
use adit_dataplane::port::{Command, ListenerKind};
use adit_dataplane::stream::tls::{TlsMinVersion, frontend_config};
use adit_io::{DatagramDriver, Driver, DriverConfig, ResourceLimits, net::OwnedSocket};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::stand::{DEADLINE, MakeDriver, Reports, Stand};
use crate::stopped::ALONE;
use crate::streams::{MIB, pattern, target};

pub(crate) const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
pub(crate) const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);
pub(crate) type Client = StreamOwned<ClientConnection, TcpStream>;

/// A stand whose server also listens on TCP, and whom it believes.
pub(crate) struct Secure {
    pub(crate) stand: Stand,
    address: SocketAddr,
    roots: RootCertStore,
    pub(crate) identity: Identity,
}

impl Secure {
    pub(crate) fn start<D>(make: MakeDriver<D>) -> Self
    where
        D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
    {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let mut roots = RootCertStore::empty();
        roots.add(params.self_signed(&key).unwrap().der().clone()).unwrap();
        let issuer = Issuer::new(params, key);
        let (chain, key) = sign(&issuer, ExtendedKeyUsagePurpose::ServerAuth);
        let tls = frontend_config(chain, key, Arc::new(roots.clone()), TlsMinVersion::Tls12, None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listen = Command::Listen { socket: listener.into(), kind: ListenerKind::TlsFrontends };
        let size = DriverConfig::sized_for(ResourceLimits::current());
        let stand = Stand::start_telling(make, &size, vec![Command::FrontendTls(tls), listen]);
        Self { stand, address, roots, identity: sign(&issuer, ExtendedKeyUsagePurpose::ClientAuth) }
    }

    /// A TCP connection, nothing said.
    pub(crate) fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A client that has said nothing, with a certificate or without.
    pub(crate) fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        identity: Option<&Identity>,
    ) -> Client {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), self.tcp())
    }

    /// A connection through the tunnel.
    pub(crate) fn connect(&self, version: &'static SupportedProtocolVersion, target: SocketAddr) -> Client {
        let mut client = self.client(version, Some(&self.identity));
        client.write_all(head(target).as_bytes()).unwrap();
        let mut answer = vec![0; ESTABLISHED.len()];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, ESTABLISHED);
        client
    }

    /// Waits until the shards say so.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Reports) -> bool) {
        let began = Instant::now();
        while !is_so(&self.stand.report()) {
            assert!(began.elapsed() < DEADLINE, "{what}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

fn sign(issuer: &Issuer<'_, KeyPair>, usage: ExtendedKeyUsagePurpose) -> Identity {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(&key, issuer).unwrap();
    (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

pub(crate) fn head(target: SocketAddr) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
}

/// Says that nothing follows; TCP stays open, as with Go's `CloseWrite`.
fn end(client: &mut Client) {
    client.conn.send_close_notify();
    client.flush().unwrap();
}

pub(crate) fn bytes_both_ways_over_tls_and_half_close<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let secure = Secure::start(make);
    for version in [TLS13, TLS12] {
        let (address, target) = target(|mut stream| {
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            assert!(received == pattern(8 * MIB), "the upload");
            // The client has finished sending; it still hears.
            stream.write_all(&pattern(9 * MIB)).unwrap();
        });
        let mut client = secure.connect(version, address);
        client.write_all(&pattern(8 * MIB)).unwrap();
        end(&mut client);
        let mut received = Vec::new();
        client.read_to_end(&mut received).expect("close_notify");
        assert!(received == pattern(9 * MIB), "the download");
        target.join().unwrap();
    }
    let (server, agent) = secure.stand.stop();
    assert_eq!((server.stats.tunnels_finished, agent.stats.tunnels_finished), (2, 2));
    assert_eq!(server.stats.frontend_sessions_broken + server.stats.tunnels_reset, 0);
    // Payload is counted, not ciphertext; with it the answers.
    assert_eq!(server.stats.bytes_to_streams, 2 * 8 * MIB as u64);
    assert_eq!(server.stats.bytes_to_sockets, 2 * (9 * MIB + ESTABLISHED.len()) as u64);
}

pub(crate) fn a_target_may_end_first_over_tls<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let secure = Secure::start(make);
    let (address, target) = target(|mut stream| {
        stream.write_all(b"that is all").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(received == pattern(MIB));
    });
    let mut client = secure.connect(TLS13, address);
    let mut received = Vec::new();
    client.read_to_end(&mut received).expect("close_notify");
    assert_eq!(received, b"that is all");
    client.write_all(&pattern(MIB)).unwrap();
    end(&mut client);
    target.join().unwrap();
    let (server, _) = secure.stand.stop();
    assert_eq!((server.stats.tunnels_finished, server.stats.tunnels_reset), (1, 0));
}

/// D15: kube-apiserver reads one record, and fails if there is more than the answer in it.
pub(crate) fn the_answer_has_a_record_of_its_own<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let secure = Secure::start(make);
    for round in 0..50 {
        // Speaks first, and at once.
        let (address, target) = target(|mut stream| stream.write_all(b"220 welcome\r\n").unwrap());
        let version = if round % 2 == 0 { TLS13 } else { TLS12 };
        let mut client = secure.client(version, Some(&secure.identity));
        client.write_all(head(address).as_bytes()).unwrap();
        let mut first = Vec::new();
        while first.is_empty() {
            read_record(&mut client);
            // `WouldBlock` once there is no more in this record.
            let _ = client.conn.reader().read_to_end(&mut first);
        }
        assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(ESTABLISHED));
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "220 welcome\r\n");
        target.join().unwrap();
    }
    secure.stand.stop();
}

/// Reads one record from the socket, not a byte more, and gives it to the client.
fn read_record(client: &mut Client) {
    let mut record = vec![0; 5];
    client.sock.read_exact(&mut record).unwrap();
    let len = 5 + usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(len, 0);
    client.sock.read_exact(&mut record[5..]).unwrap();
    let mut record = &record[..];
    while !record.is_empty() {
        client.conn.read_tls(&mut record).unwrap();
        client.conn.process_new_packets().unwrap();
    }
}

pub(crate) fn the_end_of_tcp_alone_is_a_reset<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let secure = Secure::start(make);
    let (address, target) = target(|mut stream| {
        let mut received = Vec::new();
        let error = stream.read_to_end(&mut received).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(received, b"the last words");
    });
    let mut client = secure.connect(TLS13, address);
    client.write_all(b"the last words").unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    target.join().unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect_err("no orderly end");
    let (server, _) = secure.stand.stop();
    assert_eq!((server.stats.frontend_sessions_broken, server.stats.tunnels_reset), (1, 1));
}

pub(crate) fn a_targets_reset_is_no_orderly_end<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let secure = Secure::start(make);
    let (address, target) = target(|mut stream| {
        stream.read_exact(&mut [0; 5]).unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let mut client = secure.connect(TLS13, address);
    client.write_all(b"hello").unwrap();
    let mut rest = Vec::new();
    let error = client.read_to_end(&mut rest).expect_err("no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    target.join().unwrap();
    secure.stand.stop();
}

pub(crate) fn a_forged_record_ends_the_tunnel_and_nothing_else<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let secure = Secure::start(make);
    let (echo, echoing) = target(|mut stream| {
        let mut received = [0; 5];
        stream.read_exact(&mut received).unwrap();
        stream.write_all(&received).unwrap();
    });
    let mut other = secure.connect(TLS13, echo);
    let (address, target) = target(|mut stream| {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect_err("a reset");
        assert!(received.is_empty());
    });
    let mut client = secure.connect(TLS13, address);
    client.sock.write_all(&[0x17, 0x03, 0x03, 0x00, 0x20]).unwrap();
    client.sock.write_all(&[0x5a; 0x20]).unwrap();
    let mut rest = Vec::new();
    let error = client.read_to_end(&mut rest).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    drop(client);
    target.join().unwrap();
    other.write_all(b"hello").unwrap();
    other.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"hello");
    echoing.join().unwrap();
    let (server, _) = secure.stand.stop();
    assert_eq!(server.stats.frontend_sessions_broken, 1);
}

pub(crate) fn stopped_readers_over_tls_cost_only_themselves<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    const STOPPED: usize = 40;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let secure = Secure::start(make);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stopped, targets): (Vec<_>, Vec<_>) = (0..STOPPED)
        .map(|_| {
            let client = secure.connect(TLS13, address);
            let (mut stream, _) = listener.accept().unwrap();
            // Writes until the client has gone: of all of it nothing is read.
            let writer = std::thread::spawn(move || while stream.write_all(&[0x5a; 64 * 1024]).is_ok() {});
            (client, writer)
        })
        .unzip();
    secure.until("every reader counts as stopped", |(server, _)| {
        server.stats.stopped_readers >= STOPPED as u64
    });
    for _ in 0..20 {
        let (address, target) = target(|mut stream| {
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            stream.write_all(&received).unwrap();
        });
        let mut client = secure.connect(TLS13, address);
        client.write_all(&pattern(MIB / 4)).unwrap();
        end(&mut client);
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert!(received == pattern(MIB / 4));
        target.join().unwrap();
    }
    drop(stopped);
    targets.into_iter().for_each(|writer| writer.join().unwrap());
    let (server, _) = secure.stand.stop();
    assert_eq!(server.stats.tunnels_over_budget, 0, "they fit the budget");
}

pub(crate) fn whoever_is_not_believed_is_told_and_gone<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let secure = Secure::start(make);
    for version in [TLS13, TLS12] {
        let mut client = secure.client(version, None);
        let mut rest = Vec::new();
        // TLS 1.3: the client believes that it is done before the server has looked.
        let asked = client.write_all(head(secure.address).as_bytes());
        let error = asked.and_then(|()| client.read_to_end(&mut rest).map(drop)).unwrap_err();
        assert!(error.to_string().contains("CertificateRequired"), "{error}");
    }
    let mut plain = secure.tcp();
    plain.write_all(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&0x15), "an alert");
    // Begins, and goes without a word.
    let mut begun = secure.tcp();
    begun.write_all(&[0x16, 0x03, 0x01, 0x02]).unwrap();
    secure.until("it was heard", |(server, _)| server.stats.frontends_accepted == 4);
    socket2::SockRef::from(&begun).set_linger(Some(Duration::ZERO)).unwrap();
    drop(begun);
    // Whoever only looks whether somebody listens is no failure.
    drop(secure.tcp());
    secure.until("nothing is left", |(server, _)| {
        server.stats.tunnels_open == 0 && server.stats.frontends_accepted == 5
    });
    let (server, _) = secure.stand.stop();
    assert_eq!((server.stats.frontend_handshakes_failed, server.stats.dials_started), (4, 0));
}

pub(crate) fn handshakes_are_bounded_in_number_and_time<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let secure = Secure::start(make);
    let began = Instant::now();
    let mut silent: Vec<TcpStream> = (0..FRONTEND_HANDSHAKES_MAX).map(|_| secure.tcp()).collect();
    // Every third has begun, and will never go on.
    silent.iter_mut().step_by(3).for_each(|stream| stream.write_all(&[0x16, 0x03, 0x01, 0x02]).unwrap());
    secure.until("all are accepted", |(server, _)| {
        server.stats.frontends_accepted == FRONTEND_HANDSHAKES_MAX as u64
    });
    let error = secure.tcp().read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "one too many");
    // The Unix socket is not concerned, and neither is TCP once there is room.
    let (answer, _) = secure.stand.ask("GET / HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    drop(silent.pop());
    secure.until("there is room", |(server, _)| server.stats.tunnels_open < FRONTEND_HANDSHAKES_MAX as u64);
    let (address, target) = target(|mut stream| stream.write_all(b"served").unwrap());
    let mut served = String::new();
    secure.connect(TLS13, address).read_to_string(&mut served).unwrap();
    assert_eq!(served, "served");
    target.join().unwrap();
    for mut stream in silent {
        assert!(stream.read(&mut [0]).is_err(), "closed without a word");
    }
    assert!(began.elapsed() >= CONNECT_HEAD_TIME_MAX, "not before its time");
    let (server, _) = secure.stand.stop();
    // The one that made room had begun, too, and left before its time.
    assert_eq!(server.stats.frontend_handshakes_failed, FRONTEND_HANDSHAKES_MAX as u64);
    assert_eq!(server.stats.frontends_refused, 1);
}
