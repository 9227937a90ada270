//! Load on a target through a system under test, measured from outside.
//!
//! A [`Plan`] says what to do; [`round`](fn@round) does it once and returns a [`Sample`](crate::record::Sample).
//! Threads that share nothing but the clock run *roles*: each is one connection (or one sequence of them) with one
//! task, such as pinging or uploading. A workload is a set of roles.
//!
//! # Time
//! ```text
//! connections are made │ warm-up │ ······ window ······ │ grace: what was begun may end │ memory after close
//! ```
//! Everything is checked and every error counted from the first connection to the last close; figures are of the
//! window. No operation is meant to begin after it; with a rate, what was overdue is made up for. What has not ended
//! when the grace is over is the error `unfinished`, what had not even begun is `never started`.
//!
//! Deliberately absent: knowledge about adit, and interpretation.

mod figures;
mod gate;
mod pace;
mod phases;
mod plan;
mod recorder;
mod roles;
mod round;
mod run;
mod stamp;
mod timer;
mod transfer;
mod watch;

pub use phases::Phases;
pub use plan::{Direction, Plan, Workload};
pub use recorder::Recorder;
pub use round::{Elapsed, Labels, RoundError, round};
pub use watch::{Reading, WatchError, Watched};
