//! The table of all sockets of a world, whoever owns them.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;

use adit_io::Close;

use super::{Address, HostId, UdpItem};
use crate::clock::SimTime;
use crate::pipe::Side;

/// A socket outside any driver: a plain name, with a generation so that a closed socket's name reaches nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimSocket {
    index: u32,
    generation: u32,
}

impl SimSocket {
    /// A figure for traces.
    pub(crate) fn trace_id(self) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.generation)
    }
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sim socket {}.{}", self.index, self.generation)
    }
}

/// Whom changes of a socket concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody yet: in an accept queue, or between drivers.
    Detached,
    /// A driver's process.
    Process(usize),
    /// A scripted endpoint.
    Script(u32),
}

#[derive(Debug)]
pub(crate) struct Udp {
    pub(crate) addr: SocketAddr,
    pub(crate) queue: VecDeque<UdpItem>,
    pub(crate) queued_bytes: usize,
    /// What the next send fails with (ip(7), socket(7) `SO_ERROR`).
    pub(crate) pending_error: Option<i32>,
}

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: Address,
    pub(crate) queue: VecDeque<SimSocket>,
    pub(crate) backlog: usize,
}

#[derive(Debug)]
pub(crate) enum SocketKind {
    Udp(Udp),
    Stream { connection: u64, side: Side },
    Listener(Listener),
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) host: HostId,
    pub(crate) owner: Owner,
    pub(crate) kind: SocketKind,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) peer: Option<SocketAddr>,
    /// Operations of the owning process that are outstanding on it, by serial number.
    pub(crate) ops: Vec<u64>,
    /// How it is to be closed once the last of them is done.
    pub(crate) closing: Option<Close>,
    /// Completions on one socket become visible in the order in which they happened, whichever direction they are
    /// of: what took an error off the socket is seen before what found none any more.
    pub(crate) visible_from: SimTime,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    socket: Option<Socket>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Sockets {
    pub(crate) fn insert(&mut self, host: HostId, owner: Owner, kind: SocketKind) -> SimSocket {
        let socket = Socket {
            host,
            owner,
            kind,
            local: None,
            peer: None,
            ops: Vec::new(),
            closing: None,
            visible_from: SimTime(0),
        };
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.socket = Some(socket);
            return SimSocket { index, generation: place.generation };
        }
        let index = u32::try_from(self.places.len()).expect("fewer than 2³² sockets");
        self.places.push(Place { generation: 0, socket: Some(socket) });
        SimSocket { index, generation: 0 }
    }

    pub(crate) fn get(&self, socket: SimSocket) -> Option<&Socket> {
        let place = self.places.get(socket.index as usize)?;
        if place.generation == socket.generation { place.socket.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, socket: SimSocket) -> Option<&mut Socket> {
        let place = self.places.get_mut(socket.index as usize)?;
        if place.generation == socket.generation { place.socket.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, socket: SimSocket) -> Option<Socket> {
        let place = self.places.get_mut(socket.index as usize)?;
        if place.generation != socket.generation {
            return None;
        }
        let taken = place.socket.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(socket.index);
        Some(taken)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SimSocket, &Socket)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let name = SimSocket { index: u32::try_from(index).ok()?, generation: place.generation };
            place.socket.as_ref().map(|socket| (name, socket))
        })
    }
}
