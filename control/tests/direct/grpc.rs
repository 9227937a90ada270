//! GRPC mode as one more way to the same server: over TCP with mutual TLS and over a Unix socket, beside HTTP CONNECT
//! and without it. What its packets mean, and Go's drivers, are tested elsewhere.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adit_bench::client as bytes;
use adit_bench::load::{Direction, Labels, Plan, Workload, round};
use adit_bench::proxy::{Connector, Files, Mode, Options as Through, Proxy};
use adit_bench::report::LiveMetrics;
use adit_bench::target::Target;
use tokio::io::AsyncWriteExt as _;

use crate::pki::{Pki, with_both};
use crate::support::client::connect;
use crate::support::tunnel::{Options, Tunnel};
use crate::support::{soon, until};

async fn target() -> Target {
    Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port")
}

/// A way to the target as somebody of the PKI.
fn through(
    proxy: Proxy,
    pki: Option<(&Pki, &str)>,
    mode: Mode,
    reuse: bool,
    target: SocketAddr,
) -> Connector {
    let files = |(pki, name): (&Pki, &str)| Files {
        cacert: PathBuf::from(pki.file("ca.crt")),
        cert: PathBuf::from(pki.file(&format!("{name}.crt"))),
        key: PathBuf::from(pki.file(&format!("{name}.key"))),
    };
    let tls = pki.map(files);
    let target = target.to_string();
    Connector::new(Through { proxy, target, mode, reuse, tls, congestion_control: None }).expect("a way")
}

/// Echoes without a half-close, which GRPC mode has not.
async fn echo(way: &Connector, seed: u64) {
    soon("an echo", async {
        let (mut reader, mut writer) = tokio::io::split(way.dial().await.expect("a tunnel"));
        bytes::request(&mut writer, adit_bench::target::Request::Echo).await.expect("a request");
        let both = tokio::try_join!(
            bytes::send(&mut writer, seed, 300_000),
            bytes::receive(&mut reader, seed, 300_000)
        );
        both.expect("the same bytes");
        writer.shutdown().await.expect("an end");
        bytes::end(&mut reader).await.expect("the target's end");
    })
    .await;
}

async fn grpc_over_tls(io: &'static str) {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, io, &[], &[]).await;
    let (target, proxy) = (target().await, Proxy::Https(server.to_string()));
    for reuse in [false, true] {
        let as_apiserver = Some((&pki, "kube-apiserver"));
        let way = through(proxy.clone(), as_apiserver, Mode::Grpc, reuse, target.local_addr());
        for seed in 0..4 {
            echo(&way, seed).await;
        }
        soon("an upload", async {
            bytes::upload(&mut way.dial().await.expect("a tunnel"), 5, 8 << 20).await
        })
        .await
        .expect("every byte");
    }
    tunnel.server.process.logged(&["\"dial\"", "established", "\"frontend\":\"kube-apiserver\""]).await;
    until("no call to be left", Duration::from_secs(10), || async {
        let metrics = tunnel.server.metrics().await;
        let calls = metrics.sum("adit_grpc_connections", "service_method=\"Proxy\"");
        (calls == 0 && metrics.sum("adit_tunnels_open", "") == 0).then_some(())
    })
    .await;
    assert_eq!(tunnel.server.metrics().await.sum("adit_frontend_http2_broken_total", ""), 0);
}

#[tokio::test]
async fn grpc_mode_is_served_over_tls_on_io_uring_or_what_there_is() {
    grpc_over_tls("auto").await;
}

#[tokio::test]
async fn grpc_mode_is_served_over_tls_on_epoll() {
    grpc_over_tls("epoll").await;
}

#[tokio::test]
async fn whoever_has_no_good_certificate_makes_no_call() {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, "auto", &[], &[]).await;
    let proxy = Proxy::Https(server.to_string());
    for (name, reason, remedy) in
        [("foreign", "UnknownIssuer", "--server-ca-cert"), ("expired", "expired", "renew")]
    {
        let way = through(proxy.clone(), Some((&pki, name)), Mode::Grpc, false, server);
        soon("a refusal", way.dial()).await.expect_err("no certificate, no service");
        let line = tunnel.server.process.logged(&["a frontend could not be authenticated", reason]).await;
        assert!(line.contains(remedy), "{line}");
    }
    let metrics = tunnel.server.metrics().await;
    assert_eq!(metrics.sum("adit_frontend_handshakes_failed_total", ""), 2);
    assert_eq!(metrics.sum("adit_dials_started_total", ""), 0);
}

#[tokio::test]
async fn connect_and_grpc_share_a_socket_and_each_can_be_served_alone() {
    for (flag, http_connect, grpc) in
        [("", true, true), ("--mode=http-connect", true, false), ("--mode=grpc", false, true)]
    {
        let server_flags = if flag.is_empty() { Vec::new() } else { vec![flag.to_owned()] };
        let tunnel = Tunnel::start(Options { server_flags, ..Options::default() }).await;
        let target = target().await;
        let to = target.local_addr();
        let way = through(Proxy::Unix(tunnel.socket()), None, Mode::Grpc, false, to);
        match connect(&tunnel.socket(), &to.to_string()).await {
            Ok(mut stream) => {
                assert!(http_connect, "{flag}");
                soon("echo", bytes::echo(&mut stream, 1, 100_000)).await.expect("echo");
            }
            Err(refusal) => {
                assert!(!http_connect && refusal.status == 505, "{flag}: {refusal:?}");
                assert!(refusal.reason.contains("--mode=grpc"), "{flag}: {refusal:?}");
            }
        }
        if grpc {
            echo(&way, 2).await;
        } else {
            soon("a refusal", way.dial()).await.expect_err("CONNECT alone is served");
            let refused = tunnel.server.metrics().await.sum("adit_heads_refused_total", "");
            assert_eq!(refused, 1, "{flag}");
        }
    }
}

/// `adit-bench load --proxy https://…` through adit, in both modes.
#[tokio::test]
async fn a_load_over_tls_is_clean_in_both_modes() {
    let pki = Pki::new();
    let (tunnel, server) = with_both(&pki, "auto", &[], &[]).await;
    let target = target().await;
    for (mode, reuse) in [(Mode::HttpConnect, false), (Mode::Grpc, false), (Mode::Grpc, true)] {
        for workload in [Workload::PingPong, Workload::BulkBoth, Workload::Dial, Workload::CutOff] {
            let proxy = Proxy::Https(server.to_string());
            let way = through(proxy, Some((&pki, "kube-apiserver")), mode, reuse, target.local_addr());
            let plan = Arc::new(plan(way, workload));
            let load = tokio::task::spawn_blocking(move || {
                round(&plan, &Labels::default(), 1, &[], &LiveMetrics::default(), &mut |_| {})
            });
            let sample = soon("a load", load).await.expect("no panic").expect("a load");
            assert!(sample.is_clean(), "{mode:?} {workload:?}: {:?}", sample.errors);
            assert!(sample.operations > 0, "{mode:?} {workload:?}");
        }
    }
    let metrics = tunnel.server.metrics().await;
    assert_eq!(metrics.sum("adit_frontend_handshakes_failed_total", ""), 0);
}

fn plan(connector: Connector, workload: Workload) -> Plan {
    Plan {
        connector,
        workload,
        connections: 4,
        rate: None,
        bytes: None,
        direction: Direction::Up,
        warm_up: Duration::from_millis(100),
        duration: Duration::from_millis(500),
        grace: Duration::from_secs(20),
        threads: 1,
        seed: 1,
    }
}
