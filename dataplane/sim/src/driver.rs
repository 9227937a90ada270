//! The simulated driver: the contract of `adit-io` over a [`SimNet`] instead of a kernel.
//!
//! Each simulated process has one. In a world, [`Driver::turn`] never waits: it hands over what is due at the
//! current virtual time and remembers its deadline, so that the world knows when the process can run again
//! ([`SimDriver::next_runnable_at`]). Free-running ([`DriverConfig::free_running`]), a turn moves the clock itself,
//! which is what a test of the driver alone wants.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use adit_io::{
    Capabilities, Close, Completion, Counters, DatagramDriver, DatagramOp, Driver, DriverKind, Op, OpError,
    OpKind, Outcome, Refusal, Refused, Shots, SlotSize, SlotUse, SocketId, Token, Wake,
};
use bytes::Bytes;

use crate::clock::{Clock, SimTime};
pub use crate::kernel::DriverConfig;
use crate::kernel::Work;
use crate::net::{HostId, Owner, SimNet, SimSocket};

/// How long, in real time, a free-running turn with nothing due waits for another thread's wake.
const REAL_WAIT_MAX: Duration = Duration::from_secs(10);

/// Wakes a [`SimDriver`], from any thread.
#[derive(Debug, Default)]
struct SimWake {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for SimWake {
    fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

impl SimWake {
    fn is_woken(&self) -> bool {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> bool {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wait(&self) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(woken, REAL_WAIT_MAX, |woken| !*woken));
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct SimDriver {
    net: Rc<RefCell<SimNet>>,
    pid: usize,
    config: DriverConfig,
    clock: Clock,
    now: Instant,
    waker: Arc<SimWake>,
    counters: Counters,
}

impl SimDriver {
    /// A process on a host.
    #[must_use]
    pub fn new(net: &Rc<RefCell<SimNet>>, host: HostId, config: DriverConfig) -> Self {
        let (pid, clock) = {
            let mut net = net.borrow_mut();
            (net.new_process(host, config), net.clock())
        };
        let now = clock.now();
        Self {
            net: Rc::clone(net),
            pid,
            config,
            clock,
            now,
            waker: Arc::default(),
            counters: Counters::default(),
        }
    }

    /// When this process can run next, judging by its last turn; `None`: only when something happens to it.
    #[must_use]
    pub fn next_runnable_at(&self) -> Option<SimTime> {
        self.net.borrow_mut().runnable_at(self.pid, self.waker.is_woken())
    }

    /// The network it is on.
    #[must_use]
    pub fn net(&self) -> Rc<RefCell<SimNet>> {
        Rc::clone(&self.net)
    }

    /// Operations in flight, for oracles.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.net.borrow().processes[self.pid].ops.len()
    }

    /// Its number among all processes of its world, for [`SimNet`]'s reports.
    #[must_use]
    pub const fn process(&self) -> usize {
        self.pid
    }

    fn count_sockets(&mut self) {
        self.counters.sockets_open = self.net.borrow().processes[self.pid].sockets_open() as u64;
    }

    /// Moves the clock until something is visible, the deadline passes or a wake comes.
    fn run_until_visible(&self, deadline: Option<SimTime>) {
        loop {
            let now = self.clock.time();
            let (visible, event) = {
                let net = self.net.borrow();
                let visible = net.processes[self.pid].ready.peek().map(|ready| ready.0.at);
                (visible, net.next_event_at())
            };
            let passed = deadline.is_some_and(|deadline| deadline <= now);
            if visible.is_some_and(|at| at <= now) || passed || self.waker.is_woken() {
                return;
            }
            match [visible, event].into_iter().flatten().min() {
                Some(next) if deadline.is_none_or(|deadline| next <= deadline) => {
                    self.clock.advance_to(next);
                    while self.net.borrow().next_event_at().is_some_and(|at| at <= next) {
                        self.net.borrow_mut().run_event();
                    }
                }
                _ => match deadline {
                    Some(deadline) => {
                        let late = self.net.borrow_mut().overshoot();
                        self.clock.advance_to(deadline.plus_ns(late));
                        return;
                    }
                    None => return self.waker.wait(),
                },
            }
        }
    }

    fn count_completion(counters: &mut Counters, kind: OpKind, outcome: &Outcome) {
        counters.completed[kind as usize] += 1;
        match outcome {
            Outcome::Received(Ok(bytes)) if !bytes.is_empty() => {
                counters.stream_bytes_received += bytes.len() as u64;
                counters.provided_buffer_receives += 1;
            }
            Outcome::Received(Err(OpError::NoBuffers)) | Outcome::Datagrams(Err(OpError::NoBuffers)) => {
                counters.no_buffers += 1;
            }
            Outcome::Sent { result: Ok(bytes), .. } => counters.stream_bytes_sent += *bytes as u64,
            Outcome::Datagrams(Ok(datagrams)) => {
                counters.datagram_trains_received += 1;
                counters.datagrams_received += datagrams.data.len().div_ceil(datagrams.stride).max(1) as u64;
                counters.provided_buffer_receives += 1;
            }
            _ => {}
        }
    }

    fn refuse<T>(&mut self, value: T, reason: Refusal) -> Refused<T> {
        if reason == Refusal::Full {
            self.counters.refused_full += 1;
        }
        Refused { value, reason }
    }
}

impl SimNet {
    fn overshoot(&mut self) -> u64 {
        let span = self.faults.process.overshoot;
        self.process_rng.span(span)
    }
}

impl Driver for SimDriver {
    type Socket = SimSocket;

