//! Stream connections: listening, connecting, and the scheduling of what [`crate::pipe`] says is in flight.

use std::collections::VecDeque;
use std::net::SocketAddr;

use adit_io::Close;
use bytes::Bytes;

use super::sockets::Listener;
use super::{Event, HostId, Owner, SimNet, SimSocket, SocketKind};
use crate::clock::SimTime;
use crate::pipe::{Arrived, Pipe, PipeKind, Readable, Side};
use crate::rng::Ppm;
use crate::tally::Family;

/// How long a TCP connect to nowhere takes to fail (tcp(7), `tcp_syn_retries` 6).
const SYN_GIVES_UP_NS: u64 = 127_000_000_000;
/// A connect to a listener whose queue is full is repeated after this.
const SYN_AGAIN_NS: u64 = 1_000_000_000;
/// ETIMEDOUT, errno(3).
pub(crate) const ETIMEDOUT: i32 = 110;
/// ENETUNREACH, errno(3).
const ENETUNREACH: i32 = 101;
const ECONNREFUSED: i32 = super::udp::ECONNREFUSED;
/// ENOTSOCK, errno(3): for a name that reaches no stream socket.
const ENOTSOCK: i32 = 88;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// TCP.
    Inet(SocketAddr),
    /// A Unix socket of one host, by path.
    Unix(HostId, String),
}

/// What a scripted endpoint's call failed with, an errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamError(pub i32);

/// A pair of connected stream sockets and when what is in flight between them arrives.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) pipe: Pipe,
    pub(crate) sockets: [Option<SimSocket>; 2],
    last_arrival: [SimTime; 2],
}

impl SimNet {
    /// A listener. TCP port 0 takes a free one.
    ///
    /// # Errors
    /// EADDRINUSE when something listens there already.
    pub fn listen(&mut self, host: HostId, address: Address, backlog: usize) -> Result<SimSocket, i32> {
        let address = match address {
            Address::Inet(addr) if addr.port() == 0 => {
                Address::Inet(SocketAddr::new(addr.ip(), self.ephemeral_port(host)))
            }
            other => other,
        };
        if self.listeners.contains_key(&address) {
            return Err(98);
        }
        let local = if let Address::Inet(addr) = &address { Some(*addr) } else { None };
        let listener = Listener { address: address.clone(), queue: VecDeque::new(), backlog };
        let socket = self.sockets.insert(host, Owner::Detached, SocketKind::Listener(listener));
        if let Some(entry) = self.sockets.get_mut(socket) {
            entry.local = local;
        }
        self.listeners.insert(address, socket);
        Ok(socket)
    }

    /// The local address of a socket, where it has one.
    #[must_use]
    pub fn local_addr(&self, socket: SimSocket) -> Option<SocketAddr> {
        self.sockets.get(socket)?.local
    }

    /// Makes a scripted endpoint the owner of a socket.
    pub fn own_by_script(&mut self, socket: SimSocket, script: u32) {
        if let Some(entry) = self.sockets.get_mut(socket) {
            entry.owner = Owner::Script(script);
        }
        self.poke(socket);
    }

    /// Connects to a Unix listener; succeeds or fails at once, as connect(2) does there.
    ///
    /// # Errors
    /// ECONNREFUSED when nobody listens, EAGAIN when its queue is full.
    pub fn connect_unix(&mut self, host: HostId, path: &str) -> Result<SimSocket, StreamError> {
        let address = Address::Unix(host, path.to_owned());
        let listener = *self.listeners.get(&address).ok_or(StreamError(ECONNREFUSED))?;
        self.connect_to(host, None, listener, PipeKind::Unix).ok_or(StreamError(11))
    }

    /// Connects to a TCP listener; a script need not wait for it.
    ///
    /// # Errors
    /// ECONNREFUSED when nobody listens, EAGAIN when its queue is full.
    pub fn connect_tcp(&mut self, host: HostId, to: SocketAddr) -> Result<SimSocket, StreamError> {
        let listener = *self.listeners.get(&Address::Inet(to)).ok_or(StreamError(ECONNREFUSED))?;
        let from = SocketAddr::new(to.ip(), self.ephemeral_port(host));
        self.connect_to(host, Some(from), listener, PipeKind::Tcp).ok_or(StreamError(11))
    }

    /// Two connected sockets that nobody owns yet.
    pub fn pair(&mut self, kind: PipeKind, host: HostId) -> (SimSocket, SimSocket) {
        self.make_connection(kind, host, host)
    }

