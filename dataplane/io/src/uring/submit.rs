//! Stream operations on their way to the kernel.

use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;

use bytes::Bytes;
use io_uring::{opcode, squeue, types};
use socket2::{Domain, SockRef, Type};

use super::abi;
use super::flight::{Flight, Work, ZeroCopy};
use super::key::{FlightKey, Key};
use super::message::{Stable, VectorMessage, destination};
use super::{UringDriver, fd, group_of};
use crate::counters::OpKind;
use crate::driver::{SocketId, Token};
use crate::error::{OpError, Refusal, Refused};
use crate::net::{OwnedSocket, SocketKind, options};
use crate::op::{Completion, Op, Outcome, Shots, SlotSize};

/// The errno of a failed system call.
pub(super) fn os_error(error: &std::io::Error) -> OpError {
    OpError::Os(error.raw_os_error().unwrap_or(libc::EIO))
}

impl UringDriver {
    pub(super) fn submit_stream(&mut self, op: Op, token: Token) -> Result<(), Refused<Op>> {
        if self.is_full() {
            return Err(Refused { value: op, reason: Refusal::Full });
        }
        let socket = match &op {
            Op::Connect { .. } if self.sockets.is_full() => {
                self.counters.refused_full += 1;
                return Err(Refused { value: op, reason: Refusal::Full });
            }
            Op::Connect { addr } => {
                self.submit_connect(*addr, token);
                return Ok(());
            }
            Op::Accept { listener } => *listener,
            Op::Recv { socket, .. }
            | Op::Send { socket, .. }
            | Op::ShutdownWrite { socket }
            | Op::Watch { socket } => *socket,
        };
        if let Err(reason) = self.sockets.start_operation(socket) {
            return Err(Refused { value: op, reason });
        }
        match op {
            Op::Connect { .. } => unreachable!("handled above"),
            Op::Accept { .. } => self.submit_accept(socket, token),
            Op::Recv { slot, shots, .. } => self.submit_recv(socket, slot, shots, token),
            Op::Send { data, zero_copy, .. } => self.submit_send(socket, data, zero_copy, token),
            Op::ShutdownWrite { .. } => self.submit_shutdown(socket, token),
            Op::Watch { .. } => {
                let work = Work::Watch { half_closed: false, gone: false };
                let key = self.flights.insert(Flight::new(token, socket, work));
                self.arm_watch(key, socket);
            }
        }
        Ok(())
    }

    /// Where the operation's socket is. It was looked up before, or is kept by the operation itself.
    pub(super) fn fd_of(&self, socket: SocketId) -> types::Fd {
        fd(&self.sockets.get_even_closing(socket).expect("an operation keeps its socket").socket)
    }

    /// Queues an entry of an operation in the table.
    ///
    /// # Safety
    /// What the entry points to is owned by the operation's place in the table, or by nobody's.
    pub(super) unsafe fn push_flight(&mut self, kind: OpKind, key: FlightKey, entry: squeue::Entry) {
        self.submitted(kind);
        let entry = entry.user_data(Key::Flight(key).encode());
        // SAFETY: the table keeps what the entry points to until the final completion (R1), and the operation
        // counts as outstanding on its socket, which keeps the descriptor open.
        unsafe { self.ring.push(entry) };
    }

    fn submit_accept(&mut self, socket: SocketId, token: Token) {
        let work = Work::Accept { ended_by: None };
        let key = self.flights.insert(Flight::new(token, socket, work));
        if self.sockets.is_full() {
            // It would accept a connection only to drop it.
            self.submitted(OpKind::AcceptMultishot);
            let outcome = Outcome::Accepted(Err(OpError::Os(libc::EMFILE)));
            return self.finish_or_go_on(OpKind::AcceptMultishot, key, false, outcome);
        }
        // Without SOCK_NONBLOCK: the driver's sockets are blocking ones.
        let entry = opcode::AcceptMulti::new(self.fd_of(socket)).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: the entry points to nothing.
        unsafe { self.push_flight(OpKind::AcceptMultishot, key, entry) };
    }

