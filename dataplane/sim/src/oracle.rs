//! What must be true of every tunnel when its world has ended: bytes, ends and answers.
//!
//! The byte oracle is in [`crate::script`] (every received byte is checked as it comes). Here is the close oracle: a
//! table of what one end did and what the other may have seen of it, and the dial oracle: what was asked for and
//! what may have been answered. Both count their cells, so that a swarm can require that every cell occurred.

use std::collections::BTreeMap;
use std::net::IpAddr;

use adit_dataplane::limits::{ANSWER_TIME_MAX, CONNECT_HEAD_TIME_MAX, LINGER_TIME_MAX};

use crate::clock::{SimTime, nanos};
use crate::script::{Did, End, Seen, Target};
use crate::world::Case;
use crate::world::options::{OpeningKind, TargetKind};

/// Why an end may have seen what it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The other end ended its direction.
    Finished,
    /// The other end closed with nothing unread.
    Closed,
    /// The other end reset, or closed with bytes unread.
    Aborted,
    /// The connection between server and agent, or one of the two processes, was lost.
    Lost,
    /// The world broke one of the two sockets.
    Broken,
}

/// Where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// At the client, on a Unix socket or on TLS over TCP.
    Client,
    /// At a client in GRPC mode.
    Call,
    /// At the target, on TCP.
    Target,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Observed {
    /// The end of the stream after every byte.
    End,
    /// A reset (on a Unix socket: the end of the connection), after any number of bytes.
    Reset,
}

/// A dial and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dial {
    /// There is a service and there was a 200.
    Established,
    /// There is a service and there was an error.
    Failed,
    /// Nobody listens, and an error said so.
    Refused,
    /// Nothing answers, and an error said so.
    TimedOut,
    /// The name does not exist, and an error said so.
    UnknownName,
    /// Policy forbids it, and an error said so.
    Forbidden,
    /// The client said nothing sensible and was told, or closed.
    BadRequest,
    /// The client said nothing and was told, or closed.
    Silence,
    /// The client left by itself.
    Left,
}

/// A cell of the oracles' tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cell {
    /// Of the close oracle.
    Close(Cause, At, Observed),
    /// Of the dial oracle.
    Dial(Dial),
}

impl Cell {
    /// Whether it is allowed, but takes so much bad luck that a swarm need not have it: CLOSE_RSP with bytes missing,
    /// because what the target said before it closed was thrown away by its own kernel.
    #[must_use]
    pub fn is_rare(self) -> bool {
        self == Self::Close(Cause::Closed, At::Call, Observed::Reset)
    }

    /// Every cell that is allowed; a swarm requires that each occurs, but for [rare ones](Self::is_rare).
    #[must_use]
    pub fn all() -> Vec<Self> {
        use Cause::{Aborted, Broken, Closed, Finished, Lost};
        let mut cells = Vec::new();
        for at in [At::Client, At::Call, At::Target] {
            cells.extend([Finished, Closed].map(|cause| Self::Close(cause, at, Observed::End)));
            cells
                .extend([Closed, Aborted, Lost, Broken].map(|cause| Self::Close(cause, at, Observed::Reset)));
        }
        cells.extend(
            [
                Dial::Established,
                Dial::Failed,
                Dial::Refused,
                Dial::TimedOut,
                Dial::UnknownName,
                Dial::Forbidden,
                Dial::BadRequest,
                Dial::Silence,
                Dial::Left,
            ]
            .map(Self::Dial),
        );
        cells
    }
}

/// What the world knows that may explain what an end saw.
pub(crate) struct Facts<'a> {
    /// When the connection of which agent was lost; `None`: of all.
    pub(crate) losses: &'a [(SimTime, Option<usize>)],
    /// When which agent's process died.
    pub(crate) deaths: &'a [(SimTime, Option<usize>)],
    /// Whether the world broke this connection.
    pub(crate) broken: &'a dyn Fn(Option<u64>) -> bool,
    /// Whether stopped readers may have been shed.
    pub(crate) sheds: bool,
    /// Whether a tunnel's agent may be an old one.
    pub(crate) old_agents: bool,
    /// Whether a connection's buffers may be smaller than an answer.
    pub(crate) tiny_pipes: bool,
    /// Whether the world is calm enough for every dial of a service to succeed.
    pub(crate) every_dial_succeeds: bool,
    /// How much later than its time anything may happen.
    pub(crate) slack_ns: u64,
    /// Each agent's addresses.
    pub(crate) agent_ips: &'a [Vec<IpAddr>],
}

/// The findings about one world.
#[derive(Debug, Default)]
pub struct Judgement {
    /// What was wrong.
    pub wrong: Vec<String>,
    /// How often each cell occurred.
    pub cells: BTreeMap<Cell, u64>,
}

