//! Everything that is decided before a world starts, as plain data: what a failing seed prints, and what a
//! hand-written story sets.

use adit_dataplane::config::Transport;
use adit_dataplane::limits::{
    PASSED_CONNECTIONS_MAX, STOPPED_READER_BYTES, TRAINS_IN_FLIGHT_MAX, ZERO_COPY_TRAINS_MAX,
};

use crate::driver::DriverConfig;
use crate::faults::Faults;
use crate::rng::{Ppm, Prng, Span};
use crate::script::{Finale, Manners, Stop};

/// What is at the other end of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetKind {
    /// A service, dialed by address.
    Serves,
    /// A service, dialed by name.
    ServesByName,
    /// Nobody listens.
    Refuses,
    /// Nothing ever answers.
    BlackHole,
    /// A name that does not exist.
    UnknownName,
    /// An address that policy forbids.
    Forbidden,
}

/// What a client says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpeningKind {
    /// A request.
    Connect,
    /// A request in small pieces.
    Trickled,
    /// Nothing.
    Silence,
    /// No HTTP.
    Garbage,
    /// Half a request; then it leaves.
    LeavesEarly,
    /// A request; it leaves before the answer.
    LeavesBeforeAnswer,
}

/// A client in GRPC mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcPlan {
    /// Which HTTP/2 connection it shares with others; `None`: it has one of its own.
    pub link: Option<u32>,
    /// When the client cuts the connection, in nanoseconds of virtual time.
    pub cut_at_ns: Option<u64>,
}

/// One client, and the target it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelPlan {
    /// When the client connects, in nanoseconds of virtual time.
    pub start_ns: u64,
    /// What it says first.
    pub opening: OpeningKind,
    /// Whether it comes over TCP with TLS instead of the Unix socket.
    pub tls: bool,
    /// Whether it speaks GRPC mode instead of HTTP CONNECT. Only for those that ask for something at once.
    pub grpc: Option<GrpcPlan>,
    /// What it asks for.
    pub target: TargetKind,
    /// How the client behaves once there is a tunnel.
    pub client_manners: Manners,
    /// How the target behaves.
    pub target_manners: Manners,
}

impl TunnelPlan {
    /// The same over TCP with TLS.
    #[must_use]
    pub const fn over_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The same in GRPC mode, on this HTTP/2 connection or on one of its own. Since it has no half-close, a client that
    /// would end its direction closes once it has everything.
    #[must_use]
    pub const fn over_grpc(mut self, link: Option<u32>) -> Self {
        self.grpc = Some(GrpcPlan { link, cut_at_ns: None });
        if matches!(self.client_manners.finale, Finale::Fin) {
            self.client_manners.finale = Finale::CloseAfter(self.target_manners.bytes);
        }
        self
    }

    /// The same, the connection being cut by the client at some time.
    #[must_use]
    pub const fn cut_at(mut self, cut_at_ns: u64) -> Self {
        if let Some(grpc) = &mut self.grpc {
            grpc.cut_at_ns = Some(cut_at_ns);
        }
        self
    }

    /// A tunnel in which both ends send this many bytes and end in order.
    #[must_use]
    pub const fn plain(start_ns: u64, up_bytes: u64, down_bytes: u64) -> Self {
        Self {
            start_ns,
            opening: OpeningKind::Connect,
            tls: false,
            grpc: None,
            target: TargetKind::Serves,
            client_manners: Manners::plain(up_bytes),
            target_manners: Manners::plain(down_bytes),
        }
    }
}

/// A process that dies and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Which agent; `None`: the server.
    pub agent: Option<usize>,
    /// When it dies, in nanoseconds of virtual time.
    pub at_ns: u64,
    /// How long it is away.
    pub down_ns: u64,
}

/// A server that is told to end, ends in order, and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    /// When it is told, in nanoseconds of virtual time.
    pub at_ns: u64,
    /// How long it may take.
    pub for_ns: u64,
    /// How long it is away afterwards.
    pub down_ns: u64,
}

/// A time in which nothing gets through from one host to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Between the server and which agent.
    pub agent: usize,
    /// Whether what the agent sends is lost, or what the server sends.
    pub from_agent: bool,
    /// When it begins, in nanoseconds of virtual time.
    pub at_ns: u64,
    /// How long it lasts.
    pub for_ns: u64,
}

/// A node that has another address from one moment to the next, and not the old one any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Which agent's.
    pub agent: usize,
    /// When, in nanoseconds of virtual time.
    pub at_ns: u64,
}

/// An agent of Konnectivity's, over TCP, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldAgentPlan {
    /// From a connection to its target to DIAL_RSP.
    pub answers_after: Span,
    /// When its connection to the server is cut, in nanoseconds of virtual time.
    pub cut_at_ns: Option<u64>,
    /// From when on and for how long it reads nothing of what the server says, in nanoseconds of virtual time.
    pub stops: Option<(u64, u64)>,
}

