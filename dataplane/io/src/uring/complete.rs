//! Completions of stream operations on their way to the caller.

use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};

use bytes::{Bytes, BytesMut};
use io_uring::cqueue;
use socket2::SockRef;

use super::flight::{Flight, Work, ZeroCopy};
use super::key::{FlightKey, Key};
use super::{UringDriver, abi, group_of};
use crate::counters::OpKind;
use crate::driver::SocketId;
use crate::error::OpError;
use crate::net::{OwnedSocket, SocketKind, options};
use crate::op::{Completion, Outcome, PeerAddr};

/// Results that mean "not without a copy": the socket cannot, the kernel knows the operation but not a flag of it,
/// or the pages cannot be locked (`RLIMIT_MEMLOCK`).
pub(super) const fn refuses_zero_copy(result: i32) -> bool {
    matches!(-result, libc::EOPNOTSUPP | libc::EINVAL | libc::ENOMEM | libc::ENOBUFS)
}

/// A result below zero.
pub(super) const fn error_of(result: i32) -> OpError {
    match -result {
        libc::ECANCELED => OpError::Cancelled,
        libc::ENOBUFS => OpError::NoBuffers,
        errno => OpError::Os(errno),
    }
}

/// The same where there is no buffer to choose, so that `ENOBUFS` is what the socket says.
pub(super) const fn send_error_of(result: i32) -> OpError {
    match -result {
        libc::ECANCELED => OpError::Cancelled,
        errno => OpError::Os(errno),
    }
}

/// A result of zero or more.
pub(super) fn count_of(result: i32) -> usize {
    usize::try_from(result).expect("checked to be no error")
}

impl UringDriver {
    pub(super) fn complete(&mut self, entry: &cqueue::Entry) {
        let key = match Key::decode(entry.user_data()) {
            Key::Flight(key) => key,
            Key::Cancel => return self.counters.completed[OpKind::Cancel as usize] += 1,
            Key::Close => return self.counters.completed[OpKind::Close as usize] += 1,
            Key::Wake => {
                self.counters.completed[OpKind::Wake as usize] += 1;
                return self.wake.completed();
            }
        };
        let flight = self.flights.get_mut(key);
        let socket = flight.socket;
        match &flight.work {
            Work::Accept { .. } => self.complete_accept(key, socket, entry),
            Work::Connect { .. } => self.complete_connect(key, entry.result()),
            Work::Recv { .. } => self.complete_recv(key, socket, entry),
            Work::Send { .. } => self.complete_send(key, socket, entry),
            Work::ShutdownWrite => unreachable!("a shutdown is no operation of the ring"),
            Work::Watch { .. } => self.complete_watch(key, socket, entry),
            Work::RecvDatagrams => self.complete_recv_datagrams(key, socket, entry),
            Work::SendDatagrams { .. } => self.complete_send_datagrams(key, socket, entry),
        }
    }

    /// Takes a finished operation out of the table, and its socket with it if that was closed meanwhile.
    pub(super) fn end_flight(&mut self, key: FlightKey) -> Flight {
        let flight = self.flights.remove(key);
        if let Some(socket) = self.sockets.end_operation(flight.socket) {
            self.close_descriptor(socket);
        }
        flight
    }

    /// Whether an operation must not be submitted again: it, its socket or the driver is to end.
    pub(super) fn is_ending(&mut self, key: FlightKey) -> bool {
        let flight = self.flights.get_mut(key);
        flight.cancelled || self.stopping || self.sockets.is_closing(flight.socket)
    }

    /// Delivers an outcome; the final one ends the operation.
    pub(super) fn finish_or_go_on(&mut self, kind: OpKind, key: FlightKey, more: bool, outcome: Outcome) {
        let token = if more { self.flights.get_mut(key).token } else { self.end_flight(key).token };
        self.deliver(kind, Completion { token, more, outcome });
    }

    fn complete_accept(&mut self, key: FlightKey, listener: SocketId, entry: &cqueue::Entry) {
        let more = cqueue::more(entry.flags());
        let outcome = match entry.result() {
            result if result < 0 => {
                let Work::Accept { ended_by } = &self.flights.get_mut(key).work else { return };
                Outcome::Accepted(Err(ended_by.map_or(error_of(result), OpError::Os)))
            }
            result => {
                // SAFETY: the kernel has put a new descriptor here, which nobody else knows of.
                let fd = unsafe { OwnedFd::from_raw_fd(result) };
                match self.adopt_accepted(listener, fd) {
                    Ok(accepted) => {
                        if more && self.sockets.is_full() {
                            self.end_accept_as_full(key, true);
                        }
                        Outcome::Accepted(Ok(accepted))
                    }
                    Err(NotAdopted::PeerGone) if more => return,
                    Err(NotAdopted::PeerGone) => Outcome::Accepted(Err(OpError::Os(libc::ECONNABORTED))),
                    Err(NotAdopted::TableFull) => return self.end_accept_as_full(key, more),
                }
            }
        };
        self.finish_or_go_on(OpKind::AcceptMultishot, key, more, outcome);
    }

