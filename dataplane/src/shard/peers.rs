//! What shards of one process say to each other: whole frontend connections, datagrams and reports of the network that
//! reached the wrong socket, and the bytes of tunnels whose frontend cannot move.
//!
//! Every shard has one bounded inbox, into which all others put. A connection crosses at most twice: when the shard
//! that accepts deals it out, and when its dial moves to the shard of the chosen agent (design decision D3). Bytes of
//! tunnels cross for frontends that carry many over one connection, and for no other (`relay`). Deliberately absent:
//! any answer. A message that cannot be delivered comes back at once, and whoever has the socket answers its frontend.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use adit_io::{Datagrams, PeerAddr, Wake};
use bytes::Bytes;
use crossbeam_queue::ArrayQueue;

use super::relay::RelayMessage;
use super::tunnel::PendingDial;
use crate::limits::{RELAY_MESSAGES_MAX, STRAYS_MAX};
use crate::port::{ConnectionKey, ShardId};
use crate::stream::tls::TlsSession;

/// A frontend's connection on its way to another shard.
#[derive(Debug)]
pub(super) enum Passed<S> {
    /// Just accepted on a Unix socket; nothing was read.
    Frontend { socket: S, peer: PeerAddr },
    /// Its dial goes to an agent of the other shard.
    Dial(Box<MovedDial<S>>),
}

/// A dial with everything that belongs to it. No operation is outstanding on the socket.
#[derive(Debug)]
pub(super) struct MovedDial<S> {
    pub(super) socket: S,
    pub(super) unix: bool,
    /// The session on it, with nothing of it waiting to be sent.
    pub(super) tls: Option<Box<TlsSession>>,
    /// What the frontend said behind its head.
    pub(super) early: VecDeque<Bytes>,
    /// Whether it finished sending.
    pub(super) ended: bool,
    pub(super) dial: Box<PendingDial>,
    /// The agent's connection that was chosen.
    pub(super) chosen: ConnectionKey,
}

/// What reached the wrong socket of the reuseport group.
#[derive(Debug)]
pub(super) enum Stray {
    /// A datagram of a connection that the other shard owns.
    Datagrams(Datagrams),
    /// The network's report that a peer cannot be reached. The kernel gives it to any socket of the group.
    Unreachable(SocketAddr),
}

struct Inbox<S> {
    connections: ArrayQueue<Passed<S>>,
    strays: ArrayQueue<Stray>,
    relays: ArrayQueue<RelayMessage>,
    /// Its shard takes nothing any more. Set before the shard looks for the last time.
    closed: AtomicBool,
    shard: Arc<dyn Wake>,
}

/// One shard's way to all others.
pub struct Peers<S> {
    own: ShardId,
    inboxes: Arc<[Inbox<S>]>,
    /// Whose turn it is to be dealt a connection.
    next: usize,
    /// Bit *i*: shard *i* was given something that it may not have taken yet.
    unheard: u32,
    /// What waits for room in the others' inboxes, by shard. Bounded by the windows of what crosses.
    unsent: Vec<VecDeque<RelayMessage>>,
}

const _: () = assert!(crate::limits::SHARDS_MAX <= 32, "one bit of `unheard` for each shard");

impl<S> fmt::Debug for Peers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers")
            .field("own", &self.own)
            .field("shards", &self.inboxes.len())
            .finish_non_exhaustive()
    }
}

/// Connects the shards of one process: one [`Peers`] for each waker, in shard order. They are handed out as
/// [`crate::port::Command::Peers`] before anything listens. A shard's inbox holds at most `connections_max`
/// connections, in production [`crate::limits::PASSED_CONNECTIONS_MAX`]; more are answered with 503.
#[must_use]
pub fn connect<S>(wakers: Vec<Arc<dyn Wake>>, connections_max: usize) -> Vec<Peers<S>> {
    let inboxes: Arc<[Inbox<S>]> = wakers
        .into_iter()
        .map(|shard| Inbox {
            connections: ArrayQueue::new(connections_max),
            strays: ArrayQueue::new(STRAYS_MAX),
            relays: ArrayQueue::new(RELAY_MESSAGES_MAX),
            closed: AtomicBool::new(false),
            shard,
        })
        .collect();
    (0..inboxes.len())
        .filter_map(|index| {
            let own = ShardId(u8::try_from(index).ok()?);
            let unsent = inboxes.iter().map(|_| VecDeque::new()).collect();
            Some(Peers { own, inboxes: Arc::clone(&inboxes), next: index, unheard: 0, unsent })
        })
        .collect()
}

