//! Transfers: one without end until the window is over, or one after another of a given size.

use std::time::Instant;

use super::super::gate::Gate;
use super::super::phases::Phases;
use super::super::transfer;
use super::{Failure, Role, Worker};
use crate::client;
use crate::proxy::Stream;
use crate::target::Request;

pub(super) async fn run(worker: Worker, gate: Gate) {
    match worker.cast.role {
        Role::Up(Some(bytes)) | Role::Down(Some(bytes)) | Role::Both(Some(bytes)) => {
            sized(worker, gate, bytes).await
        }
        _ => endless(worker, gate).await,
    }
}

async fn endless(worker: Worker, gate: Gate) {
    let mut ready = Some(worker.ask_in_turn(request(&worker, 0)).await);
    let Some(phases) = gate.pass().await else { return };
    let mut connection = 0;
    loop {
        let stream = match ready.take() {
            Some(stream) => stream,
            None => worker.ask(request(&worker, connection)).await,
        };
        let done = match stream {
            Ok(stream) => one_endless(&worker, stream, connection, &phases).await,
            Err(failure) => Err(failure),
        };
        match done {
            Ok(()) => return,
            Err(failure) if worker.try_again(&failure, &phases).await => connection += 1,
            Err(_) => return,
        }
    }
}

fn request(worker: &Worker, connection: u64) -> Request {
    let seed = worker.seed(connection);
    match worker.cast.role {
        Role::Up(_) => Request::Meter { seed },
        Role::Down(_) => Request::Pull { seed, block_bytes: transfer::BLOCK_BYTES },
        _ => Request::Echo,
    }
}

async fn one_endless(
    worker: &Worker,
    stream: Box<dyn Stream>,
    connection: u64,
    phases: &Phases,
) -> Result<(), Failure> {
    let (seed, until, begun) = (worker.seed(connection), phases.window_end, phases.window_start);
    let record = &worker.record;
    match worker.cast.role {
        Role::Up(_) => transfer::up(stream, seed, until, record).await,
        Role::Down(_) => transfer::down(stream, seed, until, record).await,
        _ => transfer::both(stream, seed, until, record).await,
    }?;
    // A transfer as long as the window has no latency of its own; that it ended whole is its operation.
    worker.record.survived("transfer", begun, begun);
    Ok(())
}

async fn sized(worker: Worker, gate: Gate, bytes: u64) {
    let Some(phases) = gate.pass().await else { return };
    let mut starts = worker.starts(&phases);
    let mut connection = 0;
    while let Some(intended) = starts.next(&worker.record).await {
        match one_sized(&worker, connection, bytes).await {
            Ok((up, down)) => {
                let ended = Instant::now();
                worker.record.operation("transfer", intended, ended);
                worker.record.bytes(up, down, ended);
            }
            Err(failure) => {
                if !worker.try_again(&failure, &phases).await {
                    return;
                }
            }
        }
        connection += 1;
    }
}

/// One transfer from dial to close; how many bytes went up and came down.
async fn one_sized(worker: &Worker, connection: u64, bytes: u64) -> Result<(u64, u64), Failure> {
    let mut stream = worker.plan.connector.dial().await?;
    let seed = worker.seed(connection);
    match worker.cast.role {
        Role::Up(_) => {
            client::upload(&mut stream, seed, bytes).await?;
            Ok((bytes, 0))
        }
        Role::Down(_) => {
            client::download(&mut stream, seed, bytes).await?;
            Ok((0, bytes))
        }
        _ => {
            client::echo_all(&mut stream, seed, bytes).await?;
            Ok((bytes, bytes))
        }
    }
}