    fn adopt_accepted(
        &mut self,
        listener: SocketId,
        fd: OwnedFd,
    ) -> Result<(SocketId, PeerAddr), NotAdopted> {
        let listener = self.sockets.get_even_closing(listener).expect("an operation keeps its socket");
        let (kind, peer) = if listener.socket.kind() == SocketKind::UnixListener {
            (SocketKind::UnixStream, PeerAddr::Unix)
        } else {
            self.counters.syscalls += 2;
            let peer = SockRef::from(&fd).peer_addr().ok().and_then(|addr| addr.as_socket());
            // A connection that was reset while it was in the queue has no peer any more.
            let mut peer = peer.ok_or(NotAdopted::PeerGone)?;
            if let SocketAddr::V6(v6) = peer
                && let Some(v4) = v6.ip().to_ipv4_mapped()
            {
                peer = SocketAddr::new(v4.into(), v6.port());
            }
            (SocketKind::TcpStream, PeerAddr::Inet(peer))
        };
        let socket = OwnedSocket::from_nonblocking(fd, kind);
        if kind == SocketKind::TcpStream {
            // Fails only on a connection that is gone, which its first operation will tell.
            let _ = options::set_nodelay(socket.as_fd());
        }
        self.insert(socket).map(|id| (id, peer)).map_err(|_closed| NotAdopted::TableFull)
    }

    /// The socket table is full. Going on would accept connections only to drop them, as happens to those that are
    /// accepted before this is heard; ended, they wait in the listener's queue.
    fn end_accept_as_full(&mut self, key: FlightKey, more: bool) {
        let Work::Accept { ended_by } = &mut self.flights.get_mut(key).work else { return };
        let first = ended_by.replace(libc::EMFILE).is_none();
        if !more {
            let outcome = Outcome::Accepted(Err(OpError::Os(libc::EMFILE)));
            self.finish_or_go_on(OpKind::AcceptMultishot, key, false, outcome);
        } else if first {
            self.cancel_flight(key);
        }
    }

    fn complete_connect(&mut self, key: FlightKey, result: i32) {
        let flight = self.end_flight(key);
        let outcome = if result < 0 {
            let socket = self.sockets.remove(flight.socket).expect("nobody else knows the socket");
            self.close_descriptor(socket);
            Err(send_error_of(result))
        } else {
            Ok(flight.socket)
        };
        let outcome = Outcome::Connected(outcome);
        self.deliver(OpKind::Connect, Completion { token: flight.token, more: false, outcome });
    }

    fn complete_recv(&mut self, key: FlightKey, socket: SocketId, entry: &cqueue::Entry) {
        let Work::Recv { slot, kind } = self.flights.get_mut(key).work else { return };
        let more = cqueue::more(entry.flags());
        let result = entry.result();
        let provided = &mut self.provided[group_of(slot)];
        let received = match (cqueue::buffer_select(entry.flags()), result) {
            (Some(id), 1..) => {
                let data = provided.lend(id, count_of(result));
                self.counters.provided_buffer_receives += 1;
                self.counters.stream_bytes_received += data.len() as u64;
                Ok(data)
            }
            (id, _) => {
                if let Some(id) = id {
                    provided.return_unused(id);
                }
                if result < 0 { Err(error_of(result)) } else { Ok(BytesMut::new()) }
            }
        };
        if received == Err(OpError::NoBuffers) {
            // Not yet, if only the ring was empty. An operation that is to end gets its end all the same.
            if self.provided[group_of(slot)].refill() && !self.is_ending(key) {
                return self.arm_recv(key);
            }
            self.counters.no_buffers += 1;
        }
        if let Some(socket) = self.sockets.get_even_closing_mut(socket) {
            socket.drained = result > 0 && !cqueue::sock_nonempty(entry.flags());
        }
        let again = !more
            && result > 0
            && kind == OpKind::RecvMultishot
            && self.is_armed_each_time(socket)
            && !self.is_ending(key);
        self.finish_or_go_on(kind, key, more || again, Outcome::Received(received));
        if again {
            self.arm_recv(key);
        }
    }

