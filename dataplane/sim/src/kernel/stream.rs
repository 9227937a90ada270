//! Attempts of stream operations.

use std::net::SocketAddr;

use adit_io::{Close, OpError, Outcome, PeerAddr, Shots, SlotSize, Transmit};
use bytes::Bytes;

use super::complete::Checksum;
use super::{OpEntry, State};
use crate::net::{Event, Owner, SimNet, SimSocket};
use crate::pipe::{EPIPE, Readable};
use crate::tally::Family;

/// EMFILE, errno(3).
const EMFILE: i32 = 24;
/// ENOBUFS, errno(3).
const ENOBUFS: i32 = 105;
const ECONNRESET: i32 = crate::pipe::ECONNRESET;
/// ETIMEDOUT, errno(3).
const ETIMEDOUT: i32 = 110;
/// EINVAL, errno(3): for an operation on the wrong sort of socket.
pub(super) const EINVAL: i32 = 22;

/// What an operation does, and what it owns.
#[derive(Debug)]
pub(crate) enum Work {
    Accept,
    Connect {
        addr: SocketAddr,
        under_way: bool,
    },
    Recv {
        slot: SlotSize,
        shots: Shots,
    },
    Send {
        data: Vec<Bytes>,
        zero_copy: bool,
        checksum: Checksum,
    },
    ShutdownWrite,
    Watch,
    DatagramRecv,
    DatagramSend {
        transmit: Transmit,
        checksum: Checksum,
    },
    /// The result of a zero-copy send was reported; the buffer is still lent.
    Notify {
        data: Vec<Bytes>,
        checksum: Checksum,
    },
    /// The same for datagrams.
    DatagramNotify {
        transmit: Transmit,
        checksum: Checksum,
    },
    /// Nothing is owned any more.
    Ended,
}

impl Work {
    pub(crate) fn send(data: Vec<Bytes>, zero_copy: bool) -> Self {
        let checksum = Checksum::of_pieces(&data);
        Self::Send { data, zero_copy, checksum }
    }

    pub(crate) fn send_datagrams(transmit: Transmit) -> Self {
        let checksum =
            if transmit.zero_copy { Checksum::of([&transmit.buffer[..]]) } else { Checksum::default() };
        Self::DatagramSend { transmit, checksum }
    }

    pub(super) const fn is_receive(&self) -> bool {
        matches!(self, Self::Recv { .. })
    }

    pub(super) const fn is_stream_send(&self) -> bool {
        matches!(self, Self::Send { .. } | Self::Notify { .. })
    }

    pub(super) const fn waits_for_no_socket(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Notify { .. } | Self::DatagramNotify { .. } | Self::Ended)
    }
}

impl SimNet {
    pub(super) fn perform(&mut self, pid: usize, op: u64, entry: &mut OpEntry) {
        match entry.work {
            Work::Accept => self.perform_accept(pid, op, entry),
            Work::Connect { addr, under_way: false } => self.perform_connect(pid, op, entry, addr),
            Work::Recv { slot, shots } => self.perform_recv(pid, op, entry, slot, shots),
            Work::Send { .. } => self.perform_send(pid, op, entry),
            Work::ShutdownWrite => self.perform_shutdown(pid, op, entry),
            Work::Watch => self.perform_watch(pid, op, entry),
            Work::DatagramRecv => self.perform_datagram_recv(pid, op, entry),
            Work::DatagramSend { .. } => self.perform_datagram_send(pid, op, entry),
            Work::Connect { .. } | Work::Notify { .. } | Work::DatagramNotify { .. } | Work::Ended => {}
        }
    }

    /// Whether a multishot operation ends here for no reason.
    pub(super) fn ends_early(&mut self) -> bool {
        let ends = self.io_chance(|io| io.multishot_end);
        if ends {
            self.hit(Family::MultishotEnded);
        }
        ends
    }

