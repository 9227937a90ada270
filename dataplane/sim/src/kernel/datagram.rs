//! Attempts of datagram operations: trains out, merged trains in.

use adit_io::{Datagrams, OpError, Outcome};
use bytes::Bytes;

use super::stream::EINVAL;
use super::{OpEntry, Work};
use crate::net::{SimNet, SimSocket, UdpItem};
use crate::tally::Family;

/// EIO, errno(3): the device cannot segment.
const EIO: i32 = 5;
/// EMSGSIZE, errno(3).
const EMSGSIZE: i32 = 90;
/// EAGAIN, ENOBUFS, EINTR, EHOSTUNREACH: a train that did not leave.
const TRANSIENT: [i32; 4] = [11, 105, 4, 113];
/// Largest UDP payload over IPv4.
const UDP_PAYLOAD_MAX: usize = 65_507;

impl SimNet {
    pub(super) fn perform_datagram_recv(&mut self, pid: usize, op: u64, entry: &mut OpEntry) {
        let Some(socket) = entry.socket else { return };
        loop {
            let Some(udp) = self.udp_mut(socket) else {
                return self.complete(pid, op, entry, false, Outcome::Datagrams(Err(OpError::Os(EINVAL))));
            };
            match udp.queue.front() {
                None => return,
                Some(UdpItem::Unreachable { peer, errno }) => {
                    let outcome = Outcome::PeerUnreachable { peer: *peer, error: OpError::Os(*errno) };
                    udp.queue.pop_front();
                    self.complete(pid, op, entry, true, outcome);
                    continue;
                }
                Some(UdpItem::Datagram { .. }) => {}
            }
            let Some(datagrams) = self.take_train(pid, socket) else {
                self.hit(Family::SlotsExhausted);
                self.note("no datagram slot", entry.token.0, pid as u64);
                return self.complete(pid, op, entry, false, Outcome::Datagrams(Err(OpError::NoBuffers)));
            };
            let more = !self.ends_early();
            self.complete(pid, op, entry, more, Outcome::Datagrams(Ok(datagrams)));
            if !more {
                return;
            }
        }
    }

    /// Takes the oldest datagram and, as GRO would, equal neighbours behind it.
    fn take_train(&mut self, pid: usize, socket: SimSocket) -> Option<Datagrams> {
        if self.io_chance(|io| io.no_slot) {
            return None;
        }
        let count = self.mergeable(pid, socket);
        let slot_bytes = self.processes[pid].datagram.slot_bytes();
        let (sockets, processes) = (&mut self.sockets, &mut self.processes);
        let crate::net::SocketKind::Udp(udp) = &mut sockets.get_mut(socket)?.kind else { return None };
        let mut first = None;
        let mut taken = 0;
        let data = processes[pid].datagram.take(|buffer| {
            for item in udp.queue.drain(..count) {
                let UdpItem::Datagram { data, from, to, ecn } = item else { continue };
                taken += data.len();
                first.get_or_insert((data.len(), from, to, ecn));
                let bytes = data.len().min(slot_bytes - buffer.len());
                buffer.extend_from_slice(&data[..bytes]);
            }
        })?;
        udp.queued_bytes -= taken;
        let (stride, peer, local_ip, ecn) = first?;
        if count > 1 {
            self.hit(Family::ReceivesMerged);
        }
        Some(Datagrams { data, stride: stride.max(1), peer, local_ip: Some(local_ip), ecn })
    }

    /// How many datagrams at the head of the queue are received together.
    fn mergeable(&mut self, pid: usize, socket: SimSocket) -> usize {
        let config = self.processes[pid].config;
        let merge = self.faults.io.merge;
        let (sockets, rng) = (&self.sockets, &mut self.io_rng);
        let Some(crate::net::SocketKind::Udp(udp)) = sockets.get(socket).map(|entry| &entry.kind) else {
            return 0;
        };
        let Some(UdpItem::Datagram { data, from, to, ecn }) = udp.queue.front() else { return 0 };
        let (stride, mut bytes, mut count) = (data.len(), data.len(), 1);
        if !config.gro || stride == 0 {
            return count;
        }
        for item in udp.queue.iter().skip(1) {
            let UdpItem::Datagram { data: next, from: next_from, to: next_to, ecn: next_ecn } = item else {
                break;
            };
            let same = (next_from, next_to, next_ecn) == (from, to, ecn);
            let fits = !next.is_empty()
                && next.len() <= stride
                && bytes + next.len() <= UDP_PAYLOAD_MAX
                && count < 64;
            if !same || !fits || !rng.chance(merge) {
                break;
            }
            bytes += next.len();
            count += 1;
            if next.len() < stride {
                break;
            }
        }
        count
    }

    pub(super) fn perform_datagram_send(&mut self, pid: usize, op: u64, entry: &mut OpEntry) {
        let Some(socket) = entry.socket else { return };
        let Work::DatagramSend { transmit, checksum } = std::mem::replace(&mut entry.work, Work::Ended)
        else {
            return;
        };
        let result = self.check_train(pid, socket, &transmit.buffer, transmit.segment_bytes);
        if result.is_ok() {
            let step = transmit.segment_bytes.clamp(1, transmit.buffer.len().max(1));
            let whole = Bytes::copy_from_slice(&transmit.buffer);
            let mut at = 0;
            loop {
                let end = (at + step).min(whole.len());
                self.send_datagram(
                    socket,
                    transmit.peer,
                    transmit.local_ip,
                    transmit.ecn,
                    whole.slice(at..end),
                );
                at = end;
                if at >= whole.len() {
                    break;
                }
            }
        }
        let zero_copy = transmit.zero_copy && self.processes[pid].config.zero_copy;
        if zero_copy && (result.is_ok() || self.io_rng.chance(crate::rng::Ppm::percent(50))) {
            self.complete(pid, op, entry, true, Outcome::DatagramsSent { result, transmit: None });
            entry.work = Work::DatagramNotify { transmit, checksum };
            self.schedule_notification(pid, op);
        } else {
            self.complete(pid, op, entry, false, Outcome::DatagramsSent { result, transmit: Some(transmit) });
        }
    }

    /// What the kernel says to a train before any of it leaves.
    fn check_train(
        &mut self,
        pid: usize,
        socket: SimSocket,
        buffer: &[u8],
        segment_bytes: usize,
    ) -> Result<(), OpError> {
        let segments = buffer.len().div_ceil(segment_bytes.max(1)).max(1);
        let process = &self.processes[pid];
        let refused = process.segmentation_refused_from.is_some_and(|from| self.time() >= from);
        if segments > process.config.gso_segments_max {
            return Err(OpError::Os(EINVAL));
        }
        if buffer.len() > UDP_PAYLOAD_MAX {
            return Err(OpError::Os(EMSGSIZE));
        }
        let pending = self.udp_mut(socket).ok_or(OpError::Os(EINVAL))?.pending_error.take();
        if pending.is_some() {
            // The error of an earlier datagram fails this send, whoever it is for (ip(7)): a driver repeats it.
            self.hit(Family::PendingErrorOnSend);
        }
        if segments > 1 && refused {
            self.hit(Family::SegmentationRefused);
            return Err(OpError::Os(EIO));
        }
        if self.io_chance(|io| io.datagram_send_error) {
            self.hit(Family::DatagramSendError);
            return Err(OpError::Os(*self.io_rng.pick(&TRANSIENT)));
        }
        Ok(())
    }
}
