//! What a CONNECT is answered with when there is no tunnel: Konnectivity's codes, the reason in the reason phrase.

use std::time::{Duration, Instant};

use adit_bench::client as bytes;
use adit_bench::target::Target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::support::client::{connect, raw};
use crate::support::ports::ReservedPort;
use crate::support::tunnel::Tunnel;
use crate::support::{PATIENCE, soon};

over_each_transport!(
    refused_unknown_and_forbidden_targets_are_502_with_gos_words,
    a_target_that_does_not_answer_is_504_after_the_agents_five_seconds,
    the_request_target_decides_and_not_the_host_field,
);

#[tokio::test]
async fn without_an_agent_the_answer_is_500() {
    let tunnel = Tunnel::with_agents(0).await;
    let refusal = connect(&tunnel.socket(), "10.0.0.1:80").await.unwrap_err();
    assert_eq!(refusal.status, 500);
    assert!(refusal.reason.contains("No agent available"), "{refusal:?}");
    assert_eq!(refusal.body, "currently no tunnels available: No agent available");
}

async fn refused_unknown_and_forbidden_targets_are_502_with_gos_words(transport: &'static str) {
    let tunnel = Tunnel::over(transport).await;
    let reserved = ReservedPort::new();
    let closed = reserved.address();
    let refusal = connect(&tunnel.socket(), &closed.to_string()).await.unwrap_err();
    let text = format!("dial tcp {closed}: connect: connection refused");
    assert_eq!((refusal.status, refusal.body.as_str()), (502, text.as_str()));
    assert!(refusal.reason.contains(&text), "{refusal:?}");

    let refusal = connect(&tunnel.socket(), "no-such-host.invalid:80").await.unwrap_err();
    assert_eq!(refusal.status, 502, "{refusal:?}");
    assert!(refusal.body.starts_with("dial tcp: lookup no-such-host.invalid"), "{refusal:?}");

    // Cloud metadata, in two spellings, and link-local addresses are never dialed.
    for target in ["169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fe80::1]:80"] {
        let refusal = connect(&tunnel.socket(), target).await.unwrap_err();
        assert_eq!(refusal.status, 502, "{target}: {refusal:?}");
    }
}

async fn a_target_that_does_not_answer_is_504_after_the_agents_five_seconds(transport: &'static str) {
    let tunnel = Tunnel::over(transport).await;
    // A full backlog drops SYNs: nobody accepts, and two connections fill it.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    listener
        .bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().expect("an address").into())
        .expect("a port");
    listener.listen(0).expect("it listens");
    let address = listener.local_addr().ok().and_then(|a| a.as_socket()).expect("an address");
    let fill = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let _held: Vec<_> = std::iter::from_fn(|| fill().ok()).take(16).collect();
    let begun = Instant::now();
    let refusal = connect(&tunnel.socket(), &address.to_string()).await.unwrap_err();
    assert_eq!(refusal.status, 504, "{refusal:?}");
    assert!(refusal.body.contains("i/o timeout"), "{refusal:?}");
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn garbage_oversized_and_foreign_heads_get_a_4xx_and_disturb_nobody() {
    let tunnel = Tunnel::with_agents(1).await;
    let target = Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let mut other = connect(&tunnel.socket(), &target.local_addr().to_string()).await.expect("a tunnel");
    let long = format!("CONNECT a:1 HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9000));
    let table: [(&[u8], std::ops::RangeInclusive<u16>); 6] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 405..=405),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405..=405),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400..=499),
        (b"CONNECT nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 400..=499),
        (b"CONNECT a:1 HTTP/1.1\r\nbad header line\r\n\r\n", 400..=499),
        (long.as_bytes(), 400..=499),
    ];
    for (head, want) in table {
        let answer = raw(&tunnel.socket(), head).await;
        let shown = String::from_utf8_lossy(&head[..head.len().min(40)]).into_owned();
        assert!(want.contains(&answer.status), "{shown:?}: {answer:?}");
        assert!(!answer.reason.is_empty() && !answer.body.is_empty(), "{shown:?}: {answer:?}");
    }
    soon("echo", bytes::echo(&mut other, 1, 50_000)).await.expect("the other tunnel is undisturbed");
}

#[tokio::test]
async fn a_slow_head_is_ended_by_408() {
    let tunnel = Tunnel::with_agents(0).await;
    let mut stream = UnixStream::connect(tunnel.socket()).await.expect("the server listens");
    stream.write_all(b"CONNECT a:1 HT").await.expect("the server reads");
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .expect("in time")
        .expect("an end");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
}

async fn the_request_target_decides_and_not_the_host_field(transport: &'static str) {
    let tunnel = Tunnel::over(transport).await;
    let target = Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let mut stream = UnixStream::connect(tunnel.socket()).await.expect("the server listens");
    // As curl writes it: further fields, another Host, and bytes that do not wait for the answer.
    let head = format!(
        "CONNECT {} HTTP/1.1\r\nHost: 192.0.2.1:1\r\nUser-Agent: curl/8\r\nProxy-Connection: Keep-Alive\r\n\
         \r\necho\nhello",
        target.local_addr()
    );
    stream.write_all(head.as_bytes()).await.expect("the server reads");
    let want = b"HTTP/1.1 200 Connection Established\r\n\r\nhello";
    let mut got = vec![0; want.len()];
    soon("the answer and the echo", stream.read_exact(&mut got)).await.expect("all of it");
    assert_eq!(got, want);
}