impl<S> Peers<S> {
    /// Whether there is such a shard and it still takes something.
    pub(super) fn is_open(&self, shard: ShardId) -> bool {
        self.inbox(shard).is_some_and(|inbox| !inbox.closed.load(Ordering::Acquire))
    }

    /// The shard that the next accepted connection is dealt to; in turns, this one included.
    pub(super) fn deal(&mut self) -> ShardId {
        let shard = ShardId(u8::try_from(self.next).unwrap_or(self.own.0));
        self.next = (self.next + 1) % self.inboxes.len();
        if self.is_open(shard) { shard } else { self.own }
    }

    /// Gives a connection to another shard.
    ///
    /// # Errors
    /// What came back because the shard's inbox is full or closed: this message and, if the shard closed its inbox
    /// meanwhile, others that nobody will take out any more. The caller answers all of them.
    pub(super) fn pass(&mut self, to: ShardId, message: Passed<S>) -> Result<(), Vec<Passed<S>>> {
        let Some(inbox) = self.inboxes.get(usize::from(to.0)) else { return Err(vec![message]) };
        if inbox.closed.load(Ordering::Acquire) {
            return Err(vec![message]);
        }
        inbox.connections.push(message).map_err(|message| vec![message])?;
        // Closing sets the flag and then empties the queue; this looks at the flag after filling it. With a full fence
        // between the two steps of each, one of the two sees the message.
        fence(Ordering::SeqCst);
        if inbox.closed.load(Ordering::Relaxed) {
            let left: Vec<_> = std::iter::from_fn(|| inbox.connections.pop()).collect();
            return if left.is_empty() { Ok(()) } else { Err(left) };
        }
        self.unheard |= 1 << to.0;
        inbox.shard.wake();
        Ok(())
    }

    /// The other shards.
    pub(super) fn others(&self) -> impl Iterator<Item = ShardId> + use<S> {
        let own = self.own;
        (0..self.inboxes.len())
            .filter_map(|index| u8::try_from(index).ok().map(ShardId))
            .filter(move |id| *id != own)
    }

    /// Forwards what reached the wrong socket. False when it was dropped, as the network might.
    pub(super) fn forward(&mut self, to: ShardId, stray: Stray) -> bool {
        let Some(inbox) = self.inboxes.get(usize::from(to.0)) else { return false };
        if to == self.own || inbox.closed.load(Ordering::Acquire) || inbox.strays.push(stray).is_err() {
            return false;
        }
        self.unheard |= 1 << to.0;
        inbox.shard.wake();
        true
    }

    /// Says something about a stream that crosses; later, where the inbox is full.
    pub(super) fn say(&mut self, to: ShardId, message: RelayMessage) {
        let Some(unsent) = self.unsent.get_mut(usize::from(to.0)) else { return };
        unsent.push_back(message);
        if unsent.len() == 1 {
            self.flush_to(usize::from(to.0));
        }
    }

    /// Hands over what waited for room, and gives back what nobody will take any more.
    pub(super) fn flush(&mut self) -> Vec<RelayMessage> {
        let mut lost = Vec::new();
        for to in 0..self.unsent.len() {
            self.flush_to(to);
            if self.inboxes[to].closed.load(Ordering::Acquire) {
                lost.extend(self.unsent[to].drain(..));
            }
        }
        lost
    }

    fn flush_to(&mut self, to: usize) {
        let inbox = &self.inboxes[to];
        let mut given = false;
        while !inbox.closed.load(Ordering::Acquire)
            && let Some(message) = self.unsent[to].pop_front()
        {
            if let Err(message) = inbox.relays.push(message) {
                self.unsent[to].push_front(message);
                break;
            }
            given = true;
        }
        if given {
            self.unheard |= 1 << to;
            inbox.shard.wake();
        }
    }

