//! Connect, one byte there and back, close; again and again.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::gate::Gate;
use super::{Failure, Worker};
use crate::client::Error;
use crate::payload;
use crate::target::Request;

pub(super) async fn run(worker: Worker, gate: Gate) {
    let Some(phases) = gate.pass().await else { return };
    let mut starts = worker.starts(&phases);
    let mut connection = 0;
    while let Some(intended) = starts.next(&worker.record).await {
        match one(&worker, worker.seed(connection)).await {
            Ok(()) => {
                let ended = Instant::now();
                worker.record.operation("dial", intended, ended);
                worker.record.bytes(1, 1, ended);
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

/// One connection, up to the byte that came back. Its close is not waited for, as nobody waits for it.
pub(super) async fn one(worker: &Worker, seed: u64) -> Result<(), Failure> {
    let mut stream = worker.plan.connector.dial().await?;
    let mut byte = [0];
    payload::fill(seed, 0, &mut byte);
    let mut request = format!("{}\n", Request::Echo).into_bytes();
    request.extend(byte);
    stream.write_all(&request).await?;
    stream.flush().await?;
    if stream.read(&mut byte).await? == 0 {
        return Err(Error::Short { at: 0 }.into());
    }
    payload::check(seed, 0, &byte).map_err(|at| Error::Wrong { at })?;
    Ok(())
}
