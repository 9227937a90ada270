//! The io_uring driver: io_uring(7), Linux 6.1 or later.
//!
//! One ring per driver, used by one thread. Receives are multishot and take their memory from provided-buffer rings
//! when bytes are there; what the kernel may touch is owned by the in-flight table until the final completion. One
//! io_uring_enter(2) per turn hands over what was queued, runs the completion work and waits.
//!
//! | module | holds |
//! |---|---|
//! | `probe` | what the kernel must offer, and what to tell the operator when it does not |
//! | `ring`, `key`, `abi` | the queues, and what travels through them |
//! | `provided` | receive slots in the kernel's hands |
//! | `flight`, `message` | operations in flight and the memory that they point to |
//! | `submit`, `complete` | streams: operations in, completions out |
//! | `datagram` | UDP |
//! | `teardown` | closing sockets, and the end of the driver (R6) |
//!
//! Not in here: registered files and buffers, kernel-side polling (`IORING_SETUP_SQPOLL`), and links between
//! operations. Sockets inside the driver are in blocking mode, since io_uring would otherwise complete with EAGAIN
//! what it should wait for; no system call of ours waits on them.

mod abi;
mod complete;
mod datagram;
mod flight;
mod key;
mod message;
mod probe;
mod provided;
mod ring;
mod submit;
mod teardown;
mod wake;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{opcode, types};
use socket2::SockRef;

pub use self::probe::probe;

use self::flight::Flights;
use self::key::{FlightKey, Key};
use self::message::{DatagramMessage, Stable, VectorMessage};
use self::provided::Provided;
use self::ring::Ring;
use self::wake::WakeSource;
use crate::counters::{Counters, OpKind};
use crate::driver::{
    Capabilities, Close, DatagramDriver, Driver, DriverKind, SlotUse, SocketId, Token, Wake,
};
use crate::error::{Refusal, Refused, StartError};
use crate::net::addr::Family;
use crate::net::{OwnedSocket, SocketKind, options};
use crate::op::{Completion, DatagramOp, Op, SlotSize};
use crate::select::DriverConfig;
use crate::table::SocketTable;

/// A socket in the table.
struct Socket {
    socket: OwnedSocket,
    /// UDP: how addresses must be written for it.
    family: Family,
    /// Stream: the last receive took all there was, so the next had better wait before it tries.
    drained: bool,
    /// Stream: sends in flight whose result is not known yet.
    sends: u32,
    /// Zero-copy sends whose notification is outstanding.
    notifications: u32,
    /// Stream: a shutdown that waits for the last of [`Self::sends`].
    shutdown: Option<FlightKey>,
    /// UDP: the receive, which errors of sends are reported to.
    receive: Option<FlightKey>,
}

/// The io_uring driver. Made by the thread that uses it, which it never leaves.
pub struct UringDriver {
    // R6: the fields are dropped in this order, after `teardown` has waited for what was in flight. The ring is
    // closed first, and only then goes memory that the kernel was told of.
    ring: Ring,
    wake: WakeSource,
    flights: Flights,
    /// Receive slots: small, large, datagrams. The index is the buffer group.
    provided: Vec<Provided>,
    receive_header: Stable<libc::msghdr>,
    /// Messages to be used again.
    vectors: Vec<Stable<VectorMessage>>,
    trains: Vec<Stable<DatagramMessage>>,
    sockets: SocketTable<Socket>,
    /// Completions that are to be handed out.
    ready: VecDeque<Completion>,
    ops_max: usize,
    now: Instant,
    counters: Counters,
    /// Whether sends that ask for it go without a copy.
    zero_copy: bool,
    gso_segments_max: usize,
    gro: bool,
    /// The kernel kept completions back when last looked at.
    overflown: bool,
    /// The driver is being dropped: nothing is submitted again.
    stopping: bool,
}

/// How often, at each size, a start waits for locked memory before it makes do with less, and how long.
const MEMORY_WAITS_MAX: u32 = 3;
const MEMORY_WAIT: Duration = Duration::from_millis(20);

/// Index into [`UringDriver::provided`].
const DATAGRAM_GROUP: usize = 2;

const fn group_of(slot: SlotSize) -> usize {
    match slot {
        SlotSize::Small => 0,
        SlotSize::Large => 1,
    }
}

