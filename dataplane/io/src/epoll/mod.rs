//! The driver over epoll(7), for where io_uring is denied: the same contract, readiness inside, completions outside.
//!
//! An operation is tried when its socket is known to be ready, in the turn after its submission or after the
//! event; what comes of it is queued as a completion and handed out by the turn. The kernel never owns a buffer
//! between two system calls, so R1 and R6 hold by construction, a cancellation always succeeds unless the
//! operation has already ended, and zero copy is not offered: such sends complete plainly.
//!
//! # Edge-triggered
//!
//! Each socket is registered once, for both directions, and its readiness is remembered here until a system call
//! answers `EAGAIN`. A receive that is not armed then costs nothing: level-triggered, a socket that has bytes which
//! nobody wants would end every wait, or need an epoll_ctl(2) each time that it is armed and disarmed. A tunnel
//! under backpressure is just that.
//!
//! # Fairness
//!
//! Sockets with something to do stand in one queue. Each gets a bounded number of system calls and then goes to its
//! end; while anybody stands there a turn does not wait.

mod accept;
mod datagrams;
mod ledger;
mod poller;
mod socket;
mod streams;
mod sys;
mod wake;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::buf::SlotPool;
use crate::counters::{Counters, OpKind};
use crate::driver::{
    Capabilities, Close, DatagramDriver, Driver, DriverKind, SlotUse, SocketId, Token, Wake,
};
use crate::error::{OpError, Refusal, Refused, StartError};
use crate::net::{OwnedSocket, options};
use crate::op::{Completion, DatagramOp, Op, SlotSize};
use crate::select::DriverConfig;
use crate::table::{Closing, SocketTable};

use ledger::{Ledger, Work};
use poller::Poller;
use socket::Socket;

/// Bytes of a datagram slot: more than the largest UDP payload and the largest merged train (`UDP_GRO` never goes
/// beyond 65,535).
const DATAGRAM_SLOT_BYTES: usize = 64 * 1024;
/// Lent slots looked at per pool and turn, to keep [`SlotUse::held`] close to the truth. An empty pool looks at all.
const RECLAIM_PER_TURN: usize = 16;

/// The three classes of receive slot.
struct Slots {
    small: SlotPool,
    large: SlotPool,
    datagrams: SlotPool,
}

impl Slots {
    const fn stream(&mut self, size: SlotSize) -> &mut SlotPool {
        match size {
            SlotSize::Small => &mut self.small,
            SlotSize::Large => &mut self.large,
        }
    }
}

/// A [`Driver`] over epoll(7).
pub struct EpollDriver {
    poller: Poller,
    sockets: SocketTable<Socket>,
    ledger: Ledger,
    slots: Slots,
    /// Sockets that may have something to do. Each stands here at most once ([`Socket::queued`]), besides ids that
    /// went stale since the last turn.
    work: VecDeque<SocketId>,
    now: Instant,
    capabilities: Capabilities,
}

impl fmt::Debug for EpollDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpollDriver")
            .field("sockets", &self.sockets.len())
            .field("ledger", &self.ledger)
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

impl EpollDriver {
    /// A driver of this size.
    ///
    /// # Errors
    /// [`StartError`] when the kernel gives no epoll or event descriptor: `EMFILE`, `ENFILE` or a filter.
    pub fn new(config: &DriverConfig) -> Result<Self, StartError> {
        let poller = Poller::new().map_err(|error| StartError {
            kind: DriverKind::Epoll,
            cause: error.to_string(),
            remedy:
                "raise the limit of open files (ulimit -n), and allow epoll_create1, epoll_ctl, epoll_wait \
                     and eventfd2 in the container's seccomp profile"
                    .to_owned(),
        })?;
        let gso_segments_max = if options::gso_supported() { options::GSO_SEGMENTS_MAX } else { 1 };
        Ok(Self {
            poller,
            sockets: SocketTable::new(config.sockets_max),
            ledger: Ledger::new(config.ops_max),
            slots: Slots {
                small: SlotPool::new(config.small_slots, SlotSize::Small.bytes()),
                large: SlotPool::new(config.large_slots, SlotSize::Large.bytes()),
                datagrams: SlotPool::new(config.datagram_slots, DATAGRAM_SLOT_BYTES),
            },
            work: VecDeque::new(),
            now: Instant::now(),
            capabilities: Capabilities {
                kind: DriverKind::Epoll,
                gso_segments_max,
                gro: options::gro_supported(),
                zero_copy: false,
            },
        })
    }

    /// Takes a socket into the table and registers it. `EMFILE`-like errors of epoll_ctl(2) count as a full table.
    fn insert(&mut self, socket: OwnedSocket) -> Result<SocketId, OwnedSocket> {
        let id = self.sockets.insert(Socket::new(socket)).map_err(Socket::into_inner)?;
        self.ledger.counters.syscalls += 1;
        let added = self.poller.add(self.sockets.get(id).expect("just inserted").fd(), id);
        if added.is_err() {
            return Err(self.sockets.remove(id).expect("nothing is outstanding").into_inner());
        }
        self.count_sockets();
        Ok(id)
    }

