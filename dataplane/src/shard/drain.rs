//! Drain: nothing new is taken, what runs may finish, at the deadline it is cut.

use std::time::Instant;

use adit_io::{Close, DatagramDriver};

use super::Shard;
use super::timers::Timer;
use crate::port::Event;
use crate::quic::ConnId;
use crate::stream::table::Key;
use crate::wire::{CloseCode, ResetCode};

/// How far the drain has come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Drain {
    /// Not asked for.
    #[default]
    No,
    /// Tunnels may finish until then.
    Draining { deadline: Instant, cut: usize },
    /// Tunnels are gone; connections say goodbye.
    Closing { deadline: Instant, cut: usize },
    /// Nothing is left.
    Done,
}

impl Drain {
    pub(super) const fn is_draining(&self) -> bool {
        !matches!(self, Self::No)
    }
}

/// How long the goodbyes may take.
const CLOSING_TIME_MAX: std::time::Duration = std::time::Duration::from_millis(500);

impl<D: DatagramDriver> Shard<D> {
    /// Whether a drain has ended and nothing is left to do.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drain == Drain::Done
    }

    pub(super) fn start_drain(&mut self, deadline: Instant) {
        match &mut self.drain {
            Drain::No => {
                self.drain = Drain::Draining { deadline, cut: 0 };
                self.close_listeners();
                self.stop_connecting();
                self.stop_handshakes();
                self.drain_grpc();
                self.announce_drain(deadline);
            }
            // A second request may only shorten it.
            Drain::Draining { deadline: earlier, .. } => *earlier = deadline.min(*earlier),
            Drain::Closing { .. } | Drain::Done => return,
        }
        self.timers.set(deadline, Timer::Drain);
    }

    /// The deadline: what still runs is cut.
    pub(super) fn cut_drain(&mut self) {
        let Drain::Draining { deadline, cut } = &mut self.drain else { return };
        if *deadline > self.now {
            return;
        }
        let keys: Vec<Key> = self.tunnels.iter().map(|(key, _)| key).collect();
        *cut += self.tunnels.iter().filter(|(_, tunnel)| !tunnel.is_carrying()).count();
        for key in keys {
            self.close_tunnel(key, Close::Reset, Some(ResetCode::DrainCut));
        }
    }

    pub(super) fn progress_drain(&mut self) {
        match self.drain {
            Drain::Draining { deadline, cut }
                if self.tunnels.len() == self.carriers()
                    && !self.has_passed()
                    && self.is_acknowledged(deadline) =>
            {
                self.close_inbox();
                let deadline = self.now + CLOSING_TIME_MAX;
                self.drain = Drain::Closing { deadline, cut };
                self.timers.set(deadline, Timer::Drain);
                let conns: Vec<ConnId> = self.sessions.keys().copied().collect();
                for conn in conns {
                    self.close_session(conn, CloseCode::Draining, "drained");
                }
                self.send_datagrams();
            }
            Drain::Closing { deadline, cut } => {
                let said = self.trains.in_flight() == 0 && self.sessions.values().all(Self::has_said_goodbye);
                if (said && self.tunnels.is_empty()) || self.now >= deadline {
                    self.drain = Drain::Done;
                    self.mailbox.send(Event::Drained { cut });
                }
            }
            _ => {}
        }
    }

    /// Entries that are no tunnels and go with their sessions.
    fn carriers(&self) -> usize {
        usize::try_from(self.stats.carriers_open).unwrap_or(usize::MAX)
    }

    /// Whether the peers have everything that ended tunnels sent and have read it, or there is no time left for it. One
    /// that does not answer is not waited for.
    fn is_acknowledged(&self, deadline: Instant) -> bool {
        self.now >= deadline
            || self.sessions.iter().all(|(conn, session)| {
                session.finishing.is_empty() && (!session.awaits_the_peer() || self.quic.is_suspect(*conn))
            })
    }

    fn has_said_goodbye(session: &super::session::Session) -> bool {
        session.is_closing()
    }
}
