//! A connection that does nothing, seen to be alive at both ends of its life.

use std::time::Instant;

use super::super::gate::Gate;
use super::{Failure, Worker, exchange};
use crate::proxy::Stream;
use crate::target::Request;

pub(super) async fn run(worker: Worker, gate: Gate) {
    let connected = connect(&worker).await;
    let Some(phases) = gate.pass().await else { return };
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(failure) => return worker.fail(&failure),
    };
    tokio::time::sleep_until(phases.window_end.into()).await;
    let begun = Instant::now();
    match exchange(&mut stream, worker.seed(0), 1, &mut [0]).await {
        Ok(()) => worker.record.survived("idle_ping", begun, Instant::now()),
        Err(error) => worker.fail(&error.into()),
    }
}

async fn connect(worker: &Worker) -> Result<Box<dyn Stream>, Failure> {
    let mut stream = worker.ask_in_turn(Request::Echo).await?;
    exchange(&mut stream, worker.seed(0), 0, &mut [0]).await?;
    Ok(stream)
}
