//! Trains of datagrams in and out, and the reports of those that did not arrive.

use std::io;

use super::ledger::{OpIndex, Work};
use super::streams::{SHARE, os_error};
use super::{EpollDriver, sys};
use crate::buf::SlotIndex;
use crate::driver::SocketId;
use crate::error::OpError;
use crate::net::error_queue;
use crate::op::{Datagrams, Outcome};

/// How often a send is repeated whose error may be that of an earlier datagram.
const SEND_ATTEMPTS: u64 = 4;

/// Errors that ICMP messages turn into (`icmp_err_convert`, `icmpv6_err_convert`). With `IP_RECVERR` they wait on the
/// socket and fail the next system call, to whichever peer: that call did nothing and cleared the error.
fn may_be_of_another_datagram(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EPROTO
                | libc::EACCES
                | libc::EMSGSIZE
        )
    )
}

impl EpollDriver {
    /// Whether the send has ended.
    pub(super) fn try_send_train(&mut self, id: SocketId, op: OpIndex) -> bool {
        let socket = self.sockets.get_mut(id).expect("the caller has it");
        let Work::SendDatagrams { transmit } = self.ledger.work(op) else {
            unreachable!("the caller looked")
        };
        let mut attempts = 0;
        let result = loop {
            attempts += 1;
            match sys::send_train(socket.fd(), transmit, socket.family) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if attempts < SEND_ATTEMPTS && may_be_of_another_datagram(&error) => {
                    socket.errors_queued = true;
                }
                other => break other,
            }
        };
        let segments = transmit.segments() as u64;
        self.ledger.counters.syscalls += attempts;
        match result {
            Ok(()) => {
                self.ledger.counters.datagrams_sent += segments;
                self.ledger.counters.datagram_trains_sent += 1;
                self.ledger.finish(op, Ok(()));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.writable = false;
                return false;
            }
            Err(error) => self.ledger.finish(op, Err(os_error(&error))),
        }
        true
    }

    /// Whether the receive has ended.
    pub(super) fn receive_trains(&mut self, id: SocketId, op: OpIndex) -> bool {
        let mut failures = 0;
        let mut trains = 0;
        self.report_unreachable(id, op);
        while trains < SHARE {
            let socket = self.sockets.get_mut(id).expect("the caller has it");
            if !socket.readable {
                return false;
            }
            match self.receive_batch(id, op) {
                Batch::Received(count) => trains += count,
                Batch::NoBuffers => {
                    self.ledger.counters.no_buffers += 1;
                    self.ledger.finish(op, Err(OpError::NoBuffers));
                    return true;
                }
                Batch::Failed(error) => {
                    // Of a datagram that was sent, most likely: what it was is in the error queue.
                    failures += 1;
                    if failures > SHARE || !may_be_of_another_datagram(&error) {
                        self.ledger.finish(op, Err(os_error(&error)));
                        return true;
                    }
                    if let Some(socket) = self.sockets.get_mut(id) {
                        socket.errors_queued = true;
                    }
                    self.report_unreachable(id, op);
                }
            }
        }
        false
    }

    /// One recvmmsg(2) into free slots.
    fn receive_batch(&mut self, id: SocketId, op: OpIndex) -> Batch {
        let socket = self.sockets.get_mut(id).expect("the caller has it");
        let pool = &mut self.slots.datagrams;
        if pool.free() < sys::TRAINS_PER_CALL {
            pool.reclaim(usize::MAX);
        }
        let mut slots = [SlotIndex::from_id(0); sys::TRAINS_PER_CALL];
        let mut taken = 0;
        while taken < slots.len()
            && let Some(slot) = pool.take()
        {
            slots[taken] = slot;
            taken += 1;
        }
        if taken == 0 {
            return Batch::NoBuffers;
        }
        let mut trains = [sys::Train::default(); sys::TRAINS_PER_CALL];
        self.ledger.counters.syscalls += 1;
        let result = sys::recv_trains(socket.fd(), pool, &slots[..taken], &mut trains);
        let filled = *result.as_ref().unwrap_or(&0);
        for slot in &slots[filled..taken] {
            pool.put_back(*slot);
        }
        for (slot, train) in slots.iter().zip(trains).take(filled) {
            let counters = &mut self.ledger.counters;
            counters.provided_buffer_receives += 1;
            counters.datagram_trains_received += 1;
            // An empty datagram says nothing, and one that is cut off or nobody's cannot be used.
            let (Some(peer), false, true) = (train.peer, train.truncated, train.len > 0) else {
                counters.datagrams_received += 1;
                pool.put_back(*slot);
                continue;
            };
            let stride = train.info.stride.unwrap_or(train.len).min(train.len);
            counters.datagrams_received += train.len.div_ceil(stride) as u64;
            let data = pool.lend(*slot, train.len);
            let (local_ip, ecn) = (train.info.local_ip, train.info.ecn);
            let datagrams = Datagrams { data, stride, peer, local_ip, ecn };
            self.ledger.go_on(op, Outcome::Datagrams(Ok(datagrams)));
        }
        match result {
            Ok(count) => {
                // Fewer than there was room for: the queue was empty, and what comes later is an event. (Or an
                // error cut the call short. Then it waits for the next call, and its event for the next wait.)
                if count < taken {
                    socket.readable = false;
                }
                Batch::Received(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Batch::Received(1),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.readable = false;
                Batch::Received(0)
            }
            Err(error) => Batch::Failed(error),
        }
    }

    /// Empties the error queue, at most a share of it, into completions.
    fn report_unreachable(&mut self, id: SocketId, op: OpIndex) {
        let socket = self.sockets.get_mut(id).expect("the caller has it");
        for _ in 0..SHARE {
            if !socket.errors_queued {
                return;
            }
            self.ledger.counters.syscalls += 1;
            match error_queue::next_unreachable(socket.fd()) {
                Ok(Some((peer, errno))) => {
                    let error = OpError::Os(errno);
                    self.ledger.go_on(op, Outcome::PeerUnreachable { peer, error });
                }
                Ok(None) => socket.errors_queued = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => socket.errors_queued = false,
            }
        }
    }
}

enum Batch {
    /// So many trains. Whether there may be more says [`super::socket::Socket::readable`].
    Received(usize),
    NoBuffers,
    Failed(io::Error),
}
