//! The in-flight table: every operation of the caller from its submission to its final completion, with everything
//! that the kernel may touch on its behalf (R1).

use bytes::Bytes;
use rustc_hash::FxHashMap;
use slab::Slab;

use super::key::FlightKey;
use super::message::{DatagramMessage, Stable, VectorMessage};
use crate::counters::OpKind;
use crate::driver::{SocketId, Token};
use crate::net::addr::RawAddr;
use crate::op::{SlotSize, Transmit};

/// How far a send is on the way without a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZeroCopy {
    /// An ordinary send: one completion.
    No,
    /// Submitted without a copy, no result yet.
    Asked,
    /// The result was delivered; the notification that the kernel no longer reads the bytes is to come.
    Notifying,
    /// The kernel cannot do it; an ordinary send follows once the notification is there.
    SendAgain,
}

/// What an operation is about, and what it owns.
pub(super) enum Work {
    Accept {
        /// Set when the table was full: the errno that the accept ends with.
        ended_by: Option<i32>,
    },
    Connect {
        /// What the kernel connects to.
        _addr: Stable<RawAddr>,
    },
    Recv {
        slot: SlotSize,
        /// [`OpKind::RecvMultishot`] or [`OpKind::RecvSingle`].
        kind: OpKind,
    },
    Send {
        data: Vec<Bytes>,
        message: Option<Stable<VectorMessage>>,
        zero_copy: ZeroCopy,
    },
    /// Waits for the socket's last send: it is done by a system call, not by the ring.
    ShutdownWrite,
    Watch {
        /// The peer has ended its direction, which completes a one-shot poll.
        half_closed: bool,
        /// The end was seen; the final completion of the poll is awaited.
        gone: bool,
    },
    RecvDatagrams,
    SendDatagrams {
        transmit: Transmit,
        message: Stable<DatagramMessage>,
        zero_copy: ZeroCopy,
        /// Whether it was already repeated because of another datagram's error.
        repeated: bool,
    },
}

/// One operation.
pub(super) struct Flight {
    pub(super) token: Token,
    pub(super) socket: SocketId,
    pub(super) work: Work,
    /// The caller has asked for its end: it must not be submitted again, which a cancellation on its way to the
    /// kernel would not meet.
    pub(super) cancelled: bool,
}

impl Flight {
    pub(super) const fn new(token: Token, socket: SocketId, work: Work) -> Self {
        Self { token, socket, work, cancelled: false }
    }
}

/// All operations in flight.
pub(super) struct Flights {
    entries: Slab<(FlightKey, Flight)>,
    /// For cancellation. The keys are the caller's own tokens, not a peer's choice, so a fast hash will do.
    by_token: FxHashMap<Token, FlightKey>,
    generation: u32,
}

impl Flights {
    pub(super) fn new() -> Self {
        Self { entries: Slab::new(), by_token: FxHashMap::default(), generation: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn insert(&mut self, flight: Flight) -> FlightKey {
        let vacant = self.entries.vacant_entry();
        let index = u32::try_from(vacant.key()).expect("bounded by the completion queue");
        self.generation = self.generation.wrapping_add(1);
        let key = FlightKey::new(index, self.generation);
        self.by_token.insert(flight.token, key);
        vacant.insert((key, flight));
        key
    }

    /// Panics on a key that is not in flight: the kernel completed something twice, or we lost count.
    pub(super) fn get_mut(&mut self, key: FlightKey) -> &mut Flight {
        let (held, flight) = self.entries.get_mut(key.index as usize).expect("an operation in flight");
        assert_eq!(*held, key, "a completion of an operation that was over");
        flight
    }

    /// Takes an operation out at its final completion; see [`Self::get_mut`].
    pub(super) fn remove(&mut self, key: FlightKey) -> Flight {
        self.get_mut(key);
        let (_, flight) = self.entries.remove(key.index as usize);
        // With a token used twice (R5) the entry may be the later operation's.
        if self.by_token.get(&flight.token) == Some(&key) {
            self.by_token.remove(&flight.token);
        }
        flight
    }

    pub(super) fn by_token(&self, token: Token) -> Option<FlightKey> {
        self.by_token.get(&token).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(token: u64) -> Flight {
        Flight::new(Token(token), SocketId::new(0, 0), Work::RecvDatagrams)
    }

    #[test]
    fn a_place_taken_again_has_another_key() {
        let mut flights = Flights::new();
        let old = flights.insert(receive(1));
        assert_eq!(flights.by_token(Token(1)), Some(old));
        flights.remove(old);
        assert_eq!(flights.by_token(Token(1)), None);
        let new = flights.insert(receive(2));
        assert_eq!(new.index, old.index);
        assert_ne!(new, old);
        assert_eq!(flights.get_mut(new).token, Token(2));
        assert_eq!(flights.len(), 1);
    }

    #[test]
    #[should_panic(expected = "was over")]
    fn a_late_completion_is_a_bug() {
        let mut flights = Flights::new();
        let old = flights.insert(receive(1));
        flights.remove(old);
        flights.insert(receive(2));
        flights.remove(old);
    }
}
