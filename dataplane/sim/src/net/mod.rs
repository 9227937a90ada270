//! The world's network and kernels: sockets, what is in flight between them, and the heap of due events.
//!
//! One [`SimNet`] is shared by everything in a world. It has no loop of its own: whoever drives it asks for
//! [`SimNet::next_event_at`], moves the clock and calls [`SimNet::run_event`]. The operations of simulated processes
//! are performed in [`crate::kernel`]; who may do what to whom is in the modules beside this one.

mod chaos;
mod sockets;
mod stream;
mod udp;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::clock::{Clock, SimTime};
use crate::faults::Faults;
use crate::kernel::Process;
use crate::pipe::Side;
use crate::rng::{Prng, Span};
use crate::tally::{Family, Tally};
use crate::trace::Trace;

use chaos::{Chaos, Links};
pub use sockets::SimSocket;
pub(crate) use sockets::{Owner, SocketKind, Sockets};
pub(crate) use stream::Connection;
pub use stream::{Address, StreamError};
pub(crate) use udp::{Flying, UdpItem};

/// A host: one network stack with addresses of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(crate) usize);

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) nat_ip: Option<IpAddr>,
    next_port: u16,
}

/// What is due at some moment.
#[derive(Debug)]
pub(crate) enum Event {
    /// A process's operation is attempted.
    Try { pid: usize, op: u64 },
    /// A cancellation by token reaches the kernel.
    Cancel { pid: usize, token: u64 },
    /// The cancellation that closing a socket implies.
    CancelOp { pid: usize, op: u64 },
    /// The kernel lets go of a zero-copy buffer.
    Notify { pid: usize, op: u64 },
    /// A connection request reaches the host it is for.
    Syn { pid: usize, op: u64, from: HostId, to: SocketAddr },
    /// The answer reaches who asked.
    Connected { pid: usize, op: u64, result: Result<SimSocket, i32> },
    /// The oldest segment of a direction arrives.
    PipeArrive { connection: u64, from: Side },
    /// An acknowledgement arrives.
    PipeAck { connection: u64, side: Side, bytes: usize },
    /// Room to write was announced.
    PipeSpace { connection: u64, side: Side },
    /// A datagram arrives.
    Datagram(Box<Flying>),
    /// The news that a datagram did not.
    Unreachable { socket: SimSocket, peer: SocketAddr, forged: bool },
    /// A scripted endpoint has something to look at.
    Script(u32),
    /// The network changes.
    Chaos(Chaos),
}

#[derive(Debug)]
struct Due {
    at: SimTime,
    seq: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// What running an event asks of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// Nothing further.
    Done,
    /// The scripted endpoint with this number is to be stepped.
    Script(u32),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct SimNet {
    pub(crate) clock: Clock,
    /// Everything that happened.
    pub trace: Trace,
    /// How often each family of faults happened.
    pub tally: Tally,
    pub(crate) faults: Faults,
    pub(crate) net_rng: Prng,
    pub(crate) io_rng: Prng,
    pub(crate) process_rng: Prng,
    pub(crate) hosts: Vec<Host>,
    pub(crate) host_of_ip: BTreeMap<IpAddr, HostId>,
    pub(crate) sockets: Sockets,
    pub(crate) connections: FxHashMap<u64, Connection>,
    next_connection: u64,
    pub(crate) listeners: BTreeMap<Address, SimSocket>,
    pub(crate) udp_bound: BTreeMap<(HostId, u16), Vec<SimSocket>>,
    pub(crate) nat: BTreeMap<SocketAddr, SocketAddr>,
    pub(crate) black_holed: BTreeSet<SocketAddr>,
    links: Links,
    pub(crate) processes: Vec<Process>,
    events: BinaryHeap<Reverse<Due>>,
    next_seq: u64,
    /// When each scripted endpoint is stepped next.
    scripts_due: BTreeMap<u32, SimTime>,
    violations: Vec<String>,
    broken: BTreeSet<u64>,
}

impl SimNet {
    /// A network without hosts. `tail_max` is the number of readable trace lines to keep.
    #[must_use]
    pub fn new(seed: u64, faults: Faults, tail_max: usize) -> Self {
        let mut net = Self {
            clock: Clock::new(),
            trace: Trace::new(tail_max),
            tally: Tally::default(),
            links: Links::new(faults.net.mtu_bytes),
            faults,
            net_rng: Prng::new(seed, "net"),
            io_rng: Prng::new(seed, "io"),
            process_rng: Prng::new(seed, "process"),
            hosts: Vec::new(),
            host_of_ip: BTreeMap::new(),
            sockets: Sockets::default(),
            connections: FxHashMap::default(),
            next_connection: 0,
            listeners: BTreeMap::new(),
            udp_bound: BTreeMap::new(),
            nat: BTreeMap::new(),
            black_holed: BTreeSet::new(),
            processes: Vec::new(),
            events: BinaryHeap::new(),
            next_seq: 0,
            scripts_due: BTreeMap::new(),
            violations: Vec::new(),
            broken: BTreeSet::new(),
        };
        net.schedule_chaos();
        net
    }

