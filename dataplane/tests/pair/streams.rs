//! Bytes, ends and errors through a real pair, on each driver.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use adit_io::{DatagramDriver, Driver, net::OwnedSocket};

use crate::stand::{DEADLINE, MakeDriver, Stand};

/// A target that handles one connection.
pub(crate) fn target(serve: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        serve(stream);
    });
    (address, thread)
}

pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

pub(crate) const MIB: usize = 1024 * 1024;

pub(crate) fn bytes_both_ways_and_half_close<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let stand = Stand::start(make);
    let (address, target) = target(|mut stream| {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(received == pattern(8 * MIB), "the upload");
        // The client has finished sending; it still hears.
        stream.write_all(&pattern(9 * MIB)).unwrap();
    });
    let mut stream = stand.connect(address);
    stream.write_all(&pattern(8 * MIB)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == pattern(9 * MIB), "the download");
    target.join().unwrap();
    drop(stream);
    let (server, agent) = stand.stop();
    assert_eq!(server.stats.tunnels_established, 1);
    assert_eq!(agent.stats.tunnels_finished, 1);
}

pub(crate) fn refusals_carry_the_reason<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let stand = Stand::start(make);
    // Bound, so that nobody else gets the port, and no listener.
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let closed = bound.local_addr().unwrap().as_socket().unwrap();
    let (answer, _) = stand.ask(&format!("CONNECT {closed} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
    let expected = format!("HTTP/1.1 502 Bad Gateway: dial tcp {closed}: connect: connection refused\r\n");
    assert!(answer.starts_with(&expected), "{answer}");
    let (answer, _) = stand.ask("CONNECT nowhere.invalid:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert!(answer.contains("502") && answer.contains("no such host"), "{answer}");
    let (answer, _) = stand.ask("CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert!(answer.contains("502") && answer.contains("not allowed"), "{answer}");
    let (answer, _) = stand.ask("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    stand.stop();
}

pub(crate) fn a_target_may_speak_first<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let stand = Stand::start(make);
    for _ in 0..50 {
        let (address, target) = target(|mut stream| stream.write_all(b"220 welcome\r\n").unwrap());
        let mut stream = stand.connect(address);
        let mut received = String::new();
        stream.read_to_string(&mut received).unwrap();
        assert_eq!(received, "220 welcome\r\n");
        target.join().unwrap();
    }
    stand.stop();
}

/// What fits the kernel's buffers on the way: more could be lost on a direct connection, too.
const LAST_WORDS_BYTES: usize = 16 * 1024;

/// A target that has said everything, ended, and then closes with bytes unread: what it said still arrives.
pub(crate) fn the_last_words_of_a_target_that_stops_reading_arrive<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let stand = Stand::start(make);
    for _ in 0..30 {
        let (address, target) = target(|mut stream| {
            let mut first = [0];
            stream.read_exact(&mut first).unwrap();
            stream.write_all(&pattern(LAST_WORDS_BYTES)).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut stream = stand.connect(address);
        let mut writer = stream.try_clone().unwrap();
        // Goes on until nobody takes it any more, which is an error sooner or later and none of this test's business.
        let upload = std::thread::spawn(move || while writer.write_all(&[0x5a; 4096]).is_ok() {});
        let mut received = Vec::new();
        let end = stream.read_to_end(&mut received);
        assert!(received == pattern(LAST_WORDS_BYTES), "{} bytes, {end:?}", received.len());
        target.join().unwrap();
        drop(stream);
        upload.join().unwrap();
    }
    stand.stop();
}
