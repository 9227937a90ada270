//! Connections that go from shard to shard: dealt out when they are accepted, and handed over with their dial to the
//! shard of the chosen agent. The socket moves, its bytes do not.
//!
//! A dial is handed over once. Only if its agent is lost before it answered, and no other agent has a connection on the
//! same shard, does it go on to a third place: every place that was tried is excluded, so that ends.

use std::net::SocketAddr;

use adit_io::{Close, DatagramDriver, Datagrams, PeerAddr, SocketId};
use bytes::BytesMut;

use super::Shard;
use super::peers::{MovedDial, Passed, Stray};
use super::relay::What;
use super::timers::Timer;
use super::token::Purpose;
use super::tunnel::{PendingDial, Phase, Tunnel};
use crate::frontend::Answer;
use crate::limits::{PASSED_PER_TURN_MAX, WAKE_AGAIN_PAUSE};
use crate::port::{ConnectionKey, DialOutcome, ShardId};
use crate::quic::short_header_owner;
use crate::stream::table::Key;

/// What a frontend is told when the shard of its agent has no room.
const BUSY: &str = "the server is busy: the shard of the agent takes no more connections";

impl<D: DatagramDriver> Shard<D> {
    /// Gives a connection that was just accepted on a Unix socket, which has one listener, to the shard whose turn it
    /// is.
    pub(super) fn deal(&mut self, socket: SocketId, peer: PeerAddr) {
        let to = self.peers.as_mut().map_or(self.config.id, super::peers::Peers::deal);
        if to == self.config.id {
            return self.on_frontend(socket, &peer, None);
        }
        match self.driver.release(socket) {
            Ok(socket) => {
                self.stats.frontends_dealt += 1;
                self.pass(to, Passed::Frontend { socket, peer });
            }
            Err(refused) => self.on_frontend(refused.value, &peer, None),
        }
    }

    fn pass(&mut self, to: ShardId, message: Passed<D::Socket>) {
        let Some(peers) = &mut self.peers else { return };
        let first = !peers.is_unheard();
        match peers.pass(to, message) {
            Ok(()) if first => self.timers.set(self.now + WAKE_AGAIN_PAUSE, Timer::Peers),
            Ok(()) => {}
            Err(back) => back.into_iter().for_each(|message| self.take_back(message)),
        }
    }

    /// Another shard had no room: a connection of which nothing was read is served here, a dial is refused.
    fn take_back(&mut self, message: Passed<D::Socket>) {
        match message {
            Passed::Frontend { .. } => self.on_passed(message),
            Passed::Dial(moved) => {
                self.stats.dials_handed_back += 1;
                if let Some((key, _)) = self.adopt_dial(*moved) {
                    self.answer_dial(key, DialOutcome::NoAgent, Answer::unavailable(BUSY), BUSY);
                }
            }
        }
    }

    /// What other shards passed on to this one.
    pub(super) fn take_passed(&mut self) {
        for _ in 0..PASSED_PER_TURN_MAX {
            let Some(stray) = self.peers.as_ref().and_then(super::peers::Peers::try_recv_stray) else {
                break;
            };
            match stray {
                Stray::Datagrams(datagrams) => self.quic.handle_datagrams(self.now, datagrams),
                Stray::Unreachable(peer) => self.quic.peer_unreachable(self.now, peer),
            }
        }
        for _ in 0..PASSED_PER_TURN_MAX {
            let Some(message) = self.peers.as_ref().and_then(super::peers::Peers::try_recv) else { break };
            self.on_passed(message);
        }
    }

    fn on_passed(&mut self, message: Passed<D::Socket>) {
        match message {
            Passed::Frontend { socket, peer } => match self.driver.adopt(socket) {
                Ok(socket) => self.on_frontend(socket, &peer, None),
                // The socket is dropped, and so closed, as when the tunnel table is full.
                Err(_) => self.stats.frontends_refused += 1,
            },
            Passed::Dial(moved) => {
                if let Some((key, chosen)) = self.adopt_dial(*moved) {
                    self.ask_chosen(key, chosen);
                }
            }
        }
    }

    fn adopt_dial(&mut self, moved: MovedDial<D::Socket>) -> Option<(Key, ConnectionKey)> {
        let MovedDial { socket, unix, tls, early, ended, dial, chosen } = moved;
        let Ok(socket) = self.driver.adopt(socket) else {
            self.stats.frontends_refused += 1;
            return None;
        };
        let deadline = dial.deadline;
        let mut tunnel = Tunnel::new(Phase::Dialing(dial));
        tunnel.socket = Some(socket);
        tunnel.unix = unix;
        tunnel.tls = tls;
        early.into_iter().for_each(|piece| tunnel.ingress.on_bytes(piece));
        if ended {
            tunnel.ingress.on_end();
            tunnel.half_closed_at = Some(self.now);
        }
        let Ok(key) = self.tunnels.insert(tunnel) else {
            self.stats.frontends_refused += 1;
            self.driver.close(socket, Close::Reset);
            return None;
        };
        self.stats.dials_pending += 1;
        self.set_deadline(key, deadline);
        self.queue(key);
        Some((key, chosen))
    }

