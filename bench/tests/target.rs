//! The target and the client against each other, over plain TCP on loopback.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use adit_bench::client::{self, Error};
use adit_bench::target::{Request, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(30);
const MIB: u64 = 1024 * 1024;

/// Runs a test on a current-thread runtime, with an end.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await.expect("in time") });
}

async fn start() -> (Target, TcpStream) {
    let target = Target::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let stream = TcpStream::connect(target.local_addr()).await.unwrap();
    (target, stream)
}

/// Waits until the target has no connection left.
async fn none_open(target: &Target) {
    while target.stats().open > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn payload_arrives_in_every_manner() {
    run(async {
        for bytes in [0, 1, 7, 65_537, 3 * MIB + 5] {
            let (target, mut stream) = start().await;
            client::upload(&mut stream, 7, bytes).await.unwrap();
            let mut stream = TcpStream::connect(target.local_addr()).await.unwrap();
            client::download(&mut stream, 8, bytes).await.unwrap();
            let mut stream = TcpStream::connect(target.local_addr()).await.unwrap();
            client::echo(&mut stream, 9, bytes).await.unwrap();
            let mut stream = TcpStream::connect(target.local_addr()).await.unwrap();
            client::half_close(&mut stream, 10, bytes).await.unwrap();
            let mut stream = TcpStream::connect(target.local_addr()).await.unwrap();
            client::finish_first(&mut stream, 11, bytes).await.unwrap();
            none_open(&target).await;
            let stats = target.stats();
            assert_eq!((stats.accepted, stats.wrong, stats.checked_bytes), (5, 0, 2 * bytes));
        }
    });
}

#[test]
fn wrong_payload_is_named_by_its_position() {
    run(async {
        let cases: [(&[u8], &str); 3] =
            [(b"x", "bad at 1000\n"), (b"", "short at 1000\n"), (b"xyz", "bad at 1000\n")];
        for (wrong, answer) in cases {
            let (target, mut stream) = start().await;
            client::request(&mut stream, Request::Sink { seed: 3, bytes: 2000 }).await.unwrap();
            client::send(&mut stream, 3, 1000).await.unwrap();
            stream.write_all(wrong).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, answer);
            assert_eq!(target.stats().wrong, 1);
        }
    });
}

#[test]
fn a_byte_too_many_is_found() {
    run(async {
        let (target, mut stream) = start().await;
        client::request(&mut stream, Request::Sink { seed: 3, bytes: 10 }).await.unwrap();
        client::send(&mut stream, 3, 11).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "ok 10\nbad at 10\n");
        assert_eq!(target.stats().wrong, 1);
    });
}

#[test]
fn wrong_payload_after_the_targets_end_is_reset() {
    run(async {
        let (target, mut stream) = start().await;
        client::request(&mut stream, Request::FinishFirst { seed: 3, bytes: 10 }).await.unwrap();
        client::end(&mut stream).await.unwrap();
        client::send(&mut stream, 4, 10).await.unwrap();
        none_open(&target).await;
        assert_eq!(target.stats().wrong, 1);
        let error = stream.write_all(b"x").await.unwrap_err();
        assert!(
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
            "{error}"
        );
    });
}

#[test]
fn a_reset_follows_a_prefix() {
    run(async {
        let (_target, mut stream) = start().await;
        client::request(&mut stream, Request::Reset { bytes: 100_000 }).await.unwrap();
        let mut received = 0;
        let mut buf = vec![0; 4096];
        let error = loop {
            match stream.read(&mut buf).await {
                Ok(0) => panic!("the end instead of a reset"),
                Ok(read) => {
                    adit_bench::payload::check(0, received, &buf[..read]).unwrap();
                    received += read as u64;
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(received <= 100_000);
    });
}

#[test]
fn the_server_speaks_first_when_started_so_and_when_asked() {
    run(async {
        let target = Target::start_greeting(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let mut stream = TcpStream::connect(target.local_addr()).await.unwrap();
        client::greeting(&mut stream).await.unwrap();
        client::request(&mut stream, Request::Greet).await.unwrap();
        client::greeting(&mut stream).await.unwrap();
        client::download(&mut stream, 1, 100).await.unwrap();
    });
}

#[test]
fn a_stalled_target_takes_nothing_and_notices_a_reset() {
    run(async {
        let (target, mut stream) = start().await;
        client::request(&mut stream, Request::Stall).await.unwrap();
        // The sockets' buffers take some megabytes at most; then writing stops for good.
        let sending = client::send(&mut stream, 1, 256 * MIB);
        assert!(tokio::time::timeout(Duration::from_millis(300), sending).await.is_err());
        stream.set_zero_linger().unwrap();
        drop(stream);
        none_open(&target).await;
    });
}

#[test]
fn a_trickling_target_keeps_its_rate() {
    run(async {
        let (target, mut stream) = start().await;
        let started = std::time::Instant::now();
        client::request(&mut stream, Request::Trickle { bytes_per_second: 20_000 }).await.unwrap();
        client::send(&mut stream, 1, 4000).await.unwrap();
        stream.shutdown().await.unwrap();
        client::end(&mut stream).await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(190), "{:?}", started.elapsed());
        none_open(&target).await;
    });
}

#[test]
fn what_is_no_request_is_refused() {
    run(async {
        for garbage in ["hello\n".to_owned(), "x".repeat(1000), "sink 1\n".to_owned()] {
            let (_target, mut stream) = start().await;
            stream.write_all(garbage.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            assert!(said.starts_with("error: "), "{said:?}");
        }
    });
}

#[test]
fn dropping_a_target_ends_its_connections() {
    run(async {
        let (target, mut stream) = start().await;
        client::request(&mut stream, Request::Echo).await.unwrap();
        stream.write_all(b"abc").await.unwrap();
        let mut buf = [0; 3];
        stream.read_exact(&mut buf).await.unwrap();
        let addr = target.local_addr();
        drop(target);
        assert!(matches!(client::end(&mut stream).await, Ok(()) | Err(Error::Io(_))));
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
}