    /// The socket takes its place in the table now, so that there is one when it is connected.
    fn submit_connect(&mut self, addr: SocketAddr, token: Token) {
        self.counters.syscalls += 2;
        let connecting = connecting_socket(addr);
        let socket = match connecting {
            Ok(socket) => self.insert(socket).expect("the table was not full"),
            Err(error) => {
                let outcome = Outcome::Connected(Err(os_error(&error)));
                self.submitted(OpKind::Connect);
                self.deliver(OpKind::Connect, Completion { token, more: false, outcome });
                return;
            }
        };
        self.sockets.start_operation(socket).expect("the socket is new");
        let mut addr = Stable::new(destination(addr));
        let raw = addr.get_mut();
        let (pointer, length) = (raw.as_ptr(), raw.len());
        let key = self.flights.insert(Flight::new(token, socket, Work::Connect { _addr: addr }));
        let entry = opcode::Connect::new(self.fd_of(socket), pointer, length).build();
        // SAFETY: the address is in the table.
        unsafe { self.push_flight(OpKind::Connect, key, entry) };
    }

    fn submit_recv(&mut self, socket: SocketId, slot: SlotSize, shots: Shots, token: Token) {
        let kind = match shots {
            Shots::One => OpKind::RecvSingle,
            Shots::Many => OpKind::RecvMultishot,
        };
        let key = self.flights.insert(Flight::new(token, socket, Work::Recv { slot, kind }));
        self.arm_recv(key);
    }

    /// Whether a receive of many shots is one of one shot each time. Linux 6.18 loses the end of a Unix stream now and
    /// then when it comes while a multishot receive is at work on the last bytes: the socket is shut down, its poll
    /// says so, and the receive waits for ever. A receive that is armed looks at the socket first, and sees it.
    pub(super) fn is_armed_each_time(&self, socket: SocketId) -> bool {
        self.sockets
            .get_even_closing(socket)
            .is_some_and(|socket| socket.socket.kind() == SocketKind::UnixStream)
    }

    /// Hands a receive in the table to the kernel, for the first time or again.
    pub(super) fn arm_recv(&mut self, key: FlightKey) {
        let flight = self.flights.get_mut(key);
        let socket = flight.socket;
        let Work::Recv { slot, kind } = flight.work else { unreachable!("only receives are armed") };
        let group = self.provided[group_of(slot)].group();
        let drained = self.sockets.get_even_closing(socket).is_some_and(|socket| socket.drained);
        let first = if drained { abi::RECVSEND_POLL_FIRST } else { 0 };
        let many = kind == OpKind::RecvMultishot && !self.is_armed_each_time(socket);
        let multishot = if many { abi::RECV_MULTISHOT } else { 0 };
        // Length 0: as much as the slot takes.
        let entry = opcode::Recv::new(self.fd_of(socket), std::ptr::null_mut(), 0)
            .buf_group(group)
            .ioprio(first | multishot)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        // SAFETY: the kernel takes the buffer from the provided ring, which stays until nothing is in flight.
        unsafe { self.push_flight(kind, key, entry) };
    }

    fn submit_send(&mut self, socket: SocketId, data: Vec<Bytes>, zero_copy: bool, token: Token) {
        let entry = self.sockets.get_even_closing_mut(socket).expect("an operation keeps its socket");
        entry.sends += 1;
        // A Unix socket has none.
        let wanted = zero_copy && self.zero_copy && entry.socket.kind() == SocketKind::TcpStream;
        let zero_copy = if wanted { ZeroCopy::Asked } else { ZeroCopy::No };
        let message = (data.len() != 1)
            .then(|| self.vectors.pop().unwrap_or_else(|| Stable::new(VectorMessage::new())));
        let work = Work::Send { data, message, zero_copy };
        let key = self.flights.insert(Flight::new(token, socket, work));
        self.push_send(key);
    }

