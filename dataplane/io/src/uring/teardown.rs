//! The ends of things: of a socket, and of the driver (R6).

use std::mem;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use io_uring::types::CancelBuilder;
use io_uring::{opcode, types};
use socket2::SockRef;

use super::flight::Flights;
use super::key::Key;
use super::{Socket, UringDriver, fd};
use crate::counters::OpKind;
use crate::driver::{Close, SocketId};
use crate::net::{OwnedSocket, SocketKind, options};
use crate::table::Closing;

/// How long the end of a driver waits for the kernel to give up what it holds. Cancellations take microseconds; only
/// notifications of zero-copy sends depend on the peer.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

impl UringDriver {
    pub(super) fn close_socket(&mut self, id: SocketId, how: Close) {
        let Some(entry) = self.sockets.get(id) else { return };
        let reset = how == Close::Reset && entry.socket.kind() == SocketKind::TcpStream;
        if reset {
            self.counters.syscalls += 1;
            // Fails on no open TCP socket.
            let _ = options::reset_on_close(entry.socket.as_fd());
        }
        let target = fd(&entry.socket);
        match self.sockets.close(id) {
            Closing::Stale => {}
            Closing::Now(socket) => self.close_descriptor(socket),
            Closing::Later => {
                self.end_towards_peer(id, reset);
                let entry = opcode::AsyncCancel2::new(CancelBuilder::fd(target).all()).build();
                self.submitted(OpKind::Cancel);
                // SAFETY: the entry points to nothing, and the descriptor stays open: operations are outstanding.
                unsafe { self.ring.push(entry.user_data(Key::Cancel.encode())) };
            }
        }
    }

    /// A zero-copy send cannot be cancelled: its notification comes when the peer has acknowledged the bytes, or
    /// never. So that the peer, too, learns of the end only then, it is told now.
    fn end_towards_peer(&mut self, id: SocketId, reset: bool) {
        let Some(entry) = self.sockets.get_even_closing(id) else { return };
        if entry.notifications == 0 {
            return;
        }
        self.counters.syscalls += 1;
        if reset {
            disconnect(&entry.socket);
        } else {
            // Fails only if the connection is already gone.
            let _ = SockRef::from(&entry.socket.as_fd()).shutdown(Shutdown::Write);
        }
    }

    /// Closes a socket that has left the table, through the ring.
    pub(super) fn close_descriptor(&mut self, socket: Socket) {
        self.counters.sockets_open = self.sockets.len() as u64;
        if self.stopping {
            // There is no later turn that would hand the entry over.
            return drop(socket);
        }
        self.submitted(OpKind::Close);
        // The descriptor now belongs to the entry. It stays open until the kernel executes it, in order.
        let socket = mem::ManuallyDrop::new(socket);
        let entry = opcode::Close::new(types::Fd(socket.socket.raw_fd())).build();
        // SAFETY: the entry points to nothing.
        unsafe { self.ring.push(entry.user_data(Key::Close.encode())) };
    }

    /// Cancels everything and waits until nothing is in flight. False when something is left.
    fn drain(&mut self) -> bool {
        self.stopping = true;
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any().all()).build();
        // SAFETY: the entry points to nothing.
        unsafe { self.ring.push(entry.user_data(Key::Cancel.encode())) };
        let deadline = Instant::now() + DRAIN_TIME_MAX;
        let mut timeout = Duration::ZERO;
        loop {
            if self.ring.enter(Some(timeout)).is_err() {
                return false;
            }
            while let Some(entry) = self.ring.next() {
                self.complete(&entry);
            }
            self.ready.clear();
            if self.flights.is_empty() && !self.wake.armed {
                return true;
            }
            timeout = deadline.saturating_duration_since(Instant::now());
            if timeout.is_zero() {
                return false;
            }
        }
    }
}

impl Drop for UringDriver {
    /// R6. The kernel writes into receive slots and reads from send buffers whenever it likes until an operation's
    /// final completion, and closing the ring does not wait for that: it cancels in the background. So: cancel
    /// everything, wait until nothing is in flight, close the ring, and only then free memory (the order of the
    /// fields). What the kernel does not give up in time is leaked: lost memory harms nobody, while memory that
    /// has a new owner and is sent to the old peer does.
    fn drop(&mut self) {
        if self.drain() {
            return;
        }
        mem::forget(mem::replace(&mut self.flights, Flights::new()));
        mem::forget(mem::take(&mut self.provided));
        self.wake.leak();
    }
}

/// Resets a TCP connection without closing its descriptor: connect(2) to `AF_UNSPEC`. What was not acknowledged is
/// dropped, and with it the kernel's hold on the memory of zero-copy sends.
fn disconnect(socket: &OwnedSocket) {
    let nowhere = libc::sockaddr {
        sa_family: libc::sa_family_t::try_from(libc::AF_UNSPEC).expect("zero"),
        sa_data: [0; 14],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).expect("16");
    // SAFETY: the descriptor is open, and the address lives across the call and is `length` bytes long. Nothing can
    // be done about a failure: the connection is then gone already.
    unsafe { libc::connect(socket.raw_fd(), &raw const nowhere, length) };
}