    /// The next connection that waits at a listener.
    pub fn accept(&mut self, listener: SimSocket) -> Option<SimSocket> {
        match &mut self.sockets.get_mut(listener)?.kind {
            SocketKind::Listener(listener) => listener.queue.pop_front(),
            _ => None,
        }
    }

    fn make_connection(&mut self, kind: PipeKind, a: HostId, b: HostId) -> (SimSocket, SimSocket) {
        let (least, most) = self.faults.pipe.buffer_bytes;
        let capacity = usize::try_from(self.net_rng.between(least as u64, most as u64)).unwrap_or(most);
        let discards = self.net_rng.chance(self.faults.pipe.reset_discards);
        let connection = self.next_connection;
        self.next_connection += 1;
        let side = |side| SocketKind::Stream { connection, side };
        let a = self.sockets.insert(a, Owner::Detached, side(Side::A));
        let b = self.sockets.insert(b, Owner::Detached, side(Side::B));
        let pipe = Pipe::new(kind, capacity, discards);
        self.connections.insert(
            connection,
            Connection { pipe, sockets: [Some(a), Some(b)], last_arrival: [SimTime::default(); 2] },
        );
        (a, b)
    }

    fn connect_to(
        &mut self,
        from: HostId,
        from_addr: Option<SocketAddr>,
        listener: SimSocket,
        kind: PipeKind,
    ) -> Option<SimSocket> {
        let entry = self.sockets.get(listener)?;
        let (host, listening_at) = (entry.host, entry.local);
        let SocketKind::Listener(state) = &entry.kind else { return None };
        if state.queue.len() >= state.backlog {
            return None;
        }
        let (near, far) = self.make_connection(kind, from, host);
        for (socket, local, peer) in [(near, from_addr, listening_at), (far, listening_at, from_addr)] {
            if let Some(entry) = self.sockets.get_mut(socket) {
                entry.local = local;
                entry.peer = peer;
            }
        }
        if let Some(SocketKind::Listener(state)) = self.sockets.get_mut(listener).map(|entry| &mut entry.kind)
        {
            state.queue.push_back(far);
        }
        self.note("connection", listener.trace_id(), near.trace_id());
        self.poke(listener);
        Some(near)
    }

    /// A TCP connection request of a process arrives where it was sent to.
    pub(super) fn syn(&mut self, pid: usize, op: u64, from: HostId, to: SocketAddr) {
        let latency = self.pipe_latency();
        if self.black_holed.contains(&to) {
            self.hit(Family::ConnectBlackholed);
            return self.schedule_in(SYN_GIVES_UP_NS, Event::Connected { pid, op, result: Err(ETIMEDOUT) });
        }
        let Some(host) = self.host_at(from, to.ip()) else {
            return self.schedule_in(latency, Event::Connected { pid, op, result: Err(ENETUNREACH) });
        };
        let wildcard = if to.is_ipv4() { "0.0.0.0" } else { "::" };
        let anywhere = SocketAddr::new(wildcard.parse().expect("a literal"), to.port());
        let listener = [to, anywhere]
            .into_iter()
            .filter_map(|addr| self.listeners.get(&Address::Inet(addr)).copied())
            .find(|socket| self.sockets.get(*socket).is_some_and(|entry| entry.host == host));
        let Some(listener) = listener else {
            self.hit(Family::ConnectRefused);
            return self.schedule_in(latency, Event::Connected { pid, op, result: Err(ECONNREFUSED) });
        };
        let ip = if to.ip().is_loopback() {
            to.ip()
        } else {
            self.hosts[from.0]
                .ips
                .iter()
                .copied()
                .find(|ip| ip.is_ipv4() == to.is_ipv4())
                .unwrap_or_else(|| to.ip())
        };
        let from_addr = SocketAddr::new(ip, self.ephemeral_port(from));
        match self.connect_to(from, Some(from_addr), listener, PipeKind::Tcp) {
            Some(socket) => self.schedule_in(latency, Event::Connected { pid, op, result: Ok(socket) }),
            None => self.schedule_in(SYN_AGAIN_NS, Event::Syn { pid, op, from, to }),
        }
    }

    pub(crate) fn pipe_latency(&mut self) -> u64 {
        let span = self.faults.pipe.latency;
        self.net_rng.span(span)
    }

    pub(crate) fn stream(&self, socket: SimSocket) -> Option<(u64, Side)> {
        match self.sockets.get(socket)?.kind {
            SocketKind::Stream { connection, side } => Some((connection, side)),
            _ => None,
        }
    }