    fn count_sockets(&mut self) {
        self.ledger.counters.sockets_open = self.sockets.len() as u64;
    }

    /// Puts a socket into the queue of those that may have something to do.
    fn enqueue(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && !socket.queued
        {
            socket.queued = true;
            self.work.push_back(id);
        }
    }

    /// Whether one more operation fits (R7).
    fn admit(&mut self) -> Result<(), Refusal> {
        if self.ledger.is_full() {
            self.ledger.counters.refused_full += 1;
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Files an operation on a socket and queues the socket.
    fn start(&mut self, id: SocketId, token: Token, kind: OpKind, work: Work) {
        let is_send = matches!(
            work,
            Work::Send { .. } | Work::SendDatagrams { .. } | Work::ShutdownWrite | Work::Connect
        );
        let is_watch = matches!(work, Work::Watch);
        let op = self.ledger.start(token, kind, id, work);
        let socket = self.sockets.start_operation(id).expect("checked by the caller");
        if is_send {
            socket.sending.push_back(op);
        } else if is_watch {
            socket.watching = Some(op);
        } else {
            socket.receiving = Some(op);
        }
        self.enqueue(id);
    }

    /// Why an operation on this socket cannot be taken, if so. At most one receive and one watch at a time.
    fn check(&mut self, id: SocketId, taken: impl FnOnce(&Socket) -> bool) -> Result<(), Refusal> {
        match self.sockets.get(id) {
            None => Err(Refusal::StaleSocket),
            Some(socket) if taken(socket) => Err(Refusal::Busy),
            Some(_) => self.admit(),
        }
    }

    /// Gives every socket in the queue its share, once, until `max` completions wait to be handed out.
    fn run(&mut self, max: usize) {
        for _ in 0..self.work.len() {
            if self.ledger.waiting() >= max {
                return;
            }
            let Some(id) = self.work.pop_front() else { return };
            // Stale or closing: nothing is to be done for it any more.
            let Some(socket) = self.sockets.get_mut(id) else { continue };
            socket.queued = false;
            if let Some(op) = socket.watching.filter(|_| socket.hung_up) {
                socket.watching = None;
                self.ledger.finish(op, Ok(()));
            }
            self.run_sends(id);
            self.run_receive(id);
            if self.sockets.get(id).is_some_and(|socket| socket.has_work(&self.ledger)) {
                self.enqueue(id);
            }
        }
    }

    /// Waits for events, at most for `timeout`, and queues the sockets they are of.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.ledger.counters.syscalls += 1;
        let events = self.poller.wait(timeout)?;
        for at in 0..events {
            let Some((id, ready)) = self.poller.event(at) else {
                self.ledger.woken();
                continue;
            };
            if let Some(socket) = self.sockets.get_mut(id) {
                socket.apply(ready);
                if socket.has_work(&self.ledger) && !socket.queued {
                    socket.queued = true;
                    self.work.push_back(id);
                }
            }
        }
        Ok(())
    }

    /// Hands out up to `max` completions.
    fn deliver(&mut self, max: usize, out: &mut Vec<Completion>) {
        for _ in 0..max {
            let Some((completion, ended)) = self.ledger.next_completion() else { break };
            out.push(completion);
            if let Some(id) = ended {
                // The last completion of a closed socket: now the descriptor goes.
                if let Some(closed) = self.sockets.end_operation(id) {
                    self.ledger.counters.syscalls += 1;
                    drop(closed);
                }
            }
        }
        self.count_sockets();
    }
}

impl Driver for EpollDriver {
    type Socket = OwnedSocket;

    fn adopt(&mut self, socket: OwnedSocket) -> Result<SocketId, Refused<OwnedSocket>> {
        self.insert(socket).map_err(|value| {
            self.ledger.counters.refused_full += 1;
            Refused { value, reason: Refusal::Full }
        })
    }

    fn release(&mut self, socket: SocketId) -> Result<OwnedSocket, Refused<SocketId>> {
        let released = self.sockets.remove(socket).map_err(|reason| Refused { value: socket, reason })?;
        self.ledger.counters.syscalls += 1;
        self.poller.remove(released.fd());
        self.count_sockets();
        Ok(released.into_inner())
    }