impl Judgement {
    fn hit(&mut self, cell: Cell) {
        *self.cells.entry(cell).or_default() += 1;
    }
}

/// How long after a loss its consequences may still show.
const AFTERMATH_NS: u64 = 25_000_000_000;

impl Facts<'_> {
    fn between(
        events: &[(SimTime, Option<usize>)],
        agent: Option<usize>,
        from: SimTime,
        to: SimTime,
    ) -> bool {
        events.iter().any(|(at, whose)| {
            let concerns = whose.is_none() || agent.is_none() || *whose == agent;
            concerns && at.plus_ns(AFTERMATH_NS) >= from && *at <= to.plus_ns(AFTERMATH_NS)
        })
    }
}

/// Judges one tunnel.
pub(crate) fn judge(case: &Case, tunnel: usize, facts: &Facts<'_>, judgement: &mut Judgement) {
    judge_dial(case, tunnel, facts, judgement);
    let client = case.client.end();
    if case.client.bytes_behind_answer > 0 {
        judgement.wrong.push(format!(
            "tunnel {tunnel}: {} bytes came behind the 200 before the client had read it",
            case.client.bytes_behind_answer
        ));
    }
    let empty = Vec::new();
    let connections = case.target.as_ref().map_or(&empty, |target: &Target| &target.connections);
    let ends = client.into_iter().chain(connections.iter().map(|connection| &connection.end));
    for end in ends {
        if let Some(at) = end.wrong_at {
            judgement.wrong.push(format!("tunnel {tunnel}: byte {at} is wrong"));
        }
    }
    let carried = connections.iter().filter(|connection| connection.end.received > 0).count();
    if carried > 1 {
        judgement.wrong.push(format!("tunnel {tunnel}: its bytes reached {carried} connections"));
    }
    // With several connections only one was the tunnel, and nothing on the wire says which.
    let (Some(client), [connection]) = (client, &connections[..]) else { return };
    let agent =
        facts.agent_ips.iter().position(|ips| connection.from.is_some_and(|from| ips.contains(&from)));
    let since = case.client.connected_at.unwrap_or(connection.since);
    let half_closes = case.plan.grpc.is_none() && !facts.old_agents;
    let context = Context { facts, agent, since, tunnel, half_closes };
    context.judge_close(client, &connection.end, At::Target, judgement);
    let at = if case.plan.grpc.is_none() { At::Client } else { At::Call };
    context.judge_close(&connection.end, client, at, judgement);
}

struct Context<'a> {
    facts: &'a Facts<'a>,
    agent: Option<usize>,
    since: SimTime,
    tunnel: usize,
    /// Whether one direction can end before the other.
    half_closes: bool,
}

impl Context<'_> {
    /// What `seer` saw of what `doer` did.
    fn judge_close(&self, doer: &End, seer: &End, at: At, judgement: &mut Judgement) {
        let tunnel = self.tunnel;
        if seer.received > doer.sent {
            judgement.wrong.push(format!("tunnel {tunnel}: {at:?} received more than was sent"));
        }
        let Some((seen, when)) = seer.saw else { return };
        if !self.half_closes && at == At::Target && seer.finished_first {
            // A target that ends its direction ends both.
            return;
        }
        let complete = seer.received == doer.sent;
        let finished = doer.finished || doer.closed == Some(Did::Closed);
        let lost = Facts::between(self.facts.losses, self.agent, self.since, when);
        let died = Facts::between(self.facts.deaths, self.agent, self.since, when);
        let broken = (self.facts.broken)(doer.connection) || (self.facts.broken)(seer.connection);
        let in_order = match seen {
            Seen::End => true,
            // A Unix socket shows the end of a connection as the end of the stream, and CLOSE_RSP shows no more.
            Seen::EndAndGone => complete && finished,
            Seen::Reset => false,
        };
        if in_order {
            let cause = if doer.finished { Cause::Finished } else { Cause::Closed };
            // The kernel of a process that died ends its sockets in order, with whatever had been sent.
            if (complete && finished) || (died && at == At::Target) {
                if finished {
                    judgement.hit(Cell::Close(cause, at, Observed::End));
                }
            } else {
                judgement.wrong.push(format!(
                    "tunnel {tunnel}: {at:?} saw the end after {} bytes at {when}, but the other end sent {} and did \
                     {:?}, finished {}",
                    seer.received, doer.sent, doer.closed, doer.finished
                ));
            }
            return;
        }
        let cause = match doer.closed {
            _ if broken => Cause::Broken,
            _ if lost || died => Cause::Lost,
            Some(Did::Aborted) => Cause::Aborted,
            Some(_) => Cause::Closed,
            None if self.facts.sheds => return,
            None => {
                return judgement.wrong.push(format!(
                    "tunnel {tunnel}: {at:?} saw a reset at {when} after {} of {} bytes for no reason",
                    seer.received, doer.sent
                ));
            }
        };
        judgement.hit(Cell::Close(cause, at, Observed::Reset));
    }
}

