//! A world: one server of one or more shards, one or two agents, clients and targets on simulated hosts, driven event
//! by event.
//!
//! Safety first: while faults are on, anything may be slow and nothing may be wrong. Then the faults end, and within
//! a bounded time everything must come to its end, a new tunnel must work, and every table must be empty.

mod cases;
mod control;
mod flood;
mod hostile;
mod node;
mod old_agents;
pub mod options;
mod pki;
mod run;
mod verdict;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use adit_dataplane::port::{Command, ListenerKind, ServerTarget, ShardReport, TcpRoute};
use adit_dataplane::shard::Holdings;

use crate::clock::{Clock, SimTime};
use crate::net::{Address, HostId, SimNet};
use crate::oracle::Cell;
use crate::rng::Prng;
use crate::script::Seen;
use crate::tally::{Family, Tally};
pub(crate) use cases::Case;
use cases::{FRONTEND_ADDRESS, SOCKET_PATH, TARGETS_IP, TARGETS_NAME};
use control::{Action, Control, Who};
pub use flood::FloodOutcome;
pub use hostile::{Ended, HostileOutcome, HostileServerOutcome, Visit};
use node::Node;
use options::Options;
use pki::{SERVER_NAME, pki};

const SERVER_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1));
const SERVER_PORT: u16 = 8091;

/// The address of the agent with this number (from 1) after its node has changed it so many times.
const fn agent_ip(number: u8, changes: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 2, changes, number))
}

/// Between two first packets of a flood.
const INITIALS_EVERY_NS: u64 = 10_000_000;

/// A world that ended well.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The hash of everything that happened.
    pub trace_hash: u64,
    /// Events run, turns included.
    pub events: u64,
    /// Clients that asked for something.
    pub dials: u64,
    /// Payload bytes that arrived, both ways.
    pub payload_bytes: u64,
    /// How long it took in virtual time, in nanoseconds.
    pub virtual_ns: u64,
    /// What went wrong, by design.
    pub tally: Tally,
    /// What the oracles saw.
    pub cells: BTreeMap<Cell, u64>,
    /// What became of each tunnel, in the order of the plan; the one that proves the healing last.
    pub tunnels: Vec<TunnelOutcome>,
    /// What the flood of first packets came to, where there was one.
    pub flood: FloodOutcome,
    /// What became of the hostile peers, in the order of their plans.
    pub hostiles: Vec<HostileOutcome>,
    /// The starts of agents, and when their first connection was welcome.
    pub joins: Vec<Join>,
    /// The most that any shard of the server held at once.
    pub peak: Peak,
    /// What each shard of the server held at the end, the agents still being connected.
    pub left: Vec<Holdings>,
    /// What became of the hostile server, where there was one.
    pub hostile_server: HostileServerOutcome,
    /// The most that any agent held at once.
    pub agent_peak: Peak,
    /// What each agent held at the end, being connected.
    pub agents_left: Vec<Holdings>,
    /// What went over the paths under each of their MTUs, the last one last.
    pub paths: Vec<PathSizes>,
    /// The end of the trace, as far as it was kept.
    pub tail: Vec<String>,
}

/// One start of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Join {
    /// Which agent.
    pub agent: usize,
    /// When its process began.
    pub began_at: SimTime,
    /// When the server had first welcomed it.
    pub ready_at: Option<SimTime>,
}

/// The largest figures of several shards, each for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// Handshakes of others under way.
    pub handshakes: usize,
    /// QUIC connections.
    pub connections: usize,
    /// Peers whose handshake has ended.
    pub sessions: usize,
    /// Entries of the tunnel table.
    pub tunnels: usize,
}

impl Peak {
    fn rise(&mut self, held: &Holdings) {
        self.handshakes = self.handshakes.max(held.handshakes);
        self.connections = self.connections.max(held.connections);
        self.sessions = self.sessions.max(held.sessions);
        self.tunnels = self.tunnels.max(held.tunnels);
    }
}