    fn submit(&mut self, op: Op, token: Token) -> Result<(), Refused<Op>> {
        let checked = match &op {
            Op::Accept { listener: socket } | Op::Recv { socket, .. } => {
                self.check(*socket, |socket| socket.receiving.is_some())
            }
            Op::Watch { socket } => self.check(*socket, |socket| socket.watching.is_some()),
            Op::Send { socket, .. } | Op::ShutdownWrite { socket } => self.check(*socket, |_| false),
            Op::Connect { .. } => self.admit(),
        };
        if let Err(reason) = checked {
            return Err(Refused { value: op, reason });
        }
        match op {
            Op::Accept { listener } => self.start(listener, token, OpKind::AcceptMultishot, Work::Accept),
            Op::Connect { addr } => return self.connect(addr, token),
            Op::Recv { socket, slot, shots } => {
                self.start(socket, token, ledger::receive_kind(shots), Work::Recv { slot, shots });
            }
            Op::Send { socket, data, .. } => self.start(socket, token, OpKind::Send, Work::Send { data }),
            Op::ShutdownWrite { socket } => {
                self.start(socket, token, OpKind::ShutdownWrite, Work::ShutdownWrite);
            }
            Op::Watch { socket } => self.start(socket, token, OpKind::Watch, Work::Watch),
        }
        Ok(())
    }

    fn cancel(&mut self, token: Token) {
        let Some((op, id)) = self.ledger.find(token) else { return };
        self.ledger.counters.submitted[OpKind::Cancel as usize] += 1;
        if let Some(socket) = self.sockets.get_even_closing_mut(id) {
            socket.forget(op);
        }
        let connecting = self.ledger.is_connect(op);
        self.ledger.finish(op, Err(OpError::Cancelled));
        if connecting {
            // Nobody knows the socket's id: it goes with the completion.
            self.sockets.close(id);
        }
    }

    fn close(&mut self, socket: SocketId, how: Close) {
        let Some(closing) = self.sockets.get_mut(socket) else { return };
        self.ledger.counters.submitted[OpKind::Close as usize] += 1;
        if how == Close::Reset && closing.kind().is_stream() {
            self.ledger.counters.syscalls += 1;
            // Only a socket that is no socket refuses this.
            let _ = options::reset_on_close(closing.fd());
        }
        for op in closing.take_operations() {
            self.ledger.finish(op, Err(OpError::Cancelled));
        }
        // Closing the last descriptor takes the socket out of the epoll set. Should control keep a duplicate, its
        // events carry an id that is stale, and edge-triggered they end no second wait.
        match self.sockets.close(socket) {
            Closing::Now(now) => {
                self.ledger.counters.syscalls += 1;
                drop(now);
            }
            Closing::Later | Closing::Stale => {}
        }
        self.count_sockets();
    }

    fn turn(&mut self, deadline: Option<Instant>, max: usize, out: &mut Vec<Completion>) -> io::Result<()> {
        self.ledger.counters.turns += 1;
        for pool in [&mut self.slots.small, &mut self.slots.large, &mut self.slots.datagrams] {
            pool.reclaim_lately_lent(RECLAIM_PER_TURN);
        }
        self.run(max);
        let timeout = if self.ledger.waiting() > 0 || !self.work.is_empty() {
            Some(Duration::ZERO)
        } else {
            deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
        };
        // In every turn, also with completions enough: otherwise a few busy sockets could keep the events of all
        // others from being seen.
        self.wait(timeout)?;
        self.run(max);
        self.now = Instant::now();
        self.deliver(max, out);
        Ok(())
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.poller.waker()
    }

    fn local_addr(&self, socket: SocketId) -> Option<SocketAddr> {
        self.sockets.get(socket)?.local_addr()
    }

    fn unsent_bytes(&self, socket: SocketId) -> usize {
        self.sockets
            .get(socket)
            .filter(|socket| socket.kind().is_stream())
            .map_or(0, |socket| options::unsent_bytes(socket.fd()).unwrap_or(0))
    }

    fn stream_slots(&self, size: SlotSize) -> SlotUse {
        match size {
            SlotSize::Small => self.slots.small.usage(),
            SlotSize::Large => self.slots.large.usage(),
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn counters(&self) -> &Counters {
        &self.ledger.counters
    }
}

impl DatagramDriver for EpollDriver {
    fn submit_datagrams(&mut self, op: DatagramOp, token: Token) -> Result<(), Refused<DatagramOp>> {
        let checked = match &op {
            DatagramOp::Recv { socket } => self.check(*socket, |socket| socket.receiving.is_some()),
            DatagramOp::Send { socket, .. } => self.check(*socket, |_| false),
        };
        if let Err(reason) = checked {
            return Err(Refused { value: op, reason });
        }
        match op {
            DatagramOp::Recv { socket } => {
                self.start(socket, token, OpKind::RecvDatagramsMultishot, Work::RecvDatagrams);
            }
            DatagramOp::Send { socket, transmit } => {
                self.start(socket, token, OpKind::SendDatagrams, Work::SendDatagrams { transmit });
            }
        }
        Ok(())
    }

    fn datagram_slots(&self) -> SlotUse {
        self.slots.datagrams.usage()
    }
}

/// Ends the sending direction of a stream (shutdown(2)).
fn shutdown_write(socket: &Socket) -> io::Result<()> {
    SockRef::from(&socket.fd()).shutdown(std::net::Shutdown::Write)
}