    /// The chosen agent's connection is another shard's: the frontend goes there once its socket is at rest.
    pub(super) fn begin_move(&mut self, key: Key, chosen: ConnectionKey) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        match std::mem::replace(&mut tunnel.phase, Phase::Lingering) {
            Phase::Dialing(dial) => tunnel.phase = Phase::Moving(dial, chosen),
            other => tunnel.phase = other,
        }
        self.queue(key);
    }

    pub(super) fn pump_move(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        if tunnel.ingress.wants_cancel_to_leave() {
            tunnel.ingress.on_cancelling();
            self.cancel(Purpose::Recv, key);
        }
        self.pump_tls(key);
        let Some(tunnel) = self.tunnels.get(key) else { return };
        // What TLS has to say goes out from here; its completion comes back here.
        let sending = tunnel.tls.as_ref().is_some_and(|tls| tls.has_unsent());
        if tunnel.watching {
            self.cancel(Purpose::Watch, key);
        } else if !tunnel.ingress.is_armed() && !sending {
            self.hand_over(key);
        }
    }

    fn hand_over(&mut self, key: Key) {
        let Some(socket) = self.tunnels.get(key).and_then(|tunnel| tunnel.socket) else { return };
        let Ok(socket) = self.driver.release(socket) else {
            // Something is outstanding after all; its completion brings this back.
            debug_assert!(false, "a socket at rest can be released");
            return;
        };
        self.forget_refused(key);
        let Some(tunnel) = self.tunnels.remove(key) else { return };
        self.stats.dials_pending -= 1;
        let Phase::Moving(dial, chosen) = tunnel.phase else { return };
        self.stats.dials_handed_over += 1;
        let ended = tunnel.ingress.has_ended();
        let dial = Box::new(PendingDial { conn: None, ..*dial });
        let early = tunnel.ingress.into_pending();
        let (unix, tls) = (tunnel.unix, tunnel.tls);
        let moved = MovedDial { socket, unix, tls, early, ended, dial, chosen };
        self.pass(chosen.shard, Passed::Dial(Box::new(moved)));
    }

    /// A datagram that the kernel gave to this shard and that another one owns. It is copied: it must not hold a slot
    /// of this shard's while the other one is slow.
    pub(super) fn forward_stray(&mut self, stray: Datagrams) {
        self.stats.stray_datagrams += 1;
        let owner = short_header_owner(&stray.data, self.config.quic.shards).map(ShardId);
        let copy = Datagrams { data: BytesMut::from(&stray.data[..]), ..stray };
        if !owner.is_some_and(|owner| self.forward(owner, Stray::Datagrams(copy))) {
            self.stats.stray_datagrams_dropped += 1;
        }
    }

    /// The network reports that a peer cannot be reached, about a datagram that any shard may have sent.
    pub(super) fn on_peer_unreachable(&mut self, peer: SocketAddr) {
        self.quic.peer_unreachable(self.now, peer);
        let others: Vec<ShardId> = self.peers.iter().flat_map(super::peers::Peers::others).collect();
        for other in others {
            // A hint that is lost is made up for by the next, or by time.
            self.forward(other, Stray::Unreachable(peer));
        }
    }

    fn forward(&mut self, to: ShardId, stray: Stray) -> bool {
        let Some(peers) = &mut self.peers else { return false };
        let first = !peers.is_unheard();
        let taken = peers.forward(to, stray);
        if taken && first {
            self.timers.set(self.now + WAKE_AGAIN_PAUSE, Timer::Peers);
        }
        taken
    }

    /// Makes sure that shards which were given something take it.
    pub(super) fn wake_peers_later(&mut self) {
        self.timers.set(self.now + WAKE_AGAIN_PAUSE, Timer::Peers);
    }

    pub(super) fn wake_peers_again(&mut self) {
        if let Some(peers) = &mut self.peers {
            peers.wake_again();
            if peers.is_unheard() {
                self.timers.set(self.now + WAKE_AGAIN_PAUSE, Timer::Peers);
            }
        }
    }

    /// Whether other shards passed something on that was not looked at.
    pub(super) fn has_passed(&self) -> bool {
        self.peers.as_ref().is_some_and(super::peers::Peers::has_messages)
    }

    /// Takes nothing more from other shards. What came in the very last moment is refused.
    pub(super) fn close_inbox(&mut self) {
        let Some(peers) = &self.peers else { return };
        peers.close();
        while let Some(message) = self.peers.as_ref().and_then(super::peers::Peers::try_recv) {
            self.take_back(message);
        }
        while let Some(message) = self.peers.as_ref().and_then(super::peers::Peers::try_recv_relay) {
            if let What::Open { .. } = message.what {
                self.refuse_relayed(message.home, message.id);
            }
        }
    }
}