/// The largest datagrams between two changes of the path MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathSizes {
    /// The UDP payload that paths would have carried.
    pub mtu_bytes: usize,
    /// The largest of the server's that were carried.
    pub from_server_bytes: usize,
    /// The largest of any agent's.
    pub from_agents_bytes: usize,
}

/// What became of one tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelOutcome {
    /// When its client asked.
    pub asked_at: Option<SimTime>,
    /// The status of the answer, and when it came.
    pub answer: Option<(u16, SimTime)>,
    /// What the answer said: the head and body, or the error of a DIAL_RSP.
    pub text: String,
    /// The client's end.
    pub client: Option<EndOutcome>,
    /// The target's end, once for each connection that an agent made.
    pub targets: Vec<EndOutcome>,
}

/// What became of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndOutcome {
    /// Bytes that it sent.
    pub sent: u64,
    /// Bytes that it received, all of them right.
    pub received: u64,
    /// How it saw the other direction end, and when.
    pub saw: Option<(Seen, SimTime)>,
}

/// A world in which something was wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// When, and what.
    pub what: String,
    /// What was stuck.
    pub dump: String,
    /// The end of the trace.
    pub tail: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        for line in &self.tail {
            writeln!(f, "  {line}")?;
        }
        write!(f, "{}", self.dump)
    }
}

impl std::error::Error for Failure {}

/// A process that may be away.
#[derive(Debug)]
struct Slot {
    host: HostId,
    /// What its UDP sockets are bound to.
    udp: SocketAddr,
    /// The addresses that its host has had; the last is the present one.
    ips: Vec<IpAddr>,
    /// Its shards; none while it is away.
    nodes: Vec<Node>,
    starts: u64,
    /// What each of them said last.
    reports: Vec<Option<Box<ShardReport>>>,
}

impl Slot {
    fn new(host: HostId, ip: IpAddr, udp: SocketAddr) -> Self {
        Self { host, udp, ips: vec![ip], nodes: Vec::new(), starts: 0, reports: Vec::new() }
    }

    /// What each of its shards holds.
    fn holdings(&self) -> Vec<Holdings> {
        self.nodes.iter().map(|node| node.shard.holdings()).collect()
    }

    /// Whether it runs and all of it has drained.
    fn is_drained(&self) -> bool {
        self.nodes.iter().all(|node| node.shard.is_drained())
    }

