//! Transfers without an announced end: the client stops where it likes and still knows that everything arrived.
//!
//! Neither needs a half-closed connection, so that tunnels that do not carry one can be measured like the others.

use std::io;
use std::sync::atomic::Ordering;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::serve::{BUFFER_BYTES, Connection};
use super::{Counts, METER_INTERVAL};
use crate::payload;

impl Connection {
    /// Checks payload and says how far it got.
    pub(super) async fn meter(&mut self, seed: u64, counts: &Counts) -> io::Result<()> {
        let mut buf = vec![0; BUFFER_BYTES];
        let (mut position, mut said) = (0_u64, 0_u64);
        let mut due = Instant::now() + METER_INTERVAL;
        loop {
            let read = if said == position {
                self.read(&mut buf).await?
            } else {
                match timeout_at(due, self.read(&mut buf)).await {
                    Ok(read) => read?,
                    Err(_) => {
                        self.say(position).await?;
                        said = position;
                        continue;
                    }
                }
            };
            if read == 0 {
                return self.stream.shutdown().await;
            }
            if let Err(at) = payload::check(seed, position, &buf[..read]) {
                counts.wrong.fetch_add(1, Ordering::Relaxed);
                self.stream.write_all(format!("bad at {at}\n").as_bytes()).await?;
                return self.discard().await;
            }
            if said == position {
                due = Instant::now() + METER_INTERVAL;
            }
            position += read as u64;
            counts.checked_bytes.fetch_add(read as u64, Ordering::Relaxed);
            // A reader that always finds bytes never comes to its timer.
            if Instant::now() >= due {
                self.say(position).await?;
                said = position;
            }
        }
    }

    async fn say(&mut self, position: u64) -> io::Result<()> {
        self.stream.write_all(format!("at {position}\n").as_bytes()).await
    }

    /// Sends a block for each byte.
    pub(super) async fn pull(&mut self, seed: u64, block_bytes: u64) -> io::Result<()> {
        let mut asked = [0; 64];
        let mut buf = vec![0; BUFFER_BYTES];
        let mut position = 0_u64;
        loop {
            let blocks = self.read(&mut asked).await?;
            if blocks == 0 {
                return self.stream.shutdown().await;
            }
            let bytes = (blocks as u64).saturating_mul(block_bytes);
            self.send_from(seed, position, bytes, &mut buf).await?;
            position = position.wrapping_add(bytes);
        }
    }
}