    pub(crate) fn pipe_of(&mut self, socket: SimSocket) -> Option<(u64, Side, &mut Pipe)> {
        let (connection, side) = self.stream(socket)?;
        self.connections.get_mut(&connection).map(|c| (connection, side, &mut c.pipe))
    }

    /// Lets what was just put in flight from `side` arrive: at once on a Unix socket, after the latency on TCP and
    /// never before what was sent earlier.
    pub(crate) fn put_in_flight(&mut self, connection: u64, side: Side) {
        let Some(state) = self.connections.get(&connection) else { return };
        if state.pipe.kind == PipeKind::Unix {
            return self.pipe_arrive(connection, side);
        }
        let earliest = state.last_arrival[side as usize];
        let at = self.time().plus_ns(self.pipe_latency()).max(earliest);
        if let Some(state) = self.connections.get_mut(&connection) {
            state.last_arrival[side as usize] = at;
        }
        self.schedule(at, Event::PipeArrive { connection, from: side });
    }

    pub(super) fn pipe_arrive(&mut self, connection: u64, from: Side) {
        let Some(state) = self.connections.get_mut(&connection) else { return };
        let arrived = state.pipe.arrive(from);
        let tcp = state.pipe.kind == PipeKind::Tcp;
        match arrived {
            Arrived::Kept(bytes) if tcp => {
                let after = self.pipe_latency();
                self.schedule_in(after, Event::PipeAck { connection, side: from, bytes });
            }
            Arrived::Unwanted => {
                state.pipe.send_reset(from.other());
                self.put_in_flight(connection, from.other());
            }
            Arrived::Kept(_) | Arrived::Signal => {}
        }
        self.note("pipe", connection, from as u64);
        self.poke_side(connection, from.other());
        self.poke_side(connection, from);
        self.forget_if_over(connection);
    }

    pub(super) fn pipe_acknowledged(&mut self, connection: u64, side: Side, bytes: usize) {
        if let Some(state) = self.connections.get_mut(&connection) {
            state.pipe.acknowledge(side, bytes);
        }
    }

    /// Announces room to the writer of the direction that `reader` just read from.
    pub(crate) fn announce_space(&mut self, connection: u64, reader: Side) {
        let Some(state) = self.connections.get(&connection) else { return };
        if state.pipe.kind == PipeKind::Unix {
            return self.poke_side(connection, reader.other());
        }
        let after = self.pipe_latency();
        self.schedule_in(after, Event::PipeSpace { connection, side: reader.other() });
    }

    fn forget_if_over(&mut self, connection: u64) {
        let over = self.connections.get(&connection).is_some_and(|c| {
            c.pipe.closed(Side::A)
                && c.pipe.closed(Side::B)
                && c.pipe.in_flight_segments(Side::A) + c.pipe.in_flight_segments(Side::B) == 0
        });
        if over {
            self.connections.remove(&connection);
        }
    }

    /// What a scripted endpoint can read now.
    ///
    /// # Errors
    /// ENOTSOCK for a name that reaches no stream.
    pub fn readable(&mut self, socket: SimSocket) -> Result<Readable, StreamError> {
        let (_, side, pipe) = self.pipe_of(socket).ok_or(StreamError(ENOTSOCK))?;
        Ok(pipe.readable(side))
    }

    /// Reads up to `max` bytes and shows them in order; returns how many.
    pub fn read(&mut self, socket: SimSocket, max: usize, take: impl FnMut(&[u8])) -> usize {
        let Some((connection, side, pipe)) = self.pipe_of(socket) else { return 0 };
        let read = pipe.read(side, max, take);
        if read > 0 {
            self.announce_space(connection, side);
        }
        read
    }

    /// How many bytes can be written now.
    ///
    /// # Errors
    /// The errno that a send would fail with.
    pub fn writable(&mut self, socket: SimSocket) -> Result<usize, StreamError> {
        let (_, side, pipe) = self.pipe_of(socket).ok_or(StreamError(ENOTSOCK))?;
        pipe.writable(side).map_err(StreamError)
    }

    /// Writes bytes; no more than [`Self::writable`] said.
    pub fn write(&mut self, socket: SimSocket, data: Bytes) {
        let Some((connection, side, pipe)) = self.pipe_of(socket) else { return };
        if data.is_empty() {
            return;
        }
        pipe.write(side, data);
        self.put_in_flight(connection, side);
    }