/// What a hostile peer of the server does. All of them have a certificate that the server believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostileKind {
    /// Begins a handshake, hears nothing of what comes back, and repeats itself now and then.
    Deaf,
    /// Lets one datagram go, and the next only so much later.
    Halting {
        /// How much, in nanoseconds.
        every_ns: u64,
    },
    /// Completes the handshake, keeps its connection alive, and never says Hello.
    Mute,
    /// Completes the handshake and says Hello byte by byte.
    Dripping {
        /// Between two bytes, in nanoseconds.
        every_ns: u64,
    },
    /// Opens as many streams as it can, whatever it was granted.
    Greedy {
        /// Whether it says Hello and waits for Welcome first.
        welcome: bool,
    },
}

/// One hostile peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostilePlan {
    /// What it does.
    pub kind: HostileKind,
    /// When it comes first, in nanoseconds of virtual time.
    pub at_ns: u64,
    /// How much later it comes again when it was thrown out.
    pub again_ns: u64,
    /// When it leaves for good, without a word.
    pub until_ns: u64,
}

/// A hostile server that one agent tries before the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostileServerPlan {
    /// Which agent.
    pub agent: usize,
    /// From when on it says nothing any more, in nanoseconds of virtual time.
    pub until_ns: u64,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Options {
    /// What everything random comes from.
    pub seed: u64,
    /// What may go wrong in the safety phase.
    pub faults: Faults,
    /// Agents, each a process on a host of its own.
    pub agents: usize,
    /// Shards of the server, each with a driver and a thread of its own.
    pub server_shards: u8,
    /// Connections that each agent keeps; `None`: one for each shard of the server.
    pub agent_connections: Option<u32>,
    /// How agents reach the server.
    pub transport: Transport,
    /// Konnectivity's agents beside them.
    pub old_agents: Vec<OldAgentPlan>,
    /// Connections that wait in one shard's inbox, at most.
    pub inbox_max: usize,
    /// Whether agents are behind NAT.
    pub nat: bool,
    /// Sizes of the server's process.
    pub server: DriverConfig,
    /// Sizes of each agent's process.
    pub agent: DriverConfig,
    /// Largest UDP payload that both sides try.
    pub mtu_max_bytes: u16,
    /// Whether shards ask for zero copy.
    pub zero_copy: bool,
    /// What stopped readers may hold; small values make shards shed them.
    pub budget_bytes: usize,
    /// The workload.
    pub tunnels: Vec<TunnelPlan>,
    /// Processes that die.
    pub restarts: Vec<Restart>,
    /// The server's drain in the middle of everything.
    pub drain: Option<DrainPlan>,
    /// One-way blackholes at their times, besides those that the faults draw.
    pub silences: Vec<Silence>,
    /// Nodes that change their address.
    pub relocations: Vec<Relocation>,
    /// Whether every dial of a service must succeed.
    pub every_dial_succeeds: bool,
    /// First packets of handshakes that nobody goes on with, one every 10 ms from an address of its own.
    pub initials: u64,
    /// Peers that are slow or greedy on purpose.
    pub hostiles: Vec<HostilePlan>,
    /// A server that opens streams to an agent for as long as it is granted any.
    pub hostile_server: Option<HostileServerPlan>,
    /// When control floods the server's mailbox.
    pub flood_at_ns: Option<u64>,
    /// When the faults end, at the latest.
    pub heal_at_ns: u64,
    /// Payload bytes that are sent each way after the healing, through a tunnel that must succeed.
    pub proof_bytes: u64,
    /// Readable trace lines to keep.
    pub tail_lines: usize,
    /// A deliberate defect of the shards.
    #[cfg(feature = "defects")]
    pub defect: Option<adit_dataplane::config::Defect>,
}