    fn perform_accept(&mut self, pid: usize, op: u64, entry: &mut OpEntry) {
        let Some(listener) = entry.socket else { return };
        while let Some(socket) = self.accept(listener) {
            if self.io_chance(|io| io.accept_error) {
                // The connection stays in the queue: accept(2) takes it only when it has a descriptor for it.
                self.unaccept(listener, socket);
                self.hit(Family::AcceptError);
                return self.complete(pid, op, entry, false, Outcome::Accepted(Err(OpError::Os(EMFILE))));
            }
            let peer = self.sockets.get(socket).and_then(|socket| socket.peer);
            let Some(id) = self.adopt_socket(pid, socket) else {
                self.unaccept(listener, socket);
                return self.complete(pid, op, entry, false, Outcome::Accepted(Err(OpError::Os(EMFILE))));
            };
            let more = !self.ends_early();
            let peer = peer.map_or(PeerAddr::Unix, PeerAddr::Inet);
            self.complete(pid, op, entry, more, Outcome::Accepted(Ok((id, peer))));
            if !more {
                return;
            }
        }
    }

    fn unaccept(&mut self, listener: SimSocket, socket: SimSocket) {
        use crate::net::SocketKind;
        if let Some(SocketKind::Listener(state)) = self.sockets.get_mut(listener).map(|entry| &mut entry.kind)
        {
            state.queue.push_front(socket);
        }
    }

    fn perform_connect(&mut self, pid: usize, op: u64, entry: &mut OpEntry, addr: SocketAddr) {
        entry.work = Work::Connect { addr, under_way: true };
        let latency = self.pipe_latency();
        let from = self.processes[pid].host;
        self.schedule_in(latency, Event::Syn { pid, op, from, to: addr });
    }

    pub(crate) fn connected(&mut self, pid: usize, op: u64, result: Result<SimSocket, i32>) {
        let waits = self.processes[pid].ops.get(&op).is_some_and(|entry| entry.state != State::Done);
        let Some(mut entry) = (if waits { self.processes[pid].ops.remove(&op) } else { None }) else {
            // Whoever asked is gone or no longer interested.
            if let Ok(socket) = result {
                self.close(socket, Close::Reset);
            }
            return;
        };
        entry.work = Work::Ended;
        let outcome = match result {
            Ok(socket) => match self.adopt_socket(pid, socket) {
                Some(id) => Ok(id),
                None => {
                    self.close(socket, Close::Reset);
                    Err(OpError::Os(EMFILE))
                }
            },
            Err(errno) => Err(OpError::Os(errno)),
        };
        self.complete(pid, op, &mut entry, false, Outcome::Connected(outcome));
        self.processes[pid].ops.insert(op, entry);
    }

    /// Breaks the connection under an operation, if chance says so; returns the errno that it ends with.
    fn injected_error(&mut self, socket: SimSocket, sending: bool) -> Option<i32> {
        if !self.io_chance(|io| io.stream_error) {
            return None;
        }
        let choices: &[i32] = if sending {
            &[ECONNRESET, EPIPE, ETIMEDOUT, ENOBUFS]
        } else {
            &[ECONNRESET, ETIMEDOUT, ENOBUFS]
        };
        let errno = *self.io_rng.pick(choices);
        self.hit(match errno {
            ECONNRESET => Family::StreamReset,
            ETIMEDOUT => Family::StreamTimedOut,
            EPIPE => Family::StreamBrokenPipe,
            _ => Family::StreamNoMemory,
        });
        self.break_connection(socket, errno);
        Some(errno)
    }

    fn perform_recv(&mut self, pid: usize, op: u64, entry: &mut OpEntry, slot: SlotSize, shots: Shots) {
        let Some(socket) = entry.socket else { return };
        loop {
            let Some((_, side, pipe)) = self.pipe_of(socket) else {
                return self.complete(pid, op, entry, false, Outcome::Received(Err(OpError::Os(EINVAL))));
            };
            let available = match pipe.readable(side) {
                Readable::Nothing => return,
                Readable::Bytes(bytes) => bytes,
                Readable::End => {
                    return self.complete(
                        pid,
                        op,
                        entry,
                        false,
                        Outcome::Received(Ok(bytes::BytesMut::new())),
                    );
                }
                Readable::Failed(errno) => {
                    pipe.take_error(side);
                    return self.complete(pid, op, entry, false, Outcome::Received(Err(OpError::Os(errno))));
                }
            };
            if let Some(errno) = self.injected_error(socket, false) {
                return self.complete(pid, op, entry, false, Outcome::Received(Err(OpError::Os(errno))));
            }
            let mut wanted = available.min(slot.bytes());
            if wanted > 1 && self.io_chance(|io| io.short_receive) {
                wanted = self.io_rng.between(1, wanted as u64 - 1).try_into().unwrap_or(1);
                self.hit(Family::ShortReceive);
            }
            let Some(bytes) = self.fill_slot(pid, socket, slot, wanted) else {
                self.hit(Family::SlotsExhausted);
                self.note("no slot", entry.token.0, slot as u64);
                return self.complete(pid, op, entry, false, Outcome::Received(Err(OpError::NoBuffers)));
            };
            let more = shots == Shots::Many && !self.ends_early();
            self.complete(pid, op, entry, more, Outcome::Received(Ok(bytes)));
            if !more {
                return;
            }
        }
    }

