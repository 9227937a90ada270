//! A connection with one small message there and back at a time.

use std::time::Instant;

use super::super::gate::Gate;
use super::super::phases::Phases;
use super::{Failure, Starts, Worker, exchange};
use crate::proxy::Stream;
use crate::target::Request;

/// Bytes of a message where nobody says.
const PING_BYTES: u64 = 100;

pub(super) async fn run(worker: Worker, gate: Gate) {
    let length = usize::try_from(worker.plan.bytes.unwrap_or(PING_BYTES)).unwrap_or(usize::MAX);
    let mut ready = match worker.ask_in_turn(Request::Echo).await {
        Ok(stream) => Some(stream),
        Err(failure) => {
            worker.fail(&failure);
            None
        }
    };
    let Some(phases) = gate.pass().await else { return };
    let mut starts = worker.starts(&phases);
    let mut connection = 0;
    loop {
        match session(&worker, &phases, ready.take(), connection, length, &mut starts).await {
            Ok(()) => return,
            Err(failure) if worker.try_again(&failure, &phases).await => connection += 1,
            Err(_) => return,
        }
    }
}

/// Pings over one connection until the window is over.
async fn session(
    worker: &Worker,
    phases: &Phases,
    ready: Option<Box<dyn Stream>>,
    connection: u64,
    length: usize,
    starts: &mut Starts,
) -> Result<(), Failure> {
    if Instant::now() >= phases.window_end {
        return Ok(());
    }
    let mut stream = match ready {
        Some(stream) => stream,
        None => worker.ask(Request::Echo).await?,
    };
    let (seed, mut position, mut buf) = (worker.seed(connection), 0, vec![0; length]);
    while let Some(intended) = starts.next(&worker.record).await {
        exchange(&mut stream, seed, position, &mut buf).await?;
        let ended = Instant::now();
        worker.record.operation("ping", intended, ended);
        worker.record.bytes(length as u64, length as u64, ended);
        position += length as u64;
    }
    Ok(())
}
