//! The world's control: welcomes every agent, answers from a static table of names, publishes routes; late, twice or
//! never where the faults say so. What it does is scheduled in the world's own heap.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::sync::Arc;

use adit_dataplane::port::{Command, ConnectionKey, Event, ResolveKey, Verdict};
use adit_dataplane::route::{AgentSession, Identifiers, Realm, RouteTable, RouteTableBuilder};
use adit_dataplane::wire::{Hello, Welcome};

use super::Join;
use super::options::{DrainPlan, Silence};
use crate::clock::{Clock, SimTime};
use crate::faults::ControlFaults;
use crate::net::SimSocket;
use crate::rng::Prng;
use crate::tally::{Family, Tally};

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Server,
    Agent(usize),
}

/// Something that control or the world does at its time.
#[derive(Debug)]
pub(super) enum Action {
    /// A stranger begins a handshake.
    Initial,
    /// Answers an agent that presented itself. `start` is the server's start that asked.
    Verdict { start: u64, connection: ConnectionKey, hello: Box<Hello> },
    /// Answers a name.
    Resolved { agent: usize, start: u64, key: ResolveKey, name: String },
    /// A process dies.
    Kill(Who),
    /// It comes back.
    Start(Who),
    /// The server is told to end.
    Drain(DrainPlan),
    /// The server's mailbox is filled.
    Flood,
    /// Nothing gets through for a while.
    Silence(Silence),
    /// An agent's node gets another address.
    Relocate(usize),
    /// The faults end.
    Heal,
    /// The tunnel that must succeed begins.
    Proof,
}

#[derive(Debug)]
struct Planned {
    at: SimTime,
    seq: u64,
    action: Action,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}
impl Eq for Planned {}
impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Control {
    clock: Clock,
    rng: Prng,
    planned: BinaryHeap<Reverse<Planned>>,
    seq: u64,
    routes: RouteTableBuilder,
    /// Which agent is behind a connection of the present server.
    agents: BTreeMap<ConnectionKey, usize>,
    names: BTreeMap<String, IpAddr>,
    server_shards: u8,
    /// When which agent's connection was lost (`None`: the server died, all of them).
    pub(super) losses: Vec<(SimTime, Option<usize>)>,
    /// Starts of agents, and how long they took.
    pub(super) joins: Vec<Join>,
    /// Dials that ended, as the server reported them.
    pub(super) dials_finished: u64,
    /// Until when control does not look at its queues.
    pub(super) stalled_until: SimTime,
}

impl Control {
    pub(super) fn new(seed: u64, clock: Clock, names: BTreeMap<String, IpAddr>, server_shards: u8) -> Self {
        Self {
            clock,
            rng: Prng::new(seed, "control"),
            planned: BinaryHeap::new(),
            seq: 0,
            routes: RouteTableBuilder::new(),
            agents: BTreeMap::new(),
            names,
            server_shards,
            losses: Vec::new(),
            joins: Vec::new(),
            dials_finished: 0,
            stalled_until: SimTime(0),
        }
    }

    pub(super) fn plan(&mut self, at: SimTime, action: Action) {
        self.seq += 1;
        self.planned.push(Reverse(Planned { at, seq: self.seq, action }));
    }

    pub(super) fn next_at(&self) -> Option<SimTime> {
        self.planned.peek().map(|Reverse(planned)| planned.at)
    }

    pub(super) fn pop(&mut self) -> Option<Action> {
        self.planned.pop().map(|Reverse(planned)| planned.action)
    }

    /// Plans an answer: at its time, late, twice or never.
    fn answer(&mut self, faults: &ControlFaults, tally: &mut Tally, action: impl Fn() -> Action) {
        if self.rng.chance(faults.never) {
            return tally.hit(Family::AnswerNever);
        }
        let mut after = self.rng.span(faults.answer);
        if self.rng.chance(faults.late) {
            after += self.rng.span(faults.late_by);
            tally.hit(Family::AnswerLate);
        }
        let at = self.clock.time().plus_ns(after);
        self.plan(at, action());
        if self.rng.chance(faults.twice) {
            let again = at.plus_ns(self.rng.span(faults.answer));
            self.plan(again, action());
            tally.hit(Family::AnswerTwice);
        }
    }

