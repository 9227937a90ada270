//! One turn: collect, decide, act. The only place that waits is the driver's turn.

use std::io;

use adit_io::DatagramDriver;

use super::Shard;
use super::timers::Timer;
use crate::config::Role;
use crate::limits::{
    COMMANDS_PER_TURN_MAX, COMPLETIONS_PER_TURN_MAX, STARVED_PAUSE, TUNNELS_MAX, TUNNELS_PER_TURN_MAX,
};
use crate::port::Command;

/// Rounds of (events → tunnels → transmits) in one turn, before completions are collected again.
const ROUNDS_PER_TURN_MAX: usize = 4;

impl<D: DatagramDriver> Shard<D> {
    /// Waits for something to happen, at the latest until the next deadline, and deals with it.
    ///
    /// # Errors
    /// When the driver breaks; no peer can cause it.
    pub fn turn(&mut self) -> io::Result<()> {
        self.retry_refused();
        let mut completions = std::mem::take(&mut self.completions);
        completions.append(&mut self.synthesized);
        let wake_at = if completions.is_empty() { self.wake_at } else { Some(self.now) };
        self.driver.turn(wake_at, COMPLETIONS_PER_TURN_MAX, &mut completions)?;
        self.now = self.driver.now();
        for completion in completions.drain(..) {
            self.on_completion(completion);
        }
        self.completions = completions;

        self.take_commands();
        self.take_passed();
        self.take_relayed();
        self.fire_timers();
        self.quic.handle_timeouts(self.now);
        for _ in 0..ROUNDS_PER_TURN_MAX {
            self.take_quic_events();
            self.work_on_tunnels();
            if !self.send_datagrams() && self.work.is_empty() {
                break;
            }
        }
        self.arm_datagrams();
        self.flush_relayed();
        self.mailbox.flush();
        self.progress_drain();
        self.decide_wake();
        Ok(())
    }

    fn take_commands(&mut self) {
        for _ in 0..COMMANDS_PER_TURN_MAX {
            let Some(command) = self.mailbox.try_recv() else { break };
            self.on_command(command);
        }
    }

    fn on_command(&mut self, command: Command<D::Socket>) {
        match command {
            Command::Peers(peers) => self.peers = Some(peers),
            Command::Listen { socket, kind } => self.listen(socket, kind),
            Command::FrontendTls(config) => self.frontend_tls.publish(config),
            Command::AgentTls(config) => self.agent_tls.publish(config),
            Command::Server(target) => self.on_server_target(target),
            Command::Verdict { connection, verdict } => self.on_verdict(connection, verdict),
            Command::Routes(routes) => {
                self.routes = routes;
                self.move_dials_from_suspects();
            }
            Command::Policy(policy) => self.policy = policy,
            Command::ServerCount(count) => self.on_server_count(count),
            Command::Token(token) => {
                if let Role::Agent(role) = &mut self.config.role {
                    role.hello.token = token.0;
                }
            }
            Command::Resolved { key, result } => self.on_resolved(key, result),
            Command::Stats => self.report(),
            Command::Drain { deadline } => self.start_drain(deadline),
        }
    }

    fn fire_timers(&mut self) {
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Tunnel(key) => self.on_tunnel_timer(key),
                Timer::Session(key) => self.on_session_timer(key),
                Timer::Connector(index) => self.on_connector_timer(index),
                Timer::Listener(key) => self.arm_listener(key),
                Timer::Starved => self.feed_starved(),
                Timer::Peers => self.wake_peers_again(),
                Timer::Budget => self.enforce_budget(),
                Timer::Drain => self.cut_drain(),
            }
        }
        // Deadlines that were moved or met leave entries behind; they go when they outnumber what can be live.
        if self.timers.len() > 4 * (self.tunnels.len() + self.sessions.len()) + 1024 {
            let tunnels = &self.tunnels;
            self.timers.retain(|at, timer| match timer {
                Timer::Tunnel(key) => tunnels.get(key).is_some_and(|tunnel| tunnel.deadline == Some(at)),
                _ => true,
            });
        }
    }

    fn work_on_tunnels(&mut self) {
        for _ in 0..TUNNELS_PER_TURN_MAX {
            let Some(key) = self.work.pop_front() else { break };
            if let Some(tunnel) = self.tunnels.get_mut(key) {
                tunnel.queued = false;
                self.pump(key);
            }
        }
    }

    fn decide_wake(&mut self) {
        debug_assert!(self.work.len() <= TUNNELS_MAX);
        let busy = !self.work.is_empty()
            || !self.synthesized.is_empty()
            || self.mailbox.has_commands()
            || self.peers.as_ref().is_some_and(super::peers::Peers::has_messages)
            || self.quic.has_events();
        if busy {
            self.wake_at = Some(self.now);
            return;
        }
        let mut wake_at = earliest(self.timers.next(), self.quic.next_timeout());
        let relays = self.peers.as_ref().is_some_and(super::peers::Peers::has_unsent);
        if relays
            || !self.refused.is_empty()
            || self.mailbox.is_behind()
            || self.trains.is_waiting_for_driver()
        {
            wake_at = earliest(wake_at, Some(self.now + STARVED_PAUSE));
        }
        self.wake_at = wake_at;
    }
}

fn earliest<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
