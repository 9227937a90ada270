//! Connections of all sizes that come and go, one in ten of them broken off: what a day of a cluster is like, in a
//! minute. Which kind comes next is a function of the seed.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::{sleep, timeout};

use super::super::gate::Gate;
use super::{Failure, Worker};
use crate::client;

/// Largest transfer of a connection.
const BYTES_MAX: u64 = 256 * 1024;
/// Longest life of a connection that is broken off.
const LIFE_MILLISECONDS_MAX: u64 = 20;
/// Longest rest between two connections.
const REST_MILLISECONDS_MAX: u64 = 5;

pub(super) async fn run(worker: Worker, gate: Gate) {
    let Some(phases) = gate.pass().await else { return };
    let mut random = ChaCha8Rng::seed_from_u64(worker.seed(0));
    let mut starts = worker.starts(&phases);
    let mut connection = 0;
    while let Some(intended) = starts.next(&worker.record).await {
        let bytes = random.random_range(0..=BYTES_MAX);
        let life = Duration::from_millis(random.random_range(0..=LIFE_MILLISECONDS_MAX));
        let (kind, broken_off) = (random.random_range(0..3), random.random_ratio(1, 10));
        let all = one(&worker, connection, bytes, kind);
        let done = if broken_off { timeout(life, all).await.unwrap_or(Ok((0, 0))) } else { all.await };
        match done {
            Ok((up, down)) => {
                let ended = Instant::now();
                let name = if broken_off { "broken_off" } else { "transfer" };
                worker.record.operation(name, intended, ended);
                worker.record.bytes(up, down, ended);
            }
            Err(failure) => {
                if !worker.try_again(&failure, &phases).await {
                    return;
                }
            }
        }
        connection += 1;
        sleep(Duration::from_millis(random.random_range(0..=REST_MILLISECONDS_MAX))).await;
    }
}

/// One connection to its end.
async fn one(worker: &Worker, connection: u64, bytes: u64, kind: u8) -> Result<(u64, u64), Failure> {
    let mut stream = worker.plan.connector.dial().await?;
    let seed = worker.seed(connection);
    match kind {
        0 => {
            client::upload(&mut stream, seed, bytes).await?;
            Ok((bytes, 0))
        }
        1 => {
            client::download(&mut stream, seed, bytes).await?;
            Ok((0, bytes))
        }
        _ => {
            client::echo_all(&mut stream, seed, bytes).await?;
            Ok((bytes, bytes))
        }
    }
}
