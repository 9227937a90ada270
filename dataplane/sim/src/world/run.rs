//! The loop: whatever is due first happens, ties are drawn, a shard takes exactly one turn.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use adit_dataplane::port::{Command, Event};

use super::control::{Action, Who};
use super::options::{DrainPlan, TunnelPlan};
use super::{Failure, Report, World};
use crate::clock::{SimTime, nanos};
use crate::net::{Ran, SimSocket};
use crate::tally::Family;

/// Virtual time in which everything must come to its end once the faults have ended.
const LIVENESS_NS: u64 = 120_000_000_000;
/// After the healing, before the tunnel that must succeed: a lost connection is noticed and made again.
const PROOF_AFTER_NS: u64 = 25_000_000_000;
/// After the last tunnel's end, before tables must be empty: lingering answers, QUIC's own ends.
const SETTLE_NS: u64 = 3_000_000_000;
/// For the drain at the end.
const DRAIN_NS: u64 = 5_000_000_000;
/// Events of one world; beyond them something runs in circles.
const EVENTS_MAX: u64 = 6_000_000;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Net,
    Control,
    /// Of one shard of a process.
    Turn(Who, usize),
}

impl World {
    /// Runs the world to its end.
    ///
    /// # Errors
    /// The first thing that was wrong, with what is needed to understand it.
    pub fn run(mut self) -> Result<Report, Box<Failure>> {
        self.run_until(SimTime(u64::MAX), |world| world.healed_at.is_some())?;
        let healed_at = self.healed_at.unwrap_or_default();
        let limit = healed_at.plus_ns(LIVENESS_NS);
        self.run_until(limit, Self::is_over)?;
        if !self.is_over() {
            return Err(self.fail(format!("not everything ended within {LIVENESS_NS} ns of virtual time")));
        }
        self.settle()?;
        self.drain()?;
        self.finish()
    }

