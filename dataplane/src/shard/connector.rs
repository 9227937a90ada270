//! An agent's connections to its server: kept up, replaced when they fall silent, spread over the server's shards.

use std::time::{Duration, Instant};

use adit_io::DatagramDriver;
use rand::{Rng, RngExt};

use super::Shard;
use super::session::Session;
use super::timers::Timer;
use crate::config::AgentRole;
use crate::limits::{AGENT_CONNECTIONS_AUTO_MAX, ATTEMPT_TIME_MAX, PLAIN_RETRIES, SHARDS_MAX};
use crate::port::{Event, ServerTarget, ShardId};
use crate::quic::{ConnId, LostReason};
use crate::wire::CloseCode;

/// All connections of an agent to one server.
#[derive(Debug)]
pub(super) struct Connector {
    target: Option<ServerTarget>,
    /// Those that this shard keeps: of all the agent's, every `stride`-th from `first` on.
    links: Vec<Link>,
    first: u32,
    stride: u32,
    /// Connections asked for; `None` follows the server's shards.
    wanted: Option<u32>,
    retry_interval: Duration,
    retry_interval_max: Duration,
    first_shard: u8,
    stopped: bool,
}

/// One of them.
#[derive(Debug, Default)]
struct Link {
    /// The welcome connection.
    current: Option<ConnId>,
    /// One that is on its way, beside a current one that is suspect or alone.
    attempt: Option<ConnId>,
    retry_at: Option<Instant>,
    failures: u32,
    next_address: usize,
}

impl Connector {
    pub(super) fn new(role: &AgentRole, shard: ShardId) -> Self {
        Self {
            target: None,
            links: Vec::new(),
            first: u32::from(shard.0),
            stride: u32::from(role.shards.max(1)),
            wanted: role.connections,
            retry_interval: role.retry_interval,
            retry_interval_max: role.retry_interval_max,
            first_shard: role.first_shard,
            stopped: false,
        }
    }

    /// Makes place for this shard's part of `total` connections of the agent. It never has fewer than it had, and each
    /// of the agent's shards has at least one: which shards a server has is not known before one asks.
    fn grow_to(&mut self, total: u32) {
        let own = total.saturating_sub(self.first).div_ceil(self.stride).max(1) as usize;
        if self.links.len() < own {
            self.links.resize_with(own, Link::default);
        }
    }

    /// The place of the agent's connection with this number; beyond the end for another shard's.
    fn place_of(&self, index: u32) -> usize {
        match index.checked_sub(self.first) {
            Some(above) if above % self.stride == 0 => (above / self.stride) as usize,
            _ => usize::MAX,
        }
    }

    fn link(&mut self, index: u32) -> Option<&mut Link> {
        let place = self.place_of(index);
        self.links.get_mut(place)
    }

    /// The number that the agent's connection in this place of `links` has.
    fn index_of(&self, place: usize) -> u32 {
        self.first + u32::try_from(place).unwrap_or(0) * self.stride
    }

    /// The pause after so many failures in a row: the plain interval at first, then doubling, each time shortened
    /// at random by up to a half so that agents do not come back in step.
    fn pause(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        let doublings = failures.saturating_sub(PLAIN_RETRIES).min(16);
        let pause = self.retry_interval.saturating_mul(1 << doublings).min(self.retry_interval_max);
        pause.mul_f64(rng.random_range(0.5..1.0))
    }
}

impl<D: DatagramDriver> Shard<D> {
    pub(super) fn on_server_target(&mut self, target: ServerTarget) {
        let Some(connector) = &mut self.connector else { return };
        connector.target = Some(target);
        connector.grow_to(connector.wanted.unwrap_or(1));
        self.start_missing_links();
    }

    /// Starts an attempt for each link that has neither a connection nor an attempt nor a time to try again.
    fn start_missing_links(&mut self) {
        let Some(connector) = &self.connector else { return };
        let indices: Vec<u32> = (0..connector.links.len()).map(|place| connector.index_of(place)).collect();
        for index in indices {
            let idle = self.link(index).is_some_and(|link| {
                link.current.is_none() && link.attempt.is_none() && link.retry_at.is_none()
            });
            if idle {
                self.start_attempt(index);
            }
        }
    }

    fn link(&mut self, index: u32) -> Option<&mut Link> {
        self.connector.as_mut()?.link(index)
    }

    fn start_attempt(&mut self, index: u32) {
        let Some(connector) = &mut self.connector else { return };
        let Some(target) = &connector.target else { return };
        let (stopped, first_shard) = (connector.stopped, connector.first_shard);
        let place = connector.place_of(index);
        let Some(link) = connector.links.get_mut(place) else { return };
        if stopped || link.attempt.is_some() || target.addresses.is_empty() {
            return;
        }
        let address = target.addresses[link.next_address % target.addresses.len()];
        link.next_address = link.next_address.wrapping_add(1);
        link.retry_at = None;
        let shard = (u32::from(first_shard) + index) % u32::try_from(SHARDS_MAX).unwrap_or(32);
        let shard = u8::try_from(shard).ok();
        match self.quic.connect(self.now, address, &target.server_name, shard) {
            Ok(conn) => {
                link.attempt = Some(conn);
                self.sessions.insert(conn, Session::new(index));
                self.set_session_deadline(conn, self.now + ATTEMPT_TIME_MAX);
            }
            Err(error) => self.attempt_failed(index, &error.to_string()),
        }
    }

