//! Nothing is left behind.

use std::time::Duration;

use adit_bench::client as bytes;
use adit_bench::target::{Request, Target};

use crate::support::client::connect;
use crate::support::ports::ReservedPort;
use crate::support::tunnel::{Member, Options, Tunnel};
use crate::support::{soon, until};

async fn target() -> Target {
    Target::start("127.0.0.1:0".parse().expect("an address")).await.expect("a free port")
}

/// Descriptors of the process and sockets of its driver.
async fn held(member: &Member) -> (usize, u64) {
    (member.process.descriptors(), member.metrics().await.sum("adit_io_sockets_open", ""))
}

/// Waits until both ends hold what they held before, and no tunnel.
async fn back(tunnel: &Tunnel, before: [(usize, u64); 2]) {
    let members = [&tunnel.server, &tunnel.agents[0]];
    until(&format!("tables and descriptors to be back at {before:?}"), Duration::from_secs(20), || async {
        for (member, before) in members.into_iter().zip(before) {
            let open = member.metrics().await.sum("adit_tunnels_open", "");
            let now = held(member).await;
            if open > 0 || now.0 > before.0 || now.1 > before.1 {
                return None;
            }
        }
        Some(())
    })
    .await;
}

over_each_transport!(
    a_thousand_dials_leave_nothing_behind,
    a_thousand_dials_leave_nothing_behind_on_epoll,
    thirty_two_downloads_cut_off_together_leave_nothing_behind,
);

async fn many_dials_leave_nothing(transport: &'static str, io: &'static str) {
    let tunnel = Tunnel::start(Options { io, transport, ..Options::default() }).await;
    let target = target().await;
    let to = target.local_addr().to_string();
    let reserved = ReservedPort::new();
    let closed = reserved.address();
    // The scrapes' own connections are part of the picture: one before counting.
    let _ = (held(&tunnel.server).await, held(&tunnel.agents[0]).await);
    let before = [held(&tunnel.server).await, held(&tunnel.agents[0]).await];
    let mut resident = [0; 2];
    for number in 0..1000 {
        if number == 300 {
            // By now whatever is allocated once and kept has been allocated.
            resident = [&tunnel.server, &tunnel.agents[0]].map(|member| member.process.resident_kib());
        }
        let mut stream = connect(&tunnel.socket(), &to).await.expect("a tunnel");
        if number % 4 == 0 {
            soon("echo", bytes::echo(&mut stream, number, 1000)).await.expect("echo");
        }
        if number % 10 == 0 {
            connect(&tunnel.socket(), &closed.to_string()).await.expect_err("a refusal");
        }
    }
    back(&tunnel, before).await;
    for (member, before) in [&tunnel.server, &tunnel.agents[0]].into_iter().zip(resident) {
        let now = member.process.resident_kib();
        // 700 dials that leaked 8 KiB each would show; pages that the allocator keeps must not.
        assert!(now < before + 5 * 1024, "resident memory went from {before} to {now} KiB");
    }
    let dials = tunnel.server.metrics().await;
    assert_eq!(dials.sum("adit_dials_total", "outcome=\"established\""), 1000);
    assert_eq!(dials.sum("adit_dials_total", "outcome=\"error_response\""), 100);
    assert_eq!(dials.sum("adit_dial_duration_seconds_count", ""), 1000);
}

async fn a_thousand_dials_leave_nothing_behind(transport: &'static str) {
    many_dials_leave_nothing(transport, "auto").await;
}

async fn a_thousand_dials_leave_nothing_behind_on_epoll(transport: &'static str) {
    many_dials_leave_nothing(transport, "epoll").await;
}

async fn thirty_two_downloads_cut_off_together_leave_nothing_behind(transport: &'static str) {
    let tunnel = Tunnel::over(transport).await;
    let target = target().await;
    let to = target.local_addr().to_string();
    let _ = (held(&tunnel.server).await, held(&tunnel.agents[0]).await);
    let before = [held(&tunnel.server).await, held(&tunnel.agents[0]).await];
    let mut streams = Vec::new();
    for seed in 0..32 {
        let mut stream = connect(&tunnel.socket(), &to).await.expect("a tunnel");
        let request = Request::Source { seed, bytes: 1 << 30 };
        soon("request", bytes::request(&mut stream, request)).await.expect("request");
        streams.push(stream);
    }
    for stream in &mut streams {
        // Under way, not finished.
        let mut some = vec![0; 64 * 1024];
        soon("the first bytes", tokio::io::AsyncReadExt::read_exact(stream, &mut some)).await.expect("bytes");
    }
    drop(streams);
    back(&tunnel, before).await;
    until("the target to see them go", Duration::from_secs(10), || async {
        (target.stats().open == 0).then_some(())
    })
    .await;
    let mut stream = connect(&tunnel.socket(), &to).await.expect("nothing is stuck");
    soon("echo", bytes::echo(&mut stream, 1, 100_000)).await.expect("nothing is stuck");
}
