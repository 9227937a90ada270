//! Accepting and opening connections.

use std::io;
use std::net::SocketAddr;

use super::ledger::{OpIndex, Work};
use super::streams::{SHARE, os_error};
use super::{EpollDriver, sys};
use crate::counters::OpKind;
use crate::driver::{SocketId, Token};
use crate::error::{OpError, Refusal, Refused};
use crate::net::{OwnedSocket, SocketKind, options};
use crate::op::{Op, Outcome, PeerAddr};

/// Errors of a connection that failed before it was accepted, or of the network: accept(2) says to treat them as if
/// there had been no connection. Not `EPERM`: from a firewall it is one of them, but from a seccomp filter it is for
/// ever.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EINTR
                | libc::ECONNABORTED
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
        )
    )
}

impl EpollDriver {
    /// Takes connections off a listener. Whether the accept has ended.
    pub(super) fn accept(&mut self, listener: SocketId, op: OpIndex) -> bool {
        for _ in 0..SHARE {
            if self.sockets.is_full() {
                // The connection stays in the backlog.
                self.ledger.finish(op, Err(OpError::Os(libc::ENFILE)));
                return true;
            }
            let socket = self.sockets.get_mut(listener).expect("the caller has it");
            let kind = match socket.kind() {
                SocketKind::UnixListener => SocketKind::UnixStream,
                _ => SocketKind::TcpStream,
            };
            self.ledger.counters.syscalls += 1;
            let (fd, peer) = match sys::accept(socket.fd()) {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.readable = false;
                    return false;
                }
                Err(error) if is_of_the_connection(&error) => continue,
                Err(error) => {
                    self.ledger.finish(op, Err(os_error(&error)));
                    return true;
                }
            };
            let accepted = OwnedSocket::from_nonblocking(fd, kind);
            if kind == SocketKind::TcpStream {
                self.ledger.counters.syscalls += 1;
                // Fails only on a connection that is already gone, which shows soon enough.
                let _ = options::set_nodelay(accepted.as_fd());
            }
            match self.insert(accepted) {
                Ok(id) => {
                    let peer = peer.map_or(PeerAddr::Unix, PeerAddr::Inet);
                    self.ledger.go_on(op, Outcome::Accepted(Ok((id, peer))));
                }
                // There was a place, so the epoll set is full (epoll_ctl(2), ENOSPC).
                Err(refused) => {
                    drop(refused);
                    self.ledger.finish(op, Err(OpError::Os(libc::ENOSPC)));
                    return true;
                }
            }
        }
        false
    }

    /// Begins to open a connection. Its place in the table is taken from here on; the id is told with the result.
    pub(super) fn connect(&mut self, addr: SocketAddr, token: Token) -> Result<(), Refused<Op>> {
        if self.sockets.is_full() {
            self.ledger.counters.refused_full += 1;
            return Err(Refused { value: Op::Connect { addr }, reason: Refusal::Full });
        }
        self.ledger.counters.syscalls += 3;
        let begun = sys::connect(addr)
            .map(|fd| OwnedSocket::from_nonblocking(fd, SocketKind::TcpStream))
            .map_err(|error| os_error(&error))
            .and_then(|socket| self.insert(socket).map_err(|_| OpError::Os(libc::ENOSPC)));
        match begun {
            Ok(id) => {
                self.start(id, token, OpKind::Connect, Work::Connect);
                // Nothing is known until the first event: a socket that is not connected yet must not be asked.
                self.sockets.get_mut(id).expect("just inserted").writable = false;
            }
            Err(error) => self.ledger.fail_connect(token, error),
        }
        Ok(())
    }

    /// The connecting socket became writable or failed. The connect has ended.
    pub(super) fn finish_connect(&mut self, id: SocketId, op: OpIndex) -> bool {
        let socket = self.sockets.get(id).expect("the caller has it");
        self.ledger.counters.syscalls += 1;
        let failure = match options::take_error(socket.fd()) {
            Ok(None) => None,
            Ok(Some(errno)) => Some(OpError::Os(errno)),
            Err(error) => Some(os_error(&error)),
        };
        match failure {
            None => self.ledger.finish_with(op, Outcome::Connected(Ok(id))),
            Some(error) => {
                self.ledger.finish(op, Err(error));
                // It leaves the table with the completion.
                self.sockets.close(id);
            }
        }
        true
    }
}
