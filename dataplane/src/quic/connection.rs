//! One connection beside quinn-proto's: its name, what it is registered under, and what it still owes the shard; and
//! the table of them.

use std::net::SocketAddr;
use std::time::Instant;

use quinn_proto::{Connection, ConnectionHandle, Side};

use super::event::ConnId;
use super::liveness::Liveness;
use super::proof::Proof;
use crate::limits;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Until the end of the handshake, which must come before the deadline.
    Handshaking { deadline: Instant },
    /// In use.
    Open,
    /// Its end was reported. It stays while late packets may arrive (RFC 9000 section 10.2), at least until then, and
    /// nobody may use it.
    Lost { until: Instant },
}

/// See the module.
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) inner: Connection,
    pub(super) side: Side,
    pub(super) phase: Phase,
    pub(super) liveness: Liveness,
    /// In the queue of connections that may have something to send.
    pub(super) dirty: bool,
    /// In the queue of connections that may have something to report.
    pub(super) eventful: bool,
    /// In the list of connections that the datagrams at hand were for.
    pub(super) touched: bool,
    /// The deadline it is registered under.
    pub(super) deadline: Option<Instant>,
    /// The address it is registered under.
    pub(super) remote: SocketAddr,
    /// When the peer was last found to have moved to another address.
    pub(super) moved_at: Option<Instant>,
    /// How often since the beginning of the present [`limits::MIGRATIONS_WINDOW`], and when that was.
    pub(super) moves: (u32, Instant),
    /// How often since the peer last acknowledged anything, and its acknowledgements by then.
    pub(super) moves_unanswered: (u32, u64),
    /// What may be sent to addresses that it claims.
    pub(super) proof: Proof,
    /// Streams that the peer may have open at once.
    pub(super) streams_granted: u32,
}

impl Conn {
    pub(super) fn is_usable(&self) -> bool {
        !matches!(self.phase, Phase::Lost { .. })
    }

    /// A connection that somebody else began and that has not ended its handshake: what a flood consists of.
    pub(super) fn is_half_open(&self) -> bool {
        self.side.is_server() && matches!(self.phase, Phase::Handshaking { .. })
    }

    /// The peer has moved to another address: counts that. Each move leaves something behind in quinn-proto until
    /// something is acknowledged, so a peer that does nothing else would fill the memory.
    ///
    /// # Errors
    /// Why it may not, for the log and the peer.
    pub(super) fn on_moved(&mut self, now: Instant) -> Result<(), String> {
        self.moved_at = Some(now);
        let acks = self.inner.stats().frame_rx.acks;
        let (unanswered, acks_before) = &mut self.moves_unanswered;
        if *acks_before != acks {
            (*unanswered, *acks_before) = (0, acks);
        }
        *unanswered += 1;
        if *unanswered > limits::MIGRATIONS_UNANSWERED_MAX {
            let most = limits::MIGRATIONS_UNANSWERED_MAX;
            return Err(format!(
                "it moved to another address more than {most} times and acknowledged nothing"
            ));
        }
        let (count, since) = &mut self.moves;
        if now.saturating_duration_since(*since) > limits::MIGRATIONS_WINDOW {
            (*count, *since) = (0, now);
        }
        *count += 1;
        if *count > limits::MIGRATIONS_MAX {
            let (most, seconds) = (limits::MIGRATIONS_MAX, limits::MIGRATIONS_WINDOW.as_secs());
            return Err(format!("it moved to another address more than {most} times within {seconds} s"));
        }
        Ok(())
    }

    /// When it must be looked at again.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        let inner = self.inner.poll_timeout();
        let own = match self.phase {
            Phase::Handshaking { deadline } => Some(deadline),
            Phase::Open => self.liveness.deadline(self.inner.rtt()),
            Phase::Lost { until } => inner.is_none().then_some(until),
        };
        [inner, own].into_iter().flatten().min()
    }

    pub(super) fn handle(&self) -> ConnectionHandle {
        ConnectionHandle(usize::try_from(self.id.index).expect("a table index"))
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    conn: Option<Box<Conn>>,
}

/// The connections of one endpoint. A connection has the same index here and in quinn-proto's endpoint, which frees
/// its own at the same time; only the generation is ours.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    len: usize,
}

impl Table {
    /// Connections in it, lost ones that are not drained yet included.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The name that a connection with this handle will get.
    pub(super) fn reserve(&mut self, handle: ConnectionHandle) -> ConnId {
        if self.slots.len() <= handle.0 {
            self.slots.resize_with(handle.0 + 1, Slot::default);
        }
        let index = u32::try_from(handle.0).expect("the table is bounded far below");
        ConnId { index, generation: self.slots[handle.0].generation }
    }

    /// Takes in a connection under its reserved name.
    pub(super) fn insert(&mut self, conn: Conn) -> &mut Conn {
        let slot = &mut self.slots[conn.handle().0];
        assert!(slot.conn.is_none(), "quinn-proto hands out a handle again only after it was drained");
        self.len += 1;
        slot.conn.insert(Box::new(conn))
    }

    fn slot(&self, id: ConnId) -> Option<&Slot> {
        self.slots.get(usize::try_from(id.index).ok()?).filter(|slot| slot.generation == id.generation)
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.slot(id)?.conn.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let slot = self.slots.get_mut(usize::try_from(id.index).ok()?)?;
        slot.conn.as_deref_mut().filter(|conn| conn.id == id)
    }

    /// The connection with this handle.
    pub(super) fn by_handle(&mut self, handle: ConnectionHandle) -> Option<&mut Conn> {
        self.slots.get_mut(handle.0)?.conn.as_deref_mut()
    }

    /// The connection at this place.
    pub(super) fn at(&mut self, index: u32) -> Option<&mut Conn> {
        self.slots.get_mut(usize::try_from(index).ok()?)?.conn.as_deref_mut()
    }

    /// Frees the place of a drained connection.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Box<Conn>> {
        self.get(id)?;
        let slot = &mut self.slots[usize::try_from(id.index).ok()?];
        // A generation that wraps needs four thousand million connections in one place.
        slot.generation = slot.generation.wrapping_add(1);
        self.len -= 1;
        slot.conn.take()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.slots.iter().filter_map(|slot| slot.conn.as_deref())
    }
}