    fn fill_slot(
        &mut self,
        pid: usize,
        socket: SimSocket,
        slot: SlotSize,
        wanted: usize,
    ) -> Option<bytes::BytesMut> {
        if self.io_chance(|io| io.no_slot) {
            return None;
        }
        let (connection, side) = self.stream(socket)?;
        let pipe = &mut self.connections.get_mut(&connection)?.pipe;
        let bytes = self.processes[pid].pool(slot).take(|buffer| {
            pipe.read(side, wanted, |piece| buffer.extend_from_slice(piece));
        })?;
        self.announce_space(connection, side);
        Some(bytes)
    }

    fn perform_send(&mut self, pid: usize, op: u64, entry: &mut OpEntry) {
        let Some(socket) = entry.socket else { return };
        let room = match self.pipe_of(socket) {
            Some((_, side, pipe)) => pipe.writable(side).map_err(OpError::Os),
            None => Err(OpError::Os(EINVAL)),
        };
        let result = match room {
            Ok(0) => return,
            Ok(room) => match self.injected_error(socket, true) {
                Some(errno) => Err(OpError::Os(errno)),
                None => Ok(room),
            },
            Err(error) => Err(error),
        };
        let Work::Send { data, zero_copy, checksum } = std::mem::replace(&mut entry.work, Work::Ended) else {
            return;
        };
        let result = result.map(|room| self.write_pieces(socket, &data, room));
        let zero_copy = zero_copy && self.processes[pid].config.zero_copy;
        // A failed zero-copy send may or may not have lent its buffer before it failed.
        if zero_copy && (result.is_ok() || self.io_rng.chance(crate::rng::Ppm::percent(50))) {
            self.complete(pid, op, entry, true, Outcome::Sent { result, data: None });
            entry.work = Work::Notify { data, checksum };
            self.schedule_notification(pid, op);
        } else {
            self.complete(pid, op, entry, false, Outcome::Sent { result, data: Some(data) });
        }
    }

    /// Writes as much as there is room for, or less.
    fn write_pieces(&mut self, socket: SimSocket, data: &[Bytes], room: usize) -> usize {
        let total: usize = data.iter().map(Bytes::len).sum();
        let mut left = total.min(room);
        if left > 1 && self.io_chance(|io| io.short_send) {
            left = self.io_rng.between(1, left as u64 - 1).try_into().unwrap_or(1);
            self.hit(Family::ShortSend);
        } else if left < total {
            self.hit(Family::ShortSend);
        }
        let sent = left;
        for piece in data {
            let bytes = piece.len().min(left);
            if bytes == 0 {
                break;
            }
            // A copy, as the kernel makes: what is lent must not pin the caller's receive slots.
            self.write(socket, Bytes::copy_from_slice(&piece[..bytes]));
            left -= bytes;
        }
        sent
    }

    fn perform_shutdown(&mut self, pid: usize, op: u64, entry: &mut OpEntry) {
        let Some(socket) = entry.socket else { return };
        let result = self.shutdown_write(socket).map_err(|error| OpError::Os(error.0));
        entry.work = Work::Ended;
        self.complete(pid, op, entry, false, Outcome::ShutdownWrite(result));
    }

    fn perform_watch(&mut self, pid: usize, op: u64, entry: &mut OpEntry) {
        let Some(socket) = entry.socket else { return };
        let gone = self.pipe_of(socket).is_none_or(|(_, side, pipe)| pipe.gone(side));
        if gone {
            entry.work = Work::Ended;
            self.complete(pid, op, entry, false, Outcome::Gone(Ok(())));
        }
    }

    /// Bytes that the other end of a process's socket has not taken.
    pub(crate) fn unsent_of(&self, pid: usize, socket: SimSocket) -> usize {
        let owned = self.sockets.get(socket).is_some_and(|entry| entry.owner == Owner::Process(pid));
        if owned { self.unsent_bytes(socket) } else { 0 }
    }
}
