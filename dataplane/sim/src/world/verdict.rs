//! The end of a world: oracles, conservation, and the report or the failure.

use std::fmt::Write as _;

use adit_dataplane::limits::ANSWER_BYTES_MAX;
use adit_dataplane::shard::Holdings;

use super::control::Who;
use super::{Case, Failure, PathSizes, Report, Slot, World};
use crate::net::SimNet;
use crate::oracle::{Facts, Judgement, judge};
use crate::tally::Family;

impl World {
    pub(super) fn finish(mut self) -> Result<Report, Box<Failure>> {
        let mut judgement = Judgement::default();
        let agent_ips: Vec<_> = self.agents.iter().map(|slot| slot.ips.clone()).collect();
        let net = self.net.borrow();
        let facts = Facts {
            broken: &|connection| connection.is_some_and(|connection| net.was_broken(connection)),
            losses: &self.control.losses,
            deaths: &self.deaths,
            sheds: self.options.budget_bytes < 1 << 28,
            old_agents: !self.options.old_agents.is_empty(),
            tiny_pipes: self.options.faults.pipe.buffer_bytes.0 < ANSWER_BYTES_MAX,
            every_dial_succeeds: self.options.every_dial_succeeds,
            slack_ns: self.slack_ns(),
            agent_ips: &agent_ips,
        };
        for (tunnel, case) in self.cases.iter().enumerate() {
            judge(case, tunnel, &facts, &mut judgement);
        }
        drop(net);
        judgement.wrong.extend(self.conservation());
        judgement.wrong.extend(self.proof());
        if let Some(first) = judgement.wrong.first() {
            let count = judgement.wrong.len();
            let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
            let what = format!("{first}{more}");
            return Err(self.fail(what));
        }
        self.server.nodes.clear();
        for agent in &mut self.agents {
            agent.nodes.clear();
        }
        let handed = self.server.reports.iter().flatten().map(|report| &report.stats);
        let (over, back) = handed.fold((0, 0), |(over, back), stats| {
            (over + stats.dials_handed_over, back + stats.dials_handed_back)
        });
        (0..over).for_each(|_| self.net.borrow_mut().tally.hit(Family::DialHandedOver));
        (0..back).for_each(|_| self.net.borrow_mut().tally.hit(Family::DialHandedBack));
        let net = self.net.borrow();
        if let Some(violation) = net.violations().first() {
            let what = violation.clone();
            drop(net);
            return Err(self.fail(what));
        }
        Ok(Report {
            seed: self.options.seed,
            trace_hash: net.trace.hash(),
            events: net.trace.events(),
            dials: self.cases.len() as u64,
            payload_bytes: self.cases.iter().map(Case::payload_bytes).sum(),
            virtual_ns: self.clock.time().0,
            tally: net.tally.clone(),
            cells: judgement.cells,
            tunnels: self.cases.iter().map(Case::outcome).collect(),
            flood: self.flood_outcome(),
            hostiles: self.hostiles.outcomes(),
            joins: self.control.joins.clone(),
            peak: self.peak,
            left: self.left.clone(),
            hostile_server: self.hostiles.server_outcome(),
            agent_peak: self.agent_peak,
            agents_left: self.agents_left.clone(),
            paths: self.path_sizes(&net),
            tail: net.trace.tail().map(str::to_owned).collect(),
        })
    }

    fn path_sizes(&self, net: &SimNet) -> Vec<PathSizes> {
        let sizes = net.carried().iter().map(|carried| {
            let from = |slot: &Slot| carried.largest_bytes.get(&slot.host).copied().unwrap_or(0);
            PathSizes {
                mtu_bytes: carried.mtu_bytes,
                from_server_bytes: from(&self.server),
                from_agents_bytes: self.agents.iter().map(from).max().unwrap_or(0),
            }
        });
        sizes.collect()
    }