    /// Whether control does not look at its queues for a while now.
    pub(super) fn stalls(&mut self, faults: &ControlFaults) -> bool {
        let now = self.clock.time();
        if now < self.stalled_until {
            return true;
        }
        if let Some(span) = faults.stalled
            && self.rng.below(400) == 0
        {
            self.stalled_until = now.plus_ns(self.rng.span(span));
            return true;
        }
        false
    }

    /// Takes one event of a process. Gives back the routes when all of the server's shards are to be told of others.
    pub(super) fn on_event(
        &mut self,
        who: Who,
        start: u64,
        event: Event,
        faults: &ControlFaults,
        tally: &mut Tally,
    ) -> Option<Arc<RouteTable>> {
        match (who, event) {
            (Who::Server, Event::AgentPresented { connection, hello, .. }) => {
                self.answer(faults, tally, || Action::Verdict { start, connection, hello: hello.clone() });
                None
            }
            (Who::Server, Event::AgentGone { connection, .. }) => {
                if let Some(agent) = self.agents.remove(&connection) {
                    self.losses.push((self.clock.time(), Some(agent)));
                }
                self.routes.remove_connection(connection).then(|| self.routes.snapshot())
            }
            (Who::Agent(agent), Event::ServerReady { .. }) => {
                let now = self.clock.time();
                if let Some(join) = self.joins.iter_mut().rfind(|join| join.agent == agent) {
                    join.ready_at.get_or_insert(now);
                }
                None
            }
            (Who::Agent(agent), Event::ServerLost { was_ready, .. }) => {
                if was_ready {
                    self.losses.push((self.clock.time(), Some(agent)));
                }
                None
            }
            (Who::Agent(agent), Event::Resolve { key, name }) => {
                self.answer(faults, tally, || Action::Resolved { agent, start, key, name: name.clone() });
                None
            }
            (_, Event::DialFinished { .. }) => {
                self.dials_finished += 1;
                None
            }
            _ => None,
        }
    }

    /// A verdict for the shard that asked, and routes that lead to the agent for all of them.
    pub(super) fn verdict(
        &mut self,
        connection: ConnectionKey,
        hello: &Hello,
        server_start: u64,
    ) -> (Command<SimSocket>, Arc<RouteTable>) {
        // A hostile one is welcome as well: it has a certificate.
        if let Some(agent) = hello.agent_id.strip_prefix("agent-").and_then(|index| index.parse().ok()) {
            self.agents.insert(connection, agent);
        }
        let session = AgentSession {
            realm: Realm::default(),
            agent_id: hello.agent_id.as_str().into(),
            instance_id: hello.instance_id.clone().into(),
            identifiers: Arc::new(Identifiers::parse(&hello.identifiers).unwrap_or_default()),
            since: self.clock.now(),
        };
        self.routes.add_connection(connection, session);
        let welcome = Welcome {
            server_id: "server".to_owned(),
            instance_id: server_start.to_le_bytes().to_vec(),
            server_count: 1,
            shards: u32::from(self.server_shards),
            features: 0,
            version: "sim".to_owned(),
        };
        (Command::Verdict { connection, verdict: Verdict::Accept(welcome) }, self.routes.snapshot())
    }

    /// The answer about a name.
    pub(super) fn resolve(&self, key: ResolveKey, name: &str) -> Command<SimSocket> {
        let result = match self.names.get(name) {
            Some(ip) => Ok(vec![*ip]),
            None => Err(format!("lookup {name}: no such host")),
        };
        Command::Resolved { key, result }
    }

    /// A process died: what was known of its connections is void.
    pub(super) fn on_death(&mut self, who: Who) {
        let now = self.clock.time();
        match who {
            Who::Server => {
                self.losses.push((now, None));
                self.agents.clear();
                self.routes = RouteTableBuilder::new();
            }
            Who::Agent(agent) => self.losses.push((now, Some(agent))),
        }
    }
}