impl Options {
    /// A calm world with nothing to do.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            faults: Faults::none(),
            agents: 1,
            server_shards: 1,
            agent_connections: None,
            transport: Transport::Quic,
            old_agents: Vec::new(),
            inbox_max: PASSED_CONNECTIONS_MAX,
            nat: false,
            server: bounded(),
            agent: bounded(),
            mtu_max_bytes: 1_452,
            zero_copy: true,
            budget_bytes: 1 << 30,
            tunnels: Vec::new(),
            restarts: Vec::new(),
            drain: None,
            silences: Vec::new(),
            relocations: Vec::new(),
            every_dial_succeeds: false,
            initials: 0,
            hostiles: Vec::new(),
            hostile_server: None,
            flood_at_ns: None,
            heal_at_ns: 5_000_000_000,
            proof_bytes: 0,
            tail_lines: 0,
            #[cfg(feature = "defects")]
            defect: None,
        }
    }

    /// Whether the server takes agents over TCP.
    #[must_use]
    pub fn has_agent_port(&self) -> bool {
        self.transport != Transport::Quic || !self.old_agents.is_empty()
    }

    /// Draws a world.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Prng::new(seed, "options");
        let mut options = Self::calm(seed);
        options.faults = Faults::swarm(&mut rng);
        options.agents = usize::try_from(rng.between(1, 2)).unwrap_or(1);
        options.server_shards = *rng.pick(&[1, 1, 2, 2, 3]);
        options.agent_connections = *rng.pick(&[None, Some(1), Some(2)]);
        options.inbox_max = *rng.pick(&[1, 2, PASSED_CONNECTIONS_MAX]);
        options.nat = options.faults.net.rebind.is_some() || rng.chance(Ppm::percent(20));
        options.server = draw_driver(&mut rng);
        options.agent = draw_driver(&mut rng);
        options.mtu_max_bytes = *rng.pick(&[1_200, 1_452, 1_452, 8_952, 65_468]);
        options.zero_copy = rng.chance(Ppm::percent(60));
        if rng.chance(Ppm::percent(10)) {
            options.budget_bytes = 3 * STOPPED_READER_BYTES;
        }
        let buffers = options.faults.pipe.buffer_bytes.1;
        let bytes_max = match buffers {
            0..=100 => 600,
            101..=10_000 => 60_000,
            _ => 250_000,
        };
        let count = rng.between(20, 26);
        options.tunnels = (0..count).map(|_| draw_tunnel(&mut rng, bytes_max)).collect();
        draw_grpc(&mut Prng::new(seed, "grpc"), &mut options.tunnels);
        options.restarts = draw_restarts(&mut rng, options.agents);
        options.drain = rng.chance(Ppm::percent(8)).then(|| DrainPlan {
            at_ns: rng.span(Span::millis(200, 3_500)),
            for_ns: rng.span(Span::millis(0, 2_000)),
            down_ns: rng.span(Span::millis(0, 1_000)),
        });
        options.flood_at_ns = rng.chance(Ppm::percent(3)).then(|| rng.span(Span::millis(500, 3_000)));
        options.heal_at_ns = rng.span(Span::millis(3_000, 9_000));
        options.proof_bytes = 560_000;
        if rng.chance(Ppm::percent(4)) {
            options.make_bulky(&mut rng);
        }
        options.relocations = draw_relocations(&mut rng, options.agents);
        if options.faults.net.mtu_shrink.is_some() && rng.chance(Ppm::percent(50)) {
            options.faults.net.mtu_grow = Some(Span::millis(500, 6_000));
        }
        if rng.chance(Ppm::percent(20)) {
            let until_ns = options.heal_at_ns;
            options.hostiles = (0..rng.between(1, 6)).map(|_| draw_hostile(&mut rng, until_ns)).collect();
        }
        options
    }

    /// A world of large trains whose notifications are late: what is lent to the kernel comes to its bound.
    pub fn make_bulky(&mut self, rng: &mut Prng) {
        self.faults.io.notification = Span::millis(200, 700);
        self.faults.io.segmentation_refused_after = None;
        self.faults.net.delay = Span::micros(50, 500);
        self.faults.net.mtu_shrink = None;
        self.faults.net.mtu_bytes = 65_507;
        self.mtu_max_bytes = *rng.pick(&[1_452, 8_952, 65_468]);
        self.zero_copy = true;
        for driver in [&mut self.server, &mut self.agent] {
            driver.zero_copy = true;
            driver.gso_segments_max = 64;
        }
        self.proof_bytes = 4_000_000;
    }
}

/// The driver that also checks the shard's own bounds.
fn bounded() -> DriverConfig {
    DriverConfig {
        trains_max: TRAINS_IN_FLIGHT_MAX,
        lent_trains_max: ZERO_COPY_TRAINS_MAX,
        ..DriverConfig::default()
    }
}

fn draw_driver(rng: &mut Prng) -> DriverConfig {
    let slots = *rng.pick(&[2, 4, 16, 64]);
    DriverConfig {
        small_slots: slots,
        large_slots: *rng.pick(&[1, 2, 16]),
        datagram_slots: *rng.pick(&[2, 3, 8, 32]),
        gso_segments_max: *rng.pick(&[1, 4, 64, 64]),
        gro: rng.chance(Ppm::percent(70)),
        zero_copy: rng.chance(Ppm::percent(80)),
        ..bounded()
    }
}