    /// Runs until a condition holds or a moment has passed.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_until(&mut self, limit: SimTime, done: impl Fn(&Self) -> bool) -> Result<(), Box<Failure>> {
        while !done(self) {
            let Some((at, due)) = self.next_due() else {
                return Err(self.fail("stalled: nothing is runnable and nothing is due".to_owned()));
            };
            if at > limit {
                self.clock.advance_to(limit);
                return Ok(());
            }
            self.clock.advance_to(at);
            match due {
                Due::Net => self.run_net(),
                Due::Control => self.run_control(),
                Due::Turn(who, shard) => self.take_turn(who, shard)?,
            }
            let net = self.net.borrow();
            if let Some(violation) = net.violations().first() {
                let what = violation.clone();
                drop(net);
                return Err(self.fail(what));
            }
            if net.trace.events() > EVENTS_MAX {
                drop(net);
                return Err(self.fail("too many events: something runs in circles".to_owned()));
            }
        }
        Ok(())
    }

    /// The current virtual time.
    #[must_use]
    pub fn time(&self) -> SimTime {
        self.clock.time()
    }

    /// Whether every client and target has done everything, and nothing further is planned.
    fn is_over(&self) -> bool {
        self.control.next_at().is_none() && self.cases.iter().all(super::Case::is_over)
    }

    fn next_due(&mut self) -> Option<(SimTime, Due)> {
        let mut best: Option<(SimTime, Due)> = None;
        let mut ties = 1;
        let event_at = self.net.borrow().next_event_at();
        let mut candidates = vec![(event_at, Due::Net), (self.control.next_at(), Due::Control)];
        for who in self.everybody() {
            let nodes = self.slot_ref(who).nodes.iter().enumerate();
            // A shard that has drained takes no turns any more: its thread has ended.
            let running = nodes.filter(|(_, node)| !node.shard.is_drained());
            candidates.extend(running.map(|(shard, node)| (node.next_runnable_at(), Due::Turn(who, shard))));
        }
        let now = self.clock.time();
        for (at, due) in candidates {
            let Some(at) = at else { continue };
            let at = at.max(now);
            match best {
                Some((earliest, _)) if at > earliest => {}
                Some((earliest, _)) if at == earliest => {
                    ties += 1;
                    if self.rng.below(ties) == 0 {
                        best = Some((at, due));
                    }
                }
                _ => {
                    best = Some((at, due));
                    ties = 1;
                }
            }
        }
        best
    }

    fn run_net(&mut self) {
        let ran = self.net.borrow_mut().run_event();
        if let Some(Ran::Script(script)) = ran {
            let mut net = self.net.borrow_mut();
            if let Some(case) = self.cases.get_mut(script as usize / 2) {
                case.step(&mut net, script);
            }
            self.hostiles.step(&mut net, script);
            self.old_agents.step(&mut net, script);
        }
    }

    fn take_turn(&mut self, who: Who, shard: usize) -> Result<(), Box<Failure>> {
        self.turns += 1;
        let Some(node) = self.slot(who).nodes.get_mut(shard) else { return Ok(()) };
        if let Err(error) = node.shard.turn() {
            return Err(self.fail(format!("{who:?}: the driver broke: {error}")));
        }
        let held = node.shard.holdings();
        match who {
            Who::Server => self.peak.rise(&held),
            Who::Agent(_) => self.agent_peak.rise(&held),
        }
        let lost = self.wakes_lost.swap(0, Ordering::Relaxed);
        (0..lost).for_each(|_| self.net.borrow_mut().tally.hit(Family::WakeLost));
        self.hear(who, shard);
        self.end_drained_server();
        Ok(())
    }

    /// A server that was told to end has ended: it is away for a while.
    fn end_drained_server(&mut self) {
        let Some(drain) = self.draining.filter(|_| !self.server.nodes.is_empty() && self.server.is_drained())
        else {
            return;
        };
        self.draining = None;
        self.kill(Who::Server);
        self.control.plan(self.clock.time().plus_ns(drain.down_ns), Action::Start(Who::Server));
    }

    /// Control takes what a shard said, unless it is stalled.
    fn hear(&mut self, who: Who, shard: usize) {
        let faults = self.net.borrow().faults().control.clone();
        if self.control.stalls(&faults) {
            return;
        }
        loop {
            let slot = self.slot(who);
            let start = slot.starts;
            let Some(event) = slot.nodes.get(shard).and_then(|node| node.handle.try_recv()) else { return };
            if let Event::Stats(report) = event {
                slot.reports[shard] = Some(report);
                continue;
            }
            let routes = {
                let mut net = self.net.borrow_mut();
                let now = self.clock.time();
                net.trace.explain(now, || format!("{who:?} says {event:?}"));
                self.control.on_event(who, start, event, &faults, &mut net.tally)
            };
            if let Some(routes) = routes {
                self.tell_all(who, || Command::Routes(Arc::clone(&routes)));
            }
        }
    }

    /// Tells every shard of a process the same.
    fn tell_all(&mut self, who: Who, command: impl Fn() -> Command<SimSocket>) {
        for shard in 0..self.slot(who).nodes.len() {
            self.tell(who, shard, command());
        }
    }

    /// Tells a shard something; a full mailbox is tried again by its next turn's end, here: at once, because a
    /// turn empties it.
    fn tell(&mut self, who: Who, shard: usize, command: Command<SimSocket>) {
        let mut command = command;
        for _ in 0..64 {
            let Some(node) = self.slot(who).nodes.get(shard) else { return };
            match node.handle.send(command) {
                Ok(()) => return,
                Err(full) => command = full.0,
            }
            self.net.borrow_mut().tally.hit(Family::MailboxFull);
            if self.take_turn(who, shard).is_err() {
                return;
            }
        }
    }

    fn run_control(&mut self) {
        let Some(action) = self.control.pop() else { return };
        match action {
            Action::Verdict { start, connection, hello } => {
                if start == self.server.starts && !self.server.nodes.is_empty() {
                    let (verdict, routes) = self.control.verdict(connection, &hello, start);
                    self.tell(Who::Server, usize::from(connection.shard.0), verdict);
                    self.tell_all(Who::Server, || Command::Routes(Arc::clone(&routes)));
                }
            }
            Action::Resolved { agent, start, key, name } => {
                if start == self.agents[agent].starts {
                    let answer = self.control.resolve(key, &name);
                    self.tell(Who::Agent(agent), 0, answer);
                }
            }
            Action::Initial => self.flood_once(),
            Action::Kill(who) => self.kill(who),
            Action::Drain(drain) => self.drain_server(drain),
            Action::Start(who) => self.start(who),
            Action::Flood => self.flood(),
            Action::Silence(silence) => {
                let until = self.clock.time().plus_ns(silence.for_ns);
                let (agent, server) = (self.agents[silence.agent].host, self.server.host);
                let (from, to) = if silence.from_agent { (agent, server) } else { (server, agent) };
                self.net.borrow_mut().blackhole(from, to, until);
            }
            Action::Relocate(agent) => self.relocate(agent),
            Action::Heal => self.heal(),
            Action::Proof => {
                let bytes = self.options.proof_bytes;
                let plan = TunnelPlan::plain(self.clock.time().0, bytes, bytes);
                self.add_case(plan, true);
            }
        }
    }

    /// Fills the mailboxes of the server's shards to the brim.
    fn flood(&mut self) {
        for node in &self.server.nodes {
            while node.handle.send(Command::Stats).is_ok() {}
            self.net.borrow_mut().tally.hit(Family::MailboxFull);
        }
    }

    /// SIGTERM: at the deadline tunnels are cut, as if their connections were lost.
    fn drain_server(&mut self, drain: DrainPlan) {
        if self.server.nodes.is_empty() {
            return;
        }
        let at = self.clock.time().plus_ns(drain.for_ns);
        let deadline = self.clock.now() + std::time::Duration::from_nanos(drain.for_ns);
        self.draining = Some(drain);
        self.control.losses.push((at, None));
        self.net.borrow_mut().tally.hit(Family::ServerDrain);
        self.tell_all(Who::Server, || Command::Drain { deadline });
    }

    /// Ends the faults: what waits is told to come to an end, and the proof is planned.
    fn heal(&mut self) {
        let now = self.clock.time();
        self.healed_at = Some(now);
        self.control.stalled_until = now;
        let mut net = self.net.borrow_mut();
        net.heal();
        for (index, case) in self.cases.iter_mut().enumerate() {
            case.hurry();
            let script = u32::try_from(index).unwrap_or(0) * 2;
            net.wake_script(script, 1_000);
            net.wake_script(script + 1, 1_000);
        }
        drop(net);
        if self.options.proof_bytes > 0 {
            self.control.plan(now.plus_ns(PROOF_AFTER_NS), Action::Proof);
        }
    }

    /// Everything that lingers goes; then every process says what it still holds.
    fn settle(&mut self) -> Result<(), Box<Failure>> {
        let until = self.clock.time().plus_ns(SETTLE_NS);
        self.run_until(until, |_| false)?;
        self.left = self.server.holdings();
        self.agents_left = self.agents.iter().flat_map(super::Slot::holdings).collect();
        for who in self.everybody() {
            self.slot(who).reports.fill_with(|| None);
            self.tell_all(who, || Command::Stats);
        }
        let limit = until.plus_ns(1_000_000_000);
        let reported =
            |world: &Self| std::iter::once(&world.server).chain(&world.agents).all(super::Slot::has_reported);
        self.run_until(limit, reported)?;
        if reported(self) { Ok(()) } else { Err(self.fail("a shard does not answer control".to_owned())) }
    }

    fn drain(&mut self) -> Result<(), Box<Failure>> {
        let deadline = self.clock.now() + std::time::Duration::from_nanos(DRAIN_NS / 2);
        for who in self.everybody() {
            self.tell_all(who, || Command::Drain { deadline });
        }
        let drained =
            |world: &Self| std::iter::once(&world.server).chain(&world.agents).all(super::Slot::is_drained);
        let limit = self.clock.time().plus_ns(DRAIN_NS);
        self.run_until(limit, drained)?;
        if drained(self) { Ok(()) } else { Err(self.fail("a shard does not drain".to_owned())) }
    }

    fn everybody(&self) -> Vec<Who> {
        std::iter::once(Who::Server).chain((0..self.agents.len()).map(Who::Agent)).collect()
    }

    /// How much later than its time something may happen: overshoot, lost cores, delayed wakes, slow operations.
    pub(super) fn slack_ns(&self) -> u64 {
        let faults = &self.options.faults;
        let process = faults.process.overshoot.max_ns
            + faults.process.deschedule_for.max_ns
            + faults.process.wake_delay.max_ns;
        let io = faults.io.op_latency.max_ns + faults.io.completion_latency.max_ns;
        nanos(std::time::Duration::from_secs(2)) + 10 * process + 20 * io
    }
}
