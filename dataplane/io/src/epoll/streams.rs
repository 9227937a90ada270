//! Receives and sends on stream sockets, and the order in which a socket's operations get their share.

use std::io;

use bytes::BytesMut;

use super::ledger::{OpIndex, Work};
use super::{EpollDriver, shutdown_write, sys};
use crate::driver::SocketId;
use crate::error::OpError;
use crate::net::SocketKind;
use crate::op::{Outcome, Shots, SlotSize};

/// Receives, accepts or sends of one socket in one turn, before it is the next one's: 16 large slots are a mebibyte.
pub(super) const SHARE: usize = 16;

/// The errno of a failed system call.
pub(super) fn os_error(error: &io::Error) -> OpError {
    // Errors of system calls have one; EIO stands for "something".
    OpError::Os(error.raw_os_error().unwrap_or(libc::EIO))
}

impl EpollDriver {
    /// Serves a socket's sends in order.
    pub(super) fn run_sends(&mut self, id: SocketId) {
        for _ in 0..SHARE {
            let Some(socket) = self.sockets.get_mut(id) else { return };
            let Some(&op) = socket.sending.front() else { return };
            let done = match self.ledger.work(op) {
                Work::ShutdownWrite => {
                    self.ledger.counters.syscalls += 1;
                    let result = shutdown_write(socket).map_err(|error| os_error(&error));
                    self.ledger.finish(op, result);
                    true
                }
                _ if !socket.writable => false,
                Work::Send { .. } => self.try_send(id, op),
                Work::SendDatagrams { .. } => self.try_send_train(id, op),
                Work::Connect => self.finish_connect(id, op),
                other => unreachable!("{other:?} is no send"),
            };
            if !done {
                return;
            }
            if let Some(socket) = self.sockets.get_mut(id) {
                socket.sending.pop_front();
            }
        }
    }

    /// Serves a socket's accept or receive.
    pub(super) fn run_receive(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        let Some(op) = socket.receiving else { return };
        let ended = match *self.ledger.work(op) {
            Work::RecvDatagrams => self.receive_trains(id, op),
            _ if !socket.readable => false,
            Work::Accept => self.accept(id, op),
            Work::Recv { slot, shots } => self.receive(id, op, slot, shots),
            ref other => unreachable!("{other:?} is no receive"),
        };
        if ended && let Some(socket) = self.sockets.get_mut(id) {
            socket.receiving = None;
        }
    }

    /// Whether the send has ended.
    fn try_send(&mut self, id: SocketId, op: OpIndex) -> bool {
        let socket = self.sockets.get_mut(id).expect("the caller has it");
        let Work::Send { data } = self.ledger.work(op) else { unreachable!("the caller looked") };
        let result = sys::send(socket.fd(), data);
        self.ledger.counters.syscalls += 1;
        match result {
            Ok(sent) => {
                self.ledger.counters.stream_bytes_sent += sent as u64;
                self.ledger.finish_send(op, sent);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.writable = false;
                return false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return false,
            Err(error) => self.ledger.finish(op, Err(os_error(&error))),
        }
        true
    }

    /// Whether the receive has ended.
    fn receive(&mut self, id: SocketId, op: OpIndex, size: SlotSize, shots: Shots) -> bool {
        let socket = self.sockets.get_mut(id).expect("the caller has it");
        debug_assert_ne!(socket.kind(), SocketKind::Udp);
        let pool = self.slots.stream(size);
        for _ in 0..SHARE {
            if pool.free() == 0 {
                pool.reclaim(usize::MAX);
            }
            let Some(slot) = pool.take() else {
                self.ledger.counters.no_buffers += 1;
                self.ledger.finish(op, Err(OpError::NoBuffers));
                return true;
            };
            self.ledger.counters.syscalls += 1;
            let received = match sys::recv(socket.fd(), pool.writable(slot)) {
                Ok(received) => received,
                Err(error) => {
                    pool.put_back(slot);
                    match error.kind() {
                        io::ErrorKind::Interrupted => continue,
                        io::ErrorKind::WouldBlock => {
                            socket.readable = false;
                            return false;
                        }
                        _ => {}
                    }
                    self.ledger.finish(op, Err(os_error(&error)));
                    return true;
                }
            };
            if received == 0 {
                pool.put_back(slot);
                self.ledger.finish_with(op, Outcome::Received(Ok(BytesMut::new())));
                return true;
            }
            // Less than was asked for means that the kernel has no more (epoll(7), "Questions and answers" 9),
            // and what comes later is an event. An end that was announced before is none: it stays readable.
            if received < pool.slot_bytes() && !socket.read_ended {
                socket.readable = false;
            }
            self.ledger.counters.provided_buffer_receives += 1;
            self.ledger.counters.stream_bytes_received += received as u64;
            let outcome = Outcome::Received(Ok(pool.lend(slot, received)));
            if shots == Shots::One {
                self.ledger.finish_with(op, outcome);
                return true;
            }
            self.ledger.go_on(op, outcome);
            if !socket.readable {
                return false;
            }
        }
        false
    }
}