fn judge_dial(case: &Case, tunnel: usize, facts: &Facts<'_>, judgement: &mut Judgement) {
    let client = &case.client;
    let status = client.answer.as_ref().map(|answer| answer.status);
    let ended = client.answer.as_ref().map(|answer| answer.at).or(client.closed_unanswered_at);
    let began = client.asked_at.or(client.connected_at);
    let lost =
        ended.is_some_and(|ended| Facts::between(facts.deaths, None, began.unwrap_or(SimTime(0)), ended));
    match case.plan.opening {
        OpeningKind::Connect | OpeningKind::Trickled => {}
        OpeningKind::LeavesEarly | OpeningKind::LeavesBeforeAnswer => {
            return judgement.hit(Cell::Dial(Dial::Left));
        }
        OpeningKind::Silence | OpeningKind::Garbage => {
            let silent = case.plan.opening == OpeningKind::Silence;
            if status.is_some_and(|status| !(400..500).contains(&status)) {
                judgement
                    .wrong
                    .push(format!("tunnel {tunnel}: {:?} was answered {status:?}", case.plan.opening));
            }
            let limit = nanos(CONNECT_HEAD_TIME_MAX) + facts.slack_ns;
            if let (Some(ended), Some(began)) = (ended, client.connected_at)
                && ended.0 > began.0 + limit
            {
                judgement
                    .wrong
                    .push(format!("tunnel {tunnel}: a client without a request was kept until {ended}"));
            }
            return judgement.hit(Cell::Dial(if silent { Dial::Silence } else { Dial::BadRequest }));
        }
    }
    if let (Some(asked), Some(ended)) = (client.asked_at, ended)
        && ended.0 > asked.0 + nanos(ANSWER_TIME_MAX) + facts.slack_ns
    {
        judgement.wrong.push(format!("tunnel {tunnel}: asked at {asked}, answered only at {ended}"));
    }
    if status.is_none() {
        // A target that resets at once, or a loss, may overtake the 200 on its way.
        let reset = case.target.iter().flat_map(|target| &target.connections).any(|connection| {
            (facts.broken)(connection.end.connection) || connection.end.closed == Some(Did::Aborted)
        });
        let lost = lost
            || ended
                .is_some_and(|ended| Facts::between(facts.losses, None, began.unwrap_or(SimTime(0)), ended));
        let asked = client.asked_at.is_some();
        // Through pipes of a few bytes an answer may take longer than a refused frontend is waited for, and a TLS
        // handshake longer than anybody is: then it cannot be answered at all.
        let since = |from: Option<SimTime>, limit| {
            ended.zip(from).is_some_and(|(ended, from)| ended.0 >= from.0 + nanos(limit))
        };
        let slow = facts.tiny_pipes
            && (case.plan.grpc.is_some()
                || since(client.asked_at, LINGER_TIME_MAX)
                || (case.plan.tls && since(client.connected_at, CONNECT_HEAD_TIME_MAX)));
        if asked
            && !slow
            && client.closed_unanswered_at.is_some()
            && !(facts.broken)(client.connection)
            && !lost
            && !reset
        {
            judgement.wrong.push(format!("tunnel {tunnel}: closed without an answer at {ended:?}"));
        }
        return;
    }
    let serves = matches!(case.plan.target, TargetKind::Serves | TargetKind::ServesByName);
    let established = status == Some(200);
    if established && !serves {
        judgement.wrong.push(format!("tunnel {tunnel}: {:?} was answered 200", case.plan.target));
    }
    if !established && serves && (facts.every_dial_succeeds || case.proof) {
        let text = client.answer.as_ref().map(|answer| answer.text.clone());
        judgement.wrong.push(format!("tunnel {tunnel}: the dial failed: {text:?}"));
    }
    judgement.hit(Cell::Dial(match case.plan.target {
        _ if established => Dial::Established,
        TargetKind::Serves | TargetKind::ServesByName => Dial::Failed,
        TargetKind::Refuses => Dial::Refused,
        TargetKind::BlackHole => Dial::TimedOut,
        TargetKind::UnknownName => Dial::UnknownName,
        TargetKind::Forbidden => Dial::Forbidden,
    }));
}