    fn attempt_failed(&mut self, index: u32, reason: &str) {
        let Some(connector) = &mut self.connector else { return };
        let Some(link) = connector.link(index) else { return };
        link.attempt = None;
        link.failures = link.failures.saturating_add(1);
        let failures = link.failures;
        let retry_in = connector.pause(failures, &mut self.rng);
        if connector.stopped {
            return;
        }
        self.retry_later(index, retry_in);
        let event = Event::ServerLost { index, reason: reason.to_owned(), retry_in, was_ready: false };
        self.mailbox.send_or_drop(event);
    }

    fn retry_later(&mut self, index: u32, retry_in: Duration) {
        let at = self.now + retry_in;
        if let Some(link) = self.link(index) {
            link.retry_at = Some(at);
            self.timers.set(at, Timer::Connector(index));
        }
    }

    pub(super) fn on_connector_timer(&mut self, index: u32) {
        let now = self.now;
        let due = self.link(index).is_some_and(|link| link.retry_at.is_some_and(|at| at <= now));
        if due {
            self.start_attempt(index);
        }
    }

    /// A server welcomed the connection. An older one of this link has been replaced.
    pub(super) fn on_link_ready(&mut self, conn: ConnId, index: u32, shards: u32) {
        let Some(link) = self.link(index) else { return };
        if link.attempt == Some(conn) {
            link.attempt = None;
        }
        link.failures = 0;
        link.retry_at = None;
        let replaced = link.current.replace(conn).filter(|old| *old != conn);
        if let Some(old) = replaced {
            self.retire(old, conn);
        }
        let Some(connector) = &mut self.connector else { return };
        if connector.wanted.is_none() {
            connector.grow_to(shards.clamp(1, AGENT_CONNECTIONS_AUTO_MAX));
            self.start_missing_links();
        }
    }

    /// The server process that a replaced connection led to may still be there: then its tunnels may end in peace.
    fn retire(&mut self, old: ConnId, new: ConnId) {
        let same = match (self.sessions.get(&old), self.sessions.get(&new)) {
            (Some(old), Some(new)) => {
                old.server_instance == new.server_instance && (old.tunnels > 0 || !old.finishing.is_empty())
            }
            _ => false,
        };
        if let Some(session) = self.sessions.get_mut(&old) {
            session.lame = true;
        }
        if !same {
            self.close_session(old, CloseCode::NoError, "replaced by a newer connection");
        }
    }

    /// No answer, or the network says that nobody is there: another connection is tried beside this one.
    pub(super) fn on_link_suspect(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(&conn) else { return };
        let index = session.index;
        let Some(link) = self.link(index) else { return };
        if link.attempt == Some(conn) {
            link.attempt = None;
            self.close_session(conn, CloseCode::NoError, "no answer");
            self.attempt_failed(index, "the server's address is unreachable or does not answer");
        } else if link.current == Some(conn) && link.retry_at.is_none() {
            self.start_attempt(index);
        }
    }

    /// It answers again: the attempt beside it is not needed.
    pub(super) fn on_link_recovered(&mut self, conn: ConnId) {
        let Some(index) = self.sessions.get(&conn).map(|session| session.index) else { return };
        let Some(link) = self.link(index) else { return };
        if link.current != Some(conn) {
            return;
        }
        link.retry_at = None;
        link.failures = 0;
        if let Some(attempt) = link.attempt.take() {
            self.close_session(attempt, CloseCode::NoError, "the earlier connection recovered");
        }
    }

    pub(super) fn on_link_lost(&mut self, conn: ConnId, session: &Session, reason: &LostReason) {
        let index = session.index;
        let Some(link) = self.link(index) else { return };
        if link.attempt == Some(conn) {
            self.attempt_failed(index, &reason.text);
        } else if link.current == Some(conn) {
            link.current = None;
            link.failures = 0;
            let waits = link.attempt.is_some() || link.retry_at.is_some();
            let event = Event::ServerLost {
                index,
                reason: reason.text.clone(),
                retry_in: Duration::ZERO,
                was_ready: true,
            };
            self.mailbox.send(event);
            if !waits {
                // At once, but not in step with every other agent of a server that went away.
                let spread = self.rng.random_range(Duration::ZERO..Duration::from_millis(100));
                self.retry_later(index, spread);
            }
        }
    }

    /// No further attempts.
    pub(super) fn stop_connecting(&mut self) {
        let Some(connector) = &mut self.connector else { return };
        connector.stopped = true;
        let attempts: Vec<ConnId> =
            connector.links.iter_mut().filter_map(|link| link.attempt.take()).collect();
        for link in &mut connector.links {
            link.retry_at = None;
        }
        for conn in attempts {
            self.close_session(conn, CloseCode::NoError, "draining");
        }
    }
}
