//! What a round shall do.

use std::time::Duration;

use clap::ValueEnum;

use super::roles::Role;
use crate::proxy::Connector;

/// Pings a second beside whatever is measured, all pinging connections together, where no rate is given.
const LIVE_PINGS_PER_SECOND: f64 = 500.0;
/// Dials a second beside whatever is measured, where no rate is given.
const LIVE_DIALS_PER_SECOND: f64 = 100.0;
/// Pinging connections beside whatever is measured: so many that the rate can be kept over a round trip of 30 ms.
const LIVE_PINGS: u32 = 16;
/// Sequences of dials beside whatever is measured: a dial takes two or three round trips.
const LIVE_DIALS: u32 = 8;
/// Between two cuts of a soak.
const SOAK_CUT_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of a transfer in a soak.
const SOAK_TRANSFER_BYTES: u64 = 4 * 1024 * 1024;
/// Transfers a second in a soak, of each connection: a soak is to last, not to saturate.
const SOAK_TRANSFERS_PER_SECOND: f64 = 2.0;
/// Short connections a second in a soak, of each sequence.
const SOAK_CHURNS_PER_SECOND: f64 = 10.0;

/// Kinds of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// Connections that send without a pause.
    BulkUp,
    /// Connections that receive without a pause.
    BulkDown,
    /// Connections that send and get all of it back.
    BulkBoth,
    /// Connections with one small message there and back at a time.
    PingPong,
    /// Connect, one byte there and back, close; again and again.
    Dial,
    /// Connections that do nothing.
    Idle,
    /// Pings and dials, first alone and then beside readers that stopped or trickle.
    SlowReader,
    /// Pings beside one transfer without a pause.
    BesideBulk,
    /// Many downloads broken off at the same moment, then a new dial; again and again.
    CutOff,
    /// Connections of all sizes that come and go, one in ten broken off.
    Churn,
    /// A bit of everything, for long runs.
    Soak,
}

/// Which way a disturbing transfer goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// Towards the target.
    #[default]
    Up,
    /// From the target.
    Down,
}

/// One round.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The way to the target.
    pub connector: Connector,
    /// What to do.
    pub workload: Workload,
    /// How many at once; what of, depends on the workload.
    pub connections: u32,
    /// Operations a second, all connections together; `None` begins each when the last has ended.
    pub rate: Option<f64>,
    /// Bytes of a transfer or of a ping; `None` is without end and 100.
    pub bytes: Option<u64>,
    /// Of transfers beside something else.
    pub direction: Direction,
    /// Work that is not in the figures.
    pub warm_up: Duration,
    /// The window of the figures.
    pub duration: Duration,
    /// How long what was begun may take to end.
    pub grace: Duration,
    /// Threads that generate load.
    pub threads: u32,
    /// Payloads and random choices are a function of this.
    pub seed: u64,
}

/// Roles of one kind, and the rate they share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cast {
    pub(super) role: Role,
    pub(super) count: u32,
    /// Operations a second of all of them together; `None` is a closed loop.
    pub(super) rate: Option<f64>,
}

impl Workload {
    /// Its name on the command line and in samples.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// How many connections are used where nobody says.
    #[must_use]
    pub const fn connections(self) -> u32 {
        match self {
            Self::BulkUp
            | Self::BulkDown
            | Self::BulkBoth
            | Self::PingPong
            | Self::Dial
            | Self::BesideBulk => 1,
            Self::Idle => 1000,
            Self::SlowReader => 100,
            Self::CutOff => 32,
            Self::Churn => 16,
            Self::Soak => 4,
        }
    }
}

impl Plan {
    /// Who does what.
    pub(super) fn casts(&self) -> Vec<Cast> {
        let n = self.connections;
        let all = |role| vec![Cast { role, count: n, rate: self.rate }];
        let live = |role, count, rate| Cast { role, count, rate: self.rate.or(Some(rate)) };
        let background = |role, count| Cast { role, count, rate: None };
        let paced = |role, each| Cast { role, count: n, rate: Some(each * f64::from(n)) };
        let bulk = match self.direction {
            Direction::Up => Role::Up(None),
            Direction::Down => Role::Down(None),
        };
        match self.workload {
            Workload::BulkUp => all(Role::Up(self.bytes)),
            Workload::BulkDown => all(Role::Down(self.bytes)),
            Workload::BulkBoth => all(Role::Both(self.bytes)),
            Workload::PingPong => all(Role::Ping),
            Workload::Dial => all(Role::Dial),
            Workload::Idle => all(Role::Idle),
            Workload::Churn => all(Role::Churn),
            Workload::CutOff => {
                vec![Cast { role: Role::Cut { downloads: n, pause: Duration::ZERO }, count: 1, rate: None }]
            }
            Workload::BesideBulk => {
                vec![background(bulk, 1), Cast { role: Role::Ping, count: n, rate: self.rate }]
            }
            Workload::SlowReader => {
                let trickling = n / 3;
                vec![
                    live(Role::Ping, LIVE_PINGS, LIVE_PINGS_PER_SECOND),
                    live(Role::Dial, LIVE_DIALS, LIVE_DIALS_PER_SECOND),
                    background(Role::Stopped(self.direction), n - trickling),
                    background(Role::Trickling(self.direction), trickling),
                ]
            }
            Workload::Soak => vec![
                live(Role::Ping, LIVE_PINGS, LIVE_PINGS_PER_SECOND),
                live(Role::Dial, LIVE_DIALS, LIVE_DIALS_PER_SECOND),
                paced(Role::Up(Some(SOAK_TRANSFER_BYTES)), SOAK_TRANSFERS_PER_SECOND),
                paced(Role::Down(Some(SOAK_TRANSFER_BYTES)), SOAK_TRANSFERS_PER_SECOND),
                paced(Role::Churn, SOAK_CHURNS_PER_SECOND),
                background(Role::Stopped(Direction::Up), n),
                background(Role::Stopped(Direction::Down), n),
                background(Role::Cut { downloads: n, pause: SOAK_CUT_INTERVAL }, 1),
            ],
        }
    }

    /// Who does what in a run before the round, for comparison: the same without those who disturb.
    pub(super) fn comparison(&self) -> Option<Vec<Cast>> {
        let mut casts = self.casts();
        casts.retain(|cast| !cast.role.stops_reading());
        (self.workload == Workload::SlowReader).then_some(casts)
    }
}
