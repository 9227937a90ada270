//! The control loop: what server and agent have in common. It takes the shards' events, answers scrapes, keeps
//! readiness, and on a signal drains.
//!
//! One task owns all of it; nothing is locked. Whatever may take long (names, HTTP) runs beside it and posts results.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dataplane::limits::{PASSED_CONNECTIONS_MAX, SHARDS_MAX};
use adit_dataplane::port::{
    Command, ConnectionKey, Event, ServerCount, ServerTarget, ShardId, ShardReport, Token,
};
use adit_dataplane::route::RouteTable;
use adit_dataplane::shard::peers;
use adit_io::net::OwnedSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::http::{self, Paths, Sources};
use crate::admin::{MetricsRequest, Readiness, metrics_channel};
use crate::config::Bind;
use crate::logging::Restraint;
use crate::metrics::{self, Dials, DriverChosen, Snapshot};
use crate::shards::{ControlWake, ShardExit, ShardPlan, ShardThread};
use crate::shutdown::Signals;

/// Events taken from one shard before others get their turn.
const EVENTS_PER_ROUND_MAX: usize = 1024;
/// How long a scrape waits for the shards' reports.
const STATS_TIME_MAX: Duration = Duration::from_secs(1);
/// Between attempts to hand over what a full mailbox refused.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);
/// How long after its deadline a drain may take to be noticed, before the process ends without it.
const DRAIN_GRACE: Duration = Duration::from_secs(3);
/// Findings that may wait.
const FINDINGS_MAX: usize = 4096;

/// Something for the shards.
#[derive(Debug)]
pub(crate) enum Post {
    /// For one of them.
    To(ShardId, Command<OwnedSocket>),
    /// New routes for all of them.
    Routes(Arc<RouteTable>),
    /// A new server for all of them.
    Server(ServerTarget),
    /// A new token of this agent's, for all of them.
    Token(Token),
    /// How many servers there are, for all of them.
    ServerCount(ServerCount),
}

/// What a task beside the loop has found.
#[derive(Debug)]
pub(crate) enum Finding {
    /// Something for the shards.
    Post(Post),
    /// What the Kubernetes API makes of an agent's token: whether it is an agent's, or why not.
    Reviewed {
        /// Of the agent of this connection.
        connection: ConnectionKey,
        /// See there.
        result: Result<(), String>,
    },
}

impl From<Post> for Finding {
    fn from(post: Post) -> Self {
        Self::Post(post)
    }
}

/// What a role adds to the loop.
pub(crate) trait Part {
    /// A shard said something. The role's answers go to `posts`.
    fn event(&mut self, shard: ShardId, event: Event, posts: &mut Vec<Post>);
    /// An agent's token was reviewed ([`Finding::Reviewed`]).
    fn reviewed(&mut self, connection: ConnectionKey, result: Result<(), String>, posts: &mut Vec<Post>);
    /// Whether the process should be sent work.
    fn readiness(&self) -> Readiness;
    /// The role's own figures.
    fn figures(&self) -> Figures<'_>;
    /// A drain begins: stop what would make new work.
    fn drain(&mut self);
}

/// A role's part of the metrics.
#[derive(Debug)]
pub(crate) struct Figures<'a> {
    pub(crate) role: &'static str,
    pub(crate) dials: Option<&'a Dials>,
    pub(crate) peers: usize,
    pub(crate) connections: usize,
    pub(crate) refused: u64,
}

/// What runs.
#[derive(Debug)]
pub(crate) struct Supervisor {
    shards: Vec<ShardThread>,
    wake: Arc<ControlWake>,
    exits: mpsc::Receiver<ShardExit>,
    exits_sender: mpsc::Sender<ShardExit>,
    findings: mpsc::Receiver<Finding>,
    findings_sender: mpsc::Sender<Finding>,
    scrapes: mpsc::Receiver<MetricsRequest>,
    readiness: watch::Sender<Readiness>,
    listeners: Vec<JoinHandle<()>>,
    round: StatsRound,
    drained: usize,
    /// Lines about descriptors that are used up.
    shortages: Restraint,
}

/// Scrapes that wait for reports.
#[derive(Debug, Default)]
struct StatsRound {
    waiting: Vec<MetricsRequest>,
    reports: Vec<Option<ShardReport>>,
    deadline: Option<Instant>,
}

