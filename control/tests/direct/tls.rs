//! Frontends over TCP with mutual TLS, beside the Unix socket and without it, as curl and a library speak to them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use adit_bench::client as bytes;
use adit_bench::target::Target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::pki::{Pki, with_both};
use crate::support::client::connect;
use crate::support::process::Process;
use crate::support::tunnel::{Options, Tunnel};
use crate::support::{PATIENCE, soon, until};

/// Every conversation that a target knows, over TCP and over the Unix socket.
async fn every_conversation(pki: &Pki, tunnel: &Tunnel, server: SocketAddr) {
    let target = Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let to = target.local_addr();
    let dial = || pki.tunnel(server, to);
    soon("echo", async { bytes::echo(&mut dial().await, 1, 300_000).await }).await.expect("echo");
    soon("upload", async { bytes::upload(&mut dial().await, 2, 8 << 20).await }).await.expect("upload");
    soon("download", async { bytes::download(&mut dial().await, 3, 8 << 20).await }).await.expect("download");
    soon("half-close", async { bytes::half_close(&mut dial().await, 4, 1 << 20).await })
        .await
        .expect("half-close");
    soon("finish first", async { bytes::finish_first(&mut dial().await, 5, 1 << 20).await })
        .await
        .expect("finish first");
    let mut beside = connect(&tunnel.socket(), &to.to_string()).await.expect("the Unix socket serves, too");
    soon("echo", bytes::echo(&mut beside, 6, 300_000)).await.expect("echo beside TCP");
    drop(beside);
    until("every conversation to end", Duration::from_secs(10), || async {
        (target.stats().open == 0).then_some(())
    })
    .await;
    assert_eq!(target.stats().wrong, 0);
    until("nothing to stay open", Duration::from_secs(10), || async {
        (tunnel.server.metrics().await.sum("adit_tunnels_open", "") == 0).then_some(())
    })
    .await;
    assert_eq!(tunnel.server.metrics().await.sum("adit_frontend_sessions_broken_total", ""), 0);
}

#[tokio::test]
async fn every_byte_and_every_end_arrives_over_tls_on_io_uring_or_what_there_is() {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, "auto", &[], &[]).await;
    every_conversation(&pki, &tunnel, server).await;
}

#[tokio::test]
async fn every_byte_and_every_end_arrives_over_tls_on_epoll() {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, "epoll", &[], &[]).await;
    every_conversation(&pki, &tunnel, server).await;
}

#[tokio::test]
async fn a_session_moves_to_the_shard_of_its_agent_with_its_connection() {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, "auto", &["--shards=2"], &["--connections=1"]).await;
    every_conversation(&pki, &tunnel, server).await;
    let target = Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    // The kernel deals by a hash of the addresses: sooner or later the other shard's turn comes, and its agent is here.
    until("a dial to be handed over", PATIENCE, || async {
        let before = handed_over(&tunnel).await;
        let mut stream = pki.tunnel(server, target.local_addr()).await;
        soon("echo", bytes::echo(&mut stream, 7, 300_000)).await.expect("echo");
        (handed_over(&tunnel).await > before).then_some(())
    })
    .await;
}

async fn handed_over(tunnel: &Tunnel) -> u64 {
    tunnel.server.metrics().await.sum("adit_dials_handed_over_total", "")
}

#[tokio::test]
async fn curl_reaches_an_https_target_through_an_https_proxy() {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, "auto", &["--log-level=debug"], &[]).await;
    let file = |name: &str| tunnel.dir.path().join(name).display().to_string();
    let target = Process::start(&[
        "demo-target".to_owned(),
        format!("--cert={}", file("server.crt")),
        format!("--key={}", file("server.key")),
    ]);
    let line = target.logged(&["\"https\""]).await;
    let addresses: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let url = format!("https://{}/bytes/100000", addresses["https"].as_str().expect("an address"));
    let (cert, key, ca) = (pki.file("kube-apiserver.crt"), pki.file("kube-apiserver.key"), file("ca.crt"));
    let identity = ["--proxy-cert", &cert, "--proxy-key", &key, "--cacert", &ca];
    let output = pki.curl(server, &[&identity[..], &[&url]].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.len(), 100_000);
    tunnel.server.process.logged(&["\"dial\"", "established", "\"frontend\":\"kube-apiserver\""]).await;
    let closed = "https://127.0.0.1:1/";
    let output = pki.curl(server, &[&identity[..], &[closed]].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("502"), "{said}");
    let line = tunnel.server.process.logged(&["dial failed", "127.0.0.1:1"]).await;
    assert!(line.contains("\"frontend\":\"kube-apiserver\""), "{line}");
}

