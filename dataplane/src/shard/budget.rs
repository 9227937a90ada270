//! D5: what readers that stopped may hold. Each is charged its stream's window and its batch, whatever it really
//! holds; over the budget the one that stopped first is reset.

use std::collections::BTreeSet;
use std::time::Instant;

use adit_io::{Close, DatagramDriver};
use rustc_hash::FxHashMap;

use super::Shard;
use super::timers::Timer;
use crate::limits::{CONNECTION_BUDGET_BYTES, STOPPED_AFTER, STOPPED_READER_BYTES};
use crate::quic::ConnId;
use crate::stream::table::Key;
use crate::wire::ResetCode;

/// Tunnels whose socket has not taken the batch it was given, oldest first.
#[derive(Debug, Default)]
pub(super) struct StoppedReaders {
    by_age: BTreeSet<(Instant, Key)>,
    /// Keys are ours.
    by_connection: FxHashMap<ConnId, usize>,
}

impl StoppedReaders {
    /// Tunnels with a batch on its way.
    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }
}

impl<D: DatagramDriver> Shard<D> {
    /// A batch goes out: until it is taken whole, the tunnel is charged.
    pub(super) fn reader_must_take(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Some((conn, _)) = tunnel.stream else { return };
        if tunnel.sending_since.is_some() {
            return;
        }
        tunnel.sending_since = Some(self.now);
        self.stopped.by_age.insert((self.now, key));
        *self.stopped.by_connection.entry(conn).or_default() += 1;
        if self.over_budget(conn) {
            self.enforce_budget();
        }
    }

    /// The batch was taken, or the tunnel ends.
    pub(super) fn reader_took_all(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Some(since) = tunnel.sending_since.take() else { return };
        self.stopped.by_age.remove(&(since, key));
        if let Some((conn, _)) = tunnel.stream
            && let Some(count) = self.stopped.by_connection.get_mut(&conn)
        {
            *count -= 1;
            if *count == 0 {
                self.stopped.by_connection.remove(&conn);
            }
        }
    }

    /// Readers that have been stopped for a while.
    pub(super) fn stopped_readers(&self) -> usize {
        self.stopped.by_age.iter().take_while(|(since, _)| *since + STOPPED_AFTER <= self.now).count()
    }

    fn over_budget(&self, conn: ConnId) -> bool {
        let of_connection = self.stopped.by_connection.get(&conn).copied().unwrap_or(0);
        self.stopped.by_age.len() * STOPPED_READER_BYTES > self.config.budget_bytes
            || of_connection * STOPPED_READER_BYTES > CONNECTION_BUDGET_BYTES
    }

    /// Resets the readers that stopped first until the rest fits. Readers that only just got their batch are
    /// taken for live ones: they are looked at again when they are old enough.
    pub(super) fn enforce_budget(&mut self) {
        let mut again = None;
        let mut victims = Vec::new();
        let mut excess_of_all = (self.stopped.by_age.len() * STOPPED_READER_BYTES)
            .saturating_sub(self.config.budget_bytes)
            .div_ceil(STOPPED_READER_BYTES);
        let mut excess_of: FxHashMap<ConnId, usize> = self
            .stopped
            .by_connection
            .iter()
            .filter_map(|(conn, count)| {
                let excess = (count * STOPPED_READER_BYTES).saturating_sub(CONNECTION_BUDGET_BYTES);
                (excess > 0).then(|| (*conn, excess.div_ceil(STOPPED_READER_BYTES)))
            })
            .collect();
        for (since, key) in &self.stopped.by_age {
            if excess_of_all == 0 && excess_of.is_empty() {
                break;
            }
            if *since + STOPPED_AFTER > self.now {
                again = Some(*since + STOPPED_AFTER);
                break;
            }
            let Some((conn, _)) = self.tunnels.get(*key).and_then(|tunnel| tunnel.stream) else { continue };
            let of_connection = excess_of.get_mut(&conn);
            if excess_of_all == 0 && of_connection.is_none() {
                continue;
            }
            excess_of_all = excess_of_all.saturating_sub(1);
            if let Some(count) = of_connection {
                *count -= 1;
                if *count == 0 {
                    excess_of.remove(&conn);
                }
            }
            victims.push(*key);
        }
        for key in victims {
            self.stats.tunnels_over_budget += 1;
            self.close_tunnel(key, Close::Reset, Some(ResetCode::OverBudget));
        }
        if let Some(at) = again {
            self.timers.set(at, Timer::Budget);
        }
    }
}