impl Supervisor {
    /// Binds the HTTP listeners; they answer from now on, "not ready" at first. `health` and `admin` are (flag, bind).
    ///
    /// # Errors
    /// The text to show.
    pub(crate) async fn new(
        health: (&str, &Bind),
        admin: (&str, &Bind),
        first: Readiness,
    ) -> Result<Self, String> {
        let (readiness, watch_readiness) = watch::channel(first);
        let (scrapes_sender, scrapes) = metrics_channel();
        let (exits_sender, exits) = mpsc::channel(SHARDS_MAX);
        let (findings_sender, findings) = mpsc::channel(FINDINGS_MAX);
        let sources = Sources { readiness: watch_readiness, metrics: scrapes_sender };
        let mut listeners = Vec::new();
        for ((flag, at), paths, what) in [(health, Paths::Health, "health"), (admin, Paths::Admin, "admin")] {
            let (listener, address) = http::bind(flag, at).await?;
            listening(what, address);
            listeners.push(tokio::spawn(http::serve(listener, paths, sources.clone())));
        }
        Ok(Self {
            shards: Vec::new(),
            wake: Arc::new(ControlWake::default()),
            exits,
            exits_sender,
            findings,
            findings_sender,
            scrapes,
            readiness,
            listeners,
            round: StatsRound::default(),
            drained: 0,
            shortages: Restraint::new(2),
        })
    }

    /// Where tasks beside the loop tell what they found.
    pub(crate) fn findings(&self) -> mpsc::Sender<Finding> {
        self.findings_sender.clone()
    }

    /// Starts a shard.
    ///
    /// # Errors
    /// The text to show.
    pub(crate) async fn start_shard(&mut self, plan: ShardPlan) -> Result<(), String> {
        let shard = ShardThread::start(plan, Arc::clone(&self.wake), self.exits_sender.clone()).await?;
        let (id, driver) = (shard.id.0, shard.driver.name);
        if shard.driver.fallback.is_empty() {
            tracing::info!(shard = id, driver, "shard started");
        } else {
            tracing::warn!(
                shard = id,
                driver,
                reason = shard.driver.fallback,
                "shard started without io_uring"
            );
        }
        self.shards.push(shard);
        self.round.reports.push(None);
        Ok(())
    }

    /// Shows the shards that were started the way to each other. Before anything listens.
    pub(crate) fn connect_shards(&mut self) {
        if self.shards.len() < 2 {
            return;
        }
        let wakers = self.shards.iter().map(ShardThread::waker).collect();
        for (shard, peers) in self.shards.iter_mut().zip(peers::connect(wakers, PASSED_CONNECTIONS_MAX)) {
            shard.send(Command::Peers(peers));
        }
    }

    /// Tells shards something.
    pub(crate) fn post(&mut self, post: Post) {
        match post {
            Post::To(id, command) => {
                if let Some(shard) = self.shards.iter_mut().find(|shard| shard.id == id) {
                    shard.send(command);
                }
            }
            Post::Routes(routes) => self.tell_all(|| Command::Routes(Arc::clone(&routes))),
            Post::Server(target) => self.tell_all(|| Command::Server(target.clone())),
            Post::ServerCount(count) => self.tell_all(|| Command::ServerCount(count)),
            Post::Token(token) => self.tell_all(|| Command::Token(token.clone())),
        }
    }

    /// Tells every shard the same.
    fn tell_all(&mut self, command: impl Fn() -> Command<OwnedSocket>) {
        self.shards.iter_mut().for_each(|shard| shard.send(command()));
    }