#[tokio::test]
async fn whoever_has_no_good_certificate_is_told_by_an_alert_and_the_operator_by_the_log() {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, "auto", &[], &[]).await;
    let table = [
        (None, "CertificateRequired", "sent no certificates", "clientCert"),
        (Some("foreign"), "UnknownCA", "UnknownIssuer", "--server-ca-cert"),
        (Some("expired"), "CertificateExpired", "expired", "renew"),
    ];
    for (name, alert, reason, remedy) in table {
        let told = soon("a refusal", async {
            // TLS 1.3: the client believes that it is done before the server has looked.
            let mut stream = pki.connect(server, name).await?;
            stream.write_all(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n").await?;
            stream.read(&mut [0; 1]).await
        })
        .await
        .expect_err("no certificate, no service");
        assert!(told.to_string().contains(alert), "{name:?}: {told}");
        let line = tunnel.server.process.logged(&["a frontend could not be authenticated", reason]).await;
        assert!(line.contains(remedy) && line.contains("127.0.0.1:"), "{line}");
    }
    // As curl tells it.
    let (cert, key) = (pki.file("foreign.crt"), pki.file("foreign.key"));
    let output = pki.curl(server, &["--proxy-cert", &cert, "--proxy-key", &key, "http://127.0.0.1:1/"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("alert unknown ca"), "{said}");
    let metrics = tunnel.server.metrics().await;
    assert_eq!(metrics.sum("adit_frontend_handshakes_failed_total", ""), 4);
    assert_eq!(metrics.sum("adit_dials_started_total", ""), 0);
}

#[tokio::test]
async fn a_server_may_have_tcp_alone() {
    let pki = Pki::new();
    let dir = crate::support::tunnel::certificates().await;
    // The last of two flags counts: no Unix socket, and so 0 is any free port.
    let server_flags =
        [pki.server_flags(), vec!["--uds-name=".to_owned(), "--server-port=0".to_owned()]].concat();
    let options = Options { server_flags, ..Options::default() };
    let process = Process::start(&crate::support::tunnel::server_args(&dir, &options, 0));
    let server = process.address("frontends over TCP").await;
    assert_ne!(server.port(), 0);
    let told = soon("an answer", async {
        let mut stream = pki.connect(server, Some("kube-apiserver")).await.expect("TLS");
        stream.write_all(b"CONNECT 10.0.0.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.expect("read");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("close_notify behind the answer");
        answer
    })
    .await;
    assert!(told.starts_with("HTTP/1.1 500 ") && told.contains("No agent available"), "{told}");
    assert!(!Path::new(&dir.path().join("frontend.sock")).exists());
    let health = process.address("health").await;
    let (_, ready) = crate::support::metrics::get(health, "/readyz?verbose").await;
    assert!(ready.contains("[+]listening ok"), "{ready}");
}

#[tokio::test]
async fn old_tls_is_spoken_unless_the_operator_says_otherwise() {
    let pki = Pki::new();
    for (more, works) in [(&[][..], true), (&["--tls-min-version=VersionTLS13"][..], false)] {
        let (tunnel, server) = with_both(&pki, "auto", more, &[]).await;
        let old = [&rustls::version::TLS12];
        match soon("a handshake", pki.connect_with(server, Some("kube-apiserver"), &old)).await {
            Ok(stream) => {
                assert!(works);
                let version = stream.get_ref().1.protocol_version();
                assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_2));
            }
            Err(error) => assert!(!works && error.to_string().contains("ProtocolVersion"), "{error}"),
        }
        let failed = tunnel.server.metrics().await.sum("adit_frontend_handshakes_failed_total", "");
        assert_eq!(failed, u64::from(!works));
    }
}