    /// Whether something waits for room in another shard's inbox.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent.iter().any(|unsent| !unsent.is_empty())
    }

    /// The oldest message about a stream that crosses.
    pub(super) fn try_recv_relay(&self) -> Option<RelayMessage> {
        self.inbox(self.own)?.relays.pop()
    }

    /// The oldest connection that another shard passed on to this one.
    pub(super) fn try_recv(&self) -> Option<Passed<S>> {
        self.inbox(self.own)?.connections.pop()
    }

    /// The oldest stray that another shard forwarded to this one.
    pub(super) fn try_recv_stray(&self) -> Option<Stray> {
        self.inbox(self.own)?.strays.pop()
    }

    /// Whether something waits for this shard.
    pub(super) fn has_messages(&self) -> bool {
        self.inbox(self.own).is_some_and(|inbox| {
            !inbox.connections.is_empty() || !inbox.strays.is_empty() || !inbox.relays.is_empty()
        })
    }

    /// Whether some other shard may not have heard of what it was given.
    pub(super) const fn is_unheard(&self) -> bool {
        self.unheard != 0
    }

    /// Wakes again those that still have not taken what they were given: a wake-up may be late, and this does not
    /// depend on none being lost.
    pub(super) fn wake_again(&mut self) {
        for (index, inbox) in self.inboxes.iter().enumerate() {
            let bit = 1 << index;
            if self.unheard & bit == 0 {
                continue;
            }
            if inbox.connections.is_empty() && inbox.strays.is_empty() && inbox.relays.is_empty() {
                self.unheard &= !bit;
            } else {
                inbox.shard.wake();
            }
        }
    }

    /// This shard takes nothing any more. Call [`Self::try_recv`] once more after it.
    pub(super) fn close(&self) {
        if let Some(inbox) = self.inbox(self.own) {
            inbox.closed.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
    }

    fn inbox(&self, shard: ShardId) -> Option<&Inbox<S>> {
        self.inboxes.get(usize::from(shard.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Debug, Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    const INBOX: usize = 3;

    fn frontend(socket: u32) -> Passed<u32> {
        Passed::Frontend { socket, peer: PeerAddr::Unix }
    }

    fn pair() -> (Peers<u32>, Peers<u32>, Arc<Count>) {
        let woken = Arc::new(Count::default());
        let mut peers = connect(vec![Arc::new(Count::default()), Arc::clone(&woken) as Arc<dyn Wake>], INBOX);
        let second = peers.remove(1);
        (peers.remove(0), second, woken)
    }

    #[test]
    fn connections_are_dealt_in_turns_to_those_that_are_open() {
        let (mut first, second, _) = pair();
        let dealt: Vec<u8> = (0..4).map(|_| first.deal().0).collect();
        assert_eq!(dealt, [0, 1, 0, 1]);
        second.close();
        let dealt: Vec<u8> = (0..4).map(|_| first.deal().0).collect();
        assert_eq!(dealt, [0, 0, 0, 0]);
    }

    #[test]
    fn a_full_inbox_hands_the_connection_back() {
        let (mut first, second, woken) = pair();
        for socket in 0..3 {
            first.pass(ShardId(1), frontend(socket)).unwrap();
        }
        let back = first.pass(ShardId(1), frontend(7777)).unwrap_err();
        assert!(matches!(back[..], [Passed::Frontend { socket: 7777, .. }]));
        assert_eq!(woken.0.load(Ordering::Relaxed), INBOX);
        assert!(matches!(second.try_recv(), Some(Passed::Frontend { socket: 0, .. })));
    }

    #[test]
    fn a_closed_inbox_takes_nothing() {
        let (mut first, second, _) = pair();
        first.pass(ShardId(1), frontend(1)).unwrap();
        second.close();
        assert!(second.try_recv().is_some());
        assert!(first.pass(ShardId(1), frontend(2)).is_err());
        assert!(!second.has_messages());
    }

    #[test]
    fn whoever_has_not_taken_its_messages_is_woken_again() {
        let (mut first, second, woken) = pair();
        first.pass(ShardId(1), frontend(1)).unwrap();
        first.wake_again();
        assert!(first.is_unheard());
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        assert!(second.try_recv().is_some());
        first.wake_again();
        assert!(!first.is_unheard());
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_shard_does_not_forward_to_itself() {
        let (mut first, _, _) = pair();
        let stray = || Stray::Unreachable("127.0.0.1:1".parse().unwrap());
        assert!(!first.forward(ShardId(0), stray()));
        assert!(!first.forward(ShardId(2), stray()));
        assert!(first.forward(ShardId(1), stray()));
        assert_eq!(first.others().collect::<Vec<_>>(), [ShardId(1)]);
    }
}
