//! A reader that stopped or trickles, while the other end sends all it can: the neighbour nobody wants.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until};

use super::super::gate::Gate;
use super::super::plan::Direction;
use super::{Failure, Worker};
use crate::client;
use crate::proxy::Stream;
use crate::target::Request;

/// What a trickling reader reads in a second.
const TRICKLE_BYTES_PER_SECOND: u64 = 2000;
/// How often a trickling reader on this side reads.
const TRICKLE_INTERVAL: Duration = Duration::from_millis(100);
/// More than any buffer on the way holds.
const ENDLESS_BYTES: u64 = 1 << 50;

pub(super) async fn run(worker: Worker, gate: Gate, direction: Direction, trickles: bool) {
    let done = match direction {
        Direction::Up => push(&worker, gate, trickles).await,
        Direction::Down => hold(&worker, gate, trickles).await,
    };
    if let Err(failure) = done {
        worker.fail(&failure);
    }
}

/// The end of the window, once it is known.
async fn over(gate: Gate) {
    if let Some(phases) = gate.pass().await {
        sleep_until(phases.window_end.into()).await;
    }
}

/// Sends to a target that does not read, from before the clock starts: buffers are to be full by then.
async fn push(worker: &Worker, gate: Gate, trickles: bool) -> Result<(), Failure> {
    let request = if trickles {
        Request::Trickle { bytes_per_second: TRICKLE_BYTES_PER_SECOND }
    } else {
        Request::Stall
    };
    let mut stream = worker.ask_in_turn(request).await?;
    tokio::select! {
        sent = client::send(&mut stream, worker.seed(0), ENDLESS_BYTES) => Ok(sent?),
        () = over(gate) => Ok(()),
    }
}

/// Does not read what a target sends.
async fn hold(worker: &Worker, gate: Gate, trickles: bool) -> Result<(), Failure> {
    let seed = worker.seed(0);
    let stream = worker.ask_in_turn(Request::Source { seed, bytes: ENDLESS_BYTES }).await?;
    if trickles {
        tokio::select! {
            done = trickle(stream) => done,
            () = over(gate) => Ok(()),
        }
    } else {
        over(gate).await;
        drop(stream);
        Ok(())
    }
}

async fn trickle(mut stream: Box<dyn Stream>) -> Result<(), Failure> {
    let mut buf = vec![0; usize::try_from(TRICKLE_BYTES_PER_SECOND / 10).unwrap_or(1)];
    loop {
        if stream.read(&mut buf).await? == 0 {
            return Err(client::Error::Short { at: 0 }.into());
        }
        sleep_until(Instant::now() + TRICKLE_INTERVAL).await;
    }
}