    /// Ends the sending direction.
    ///
    /// # Errors
    /// ENOTCONN on a connection that failed.
    pub fn shutdown_write(&mut self, socket: SimSocket) -> Result<(), StreamError> {
        let (connection, side, pipe) = self.pipe_of(socket).ok_or(StreamError(ENOTSOCK))?;
        if pipe.shutdown_write(side).map_err(StreamError)? {
            self.put_in_flight(connection, side);
        }
        Ok(())
    }

    /// Bytes that the other end has not taken (`SIOCOUTQ`).
    #[must_use]
    pub fn unsent_bytes(&self, socket: SimSocket) -> usize {
        let Some((connection, side)) = self.stream(socket) else { return 0 };
        self.connections.get(&connection).map_or(0, |c| c.pipe.unsent_bytes(side))
    }

    /// A name of the connection that a stream socket is an end of, which outlives it.
    #[must_use]
    pub fn connection_of(&self, socket: SimSocket) -> Option<u64> {
        self.stream(socket).map(|(connection, _)| connection)
    }

    /// Whether the world itself broke this connection (an injected error), so that no end can be blamed.
    #[must_use]
    pub fn was_broken(&self, connection: u64) -> bool {
        self.broken.contains(&connection)
    }

    /// Whether the connection is gone in both directions or failed (poll(2): POLLHUP, POLLERR).
    pub fn is_gone(&mut self, socket: SimSocket) -> bool {
        self.pipe_of(socket).is_none_or(|(_, side, pipe)| pipe.gone(side))
    }

    /// Whether a socket is a TCP connection.
    pub fn is_tcp(&mut self, socket: SimSocket) -> bool {
        self.pipe_of(socket).is_some_and(|(_, _, pipe)| pipe.kind == PipeKind::Tcp)
    }

    /// Who is at the other end of a TCP connection.
    #[must_use]
    pub fn peer_addr(&self, socket: SimSocket) -> Option<SocketAddr> {
        self.sockets.get(socket)?.peer
    }

    /// Breaks a connection from outside: both ends fail, now.
    pub(crate) fn break_connection(&mut self, socket: SimSocket, errno: i32) {
        let Some((connection, side, pipe)) = self.pipe_of(socket) else { return };
        pipe.fail(side, errno);
        pipe.take_error(side);
        pipe.fail(side.other(), crate::pipe::ECONNRESET);
        self.broken.insert(connection);
        self.note("broken", connection, u64::from(errno.unsigned_abs()));
        self.poke_side(connection, Side::A);
        self.poke_side(connection, Side::B);
    }

    /// Closes a socket at once, whatever it is.
    pub fn close(&mut self, socket: SimSocket, how: Close) {
        let Some(entry) = self.sockets.remove(socket) else { return };
        self.note("close", socket.trace_id(), how as u64);
        match entry.kind {
            SocketKind::Udp(udp) => self.unbind_udp(entry.host, udp.addr.port(), socket),
            SocketKind::Listener(listener) => {
                self.listeners.remove(&listener.address);
                for waiting in listener.queue {
                    self.close(waiting, Close::Reset);
                }
            }
            SocketKind::Stream { connection, side } => self.close_stream(connection, side, how),
        }
    }

    fn close_stream(&mut self, connection: u64, side: Side, how: Close) {
        let Some(state) = self.connections.get_mut(&connection) else { return };
        state.sockets[side as usize] = None;
        let before = state.pipe.in_flight_segments(side);
        if how == Close::Reset && state.pipe.kind == PipeKind::Tcp && before > 0 {
            let keep = self.net_rng.below_size(before + 1);
            if let Some(state) = self.connections.get_mut(&connection) {
                state.pipe.discard_in_flight(side, keep);
            }
        }
        let Some(state) = self.connections.get_mut(&connection) else { return };
        let kept = state.pipe.in_flight_segments(side);
        let reset = state.pipe.close(side, how == Close::Reset);
        let added = state.pipe.in_flight_segments(side) > kept;
        if reset || added {
            self.put_in_flight(connection, side);
        }
        self.poke_side(connection, side.other());
        self.forget_if_over(connection);
    }

    /// Whether something of this probability happens to an operation.
    pub(crate) fn io_chance(&mut self, probability: impl Fn(&crate::faults::IoFaults) -> Ppm) -> bool {
        let probability = probability(&self.faults.io);
        self.io_rng.chance(probability)
    }
}
