//! Processes of the world: the production shard over a simulated driver, with control's end of its mailbox.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use adit_dataplane::config::{AgentRole, FrontendProtocols, Role, ServerRole, ShardConfig};
use adit_dataplane::port::{Command, ShardId};
use adit_dataplane::quic::{ClusterKeys, QuicConfig, TimeSource};
use adit_dataplane::route::Strategy;
use adit_dataplane::shard::Shard;
use adit_dataplane::shard::mailbox::{self, ShardHandle};
use adit_dataplane::shard::peers;
use adit_dataplane::wire::Hello;
use adit_io::{Driver, Wake};

use super::options::Options;
use super::pki::pki;
use crate::clock::SimTime;
use crate::driver::{DriverConfig, SimDriver};
use crate::net::{HostId, SimNet, SimSocket};
use crate::rng::{Ppm, Prng};

/// A running process.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) shard: Shard<SimDriver>,
    pub(super) handle: ShardHandle<SimSocket>,
}

/// The world looks at every mailbox after every turn: nobody needs waking.
#[derive(Debug)]
struct Looking;

impl Wake for Looking {
    fn wake(&self) {}
}

/// A wake that is lost now and then, until the faults end.
#[derive(Debug)]
struct Unreliable {
    inner: Arc<dyn Wake>,
    draw: Mutex<Prng>,
    chance: Ppm,
    lost: Arc<AtomicU64>,
}

impl Wake for Unreliable {
    fn wake(&self) {
        if self.draw.lock().unwrap_or_else(PoisonError::into_inner).chance(self.chance) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            self.inner.wake();
        }
    }
}

/// Retry tokens carry the wall time; here it stands still.
#[derive(Debug)]
pub(super) struct StoppedWallClock;

impl TimeSource for StoppedWallClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }
}

impl Node {
    pub(super) fn next_runnable_at(&self) -> Option<SimTime> {
        self.shard.driver().next_runnable_at()
    }

    /// One shard of the server's process, on its UDP address.
    pub(super) fn server(
        net: &Rc<RefCell<SimNet>>,
        host: HostId,
        udp: SocketAddr,
        options: &Options,
        start: u64,
        shard: u8,
    ) -> Self {
        let role = Role::Server(ServerRole {
            strategies: vec![Strategy::Default],
            answer_time: Duration::from_secs(30),
            retire_after: None,
            keep_alive: Duration::from_secs(30),
            frontend_keep_alive: Duration::from_secs(3600),
            frontend_protocols: FrontendProtocols::ALL,
        });
        let name = format!("server {start} {shard}");
        Self::start(net, host, udp, options, (options.server, role), &name, shard)
    }

    /// The shards of one process learn of each other. What wakes a shard for another may have no effect, and is
    /// counted then.
    pub(super) fn connect(nodes: &[Self], options: &Options, lost: &Arc<AtomicU64>) {
        if nodes.len() < 2 {
            return;
        }
        let wakers = nodes.iter().enumerate().map(|(index, node)| {
            let draw = Mutex::new(Prng::new(options.seed, &format!("wakes of {index}")));
            let chance = options.faults.process.wake_lost;
            Arc::new(Unreliable { inner: node.shard.driver().waker(), draw, chance, lost: Arc::clone(lost) })
                as Arc<dyn Wake>
        });
        for (node, peers) in nodes.iter().zip(peers::connect(wakers.collect(), options.inbox_max)) {
            assert!(node.handle.send(Command::Peers(peers)).is_ok(), "a new mailbox is empty");
        }
    }

    /// An agent's process. `start` counts the starts of this agent.
    pub(super) fn agent(
        net: &Rc<RefCell<SimNet>>,
        host: HostId,
        udp: SocketAddr,
        options: &Options,
        index: usize,
        start: u64,
    ) -> Self {
        let hello = Hello {
            agent_id: format!("agent-{index}"),
            instance_id: start.to_le_bytes().to_vec(),
            connection_index: 0,
            identifiers: String::new(),
            token: String::new(),
            version: "sim".to_owned(),
            features: 0,
        };
        let role = Role::Agent(AgentRole {
            hello,
            transport: options.transport,
            tcp_tls: options.has_agent_port().then(|| Arc::clone(&pki().agent_tcp)),
            keep_alive: Duration::from_secs(35),
            connections: options.agent_connections,
            sync_forever: false,
            retry_interval: Duration::from_millis(200),
            retry_interval_max: Duration::from_secs(2),
            first_shard: u8::try_from(index).expect("few agents"),
            shards: 1,
        });
        Self::start(net, host, udp, options, (options.agent, role), &format!("agent {index} {start}"), 0)
    }

    fn start(
        net: &Rc<RefCell<SimNet>>,
        host: HostId,
        udp: SocketAddr,
        options: &Options,
        (driver, role): (DriverConfig, Role),
        name: &str,
        shard: u8,
    ) -> Self {
        let mut rng = Prng::new(options.seed, name);
        let (mut seed, mut quic_seed) = ([0; 32], [0; 32]);
        rng.fill(&mut seed);
        rng.fill(&mut quic_seed);
        let server = matches!(role, Role::Server(_));
        let quic = QuicConfig {
            shard,
            shards: if server { options.server_shards } else { 1 },
            generation: 0,
            seed: quic_seed,
            // The same for every start of a process, so that its resets are believed after a restart.
            keys: ClusterKeys::derive(b"a key of the simulator", if server { "server" } else { name }),
            server: server.then(|| Arc::clone(&pki().server)),
            client: (!server).then(|| Arc::clone(&pki().agent)),
            mtu_max_bytes: options.mtu_max_bytes,
            gso_segments_max: driver.gso_segments_max,
            time_source: Some(Arc::new(StoppedWallClock)),
        };
        let config = ShardConfig {
            id: ShardId(shard),
            role,
            quic,
            seed,
            zero_copy: options.zero_copy,
            budget_bytes: options.budget_bytes,
            #[cfg(feature = "defects")]
            defect: options.defect,
        };
        let driver = SimDriver::new(net, host, driver);
        let socket = if shard == 0 {
            net.borrow_mut().bind_udp(host, udp).expect("a process's address is free when it starts")
        } else {
            net.borrow_mut().join_udp(host, udp)
        };
        let (handle, shard_end) = mailbox::pair(driver.waker(), Arc::new(Looking));
        let shard = Shard::new(config, driver, shard_end, socket).expect("the configuration is valid");
        Self { shard, handle }
    }
}
