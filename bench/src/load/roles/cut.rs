//! Many downloads broken off at the same moment, and whether anything is left of the system afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::gate::Gate;
use super::super::phases::Phases;
use super::{Failure, Worker, dial};
use crate::client::Error;
use crate::payload;
use crate::proxy::Stream;
use crate::target::Request;

/// How far every download must be before all are cut.
const UNDER_WAY_BYTES: u64 = 256 * 1024;
/// How long all of them may take to get there.
const UNDER_WAY_TIME_MAX: Duration = Duration::from_secs(30);
/// How long the first dial after a cut may take: longer is a stall that no operator would wait for.
const HEALTH_TIME_MAX: Duration = Duration::from_secs(10);
/// More than is ever read.
const ENDLESS_BYTES: u64 = 1 << 50;

pub(super) async fn run(worker: Worker, gate: Gate, downloads: u32, pause: Duration) {
    let Some(phases) = gate.pass().await else { return };
    let worker = Arc::new(worker);
    let mut round = 0;
    while Instant::now() < phases.window_end {
        match cut(&worker, &phases, downloads, round).await {
            Ok(()) => sleep(pause).await,
            Err(failure) => {
                if !worker.try_again(&failure, &phases).await {
                    return;
                }
            }
        }
        round += 1;
    }
}

async fn cut(worker: &Arc<Worker>, phases: &Phases, downloads: u32, round: u64) -> Result<(), Failure> {
    let mut all = JoinSet::new();
    let under_way = Arc::new(Semaphore::new(0));
    for index in 0..u64::from(downloads) {
        let (worker, under_way) = (Arc::clone(worker), Arc::clone(&under_way));
        let seed = worker.seed(round * u64::from(downloads) + index);
        all.spawn(async move { download(&worker, seed, &under_way).await });
    }
    tokio::select! {
        everybody = timeout(UNDER_WAY_TIME_MAX, under_way.acquire_many(downloads)) => if everybody.is_err() {
            return Err(stuck("downloads did not get under way", UNDER_WAY_TIME_MAX));
        },
        Some(ended) = all.join_next() => return Err(match ended {
            Ok(failure) => failure,
            Err(error) => Failure { kind: "generator: panic".to_owned(), text: error.to_string() },
        }),
    }
    all.abort_all();
    while all.join_next().await.is_some() {}
    let cut = Instant::now();
    let healthy = timeout(HEALTH_TIME_MAX, dial::one(worker, worker.seed(u64::MAX - round))).await;
    healthy.map_err(|_| stuck("no dial after the cut", HEALTH_TIME_MAX))??;
    let ended = Instant::now();
    if ended >= phases.window_start {
        // The last one ends behind the window, and has done to the system what the others did.
        worker.record.survived("dial_after_cut", cut, ended);
    }
    Ok(())
}

fn stuck(what: &str, limit: Duration) -> Failure {
    Failure { kind: format!("cut-off: {what}"), text: format!("not within {limit:?}") }
}

/// Downloads until it is dropped; returns only why it could not.
async fn download(worker: &Worker, seed: u64, under_way: &Semaphore) -> Failure {
    match worker.ask(Request::Source { seed, bytes: ENDLESS_BYTES }).await {
        Ok(stream) => match receive(worker, stream, seed, under_way).await {
            Ok(()) => Error::Short { at: 0 }.into(),
            Err(error) => error.into(),
        },
        Err(failure) => failure,
    }
}

async fn receive(
    worker: &Worker,
    mut stream: Box<dyn Stream>,
    seed: u64,
    under_way: &Semaphore,
) -> Result<(), Error> {
    let mut buf = vec![0; 64 * 1024];
    let (mut position, mut said) = (0, false);
    loop {
        let read = stream.read(&mut buf).await?;
        if read == 0 {
            return Err(Error::Short { at: position });
        }
        payload::check(seed, position, &buf[..read]).map_err(|at| Error::Wrong { at })?;
        position += read as u64;
        worker.record.bytes(0, read as u64, Instant::now());
        if position >= UNDER_WAY_BYTES && !said {
            said = true;
            under_way.add_permits(1);
        }
    }
}