impl UringDriver {
    /// Sets up a ring for the calling thread. Where locked memory is short (`RLIMIT_MEMLOCK` is shared by all
    /// processes of a user) the sizes are halved, down to the floors of [`DriverConfig`].
    ///
    /// # Errors
    /// [`StartError`] with the cause and the remedy when the kernel, a seccomp filter or a limit is in the way.
    pub fn new(config: &DriverConfig) -> Result<Self, StartError> {
        let mut config = config.clamped();
        let mut waits = 0;
        loop {
            match Self::attempt(&config) {
                // The kernel gives a closed ring's memory back in the background: a trial ring, or that of an
                // ended shard, may still be charged.
                Err(refusal) if refusal.is_memory() && waits < MEMORY_WAITS_MAX => {
                    waits += 1;
                    thread::sleep(MEMORY_WAIT);
                }
                Err(refusal) if refusal.is_memory() && config.ops_max > DriverConfig::OPS_FLOOR => {
                    waits = 0;
                    config.ops_max /= 2;
                    config = config.clamped();
                }
                result => return result.map_err(|refusal| refusal.explain()),
            }
        }
    }

    fn attempt(config: &DriverConfig) -> Result<Self, probe::Refusal> {
        let ring = Ring::open(config).map_err(probe::Refusal::Setup)?;
        let zero_copy = probe::check(ring.get())?;
        let counts = [config.small_slots, config.large_slots, config.datagram_slots];
        let sizes = [SlotSize::Small.bytes(), SlotSize::Large.bytes(), datagram::SLOT_BYTES];
        let mut provided = Vec::with_capacity(counts.len());
        for (group, (count, bytes)) in (0..).zip(counts.into_iter().zip(sizes)) {
            let slots = Provided::register(&ring, group, count, bytes);
            provided.push(slots.map_err(probe::Refusal::Register)?);
        }
        Ok(Self {
            ring,
            wake: WakeSource::new().map_err(probe::Refusal::Eventfd)?,
            flights: Flights::new(),
            provided,
            receive_header: Stable::new(datagram::receive_header()),
            vectors: Vec::new(),
            trains: Vec::new(),
            sockets: SocketTable::new(config.sockets_max),
            ready: VecDeque::new(),
            ops_max: config.ops_max,
            now: Instant::now(),
            counters: Counters::default(),
            zero_copy,
            gso_segments_max: if options::gso_supported() { options::GSO_SEGMENTS_MAX } else { 1 },
            gro: options::gro_supported(),
            overflown: false,
            stopping: false,
        })
    }

    /// Whether another operation may come in (R7). What is ready but not taken counts, too.
    fn is_full(&mut self) -> bool {
        let full = self.flights.len() + self.ready.len() >= self.ops_max;
        self.counters.refused_full += u64::from(full);
        full
    }

    fn submitted(&mut self, kind: OpKind) {
        self.counters.submitted[kind as usize] += 1;
    }

    /// Queues a completion of this kind of operation to be handed out.
    fn deliver(&mut self, kind: OpKind, completion: Completion) {
        self.counters.completed[kind as usize] += 1;
        self.ready.push_back(completion);
    }

    /// Takes a socket into the table.
    fn insert(&mut self, socket: OwnedSocket) -> Result<SocketId, OwnedSocket> {
        let family = match socket.kind() {
            SocketKind::Udp => socket.local_addr().map_or(Family::V4, |local| Family::of(&local)),
            _ => Family::V4,
        };
        let entry = Socket {
            socket,
            family,
            drained: false,
            sends: 0,
            notifications: 0,
            shutdown: None,
            receive: None,
        };
        let id = self.sockets.insert(entry).map_err(|entry| entry.socket)?;
        self.counters.sockets_open = self.sockets.len() as u64;
        Ok(id)
    }

    /// Puts the read on the eventfd into the queue, if it is not outstanding.
    fn arm_wake(&mut self) {
        if self.wake.armed || self.stopping {
            return;
        }
        self.wake.armed = true;
        self.submitted(OpKind::Wake);
        // SAFETY: the read writes into memory that the driver keeps until the ring is drained or closed, and the
        // eventfd is open as long as the driver is.
        unsafe { self.ring.push(self.wake.entry()) };
    }

    fn cancel_flight(&mut self, key: FlightKey) {
        self.submitted(OpKind::Cancel);
        let target = Key::Flight(key).encode();
        let entry = opcode::AsyncCancel::new(target).build().user_data(Key::Cancel.encode());
        // SAFETY: the entry points to nothing.
        unsafe { self.ring.push(entry) };
    }