    /// The tunnel after the healing must have carried everything.
    fn proof(&self) -> Option<String> {
        let (tunnel, case) = self.cases.iter().enumerate().find(|(_, case)| case.proof)?;
        let (up, down) = (case.plan.client_manners.bytes, case.plan.target_manners.bytes);
        let carried = case.payload_bytes();
        (carried != up + down).then(|| {
            let answer = case.client.answer.as_ref().map(|answer| answer.text.clone());
            format!(
                "tunnel {tunnel}: after the healing {carried} of {} bytes arrived; the answer was {answer:?}",
                up + down
            )
        })
    }

    /// When everything has ended, nothing may be held.
    fn conservation(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let slots = std::iter::once((Who::Server, &self.server))
            .chain(self.agents.iter().enumerate().map(|(index, slot)| (Who::Agent(index), slot)));
        for (who, slot) in slots.clone() {
            for (shard, held) in slot.holdings().into_iter().enumerate() {
                // What it has said of its connections' ends may still be on its way.
                let left = Holdings { trains: 0, ..held };
                if left != Holdings::default() {
                    wrong.push(format!("{who:?} {shard}: holds {left:?} when it has drained"));
                }
            }
        }
        let shards = slots.flat_map(|(who, slot)| {
            slot.reports.iter().enumerate().map(move |(shard, report)| (who, shard, report))
        });
        for (who, shard, report) in shards {
            let Some(report) = report else { continue };
            // The UDP socket; at the server's first shard the Unix listener as well, at its last those of TCP.
            let last = shard + 1 == usize::from(self.options.server_shards);
            let agent_port = u64::from(self.options.has_agent_port());
            let listeners = u64::from(shard == 0) + u64::from(last) * (1 + agent_port);
            let own = if who == Who::Server { 1 + listeners } else { 1 };
            // Agents over TCP are still connected.
            let carriers = report.stats.carriers_open;
            let held = [
                ("tunnels", report.stats.tunnels_open, 0),
                ("pending dials", report.stats.dials_pending, 0),
                ("open sockets", report.io.sockets_open, own + carriers),
                ("small slots", report.small_slots.held as u64, 0),
                ("large slots", report.large_slots.held as u64, 0),
                ("datagram slots", report.datagram_slots.held as u64, 0),
                ("tunnels on connections", report.paths.iter().map(|path| u64::from(path.tunnels)).sum(), 0),
            ];
            for (what, left, expected) in held {
                if left != expected {
                    wrong.push(format!("{who:?} {shard}: {left} {what} at the end, not {expected}"));
                }
            }
        }
        wrong
    }

    pub(super) fn fail(&self, what: String) -> Box<Failure> {
        let tail = self.net.borrow().trace.tail().map(str::to_owned).collect();
        let what = format!("at {}: {what}", self.clock.time());
        let dump = self.dump(&what);
        Box::new(Failure { seed: self.options.seed, what, dump, tail })
    }

    /// What is not over, and who holds what.
    fn dump(&self, what: &str) -> String {
        let mut dump = String::new();
        let named = |tunnel: usize| what.contains(&format!("tunnel {tunnel}:"));
        for (tunnel, case) in
            self.cases.iter().enumerate().filter(|(tunnel, case)| !case.is_over() || named(*tunnel))
        {
            let _ = writeln!(
                dump,
                "  tunnel {tunnel}: over {}, {:?} {:?}\n    client {:?}\n    target {:?}",
                case.is_over(),
                case.plan.opening,
                case.plan.target,
                case.client,
                case.target
            );
        }
        let _ = writeln!(dump, "  losses {:?}\n  deaths {:?}", self.control.losses, self.deaths);
        for slot in std::iter::once(&self.server).chain(&self.agents) {
            for node in &slot.nodes {
                let driver = node.shard.driver();
                let _ = writeln!(
                    dump,
                    "  process {}: start {}, {} operations, runnable at {:?}",
                    driver.process(),
                    slot.starts,
                    driver.operations(),
                    driver.next_runnable_at()
                );
            }
            for report in slot.reports.iter().flatten() {
                let _ = writeln!(dump, "    {:?}", report.stats);
            }
        }
        dump
    }
}
