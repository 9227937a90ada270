//! How operations end: ordered visibility, cancellation, zero-copy notifications and the check of lent buffers.

use adit_io::{OpError, OpKind, Outcome, Token};
use bytes::Bytes;

use super::{OpEntry, State, Work};
use crate::clock::SimTime;
use crate::net::{Event, SimNet, SocketKind};
use crate::tally::Family;

/// Notifications of one process that wait for a close, at most: the machine's own sockets bound it as well.
const PARKED_NOTIFICATIONS_MAX: usize = 8;

/// A completion that becomes visible at some moment.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) at: SimTime,
    pub(crate) seq: u64,
    pub(crate) op: u64,
    pub(crate) token: Token,
    pub(crate) kind: OpKind,
    pub(crate) more: bool,
    pub(crate) outcome: Outcome,
}

impl PartialEq for Ready {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}
impl Eq for Ready {}
impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ready {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// A checksum of bytes that somebody else may not touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checksum(u64);

impl Checksum {
    pub(crate) fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut sum = 0x9e37_79b9_7f4a_7c15_u64;
        for piece in pieces {
            let mut chunks = piece.chunks_exact(8);
            for chunk in &mut chunks {
                let word = u64::from_le_bytes(chunk.try_into().expect("chunks of eight"));
                sum = (sum.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
            }
            for byte in chunks.remainder() {
                sum = (sum.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
            }
        }
        Self(sum)
    }

    pub(crate) fn of_pieces(data: &[Bytes]) -> Self {
        Self::of(data.iter().map(|piece| &piece[..]))
    }
}

impl SimNet {
    /// Reports a completion; it becomes visible a little later, after everything of the same operation before it.
    pub(crate) fn complete(
        &mut self,
        pid: usize,
        op: u64,
        entry: &mut OpEntry,
        more: bool,
        outcome: Outcome,
    ) {
        let after = self.io_span(|faults| faults.io.completion_latency);
        let mut at = self.time().plus_ns(after).max(entry.visible_from);
        if let Some(socket) = entry.socket.and_then(|socket| self.sockets.get_mut(socket))
            && !matches!(socket.kind, SocketKind::Udp(_))
        {
            at = at.max(socket.visible_from);
            socket.visible_from = at;
        }
        entry.visible_from = at;
        if !more {
            entry.state = State::Done;
            if entry.cancel_asked && succeeded(&outcome) {
                self.hit(Family::SuccessAfterCancel);
            }
        }
        let process = &mut self.processes[pid];
        process.ready_seq += 1;
        let ready =
            Ready { at, seq: process.ready_seq, op, token: entry.token, kind: entry.kind, more, outcome };
        process.ready.push(std::cmp::Reverse(ready));
    }

    pub(crate) fn complete_cancelled(&mut self, pid: usize, op: u64, entry: &mut OpEntry) {
        let error = OpError::Cancelled;
        let work = std::mem::replace(&mut entry.work, Work::Ended);
        let outcome = match work {
            Work::Accept => Outcome::Accepted(Err(error)),
            Work::Connect { .. } => Outcome::Connected(Err(error)),
            Work::Recv { .. } => Outcome::Received(Err(error)),
            Work::Send { data, .. } => Outcome::Sent { result: Err(error), data: Some(data) },
            Work::ShutdownWrite => Outcome::ShutdownWrite(Err(error)),
            Work::Watch => Outcome::Gone(Err(error)),
            Work::DatagramRecv => Outcome::Datagrams(Err(error)),
            Work::DatagramSend { transmit, .. } => {
                Outcome::DatagramsSent { result: Err(error), transmit: Some(transmit) }
            }
            Work::Notify { .. } | Work::DatagramNotify { .. } | Work::Ended => return,
        };
        self.complete(pid, op, entry, false, outcome);
    }

    /// After the result of a zero-copy send: when its notification comes, if before the close at all.
    pub(crate) fn schedule_notification(&mut self, pid: usize, op: u64) {
        let parked = self.processes[pid].parked_notifications;
        if parked < PARKED_NOTIFICATIONS_MAX && self.io_chance(|io| io.notification_at_close) {
            self.processes[pid].parked_notifications += 1;
            self.hit(Family::NotificationAtClose);
            return;
        }
        let after = self.io_span(|faults| faults.io.notification);
        if after > 1_000_000 {
            self.hit(Family::NotificationLate);
        }
        self.schedule_in(after, Event::Notify { pid, op });
    }

    /// Every notification of a stream that waits for a close comes soon: without it nothing more can be sent there.
    /// Those of datagrams wait on.
    pub(crate) fn release_parked_notifications(&mut self) {
        for pid in 0..self.processes.len() {
            let waiting: Vec<u64> = self.processes[pid]
                .ops
                .iter()
                .filter(|(_, entry)| matches!(entry.work, Work::Notify { .. }))
                .map(|(op, _)| *op)
                .collect();
            for op in waiting {
                self.schedule_in(1_000, Event::Notify { pid, op });
            }
        }
    }

    /// The kernel lets go of the buffer of a zero-copy send.
    pub(crate) fn notify(&mut self, pid: usize, op: u64) {
        let Some(mut entry) = self.processes[pid].ops.remove(&op) else { return };
        self.check_buffer(pid, op, &entry.work);
        match std::mem::replace(&mut entry.work, Work::Ended) {
            Work::Notify { data, .. } => {
                self.complete(pid, op, &mut entry, false, Outcome::SendReleased { data })
            }
            Work::DatagramNotify { transmit, .. } => {
                self.complete(pid, op, &mut entry, false, Outcome::DatagramsReleased { transmit });
            }
            other => entry.work = other,
        }
        self.processes[pid].ops.insert(op, entry);
    }

    /// A buffer that the kernel has must be as it was handed in.
    pub(crate) fn check_buffer(&mut self, pid: usize, op: u64, work: &Work) {
        let changed = match work {
            Work::Send { data, checksum, .. } | Work::Notify { data, checksum } => {
                Checksum::of_pieces(data) != *checksum
            }
            Work::DatagramSend { transmit, checksum } | Work::DatagramNotify { transmit, checksum } => {
                transmit.zero_copy && Checksum::of([&transmit.buffer[..]]) != *checksum
            }
            _ => false,
        };
        if changed {
            self.violation(format!(
                "process {pid}: the buffer of operation {op} changed while the kernel had it"
            ));
        }
    }
}

const fn succeeded(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Accepted(result) => result.is_ok(),
        Outcome::Connected(result) => result.is_ok(),
        Outcome::Received(result) => result.is_ok(),
        Outcome::Sent { result, .. } => result.is_ok(),
        Outcome::ShutdownWrite(result) | Outcome::Gone(result) => result.is_ok(),
        Outcome::Datagrams(result) => result.is_ok(),
        Outcome::DatagramsSent { result, .. } => result.is_ok(),
        Outcome::SendReleased { .. } | Outcome::DatagramsReleased { .. } => true,
        Outcome::PeerUnreachable { .. } => false,
    }
}
