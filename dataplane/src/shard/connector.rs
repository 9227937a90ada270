//! An agent's connections to its server: kept up, replaced when they fall silent, spread over the server's shards, over
//! QUIC or over TCP.
//!
//! **Which of the two.** With [`Transport::Auto`] each round of attempts begins with QUIC, and with TCP a moment later,
//! or at the same time where TCP is what worked last. While only TCP works, QUIC is tried again from time to time.
//! Whichever a server welcomes last is the one that gets new dials: the other ends with its last tunnel, and the server
//! is told to give it none.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use adit_io::{Close, DatagramDriver};
use rand::{Rng, RngExt};

use super::Shard;
use super::links::carrier_of_conn;
use super::session::Session;
use super::timers::Timer;
use crate::config::{AgentRole, Transport};
use crate::limits::{
    AGENT_CONNECTIONS_AUTO_MAX, ATTEMPT_TIME_MAX, OLD_SERVERS_MAX, PLAIN_RETRIES, QUIC_HEAD_START,
    QUIC_PROBE_INTERVAL, SHARDS_MAX,
};
use crate::port::{Event, ServerCount, ServerTarget, ShardId, TcpRoute};
use crate::quic::{ConnId, LostReason};
use crate::stream::table::Key;
use crate::wire::{CloseCode, Welcome};

/// All connections of an agent to one server.
#[derive(Debug)]
pub(super) struct Connector {
    target: Option<ServerTarget>,
    transport: Transport,
    /// What worked last was TCP.
    tcp_worked: bool,
    /// Those that this shard keeps: of all the agent's, every `stride`-th from `first` on.
    links: Vec<Link>,
    first: u32,
    stride: u32,
    /// Connections asked for; `None` follows the server's shards.
    wanted: Option<u32>,
    /// Another server is looked for however many there are said to be.
    sync_forever: bool,
    /// What control has counted.
    counted: Option<ServerCount>,
    /// Of the last server that welcomed a connection over TCP: connections to each server, and servers that there are.
    said: Option<(u32, u32)>,
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
    /// One over QUIC that is on its way, beside a current one that is suspect or over TCP, or alone.
    attempt: Option<ConnId>,
    /// One over TCP that is on its way, the same.
    tcp_attempt: Option<ConnId>,
    /// When TCP is tried beside QUIC.
    tcp_at: Option<Instant>,
    retry_at: Option<Instant>,
    /// When QUIC is tried again beside TCP.
    probe_at: Option<Instant>,
    failures: u32,
    next_address: usize,
}

impl Link {
    /// Whether something is on its way, or will be, without anybody doing anything.
    const fn is_busy(&self) -> bool {
        self.attempt.is_some()
            || self.tcp_attempt.is_some()
            || self.tcp_at.is_some()
            || self.retry_at.is_some()
    }

    /// Forgets an attempt. Whether it was one.
    fn forget_attempt(&mut self, conn: ConnId) -> bool {
        let of_quic = self.attempt.take_if(|attempt| *attempt == conn);
        let of_tcp = self.tcp_attempt.take_if(|attempt| *attempt == conn);
        of_quic.or(of_tcp).is_some()
    }
}