    fn adopt(&mut self, socket: SimSocket) -> Result<SocketId, Refused<SimSocket>> {
        let adopted = self.net.borrow_mut().adopt_socket(self.pid, socket);
        self.count_sockets();
        adopted.ok_or_else(|| self.refuse(socket, Refusal::Full))
    }

    fn release(&mut self, socket: SocketId) -> Result<SimSocket, Refused<SocketId>> {
        let mut net = self.net.borrow_mut();
        let Some(name) = net.processes[self.pid].socket(socket) else {
            drop(net);
            return Err(self.refuse(socket, Refusal::StaleSocket));
        };
        if net.sockets.get(name).is_some_and(|entry| !entry.ops.is_empty()) {
            drop(net);
            return Err(self.refuse(socket, Refusal::Busy));
        }
        net.unlist_socket(self.pid, socket);
        if let Some(entry) = net.sockets.get_mut(name) {
            entry.owner = Owner::Detached;
        }
        drop(net);
        self.count_sockets();
        Ok(name)
    }

    fn submit(&mut self, op: Op, token: Token) -> Result<(), Refused<Op>> {
        let id = match &op {
            Op::Accept { listener } => Some(*listener),
            Op::Connect { .. } => None,
            Op::Recv { socket, .. }
            | Op::Send { socket, .. }
            | Op::ShutdownWrite { socket }
            | Op::Watch { socket } => Some(*socket),
        };
        let mut net = self.net.borrow_mut();
        let socket = id.and_then(|id| net.processes[self.pid].socket(id));
        let refused =
            if id.is_some() && socket.is_none() { Some(Refusal::StaleSocket) } else { net.refuses(self.pid) };
        if let Some(reason) = refused {
            drop(net);
            return Err(self.refuse(op, reason));
        }
        let (kind, work) = match op {
            Op::Accept { .. } => (OpKind::AcceptMultishot, Work::Accept),
            Op::Connect { addr } => (OpKind::Connect, Work::Connect { addr, under_way: false }),
            Op::Recv { slot, shots: Shots::One, .. } => {
                (OpKind::RecvSingle, Work::Recv { slot, shots: Shots::One })
            }
            Op::Recv { slot, shots, .. } => (OpKind::RecvMultishot, Work::Recv { slot, shots }),
            Op::Send { data, zero_copy: true, .. } => (OpKind::SendZeroCopy, Work::send(data, true)),
            Op::Send { data, .. } => (OpKind::Send, Work::send(data, false)),
            Op::ShutdownWrite { .. } => (OpKind::ShutdownWrite, Work::ShutdownWrite),
            Op::Watch { .. } => (OpKind::Watch, Work::Watch),
        };
        net.start_op(self.pid, token, kind, socket, work);
        self.counters.submitted[kind as usize] += 1;
        Ok(())
    }