    fn complete_send(&mut self, key: FlightKey, socket: SocketId, entry: &cqueue::Entry) {
        let (result, flags) = (entry.result(), entry.flags());
        if cqueue::notif(flags) {
            return self.complete_send_notification(key, socket, result);
        }
        let more = cqueue::more(flags);
        let closing = self.sockets.is_closing(socket);
        let ending = self.is_ending(key);
        let Work::Send { zero_copy, .. } = &mut self.flights.get_mut(key).work else { return };
        let kind = if *zero_copy == ZeroCopy::No { OpKind::Send } else { OpKind::SendZeroCopy };
        if *zero_copy == ZeroCopy::Asked && refuses_zero_copy(result) && !ending {
            self.zero_copy = false;
            *zero_copy = if more { ZeroCopy::SendAgain } else { ZeroCopy::No };
            if !more {
                self.push_send(key);
            }
            return;
        }
        if more {
            *zero_copy = ZeroCopy::Notifying;
        }
        let sent = if result < 0 { Err(send_error_of(result)) } else { Ok(count_of(result)) };
        self.counters.stream_bytes_sent += sent.unwrap_or(0) as u64;
        let shutdown = self.end_of_sending(socket, more);
        if more {
            let token = self.flights.get_mut(key).token;
            let outcome = Outcome::Sent { result: sent, data: None };
            self.deliver(kind, Completion { token, more, outcome });
        } else {
            self.end_send(kind, key, |data| Outcome::Sent { result: sent, data: Some(data) });
        }
        self.resume_shutdown(shutdown, closing);
    }

    /// A send has its result, and maybe a notification to come. The shutdown that waited for it, if any.
    fn end_of_sending(&mut self, socket: SocketId, notification: bool) -> Option<FlightKey> {
        let socket = self.sockets.get_even_closing_mut(socket)?;
        socket.sends -= 1;
        socket.notifications += u32::from(notification);
        if socket.sends == 0 { socket.shutdown } else { None }
    }

    fn resume_shutdown(&mut self, shutdown: Option<FlightKey>, closing: bool) {
        match shutdown {
            Some(shutdown) if closing => self.abandon_shutdown(shutdown),
            Some(shutdown) => self.finish_shutdown(shutdown),
            None => {}
        }
    }

    /// The kernel no longer reads the bytes of a zero-copy send.
    fn complete_send_notification(&mut self, key: FlightKey, socket: SocketId, result: i32) {
        self.note_usage(result);
        let ending = self.is_ending(key);
        let Work::Send { zero_copy, .. } = &mut self.flights.get_mut(key).work else { return };
        if *zero_copy == ZeroCopy::SendAgain {
            *zero_copy = ZeroCopy::No;
            if ending {
                let closing = self.sockets.is_closing(socket);
                let shutdown = self.end_of_sending(socket, false);
                let result = Err(OpError::Cancelled);
                self.end_send(OpKind::Send, key, |data| Outcome::Sent { result, data: Some(data) });
                self.resume_shutdown(shutdown, closing);
            } else {
                self.push_send(key);
            }
            return;
        }
        if let Some(socket) = self.sockets.get_even_closing_mut(socket) {
            socket.notifications -= 1;
        }
        self.end_send(OpKind::SendZeroCopy, key, |data| Outcome::SendReleased { data });
    }

    /// What a notification says about the send. Once the kernel had to copy, going on would only cost: the path
    /// (loopback, veth, a device without scatter-gather) is what it is.
    pub(super) fn note_usage(&mut self, result: i32) {
        if result.cast_unsigned() & abi::NOTIF_USAGE_ZC_COPIED != 0 {
            self.counters.zero_copy_copied += 1;
            self.zero_copy = false;
        }
    }

    fn end_send(&mut self, kind: OpKind, key: FlightKey, outcome: impl FnOnce(Vec<Bytes>) -> Outcome) {
        let flight = self.end_flight(key);
        let Work::Send { data, message, .. } = flight.work else { unreachable!("a send") };
        self.vectors.extend(message);
        self.deliver(kind, Completion { token: flight.token, more: false, outcome: outcome(data) });
    }

    fn complete_watch(&mut self, key: FlightKey, socket: SocketId, entry: &cqueue::Entry) {
        let more = cqueue::more(entry.flags());
        let ending = self.is_ending(key);
        let Work::Watch { half_closed, gone } = &mut self.flights.get_mut(key).work else { return };
        let result = match entry.result() {
            _ if *gone && !more => Ok(()),
            _ if *gone => return,
            result if result < 0 => Err(send_error_of(result)),
            events if events & i32::from(libc::POLLHUP | libc::POLLERR) != 0 => Ok(()),
            // Only the peer's direction has ended.
            _ if more => return,
            _ if ending => Err(OpError::Cancelled),
            _ => {
                *half_closed = true;
                return self.arm_watch(key, socket);
            }
        };
        if more {
            // The poll must go before it is over.
            *gone = true;
            return self.cancel_flight(key);
        }
        self.finish_or_go_on(OpKind::Watch, key, false, Outcome::Gone(result));
    }
}

/// Why an accepted connection did not become a socket of the driver.
enum NotAdopted {
    /// It was reset before we looked.
    PeerGone,
    /// No place for it.
    TableFull,
}