    /// Moves at most `max` completions to `out`, and private ones out of the way.
    fn collect(&mut self, max: usize, out: &mut Vec<Completion>) {
        let mut taken = 0;
        while taken < max {
            if let Some(completion) = self.ready.pop_front() {
                out.push(completion);
                taken += 1;
                continue;
            }
            let Some(entry) = self.ring.next() else { return };
            self.complete(&entry);
        }
    }
}

impl Driver for UringDriver {
    type Socket = OwnedSocket;

    /// The socket is switched to blocking mode, as is every duplicate of its descriptor.
    fn adopt(&mut self, socket: OwnedSocket) -> Result<SocketId, Refused<OwnedSocket>> {
        if self.sockets.is_full() {
            self.counters.refused_full += 1;
            return Err(Refused { value: socket, reason: Refusal::Full });
        }
        SockRef::from(&socket.as_fd()).set_nonblocking(false).expect("an open descriptor has a mode");
        self.counters.syscalls += 1;
        self.insert(socket).map_err(|value| Refused { value, reason: Refusal::Full })
    }

    fn release(&mut self, id: SocketId) -> Result<OwnedSocket, Refused<SocketId>> {
        let entry = self.sockets.remove(id).map_err(|reason| Refused { value: id, reason })?;
        self.counters.sockets_open = self.sockets.len() as u64;
        self.counters.syscalls += 1;
        SockRef::from(&entry.socket.as_fd()).set_nonblocking(true).expect("an open descriptor has a mode");
        Ok(entry.socket)
    }

    fn submit(&mut self, op: Op, token: Token) -> Result<(), Refused<Op>> {
        self.submit_stream(op, token)
    }

    fn cancel(&mut self, token: Token) {
        let Some(key) = self.flights.by_token(token) else { return };
        let flight = self.flights.get_mut(key);
        flight.cancelled = true;
        if matches!(flight.work, flight::Work::ShutdownWrite) {
            // It waits for a send and is not in the ring.
            self.abandon_shutdown(key);
        } else {
            self.cancel_flight(key);
        }
    }

    fn close(&mut self, socket: SocketId, how: Close) {
        self.close_socket(socket, how);
    }

    fn turn(&mut self, deadline: Option<Instant>, max: usize, out: &mut Vec<Completion>) -> io::Result<()> {
        self.counters.turns += 1;
        self.arm_wake();
        for slots in &mut self.provided {
            slots.replenish();
        }
        let timeout = if self.ready.is_empty() && self.ring.is_drained() {
            deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        let entered = self.ring.enter(timeout);
        self.now = Instant::now();
        let overflown = self.ring.is_overflown();
        self.counters.completion_overflows += u64::from(overflown && !self.overflown);
        self.overflown = overflown;
        self.collect(max, out);
        self.counters.syscalls += self.ring.take_enters();
        entered
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.wake.handle()
    }

    fn local_addr(&self, socket: SocketId) -> Option<SocketAddr> {
        self.sockets.get(socket)?.socket.local_addr()
    }

    fn unsent_bytes(&self, socket: SocketId) -> usize {
        let Some(entry) = self.sockets.get(socket) else { return 0 };
        options::unsent_bytes(entry.socket.as_fd()).unwrap_or(0)
    }

    fn stream_slots(&self, size: SlotSize) -> SlotUse {
        self.provided[group_of(size)].usage()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: DriverKind::Uring,
            gso_segments_max: self.gso_segments_max,
            gro: self.gro,
            zero_copy: self.zero_copy,
        }
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl DatagramDriver for UringDriver {
    fn submit_datagrams(&mut self, op: DatagramOp, token: Token) -> Result<(), Refused<DatagramOp>> {
        self.submit_datagram(op, token)
    }

    fn datagram_slots(&self) -> SlotUse {
        self.provided[DATAGRAM_GROUP].usage()
    }
}

impl fmt::Debug for UringDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringDriver")
            .field("sockets", &self.sockets.len())
            .field("in_flight", &self.flights.len())
            .field("ops_max", &self.ops_max)
            .field("zero_copy", &self.zero_copy)
            .finish_non_exhaustive()
    }
}

/// For a descriptor in an entry. The socket table keeps it open until the last completion.
fn fd(socket: &OwnedSocket) -> types::Fd {
    types::Fd(socket.raw_fd())
}