    fn cancel(&mut self, token: Token) {
        self.counters.submitted[OpKind::Cancel as usize] += 1;
        self.net.borrow_mut().ask_cancel(self.pid, token);
    }

    fn close(&mut self, socket: SocketId, how: Close) {
        if self.net.borrow_mut().close_of_process(self.pid, socket, how) {
            self.counters.submitted[OpKind::Close as usize] += 1;
        }
        self.count_sockets();
    }

    fn turn(&mut self, deadline: Option<Instant>, max: usize, out: &mut Vec<Completion>) -> io::Result<()> {
        let deadline = deadline.map(|at| self.clock.time_of(at));
        if self.config.free_running {
            self.run_until_visible(deadline);
        }
        let woken = self.waker.take();
        let now = self.clock.time();
        let mut net = self.net.borrow_mut();
        let counters = &mut self.counters;
        let taken = net.take_ready(self.pid, max, |token, more, kind, outcome| {
            Self::count_completion(counters, kind, &outcome);
            out.push(Completion { token, more, outcome });
        });
        net.note("turn", self.pid as u64, taken as u64);
        let process = &mut net.processes[self.pid];
        process.wake_seen_at = None;
        if taken > 0 || woken || deadline.is_some_and(|deadline| deadline <= now) {
            // The caller now works on what it got; what it waits for next it says in its next turn.
            process.sleep_until = None;
        } else {
            net.fall_asleep(self.pid, deadline);
        }
        net.spend_time(self.pid);
        drop(net);
        self.counters.turns += 1;
        if woken {
            self.counters.completed[OpKind::Wake as usize] += 1;
        }
        self.count_sockets();
        self.now = self.clock.now();
        Ok(())
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }

    fn local_addr(&self, socket: SocketId) -> Option<SocketAddr> {
        let net = self.net.borrow();
        net.processes[self.pid].socket(socket).and_then(|name| net.local_addr(name))
    }

    fn unsent_bytes(&self, socket: SocketId) -> usize {
        let net = self.net.borrow();
        net.processes[self.pid].socket(socket).map_or(0, |name| net.unsent_of(self.pid, name))
    }

    fn stream_slots(&self, size: SlotSize) -> SlotUse {
        let process = &mut self.net.borrow_mut().processes[self.pid];
        match size {
            SlotSize::Small => process.small.usage(),
            SlotSize::Large => process.large.usage(),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: DriverKind::Sim,
            gso_segments_max: self.config.gso_segments_max,
            gro: self.config.gro,
            zero_copy: self.config.zero_copy,
        }
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl DatagramDriver for SimDriver {
    fn submit_datagrams(&mut self, op: DatagramOp, token: Token) -> Result<(), Refused<DatagramOp>> {
        let (DatagramOp::Recv { socket: id } | DatagramOp::Send { socket: id, .. }) = &op;
        let mut net = self.net.borrow_mut();
        let socket = net.processes[self.pid].socket(*id);
        let refused = if socket.is_none() { Some(Refusal::StaleSocket) } else { net.refuses(self.pid) };
        if let Some(reason) = refused {
            drop(net);
            return Err(self.refuse(op, reason));
        }
        let (kind, work) = match op {
            DatagramOp::Recv { .. } => (OpKind::RecvDatagramsMultishot, Work::DatagramRecv),
            DatagramOp::Send { transmit, .. } => {
                self.counters.datagram_trains_sent += 1;
                self.counters.datagrams_sent += transmit.segments() as u64;
                let kind =
                    if transmit.zero_copy { OpKind::SendDatagramsZeroCopy } else { OpKind::SendDatagrams };
                (kind, Work::send_datagrams(transmit))
            }
        };
        net.start_op(self.pid, token, kind, socket, work);
        self.counters.submitted[kind as usize] += 1;
        Ok(())
    }

    fn datagram_slots(&self) -> SlotUse {
        self.net.borrow_mut().processes[self.pid].datagram.usage()
    }
}

impl Drop for SimDriver {
    fn drop(&mut self) {
        // A world that panics may still hold the network.
        if let Ok(mut net) = self.net.try_borrow_mut() {
            net.kill_process(self.pid);
        }
    }
}

/// One piece of bytes, for tests and scripts.
#[must_use]
pub fn piece(bytes: &[u8]) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(bytes)]
}