    /// Hands a send in the table to the kernel, for the first time or again.
    pub(super) fn push_send(&mut self, key: FlightKey) {
        let flight = self.flights.get_mut(key);
        let socket = flight.socket;
        let Work::Send { data, message, zero_copy } = &mut flight.work else {
            unreachable!("only sends are sent")
        };
        let without_copy = *zero_copy == ZeroCopy::Asked;
        let target =
            fd(&self.sockets.get_even_closing(socket).expect("an operation keeps its socket").socket);
        let flags = libc::MSG_NOSIGNAL;
        let entry = match (message, data.first()) {
            (None, Some(piece)) => {
                let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
                if without_copy {
                    opcode::SendZc::new(target, piece.as_ptr(), length)
                        .flags(flags)
                        .zc_flags(abi::SEND_ZC_REPORT_USAGE)
                        .build()
                } else {
                    opcode::Send::new(target, piece.as_ptr(), length).flags(flags).build()
                }
            }
            (Some(message), _) => {
                let header = message.get_mut().point_at(data);
                if without_copy {
                    opcode::SendMsgZc::new(target, header)
                        .flags(flags.cast_unsigned())
                        .ioprio(abi::SEND_ZC_REPORT_USAGE)
                        .build()
                } else {
                    opcode::SendMsg::new(target, header).flags(flags.cast_unsigned()).build()
                }
            }
            (None, None) => unreachable!("only a single piece goes without a message"),
        };
        let kind = if without_copy { OpKind::SendZeroCopy } else { OpKind::Send };
        // SAFETY: the pieces and the message are in the table; the message's memory does not move with it.
        unsafe { self.push_flight(kind, key, entry) };
    }

    /// shutdown(2) does not wait, while the ring would give it to a worker thread. It must not overtake a send.
    fn submit_shutdown(&mut self, socket: SocketId, token: Token) {
        self.submitted(OpKind::ShutdownWrite);
        let key = self.flights.insert(Flight::new(token, socket, Work::ShutdownWrite));
        let entry = self.sockets.get_even_closing_mut(socket).expect("an operation keeps its socket");
        if entry.sends > 0 {
            entry.shutdown = Some(key);
        } else {
            self.finish_shutdown(key);
        }
    }

    /// Does the shutdown and completes it.
    pub(super) fn finish_shutdown(&mut self, key: FlightKey) {
        let socket = self.flights.get_mut(key).socket;
        let entry = self.sockets.get_even_closing_mut(socket).expect("an operation keeps its socket");
        entry.shutdown = None;
        let result = SockRef::from(&entry.socket.as_fd()).shutdown(Shutdown::Write);
        self.counters.syscalls += 1;
        self.end_shutdown(key, result.map_err(|error| os_error(&error)));
    }

    /// Completes a shutdown that was not done.
    pub(super) fn abandon_shutdown(&mut self, key: FlightKey) {
        let socket = self.flights.get_mut(key).socket;
        if let Some(entry) = self.sockets.get_even_closing_mut(socket) {
            entry.shutdown = None;
        }
        self.end_shutdown(key, Err(OpError::Cancelled));
    }

    fn end_shutdown(&mut self, key: FlightKey, result: Result<(), OpError>) {
        let flight = self.end_flight(key);
        let outcome = Outcome::ShutdownWrite(result);
        self.deliver(OpKind::ShutdownWrite, Completion { token: flight.token, more: false, outcome });
    }

    /// Polls for the end of a connection. io_uring adds POLLRDHUP to every poll, so that a peer that has only ended
    /// its own direction completes it at once. From then on a multishot poll takes its place: it reports changes,
    /// and those that are not the end are passed over.
    pub(super) fn arm_watch(&mut self, key: FlightKey, socket: SocketId) {
        let half_closed = matches!(self.flights.get_mut(key).work, Work::Watch { half_closed: true, .. });
        let events = u32::from((libc::POLLHUP | libc::POLLERR).cast_unsigned());
        let entry = opcode::PollAdd::new(self.fd_of(socket), events).multi(half_closed).build();
        // SAFETY: the entry points to nothing.
        unsafe { self.push_flight(OpKind::Watch, key, entry) };
    }
}

fn connecting_socket(addr: SocketAddr) -> std::io::Result<OwnedSocket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM.cloexec(), None)?;
    let socket = OwnedSocket::from_nonblocking(OwnedFd::from(socket), SocketKind::TcpStream);
    options::set_nodelay(socket.as_fd())?;
    Ok(socket)
}
