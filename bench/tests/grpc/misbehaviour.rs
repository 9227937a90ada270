//! What a tunnel makes of a proxy that misbehaves; and that its neighbours on the same connection do not notice.

use std::io;

use adit_bench::client;
use adit_bench::proxy::{Connector, DialError, Mode, Options, Proxy};
use adit_bench::target::{Request, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::double::{Carrier, Case, Double};
use crate::tunnels::{ANY_PORT, echo, none_open};

/// Enough that every end amid the payload comes before its last byte.
const BYTES: u64 = 16 * 1024 * 1024;

/// A way to the target in this manner.
fn way(double: &Double, manner: &str, target: &Target) -> Connector {
    double.connector(format!("{manner}.test:{}", target.local_addr().port()))
}

pub(crate) async fn a_refusal_is_repeated_word_for_word(case: Case) {
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    for (manner, kind, text) in [
        ("refuse", "dial: refused", "refused: dial tcp 10.0.0.1:80: connect: connection refused"),
        ("closed", "dial: refused", "refused: dial closed"),
        ("status", "dial: refused", "refused: grpc-status 14: no agent: 100 % sure"),
        (
            "end",
            "dial: DIAL_REQ: unexpected end of file",
            "DIAL_REQ: the proxy ended the stream without DIAL_RSP",
        ),
    ] {
        let error = way(&double, manner, &target).dial().await.unwrap_err();
        assert_eq!((error.kind().as_str(), error.to_string().as_str()), (kind, text));
    }
    // A target that really is not there, in the agent's words.
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&ANY_PORT.into()).unwrap();
    let gone = bound.local_addr().unwrap().as_socket().unwrap();
    let error = double.connector(gone).dial().await.unwrap_err().to_string();
    assert!(error.starts_with("refused: dial tcp") && error.ends_with("connection refused"), "{error}");
    double.nothing_is_left().await;
}

pub(crate) async fn a_dial_that_is_given_up_is_taken_back(case: Case) {
    let double = Double::start(case, &[]).await;
    let connector = double.connector("silent.test:1");
    tokio::select! {
        result = connector.dial() => panic!("an answer from nowhere: {result:?}"),
        _ = double.says("DIAL_REQ tcp silent.test:1") => {}
    }
    // DIAL_CLS is sent, and then the stream is reset: grpc-go may see the one, and does see the other.
    double.says(" ends: ").await;
    assert_eq!(double.count("DIAL_CLS ours=false"), 0);
    if case.reuse {
        assert_eq!(double.count("connection ends"), 0);
    }
    drop(connector);
    double.nothing_is_left().await;
}

pub(crate) async fn a_late_answer_is_an_answer(case: Case) {
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    let late = way(&double, "late", &target);
    let mut stream = late.dial().await.unwrap();
    client::download(&mut stream, 4, 100_000).await.unwrap();
}

pub(crate) async fn an_answer_too_many_ends_the_tunnel(case: Case) {
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    let error = match way(&double, "twice", &target).dial().await {
        Ok(mut stream) => stream.read(&mut [0; 1]).await.unwrap_err().to_string(),
        // Both answers came at once.
        Err(error) => error.to_string(),
    };
    assert!(error.contains("a DIAL_RSP that nobody waits for"), "{error}");
    none_open(&target).await;
    double.nothing_is_left().await;
}

pub(crate) async fn packets_of_others_are_sent_back(case: Case) {
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    let mut stream = way(&double, "foreign", &target).dial().await.unwrap();
    client::download(&mut stream, 5, 1_000_000).await.unwrap();
    double.says_times("CLOSE_REQ ours=false", 1).await;
}

pub(crate) async fn data_may_be_tiny_or_larger_than_every_window(case: Case) {
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    client::download(&mut way(&double, "tiny", &target).dial().await.unwrap(), 6, 50_000).await.unwrap();
    client::download(&mut way(&double, "big", &target).dial().await.unwrap(), 6, BYTES).await.unwrap();
}

pub(crate) async fn data_above_grpcs_limit_is_refused(case: Case) {
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    let mut stream = way(&double, "huge", &target).dial().await.unwrap();
    let error = client::download(&mut stream, 6, BYTES).await.unwrap_err().to_string();
    assert!(error.contains("4194304 are the most"), "{error}");
    none_open(&target).await;
}