impl Connector {
    pub(super) fn new(role: &AgentRole, shard: ShardId) -> Self {
        Self {
            target: None,
            transport: role.transport,
            tcp_worked: false,
            links: Vec::new(),
            first: u32::from(shard.0),
            stride: u32::from(role.shards.max(1)),
            wanted: role.connections,
            sync_forever: role.sync_forever,
            counted: None,
            said: None,
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

    /// Connections to one server: as asked for, or one for each of its shards.
    fn connections_to(&self, welcome: &Welcome) -> u32 {
        self.wanted.unwrap_or_else(|| welcome.shards.clamp(1, AGENT_CONNECTIONS_AUTO_MAX))
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

    /// Where the server is over TCP, if it may be reached so.
    pub(super) fn tcp_route(&self) -> Option<TcpRoute> {
        self.connector.as_ref()?.target.as_ref()?.tcp.clone()
    }

    /// The name that the server's certificate must carry.
    pub(super) fn server_name(&self) -> Option<String> {
        Some(self.connector.as_ref()?.target.as_ref()?.server_name.clone())
    }

    /// Starts an attempt for each link that has neither a connection nor an attempt nor a time to try again.
    fn start_missing_links(&mut self) {
        let Some(connector) = &self.connector else { return };
        let indices: Vec<u32> = (0..connector.links.len()).map(|place| connector.index_of(place)).collect();
        for index in indices {
            let idle = self.link(index).is_some_and(|link| link.current.is_none() && !link.is_busy());
            if idle {
                self.start_attempts(index);
            }
        }
    }

    fn link(&mut self, index: u32) -> Option<&mut Link> {
        self.connector.as_mut()?.link(index)
    }

    /// Begins a round of attempts: over QUIC, over TCP, or over QUIC and a moment later over TCP.
    fn start_attempts(&mut self, index: u32) {
        let now = self.now;
        let Some(connector) = &mut self.connector else { return };
        let (transport, tcp_worked) = (connector.transport, connector.tcp_worked);
        let Some(link) = connector.link(index) else { return };
        link.retry_at = None;
        if transport == Transport::Tcp {
            return self.start_tcp_attempt(index);
        }
        if transport == Transport::Auto {
            let at = if tcp_worked { now } else { now + QUIC_HEAD_START };
            link.tcp_at = Some(at);
            self.timers.set(at, Timer::Connector(index));
        }
        self.start_quic_attempt(index);
    }

    fn start_quic_attempt(&mut self, index: u32) {
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

    fn start_tcp_attempt(&mut self, index: u32) {
        let Some(connector) = &mut self.connector else { return };
        let stopped = connector.stopped;
        let Some(link) = connector.link(index) else { return };
        link.tcp_at = None;
        if stopped || link.tcp_attempt.is_some() {
            return;
        }
        let turn = link.next_address;
        link.next_address = link.next_address.wrapping_add(1);
        let begun = match self.tcp_route() {
            Some(route) => self.reach_server(index, &route, turn),
            None => Err("there is no way to the server over TCP".to_owned()),
        };
        match begun {
            Ok(conn) => {
                if let Some(link) = self.link(index) {
                    link.tcp_attempt = Some(conn);
                }
            }
            Err(reason) => self.attempt_failed(index, &reason),
        }
    }

    /// An attempt over TCP ended before there was a session.
    pub(super) fn tcp_attempt_failed(&mut self, index: u32, key: Key, reason: &str) {
        let is_its = |conn: &ConnId| carrier_of_conn(*conn) == Some(key);
        let Some(link) = self.link(index) else { return };
        if link.tcp_attempt.take_if(|conn| is_its(conn)).is_some() {
            self.attempt_failed(index, reason);
        }
    }

    /// One attempt of a round has come to nothing. The round has failed when no other is under way.
    fn attempt_failed(&mut self, index: u32, reason: &str) {
        let now = self.now;
        let Some(connector) = &mut self.connector else { return };
        let Some(link) = connector.link(index) else { return };
        if link.attempt.is_some() || link.tcp_attempt.is_some() {
            return;
        }
        if let Some(at) = link.tcp_at
            && at > now
        {
            // QUIC has failed already: TCP needs not wait.
            link.tcp_at = Some(now);
            self.timers.set(now, Timer::Connector(index));
            return;
        }
        if link.current.is_some_and(|conn| carrier_of_conn(conn).is_some()) {
            return self.probe_later(index);
        }
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

    /// Looks again whether QUIC works, if it may be used.
    fn probe_later(&mut self, index: u32) {
        let at = self.now + QUIC_PROBE_INTERVAL.mul_f64(self.rng.random_range(0.5..1.0));
        let Some(connector) = &mut self.connector else { return };
        if connector.transport != Transport::Auto {
            return;
        }
        if let Some(link) = connector.link(index) {
            link.probe_at = Some(at);
            self.timers.set(at, Timer::Connector(index));
        }
    }

    pub(super) fn on_connector_timer(&mut self, index: u32) {
        let now = self.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let Some(link) = self.link(index) else { return };
        let (retry, tcp, probe) = (due(link.retry_at), due(link.tcp_at), due(link.probe_at));
        if probe {
            link.probe_at = None;
        }
        if retry {
            self.start_attempts(index);
        } else if probe {
            self.start_quic_attempt(index);
        }
        if tcp && !retry {
            self.start_tcp_attempt(index);
        }
    }

    /// A server welcomed the connection. An older one of this link has been replaced.
    pub(super) fn on_link_ready(&mut self, conn: ConnId, index: u32, welcome: &Welcome) {
        if self.is_duplicate(conn, index, welcome) {
            return self.leave_duplicate(conn, index);
        }
        let over_tcp = carrier_of_conn(conn).is_some();
        let Some(connector) = &mut self.connector else { return };
        connector.tcp_worked = over_tcp;
        let Some(link) = connector.link(index) else { return };
        link.forget_attempt(conn);
        link.failures = 0;
        link.retry_at = None;
        link.probe_at = None;
        let replaced = link.current.replace(conn).filter(|old| *old != conn);
        if over_tcp {
            if link.attempt.is_none() {
                self.probe_later(index);
            }
        } else {
            link.tcp_at = None;
            if let Some(attempt) = link.tcp_attempt.take() {
                self.give_up(attempt, "QUIC was faster");
            }
        }
        if let Some(old) = replaced {
            self.retire(old, conn);
        }
        let Some(connector) = &mut self.connector else { return };
        let each = connector.connections_to(welcome);
        if over_tcp {
            connector.said = Some((each, welcome.server_count));
            self.look_for_servers();
        } else {
            connector.grow_to(each);
            self.start_missing_links();
        }
    }

    /// Control has counted the servers.
    pub(super) fn on_server_count(&mut self, counted: ServerCount) {
        if let Some(connector) = &mut self.connector {
            connector.counted = Some(counted);
            self.look_for_servers();
        }
    }

    /// Over TCP one address may lead to several servers: makes place for connections to all that there are.
    fn look_for_servers(&mut self) {
        let servers = self.servers_to_find();
        let Some(connector) = &mut self.connector else { return };
        let Some((each, _)) = connector.said else { return };
        connector.grow_to(each * servers);
        self.start_missing_links();
    }

    /// Servers of which connections are looked for over TCP: as many as there are said to be, and where the operator
    /// does not trust the count, one more than were found.
    fn servers_to_find(&self) -> u32 {
        let Some(connector) = &self.connector else { return 1 };
        let said = connector.said.map_or(1, |(_, servers)| servers);
        let count = match connector.counted {
            None => said,
            Some(ServerCount::Instead(count)) => count,
            Some(ServerCount::AtLeast(count)) => said.max(count),
        };
        let count = count.clamp(1, OLD_SERVERS_MAX);
        if !connector.sync_forever {
            return count;
        }
        let currents = connector.links.iter().filter_map(|link| link.current);
        let over_tcp = currents.filter(|conn| carrier_of_conn(*conn).is_some());
        let found: BTreeSet<&str> =
            over_tcp.filter_map(|conn| Some(self.sessions.get(&conn)?.peer_id.as_str())).collect();
        let found = u32::try_from(found.len()).unwrap_or(OLD_SERVERS_MAX);
        count.max(found + 1).min(OLD_SERVERS_MAX)
    }

    /// Whether there are as many connections to this server as there are to be. Over TCP one address may lead to any of
    /// several servers (a load balancer), and each is to be found.
    fn is_duplicate(&mut self, conn: ConnId, index: u32, welcome: &Welcome) -> bool {
        let Some(connector) = &self.connector else { return false };
        if carrier_of_conn(conn).is_none() {
            return false;
        }
        let own = connector.place_of(index);
        let others = connector.links.iter().enumerate().filter(|(place, _)| *place != own);
        let same = others
            .filter_map(|(_, link)| self.sessions.get(&link.current?))
            .filter(|session| session.peer_id == welcome.server_id);
        same.count() >= connector.connections_to(welcome) as usize
    }

    fn leave_duplicate(&mut self, conn: ConnId, index: u32) {
        let text = "there are connections enough to this server; another server is looked for";
        if let Some(link) = self.link(index) {
            link.forget_attempt(conn);
        }
        self.close_session(conn, CloseCode::Duplicate, text);
        let Some(connector) = &self.connector else { return };
        let retry_in = connector.retry_interval.mul_f64(self.rng.random_range(1.0..1.1));
        self.retry_later(index, retry_in);
    }

    /// Ends an attempt that is not needed.
    fn give_up(&mut self, attempt: ConnId, reason: &str) {
        if self.sessions.contains_key(&attempt) {
            self.close_session(attempt, CloseCode::NoError, reason);
        } else if let Some(key) = carrier_of_conn(attempt) {
            self.close_tunnel(key, Close::Graceful, None);
        }
    }

    /// The server process that a replaced connection led to may still be there: then its tunnels may end in peace.
    fn retire(&mut self, old: ConnId, new: ConnId) {
        let same = match (self.sessions.get(&old), self.sessions.get(&new)) {
            (Some(old), Some(new)) => {
                let may_have_some = old.has_control() || old.tunnels > 0 || !old.finishing.is_empty();
                old.peer_instance == new.peer_instance && may_have_some
            }
            _ => false,
        };
        if let Some(session) = self.sessions.get_mut(&old) {
            session.lame = true;
        }
        if same {
            self.ask_for_no_more(old);
        } else {
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
            self.start_attempts(index);
        }
    }

    /// Whether the server of a connection over QUIC is reached over TCP as well.
    pub(super) fn reaches_over_tcp(&self, conn: ConnId) -> bool {
        let (Some(connector), Some(session)) = (&self.connector, self.sessions.get(&conn)) else {
            return false;
        };
        let currents = connector.links.iter().filter_map(|link| link.current);
        let over_tcp = currents.filter(|conn| carrier_of_conn(*conn).is_some());
        over_tcp
            .filter_map(|conn| self.sessions.get(&conn))
            .any(|other| other.is_ready() && other.peer_instance == session.peer_instance)
    }

    /// An old server goes away and waits for its agents to leave it: another connection is looked for, which may lead
    /// to its successor, and this one ends with its last tunnel.
    pub(super) fn on_link_draining(&mut self, conn: ConnId) {
        let Some(index) = self.sessions.get(&conn).map(|session| session.index) else { return };
        let Some(link) = self.link(index) else { return };
        if link.current.take_if(|current| *current == conn).is_none() {
            return;
        }
        link.probe_at = None;
        let waits = link.is_busy();
        let event = Event::ServerLost {
            index,
            reason: "the server goes away".to_owned(),
            retry_in: Duration::ZERO,
            was_ready: true,
        };
        self.mailbox.send(event);
        if !waits {
            self.start_attempts(index);
        }
        self.make_lame(conn);
    }

    /// It answers again: the attempts beside it are not needed.
    pub(super) fn on_link_recovered(&mut self, conn: ConnId) {
        let Some(index) = self.sessions.get(&conn).map(|session| session.index) else { return };
        let Some(link) = self.link(index) else { return };
        if link.current != Some(conn) {
            // One that was replaced: QUIC works again.
            if link.current.is_some_and(|conn| carrier_of_conn(conn).is_some()) {
                self.start_quic_attempt(index);
            }
            return;
        }
        link.retry_at = None;
        link.tcp_at = None;
        link.failures = 0;
        let attempts = [link.attempt.take(), link.tcp_attempt.take()];
        for attempt in attempts.into_iter().flatten() {
            self.give_up(attempt, "the earlier connection recovered");
        }
    }

    pub(super) fn on_link_lost(&mut self, conn: ConnId, session: &Session, reason: &LostReason) {
        let index = session.index;
        let Some(link) = self.link(index) else { return };
        if link.forget_attempt(conn) {
            self.attempt_failed(index, &reason.text);
        } else if link.current == Some(conn) {
            link.current = None;
            link.failures = 0;
            link.probe_at = None;
            let waits = link.is_busy();
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
        let mut attempts = Vec::new();
        for link in &mut connector.links {
            attempts.extend([link.attempt.take(), link.tcp_attempt.take()].into_iter().flatten());
            (link.retry_at, link.tcp_at, link.probe_at) = (None, None, None);
        }
        for attempt in attempts {
            self.give_up(attempt, "draining");
        }
    }
}