    /// As [`Self::new`], in the form that drivers share.
    #[must_use]
    pub fn shared(seed: u64, faults: Faults, tail_max: usize) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self::new(seed, faults, tail_max)))
    }

    /// The clock of this world.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The faults in force.
    #[must_use]
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Adds a host with these addresses. Behind `nat_ip` its datagrams leave with that address and mapped ports.
    pub fn add_host(&mut self, ips: &[IpAddr], nat_ip: Option<IpAddr>) -> HostId {
        let id = HostId(self.hosts.len());
        for ip in ips {
            self.host_of_ip.insert(*ip, id);
        }
        self.hosts.push(Host { ips: ips.to_vec(), nat_ip, next_port: 32_768 });
        id
    }

    /// Makes connections to this address hang until their kernel gives up.
    pub fn black_hole(&mut self, addr: SocketAddr) {
        self.black_holed.insert(addr);
    }

    /// When the next event is due.
    #[must_use]
    pub fn next_event_at(&self) -> Option<SimTime> {
        self.events.peek().map(|Reverse(due)| due.at)
    }

    /// Runs the earliest event, moving the clock to it. `None` when there is none.
    pub fn run_event(&mut self) -> Option<Ran> {
        let Reverse(due) = self.events.pop()?;
        self.clock.advance_to(due.at);
        match due.event {
            Event::Try { pid, op } => self.try_op(pid, op),
            Event::Cancel { pid, token } => self.cancel_token(pid, token),
            Event::CancelOp { pid, op } => self.cancel_op(pid, op),
            Event::Notify { pid, op } => self.notify(pid, op),
            Event::Syn { pid, op, from, to } => self.syn(pid, op, from, to),
            Event::Connected { pid, op, result } => self.connected(pid, op, result),
            Event::PipeArrive { connection, from } => self.pipe_arrive(connection, from),
            Event::PipeAck { connection, side, bytes } => self.pipe_acknowledged(connection, side, bytes),
            Event::PipeSpace { connection, side } => self.poke_side(connection, side),
            Event::Datagram(flying) => self.datagram_arrives(*flying),
            Event::Unreachable { socket, peer, forged } => self.unreachable_arrives(socket, peer, forged),
            Event::Script(id) => {
                if self.scripts_due.get(&id) != Some(&due.at) {
                    // An earlier step took its place.
                    return Some(Ran::Done);
                }
                self.scripts_due.remove(&id);
                self.note("script", u64::from(id), 0);
                return Some(Ran::Script(id));
            }
            Event::Chaos(chaos) => self.chaos(chaos),
        }
        Some(Ran::Done)
    }

    /// Ends all faults; latencies and sizes stay. What is broken stays broken, nothing new breaks.
    pub fn heal(&mut self) {
        self.faults = self.faults.healed();
        self.heal_links();
        self.release_parked_notifications();
        self.note("heal", 0, 0);
    }

    /// Replaces the faults in force, for hand-written stories.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Steps the scripted endpoint with this number after a delay, or earlier: one step is pending for each, and
    /// whoever is stepped asks again for what it still waits for.
    pub fn wake_script(&mut self, id: u32, after_ns: u64) {
        let at = self.time().plus_ns(after_ns);
        if self.scripts_due.get(&id).is_none_or(|due| at < *due) {
            self.scripts_due.insert(id, at);
            self.schedule(at, Event::Script(id));
        }
    }

    /// Broken rules seen so far: misuse of the driver's contract, buffers that changed while the kernel had them.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    pub(crate) fn violation(&mut self, text: String) {
        self.trace.explain(self.clock.time(), || format!("VIOLATION {text}"));
        self.violations.push(text);
    }

    pub(crate) fn time(&self) -> SimTime {
        self.clock.time()
    }

    pub(crate) fn schedule(&mut self, at: SimTime, event: Event) {
        self.next_seq += 1;
        self.events.push(Reverse(Due { at, seq: self.next_seq, event }));
    }

    pub(crate) fn schedule_in(&mut self, after_ns: u64, event: Event) {
        self.schedule(self.time().plus_ns(after_ns), event);
    }

    pub(crate) fn note(&mut self, what: &'static str, a: u64, b: u64) {
        self.trace.note(self.clock.time(), what, a, b);
    }

    pub(crate) fn hit(&mut self, family: Family) {
        self.tally.hit(family);
    }

    pub(crate) fn io_span(&mut self, span: impl Fn(&Faults) -> Span) -> u64 {
        let span = span(&self.faults);
        self.io_rng.span(span)
    }

    /// A local port that was not given out before (until 28,000 of them were).
    pub(crate) fn ephemeral_port(&mut self, host: HostId) -> u16 {
        let host = &mut self.hosts[host.0];
        let port = host.next_port;
        host.next_port = if port >= 60_999 { 32_768 } else { port + 1 };
        port
    }

    /// Which host an address leads to, seen from `from`.
    pub(crate) fn host_at(&self, from: HostId, ip: IpAddr) -> Option<HostId> {
        if ip.is_loopback() { Some(from) } else { self.host_of_ip.get(&ip).copied() }
    }

    pub(crate) fn poke_side(&mut self, connection: u64, side: Side) {
        let Some(socket) = self.connections.get(&connection).and_then(|c| c.sockets[side as usize]) else {
            return;
        };
        self.poke(socket);
    }

    /// Tells whoever owns a socket that its state changed.
    pub(crate) fn poke(&mut self, socket: SimSocket) {
        let Some(entry) = self.sockets.get(socket) else { return };
        match entry.owner {
            Owner::Detached => {}
            Owner::Process(pid) => {
                let waiting: Vec<u64> = entry.ops.clone();
                for op in waiting {
                    self.retry(pid, op);
                }
            }
            Owner::Script(id) => {
                let after = self.net_rng.between(100, 5_000);
                self.wake_script(id, after);
            }
        }
    }
}