pub(crate) async fn an_end_amid_the_payload_is_told_apart_from_a_good_one(case: Case) {
    let target = Target::start(ANY_PORT).await.unwrap();
    for (manner, kind, text) in [
        ("drop", io::ErrorKind::ConnectionAborted, "grpc-status 13: dropped"),
        ("quiet-end", io::ErrorKind::UnexpectedEof, "the proxy ended the stream without CLOSE_RSP"),
        ("close-error", io::ErrorKind::ConnectionReset, "CLOSE_RSP: backend went away"),
        ("dial-closed", io::ErrorKind::ConnectionReset, "DIAL_CLS after the dial"),
        ("cut", io::ErrorKind::UnexpectedEof, "the connection to the proxy: closed by the proxy"),
    ] {
        let double = Double::start(case, &[]).await;
        let connector = way(&double, &format!("first-{manner}"), &target);
        let mut stream = connector.dial().await.unwrap();
        let neighbour = connector.dial().await.unwrap();
        client::request(&mut stream, Request::Source { seed: 0, bytes: BYTES }).await.unwrap();
        let (mut received, mut buf) = (0, vec![0; 64 * 1024]);
        let error = loop {
            match stream.read(&mut buf).await {
                Ok(0) => panic!("{manner}: a good end"),
                Ok(count) => {
                    adit_bench::payload::check(0, received, &buf[..count]).unwrap();
                    received += count as u64;
                }
                Err(error) => break error,
            }
        };
        // A connection that is cut may also be reset, and what was on its way is lost with it.
        if manner != "cut" || error.kind() != io::ErrorKind::ConnectionReset {
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, text), "{manner}");
        }
        assert!(received < BYTES, "{manner}");
        // The error stays, and writing says it, too.
        assert!(stream.read(&mut buf).await.is_err());
        assert!(stream.write(b"x").await.is_err());
        let neighbours = echo(neighbour, 3, 100_000).await;
        assert_eq!(neighbours.is_err(), manner == "cut" && case.reuse, "{manner}: {neighbours:?}");
        // On a new connection where the old one is lost.
        echo(connector.dial().await.unwrap(), 2, 100_000).await.unwrap();
        drop(connector);
        none_open(&target).await;
        double.nothing_is_left().await;
    }
}

pub(crate) async fn a_proxy_that_allows_few_streams_is_named(case: Case) {
    let double = Double::start(case, &["--max-streams", "2"]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    let connector = double.connector(target.local_addr());
    let one = connector.dial().await.unwrap();
    let two = connector.dial().await.unwrap();
    if case.reuse {
        let error = connector.dial().await.unwrap_err().to_string();
        assert!(error.contains("the proxy allows 2 at once"), "{error}");
        drop(one);
        double.says(" ends: ").await;
    }
    let three = connector.dial().await.unwrap();
    echo(two, 1, 100_000).await.unwrap();
    echo(three, 1, 100_000).await.unwrap();
}

pub(crate) async fn a_proxy_that_says_goodbye_loses_no_tunnel_and_no_dial(case: Case) {
    let double = Double::start(case, &["--max-connection-age", "300ms"]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    let connector = double.connector(target.local_addr());
    let first = connector.dial().await.unwrap();
    while double.count("connection begins") < 3 {
        echo(connector.dial().await.unwrap(), 1, 10_000).await.unwrap();
    }
    echo(first, 2, 1_000_000).await.unwrap();
    drop(connector);
    double.nothing_is_left().await;
}

pub(crate) async fn what_is_no_grpc_is_said_to_be_none(case: Case) {
    let way = |at: String| {
        let Case { carrier: Carrier::Unix, reuse } = case else { panic!("{case:?}") };
        let proxy = Proxy::Http(at);
        let target = "127.0.0.1:1".to_owned();
        let options = Options { proxy, target, mode: Mode::Grpc, reuse, tls: None, congestion_control: None };
        Connector::new(options).unwrap()
    };
    // A server of HTTP/1.1 that answers everything alike.
    let listener = tokio::net::TcpListener::bind(ANY_PORT).await.unwrap();
    let at = listener.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        stream
    });
    let error = way(at.to_string()).dial().await.unwrap_err();
    assert_eq!(error.to_string(), "not an answer: the proxy answers in HTTP/1.1: it is not in GRPC mode");
    drop(answering.await);
    // Nobody.
    let error = way(at.to_string()).dial().await.unwrap_err();
    assert!(matches!(error, DialError::Io { step: "connect", .. }), "{error}");
}