    /// Whether every shard has answered.
    fn has_reported(&self) -> bool {
        self.reports.len() == self.nodes.len() && self.reports.iter().all(Option::is_some)
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct World {
    options: Options,
    net: Rc<RefCell<SimNet>>,
    clock: Clock,
    rng: Prng,
    control: Control,
    server: Slot,
    agents: Vec<Slot>,
    target_host: HostId,
    flood: Option<flood::Flood>,
    hostiles: hostile::Hostiles,
    old_agents: old_agents::OldAgents,
    cases: Vec<Case>,
    links: cases::Links,
    deaths: Vec<(SimTime, Option<usize>)>,
    healed_at: Option<SimTime>,
    /// The server was told to end, like this.
    draining: Option<options::DrainPlan>,
    turns: u64,
    /// The most that any of the server's shards has held.
    peak: Peak,
    /// The most that any agent has held.
    agent_peak: Peak,
    /// What each shard of the server holds when everything that lingers has gone and agents are still connected.
    left: Vec<Holdings>,
    /// What each agent holds then.
    agents_left: Vec<Holdings>,
    /// Wakes of shards by others that had no effect.
    wakes_lost: Arc<AtomicU64>,
}

impl World {
    /// A world that is about to begin.
    ///
    /// # Panics
    /// When the options contradict themselves.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let net = SimNet::shared(options.seed, options.faults.clone(), options.tail_lines);
        let clock = net.borrow().clock();
        let server_host = net.borrow_mut().add_host(&[SERVER_IP], None);
        let target_host = net.borrow_mut().add_host(&[TARGETS_IP], None);
        let server = Slot::new(server_host, SERVER_IP, SocketAddr::new(SERVER_IP, SERVER_PORT));
        let mut agents = Vec::new();
        for index in 0..options.agents {
            let number = u8::try_from(index + 1).expect("few agents");
            let ip = agent_ip(number, 0);
            let outer = options.nat.then_some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)));
            let host = net.borrow_mut().add_host(&[ip], outer);
            // As in production: from whatever address the node has.
            agents.push(Slot::new(host, ip, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))));
        }
        let flood = (options.initials > 0).then(|| flood::Flood {
            host: net.borrow_mut().add_host(&[flood::FLOOD_IP], None),
            sent: Vec::new(),
        });
        let hostiles = hostile::Hostiles::new(&mut net.borrow_mut(), &options);
        let old_agents = old_agents::OldAgents::new(&mut net.borrow_mut(), &options);
        let names = BTreeMap::from([(TARGETS_NAME.to_owned(), TARGETS_IP)]);
        let mut world = Self {
            rng: Prng::new(options.seed, "world"),
            control: Control::new(options.seed, clock.clone(), names, options.server_shards),
            net,
            clock,
            server,
            agents,
            target_host,
            flood,
            hostiles,
            old_agents,
            cases: Vec::new(),
            links: BTreeMap::new(),
            deaths: Vec::new(),
            healed_at: None,
            draining: None,
            turns: 0,
            peak: Peak::default(),
            agent_peak: Peak::default(),
            left: Vec::new(),
            agents_left: Vec::new(),
            wakes_lost: Arc::default(),
            options,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.start(Who::Server);
        for index in 0..self.agents.len() {
            self.start(Who::Agent(index));
        }
        for plan in self.options.tunnels.clone() {
            self.add_case(plan, false);
        }
        for restart in self.options.restarts.clone() {
            let who = restart.agent.map_or(Who::Server, Who::Agent);
            self.control.plan(SimTime(restart.at_ns), Action::Kill(who));
            self.control.plan(SimTime(restart.at_ns + restart.down_ns), Action::Start(who));
        }
        if let Some(drain) = self.options.drain {
            self.control.plan(SimTime(drain.at_ns), Action::Drain(drain));
        }
        for silence in self.options.silences.clone() {
            self.control.plan(SimTime(silence.at_ns), Action::Silence(silence));
        }
        for relocation in self.options.relocations.clone() {
            self.control.plan(SimTime(relocation.at_ns), Action::Relocate(relocation.agent));
        }
        if let Some(at) = self.options.flood_at_ns {
            self.control.plan(SimTime(at), Action::Flood);
        }
        for index in 0..self.options.initials {
            self.control.plan(SimTime(index * INITIALS_EVERY_NS), Action::Initial);
        }
        self.control.plan(SimTime(self.options.heal_at_ns), Action::Heal);
    }

    fn slot_ref(&self, who: Who) -> &Slot {
        match who {
            Who::Server => &self.server,
            Who::Agent(index) => &self.agents[index],
        }
    }

    fn add_case(&mut self, plan: options::TunnelPlan, proof: bool) {
        let tunnel = u32::try_from(self.cases.len()).expect("few tunnels");
        let mut net = self.net.borrow_mut();
        let (seed, clients, targets) = (self.options.seed, self.server.host, self.target_host);
        let case = Case::new(&mut net, seed, tunnel, plan, clients, targets, &mut self.links, proof);
        self.cases.push(case);
    }

    fn slot(&mut self, who: Who) -> &mut Slot {
        match who {
            Who::Server => &mut self.server,
            Who::Agent(index) => &mut self.agents[index],
        }
    }

    /// Starts a process, and tells it what control tells it first.
    fn start(&mut self, who: Who) {
        let slot = self.slot(who);
        if !slot.nodes.is_empty() {
            return;
        }
        slot.starts += 1;
        let (host, udp, starts) = (slot.host, slot.udp, slot.starts);
        let (nodes, first) = match who {
            Who::Server => {
                let shards = 0..self.options.server_shards;
                let nodes: Vec<Node> = shards
                    .map(|shard| Node::server(&self.net, host, udp, &self.options, starts, shard))
                    .collect();
                Node::connect(&nodes, &self.options, &self.wakes_lost);
                let address = Address::Unix(host, SOCKET_PATH.to_owned());
                let socket = self.net.borrow_mut().listen(host, address, 128).expect("the path is free");
                // TCP at the other end of the row: connections are handed over both ways.
                let last = nodes.last().expect("at least one shard");
                last.handle.send(Command::FrontendTls(Arc::clone(&pki().frontends))).expect("empty");
                let address = Address::Inet(FRONTEND_ADDRESS);
                let tcp = self.net.borrow_mut().listen(host, address, 128).expect("the port is free");
                let listen = Command::Listen { socket: tcp, kind: ListenerKind::TlsFrontends };
                last.handle.send(listen).expect("empty");
                if self.options.has_agent_port() {
                    let address = Address::Inet(SocketAddr::new(SERVER_IP, SERVER_PORT));
                    let socket = self.net.borrow_mut().listen(host, address, 128).expect("the port is free");
                    last.handle.send(Command::AgentTls(Arc::clone(&pki().agent_port))).expect("room");
                    last.handle
                        .send(Command::Listen { socket, kind: ListenerKind::TlsAgents })
                        .expect("room");
                }
                (nodes, Command::Listen { socket, kind: ListenerKind::UnixFrontends })
            }
            Who::Agent(index) => {
                let node = Node::agent(&self.net, host, udp, &self.options, index, starts);
                let misled = self.options.hostile_server.filter(|plan| plan.agent == index);
                let hostile = misled.map(|_| hostile::HOSTILE_SERVER);
                let target = ServerTarget {
                    addresses: hostile.into_iter().chain([SocketAddr::new(SERVER_IP, SERVER_PORT)]).collect(),
                    tcp: self.options.has_agent_port().then(|| TcpRoute {
                        addresses: vec![SocketAddr::new(SERVER_IP, SERVER_PORT)],
                        proxy_request: None,
                    }),
                    server_name: SERVER_NAME.to_owned(),
                };
                (vec![node], Command::Server(target))
            }
        };
        assert!(nodes[0].handle.send(first).is_ok(), "a new mailbox has room");
        let slot = self.slot(who);
        slot.reports = nodes.iter().map(|_| None).collect();
        slot.nodes = nodes;
        if let Who::Agent(agent) = who {
            self.control.joins.push(Join { agent, began_at: self.clock.time(), ready_at: None });
        }
        if starts > 1 {
            self.net.borrow_mut().tally.hit(match who {
                Who::Server => Family::ServerRestart,
                Who::Agent(_) => Family::AgentRestart,
            });
        }
    }

    /// Gives an agent's node an address that it has not had before.
    fn relocate(&mut self, agent: usize) {
        let slot = &mut self.agents[agent];
        let number = u8::try_from(agent + 1).expect("few agents");
        let new = agent_ip(number, u8::try_from(slot.ips.len()).expect("few changes"));
        if let Some(old) = slot.ips.last() {
            self.net.borrow_mut().change_ip(slot.host, *old, new);
        }
        slot.ips.push(new);
    }

    fn kill(&mut self, who: Who) {
        let now = self.clock.time();
        if !std::mem::take(&mut self.slot(who).nodes).is_empty() {
            let host = self.slot(who).host;
            self.net.borrow_mut().close_passed(host);
            self.control.on_death(who);
            self.deaths.push((now, if let Who::Agent(index) = who { Some(index) } else { None }));
        }
    }
}
