//! What one task of a load does, from its first connection to its last.
//!
//! A role that fails counts the failure, waits [`RETRY_PAUSE`] and begins again, until the window is over: a system
//! that fails once in a long run is measured on, with its error beside its figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::gate::Gate;
use super::pace::{Pace, Step};
use super::phases::Phases;
use super::plan::{Cast, Direction, Plan};
use super::recorder::Recorder;
use super::timer::Timer;
use crate::client;
use crate::payload;
use crate::proxy::{DialError, Stream};
use crate::target::Request;

mod bulk;
mod churn;
mod cut;
mod dial;
mod idle;
mod ping;
mod stopped;

/// Between a failure and the next attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Most dials under way at once while connections are set up before the clock starts.
pub(super) const SETUP_DIALS_MAX: usize = 64;

/// Kinds of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Sends; transfers of so many bytes, or one without end.
    Up(Option<u64>),
    /// Receives.
    Down(Option<u64>),
    /// Sends and gets it back.
    Both(Option<u64>),
    /// A small message there and back.
    Ping,
    /// Connect, one byte, close.
    Dial,
    /// Nothing, between one byte at the beginning and one at the end.
    Idle,
    /// A reader that stopped, and somebody who writes to it all the same.
    Stopped(Direction),
    /// A reader that reads very slowly.
    Trickling(Direction),
    /// So many downloads broken off at once, and a pause.
    Cut {
        /// How many.
        downloads: u32,
        /// Between two cuts.
        pause: Duration,
    },
    /// All sorts of short connections.
    Churn,
}

impl Role {
    /// Whether it fills whatever holds bytes on the way, and leaves them there.
    pub(super) const fn stops_reading(self) -> bool {
        matches!(self, Self::Stopped(_) | Self::Trickling(_))
    }
}

/// One task and all that it needs.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) plan: Arc<Plan>,
    pub(super) cast: Cast,
    /// Among those of its cast.
    pub(super) index: u32,
    /// Among all of the round: the seed of its payload.
    pub(super) number: u64,
    pub(super) record: Recorder,
    pub(super) setup_dials: Arc<Semaphore>,
}

/// Why a role had to stop, with the kind under which that is counted.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: String,
    pub(super) text: String,
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self { kind: error.kind(), text: error.to_string() }
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let kind = match &error {
            client::Error::Io(error) => format!("connection: {}", error.kind()),
            client::Error::Wrong { .. } => "payload: wrong byte".to_owned(),
            client::Error::Short { .. } => "payload: short".to_owned(),
            client::Error::Surplus => "payload: surplus".to_owned(),
            client::Error::Answer(_) => "payload: the target complains".to_owned(),
        };
        Self { kind, text: error.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        client::Error::Io(error).into()
    }
}

impl Worker {
    /// Does its part of the round.
    pub(super) async fn run(self, gate: Gate) {
        match self.cast.role {
            Role::Up(_) | Role::Down(_) | Role::Both(_) => bulk::run(self, gate).await,
            Role::Ping => ping::run(self, gate).await,
            Role::Dial => dial::run(self, gate).await,
            Role::Idle => idle::run(self, gate).await,
            Role::Stopped(direction) => stopped::run(self, gate, direction, false).await,
            Role::Trickling(direction) => stopped::run(self, gate, direction, true).await,
            Role::Cut { downloads, pause } => cut::run(self, gate, downloads, pause).await,
            Role::Churn => churn::run(self, gate).await,
        }
    }

    /// The payload's seed of one of its connections.
    fn seed(&self, connection: u64) -> u64 {
        self.plan.seed.wrapping_add(self.number << 32).wrapping_add(connection)
    }

    /// Dials and sends the request line.
    async fn ask(&self, request: Request) -> Result<Box<dyn Stream>, Failure> {
        let mut stream = self.plan.connector.dial().await?;
        client::request(&mut stream, request).await?;
        Ok(stream)
    }

    /// The same before the clock starts: not everybody at once.
    async fn ask_in_turn(&self, request: Request) -> Result<Box<dyn Stream>, Failure> {
        // The semaphore is never closed; without a permit the dial is made all the same.
        let _permit = self.setup_dials.acquire().await.ok();
        self.ask(request).await
    }

    fn fail(&self, failure: &Failure) {
        self.record.error(&failure.kind, &failure.text);
    }

    /// Counts a failure and rests; false where the window is over.
    async fn try_again(&self, failure: &Failure, phases: &Phases) -> bool {
        self.fail(failure);
        tokio::time::sleep(RETRY_PAUSE).await;
        Instant::now() < phases.window_end
    }

    fn starts(&self, phases: &Phases) -> Starts {
        Starts { pace: Pace::new(phases, self.cast.rate, self.index, self.cast.count), timer: None }
    }
}

/// The starts of a worker's operations, waited for.
#[derive(Debug)]
struct Starts {
    pace: Pace,
    timer: Option<Timer>,
}

impl Starts {
    /// The intended start of the next operation, when it has come; `None` when the window is over.
    async fn next(&mut self, record: &Recorder) -> Option<Instant> {
        loop {
            let now = Instant::now();
            match self.pace.step(now) {
                Step::Begin(intended) => {
                    if matches!(self.pace, Pace::Open { .. }) {
                        record.begun(intended, now);
                    }
                    return Some(intended);
                }
                Step::Wait(until) => {
                    if let Err(error) = self.wait(until).await {
                        record.error("generator: timer", &error.to_string());
                        return None;
                    }
                }
                Step::Over(missed) => {
                    record.errors("never started", "operations that the rate wanted in the window", missed);
                    return None;
                }
            }
        }
    }

    async fn wait(&mut self, until: Instant) -> std::io::Result<()> {
        let timer = match &mut self.timer {
            Some(timer) => timer,
            none => none.insert(Timer::new()?),
        };
        timer.until(until).await
    }
}

/// Sends payload from `position` on to a target that echoes, and checks what comes back.
async fn exchange(
    stream: &mut Box<dyn Stream>,
    seed: u64,
    position: u64,
    buf: &mut [u8],
) -> Result<(), client::Error> {
    payload::fill(seed, position, buf);
    stream.write_all(buf).await?;
    stream.flush().await?;
    stream.read_exact(buf).await?;
    payload::check(seed, position, buf).map_err(|at| client::Error::Wrong { at })
}
