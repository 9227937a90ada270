//! The workload at run time: each planned tunnel's client and target.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls_pki_types::ServerName;

use super::options::{OpeningKind, TargetKind, TunnelPlan};
use super::pki::{SERVER_NAME, pki};
use super::{EndOutcome, SERVER_IP, TunnelOutcome};
use crate::clock::SimTime;
use crate::net::{HostId, SimNet};
use crate::script::{Client, Door, End, Link, Opening, Target};

/// Where the targets are.
pub(super) const TARGETS_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
/// The name that leads there.
pub(super) const TARGETS_NAME: &str = "targets.adit.test";
/// The server's Unix socket.
pub(super) const SOCKET_PATH: &str = "/run/adit/frontend.sock";
/// Where the server takes frontends over TCP.
pub(super) const FRONTEND_ADDRESS: SocketAddr = SocketAddr::new(SERVER_IP, 8090);

/// HTTP/2 connections that several clients share, by their plans' numbers.
pub(super) type Links = BTreeMap<u32, Link>;

/// One tunnel, or an attempt at one.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) plan: TunnelPlan,
    pub(crate) client: Client,
    pub(crate) target: Option<Target>,
    /// Whether it must succeed whatever happened before.
    pub(crate) proof: bool,
}

fn door(tls: bool) -> Door {
    if tls {
        let name = ServerName::try_from(SERVER_NAME).expect("a valid name");
        Door::Tls(FRONTEND_ADDRESS, Arc::clone(&pki().client), name)
    } else {
        Door::Unix(SOCKET_PATH.to_owned())
    }
}

/// The scripts of tunnel `tunnel`: its client's, and its target's.
const fn scripts(tunnel: u32) -> (u32, u32) {
    (tunnel * 2, tunnel * 2 + 1)
}

impl Case {
    #[allow(clippy::too_many_arguments, reason = "all of it is the world's")]
    pub(super) fn new(
        net: &mut SimNet,
        seed: u64,
        tunnel: u32,
        plan: TunnelPlan,
        client_host: HostId,
        target_host: HostId,
        links: &mut Links,
        proof: bool,
    ) -> Self {
        let (client_script, target_script) = scripts(tunnel);
        let port = 10_000 + u16::try_from(tunnel).expect("few tunnels in one world");
        let at = SocketAddr::new(TARGETS_IP, port);
        let name = match plan.target {
            TargetKind::Serves | TargetKind::Refuses | TargetKind::BlackHole => at.to_string(),
            TargetKind::ServesByName => format!("{TARGETS_NAME}:{port}"),
            TargetKind::UnknownName => format!("nowhere.adit.test:{port}"),
            TargetKind::Forbidden => format!("169.254.169.254:{port}"),
        };
        if plan.target == TargetKind::BlackHole {
            net.black_hole(at);
        }
        let target = matches!(plan.target, TargetKind::Serves | TargetKind::ServesByName)
            .then(|| Target::new(net, target_host, at, target_script, seed, tunnel, plan.target_manners));
        let opening = match plan.opening {
            OpeningKind::Connect => Opening::Connect(name),
            OpeningKind::Trickled => Opening::Trickled(name),
            OpeningKind::Silence => Opening::Silence,
            OpeningKind::Garbage => Opening::Garbage,
            OpeningKind::LeavesEarly => Opening::LeavesEarly(name),
            OpeningKind::LeavesBeforeAnswer => Opening::LeavesBeforeAnswer(name),
        };
        let door = door(plan.tls);
        let mut client =
            Client::new(client_script, seed, tunnel, client_host, door.clone(), opening, plan.client_manners);
        if let Some(grpc) = plan.grpc {
            let link = || Link::new(client_host, door, grpc.link.is_some(), grpc.cut_at_ns.map(SimTime));
            client = client.over(match grpc.link {
                Some(number) => links.entry(number).or_insert_with(link).clone(),
                None => link(),
            });
        }
        let now = net.time();
        net.wake_script(client_script, plan.start_ns.saturating_sub(now.0));
        Self { plan, client, target, proof }
    }

    /// Whether both ends have done everything.
    pub(crate) fn is_over(&self) -> bool {
        self.client.is_over() && self.target.as_ref().is_none_or(Target::is_over)
    }

    pub(super) fn hurry(&mut self) {
        self.client.hurry();
        if let Some(target) = &mut self.target {
            target.hurry();
        }
    }

    pub(super) fn step(&mut self, net: &mut SimNet, script: u32) {
        if script.is_multiple_of(2) {
            self.client.step(net);
        } else if let Some(target) = &mut self.target {
            target.step(net);
        }
    }

    pub(super) fn outcome(&self) -> TunnelOutcome {
        let end = |end: &End| EndOutcome { sent: end.sent, received: end.received, saw: end.saw };
        TunnelOutcome {
            asked_at: self.client.asked_at,
            answer: self.client.answer.as_ref().map(|answer| (answer.status, answer.at)),
            text: self.client.answer.as_ref().map(|answer| answer.text.clone()).unwrap_or_default(),
            client: self.client.end().map(end),
            targets: self.target.iter().flat_map(|target| &target.connections).map(|c| end(&c.end)).collect(),
        }
    }

    /// Payload bytes that arrived and were right.
    pub(crate) fn payload_bytes(&self) -> u64 {
        let up: u64 = self.target.iter().flat_map(|target| &target.connections).map(|c| c.end.received).sum();
        up + self.client.end().map_or(0, |end| end.received)
    }
}