    /// Runs until a signal (or the end of standard input, where that was asked for) and the drain after it.
    ///
    /// # Errors
    /// The text to show: a shard ended that should not have, a second signal came, or the drain did not end.
    pub(crate) async fn run<P: Part>(
        mut self,
        part: &mut P,
        mut signals: Signals,
        until_stdin_closes: bool,
        drain_time: Duration,
    ) -> Result<(), String> {
        let lifeline = async {
            if until_stdin_closes {
                crate::lifeline::standard_input_closed().await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::pin!(lifeline);
        let mut drain_ends: Option<Instant> = None;
        self.readiness.send_replace(part.readiness());
        while self.drained < self.shards.len() {
            let behind = self.shards.iter().any(ShardThread::is_behind);
            let round_ends = self.round.deadline;
            let (wake, exits, findings, scrapes) =
                (&self.wake, &mut self.exits, &mut self.findings, &mut self.scrapes);
            tokio::select! {
                () = wake.woken() => {}
                () = tokio::time::sleep(RETRY_INTERVAL), if behind => {}
                () = until(round_ends), if round_ends.is_some() => self.finish_round(part),
                () = until(drain_ends), if drain_ends.is_some() => {
                    return Err("the drain did not end by its deadline; ending without it".to_owned());
                }
                Some(finding) = findings.recv() => self.found(part, finding),
                Some(scrape) = scrapes.recv() => self.begin_round(scrape),
                Some(exit) = exits.recv() => self.exited(&exit)?,
                signal = signals.next() => match drain_ends {
                    Some(_) => return Err(format!("{signal}: the second signal, ending at once")),
                    None => drain_ends = Some(self.begin_drain(part, signal, drain_time)),
                },
                () = &mut lifeline, if drain_ends.is_none() => {
                    drain_ends = Some(self.begin_drain(part, "end of standard input", Duration::ZERO));
                }
            }
            self.take_events(part);
            if drain_ends.is_none() {
                self.publish_readiness(part.readiness());
            }
        }
        self.listeners.iter().for_each(JoinHandle::abort);
        tracing::info!("stopped");
        Ok(())
    }

    fn found<P: Part>(&mut self, part: &mut P, finding: Finding) {
        let mut posts = Vec::new();
        match finding {
            Finding::Post(post) => posts.push(post),
            Finding::Reviewed { connection, result } => part.reviewed(connection, result, &mut posts),
        }
        posts.into_iter().for_each(|post| self.post(post));
    }

    fn publish_readiness(&self, now: Readiness) {
        self.readiness.send_if_modified(|shown| {
            let changed = *shown != now;
            *shown = now;
            changed
        });
    }

    /// Takes what the shards said and hands over the answers.
    fn take_events<P: Part>(&mut self, part: &mut P) {
        let mut posts = Vec::new();
        for index in 0..self.shards.len() {
            self.shards[index].flush();
            for taken in 0.. {
                if taken == EVENTS_PER_ROUND_MAX {
                    // More may wait: come back without a wake-up.
                    adit_io::Wake::wake(&*self.wake);
                    break;
                }
                let Some(event) = self.shards[index].try_recv() else { break };
                match event {
                    Event::Stats(report) => self.round.reports[index] = Some(*report),
                    Event::OutOfDescriptors { doing } => {
                        if let Some(untold) = self.shortages.admit(Instant::now()) {
                            tracing::warn!(
                                shard = self.shards[index].id.0,
                                doing,
                                untold,
                                remedy =
                                    "raise RLIMIT_NOFILE (LimitNOFILE= in systemd, --ulimit in containers)",
                                "no descriptor is left: what needs one waits or is refused, what runs goes on"
                            );
                        }
                    }
                    Event::Drained { cut } => {
                        self.drained += 1;
                        tracing::info!(shard = self.shards[index].id.0, tunnels_cut = cut, "drained");
                    }
                    event => part.event(self.shards[index].id, event, &mut posts),
                }
            }
        }
        for post in posts {
            self.post(post);
        }
        if self.round.deadline.is_some() && self.round.reports.iter().all(Option::is_some) {
            self.finish_round(part);
        }
    }

    /// A scrape: asks the shards, unless they are being asked already.
    fn begin_round(&mut self, scrape: MetricsRequest) {
        self.round.waiting.push(scrape);
        if self.round.deadline.is_none() {
            self.round.deadline = Some(Instant::now() + STATS_TIME_MAX);
            self.round.reports.fill_with(|| None);
            self.tell_all(|| Command::Stats);
        }
    }

    /// Answers the scrapes with what has come.
    fn finish_round<P: Part>(&mut self, part: &P) {
        let figures = part.figures();
        let drivers: Vec<DriverChosen> = self.shards.iter().map(|shard| shard.driver.clone()).collect();
        let text = metrics::render(&Snapshot {
            role: figures.role,
            drivers: &drivers,
            reports: &self.round.reports,
            dials: figures.dials,
            peers: figures.peers,
            connections: figures.connections,
            refused: figures.refused,
        });
        self.round.deadline = None;
        for scrape in self.round.waiting.drain(..) {
            // Who asked may have gone.
            let _ = scrape.send(text.clone());
        }
    }

    /// Readiness flips, the shards are told; when the drain must have ended.
    fn begin_drain<P: Part>(&mut self, part: &mut P, cause: &str, time: Duration) -> Instant {
        tracing::info!(cause, seconds = time.as_secs_f64(), "draining: nothing new is taken");
        let mut readiness = part.readiness();
        readiness.checks.push(("draining", Err("draining: this process ends soon".to_owned())));
        self.publish_readiness(readiness);
        part.drain();
        let deadline = Instant::now() + time;
        self.tell_all(|| Command::Drain { deadline });
        deadline + DRAIN_GRACE
    }

    /// A thread ended: after a drain that is how it should be.
    fn exited(&mut self, exit: &ShardExit) -> Result<(), String> {
        // Its last words may still be in the mailbox.
        let drained = exit.result.is_ok() && self.shards.iter().any(|shard| shard.id == exit.shard);
        match &exit.result {
            Ok(()) if drained => Ok(()),
            Ok(()) => Err(format!("shard {} ended without having been told to", exit.shard.0)),
            Err(error) => {
                Err(format!("shard {} ended unexpectedly ({error}); ending the process", exit.shard.0))
            }
        }
    }
}

/// One line for each port that is open, with the number it got.
pub(crate) fn listening(what: &str, address: SocketAddr) {
    tracing::info!(what, address = %http::canonical(address), "listening");
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