fn draw_tunnel(rng: &mut Prng, bytes_max: u64) -> TunnelPlan {
    let target = *rng.pick(&[
        TargetKind::Serves,
        TargetKind::Serves,
        TargetKind::Serves,
        TargetKind::Serves,
        TargetKind::Serves,
        TargetKind::Serves,
        TargetKind::Serves,
        TargetKind::ServesByName,
        TargetKind::ServesByName,
        TargetKind::ServesByName,
        TargetKind::Refuses,
        TargetKind::BlackHole,
        TargetKind::UnknownName,
        TargetKind::Forbidden,
    ]);
    let opening = match rng.below(40) {
        0 => OpeningKind::Silence,
        1 => OpeningKind::Garbage,
        2 => OpeningKind::LeavesEarly,
        3 => OpeningKind::LeavesBeforeAnswer,
        4..8 => OpeningKind::Trickled,
        _ => OpeningKind::Connect,
    };
    TunnelPlan {
        start_ns: rng.span(Span::millis(0, 3_000)),
        opening,
        tls: rng.chance(Ppm::percent(30)),
        grpc: None,
        target,
        client_manners: Manners::draw(rng, bytes_max),
        target_manners: Manners::draw(rng, bytes_max),
    }
}

/// Makes some of the clients speak GRPC mode, alone or several on one connection, which may be cut.
fn draw_grpc(rng: &mut Prng, tunnels: &mut [TunnelPlan]) {
    let asks = |plan: &TunnelPlan| {
        use OpeningKind::{Connect, LeavesBeforeAnswer, LeavesEarly};
        matches!(plan.opening, Connect | LeavesEarly | LeavesBeforeAnswer)
    };
    let mut together: Option<(u32, u64, bool, Option<u64>)> = None;
    for (plan, number) in tunnels.iter_mut().filter(|plan| asks(plan)).zip(0..) {
        together = match together {
            Some(together) if rng.chance(Ppm::percent(80)) => Some(together),
            _ => rng.chance(Ppm::percent(6)).then(|| {
                let cut_ns = rng.chance(Ppm::percent(30)).then(|| rng.span(Span::millis(0, 2_000)));
                (number, plan.start_ns, plan.tls, cut_ns.map(|after_ns| plan.start_ns + after_ns))
            }),
        };
        if together.is_none() && rng.chance(Ppm::percent(80)) {
            continue;
        }
        if plan.target_manners.finale == Finale::Fin && rng.chance(Ppm::percent(50)) {
            plan.target_manners.finale = Finale::FinAfterPeer;
        }
        *plan = plan.over_grpc(together.map(|(link, ..)| link));
        if let Some((_, start_ns, tls, cut_at_ns)) = together {
            (plan.start_ns, plan.tls) = (start_ns, tls);
            plan.grpc = plan.grpc.map(|grpc| GrpcPlan { cut_at_ns, ..grpc });
        }
    }
}

fn draw_restarts(rng: &mut Prng, agents: usize) -> Vec<Restart> {
    let mut restarts = Vec::new();
    if rng.chance(Ppm::percent(12)) {
        let agent = Some(rng.below_size(agents));
        restarts.push(Restart {
            agent,
            at_ns: rng.span(Span::millis(200, 3_500)),
            down_ns: rng.span(Span::millis(0, 3_000)),
        });
    }
    if rng.chance(Ppm::percent(12)) {
        let at_ns = rng.span(Span::millis(200, 3_500));
        restarts.push(Restart { agent: None, at_ns, down_ns: rng.span(Span::millis(0, 3_000)) });
    }
    restarts
}

fn draw_hostile(rng: &mut Prng, until_ns: u64) -> HostilePlan {
    HostilePlan {
        kind: *rng.pick(&[
            HostileKind::Deaf,
            HostileKind::Halting { every_ns: 500_000_000 },
            HostileKind::Halting { every_ns: 3_000_000_000 },
            HostileKind::Mute,
            HostileKind::Dripping { every_ns: 200_000_000 },
            HostileKind::Greedy { welcome: false },
            HostileKind::Greedy { welcome: true },
            HostileKind::Greedy { welcome: true },
        ]),
        at_ns: rng.span(Span::millis(0, 3_000)),
        again_ns: rng.span(Span::millis(50, 500)),
        until_ns,
    }
}

fn draw_relocations(rng: &mut Prng, agents: usize) -> Vec<Relocation> {
    let count = if rng.chance(Ppm::percent(20)) { rng.between(1, 3) } else { 0 };
    (0..count)
        .map(|_| Relocation { agent: rng.below_size(agents), at_ns: rng.span(Span::millis(100, 5_000)) })
        .collect()
}

impl Manners {
    /// The same, never reading after this many bytes.
    #[must_use]
    pub const fn stopping_after(mut self, after_bytes: u64) -> Self {
        self.stop = Some(Stop { after_bytes, for_ns: None });
        self
    }

    /// The same, ending like this.
    #[must_use]
    pub const fn ending(mut self, finale: Finale) -> Self {
        self.finale = finale;
        self
    }
}
