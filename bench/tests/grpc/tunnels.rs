//! What a tunnel carries when everybody behaves.

use std::net::SocketAddr;

use adit_bench::client::{self, Error};
use adit_bench::proxy::{Mode, Stream};
use adit_bench::target::{Request, Target};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::double::{Case, Double};

const MIB: u64 = 1024 * 1024;
pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Sends payload while it comes back. [`client::echo`] would shut down while the last bytes are on their way, which
/// loses them where nothing carries a half-close.
pub(crate) async fn echo(stream: Box<dyn Stream>, seed: u64, bytes: u64) -> Result<(), Error> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    client::request(&mut writer, Request::Echo).await?;
    tokio::try_join!(client::send(&mut writer, seed, bytes), client::receive(&mut reader, seed, bytes))?;
    writer.shutdown().await?;
    client::end(&mut reader).await
}

/// Waits until the target has no connection left.
pub(crate) async fn none_open(target: &Target) {
    at_most_open(target, 0).await;
}

/// Waits until the target has no more connections left than these.
async fn at_most_open(target: &Target, most: u64) {
    while target.stats().open > most {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn payload_arrives_in_both_directions(case: Case) {
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    let connector = double.connector(target.local_addr());
    let mut expected = 0;
    for bytes in [0, 1, 16_384, 16_385, 3 * MIB + 5] {
        client::upload(&mut connector.dial().await.unwrap(), 7, bytes).await.unwrap();
        client::download(&mut connector.dial().await.unwrap(), 8, bytes).await.unwrap();
        echo(connector.dial().await.unwrap(), 9, bytes).await.unwrap();
        expected += bytes;
    }
    none_open(&target).await;
    let stats = target.stats();
    assert_eq!((stats.accepted, stats.wrong, stats.checked_bytes), (15, 0, expected));
    double.says_times("connection begins", if case.reuse { 1 } else { 15 }).await;
    drop(connector);
    // The client closes what it used; what the target closed first needs no CLOSE_REQ.
    double.says_times("CLOSE_REQ ours=true", 10).await;
    double.nothing_is_left().await;
    assert_eq!(double.count("DATA for nobody"), 0);
}

pub(crate) async fn many_dials_at_once_succeed(case: Case) {
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    let connector = double.connector(target.local_addr());
    for round in 0..3 {
        let mut dials = JoinSet::new();
        for _ in 0..64 {
            let connector = connector.clone();
            dials.spawn(async move { connector.dial().await.unwrap() });
        }
        let mut streams = dials.join_all().await;
        // All of them live now: what the kernel has accepted the target will have, too.
        while target.stats().open < 64 {
            tokio::task::yield_now().await;
        }
        let mut echoes = JoinSet::new();
        while let Some(stream) = streams.pop() {
            let seed = round * 64 + streams.len() as u64;
            echoes.spawn(async move { echo(stream, seed, 100_000).await.unwrap() });
        }
        echoes.join_all().await;
        none_open(&target).await;
    }
    double.says_times("connection begins", if case.reuse { 1 } else { 192 }).await;
    drop(connector);
    double.nothing_is_left().await;
}

pub(crate) async fn a_target_may_speak_first(case: Case) {
    let double = Double::start(case, &[]).await;
    let target = Target::start_greeting(ANY_PORT).await.unwrap();
    let connector = double.connector(target.local_addr());
    for _ in 0..20 {
        let mut stream = connector.dial().await.unwrap();
        client::greeting(&mut stream).await.unwrap();
        client::upload(&mut stream, 1, 1000).await.unwrap();
    }
    drop(connector);
    double.nothing_is_left().await;
}

pub(crate) async fn shutdown_closes_both_directions(case: Case) {
    assert!(!Mode::Grpc.carries_half_close());
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    let connector = double.connector(target.local_addr());
    // The target answers a FIN with payload: there is no FIN without the end of everything.
    let mut stream = connector.dial().await.unwrap();
    let error = client::half_close(&mut stream, 10, MIB).await.unwrap_err();
    assert!(matches!(error, Error::Short { .. }), "{error}");
    none_open(&target).await;
    let error = stream.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{error}");
    // And the target's FIN is the end of everything, too.
    let mut stream = connector.dial().await.unwrap();
    let error = client::finish_first(&mut stream, 11, MIB).await.unwrap_err();
    assert!(matches!(&error, Error::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe), "{error}");
    // A stream that is dropped without a word is closed in good order.
    let mut stream = connector.dial().await.unwrap();
    client::request(&mut stream, Request::Source { seed: 1, bytes: MIB }).await.unwrap();
    drop(stream);
    none_open(&target).await;
    double.says_times("CLOSE_REQ ours=true", 2).await;
    drop(connector);
    double.nothing_is_left().await;
}

pub(crate) async fn a_stopped_reader_stops_nobody_else(case: Case) {
    const BYTES: u64 = 64 * MIB;
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    let connector = double.connector(target.local_addr());
    // Together they would fill the connection's window many times.
    let mut stopped = Vec::new();
    for seed in 0..8 {
        let mut stream = connector.dial().await.unwrap();
        client::request(&mut stream, Request::Source { seed, bytes: BYTES }).await.unwrap();
        stopped.push(stream);
    }
    for seed in 0..10 {
        client::download(&mut connector.dial().await.unwrap(), seed, MIB).await.unwrap();
        client::upload(&mut connector.dial().await.unwrap(), seed, MIB).await.unwrap();
        echo(connector.dial().await.unwrap(), seed, MIB).await.unwrap();
    }
    at_most_open(&target, 8).await;
    assert_eq!(target.stats().open, 8, "64 MiB went nowhere, so these must still wait");
    // One goes on where it stopped, with nothing lost.
    let mut stream = stopped.swap_remove(0);
    client::receive(&mut stream, 0, BYTES).await.unwrap();
    client::end(&mut stream).await.unwrap();
    // The others are given up with all that they never read.
    drop(stopped);
    none_open(&target).await;
    drop((stream, connector));
    double.nothing_is_left().await;
}

pub(crate) async fn a_stopped_target_stops_nobody_else(case: Case) {
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    let connector = double.connector(target.local_addr());
    let mut stopped = JoinSet::new();
    for seed in 0..4 {
        let mut stream = connector.dial().await.unwrap();
        client::request(&mut stream, Request::Stall).await.unwrap();
        stopped.spawn(async move { client::send(&mut stream, seed, 256 * MIB).await });
    }
    for seed in 0..10 {
        client::upload(&mut connector.dial().await.unwrap(), seed, MIB).await.unwrap();
        client::download(&mut connector.dial().await.unwrap(), seed, MIB).await.unwrap();
    }
    assert!(stopped.try_join_next().is_none(), "256 MiB go nowhere");
    // Their CLOSE_REQ waits behind payload that nobody takes, and not for longer than ten seconds.
    stopped.shutdown().await;
    none_open(&target).await;
    drop(connector);
    double.nothing_is_left().await;
}

pub(crate) async fn the_authority_is_grpc_gos(case: Case) {
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    let mut stream = double.connector(target.local_addr()).dial().await.unwrap();
    let said = double.says("begins authority").await;
    assert!(said.contains("[%2F") && said.contains("%2Fkonnectivity%20server.sock]"), "{said}");
    assert!(said.contains("user-agent=[adit-bench/"), "{said}");
    // The connector is gone, and what it dialed lives on.
    client::upload(&mut stream, 3, MIB).await.unwrap();
    double.nothing_is_left().await;
}
