//! Logs: `tracing` events on standard error, as text for people or as JSON, one line each.
//!
//! Names that peers choose (agent ids, reasons) are escaped by the formatter; secrets are never given to it.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::cli::{LogFlags, LogFormat, LogLevel};

/// The level that flags ask for: `--log-level`, else klog's `--v`, else info.
pub(crate) fn level(flags: &LogFlags, klog_v: Option<i32>) -> LevelFilter {
    match (flags.log_level, klog_v) {
        (Some(LogLevel::Error), _) => LevelFilter::ERROR,
        (Some(LogLevel::Warn), _) => LevelFilter::WARN,
        (Some(LogLevel::Info), _) | (None, None | Some(..=4)) => LevelFilter::INFO,
        (Some(LogLevel::Debug), _) | (None, Some(5..=7)) => LevelFilter::DEBUG,
        (Some(LogLevel::Trace), _) | (None, Some(8..)) => LevelFilter::TRACE,
    }
}

/// Starts logging for the whole process. Later calls change nothing.
pub(crate) fn start(flags: &LogFlags, klog_v: Option<i32>) {
    let level = level(flags, klog_v);
    // Libraries speak of themselves below warnings: useful to whoever asks for everything, noise to all others.
    let others = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    let filter = Targets::new().with_default(others).with_target("adit", level);
    // What it says of its errors comes with an agent's refusal, by name and with a remedy.
    let filter = if level == LevelFilter::TRACE {
        filter
    } else {
        filter.with_target("kube_client", LevelFilter::OFF)
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = match flags.log_format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
    };
    // Fails when logging has been started already, which is as good.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}

/// Lets some lines of a kind through in a while, for events that others can cause as often as they like.
#[derive(Debug)]
pub(crate) struct Restraint {
    lines_max: u32,
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Restraint {
    /// What is counted anew after this time.
    const WHILE: Duration = Duration::from_secs(10);

    /// So many lines in ten seconds.
    pub(crate) const fn new(lines_max: u32) -> Self {
        Self { lines_max, since: None, told: 0, untold: 0 }
    }

    /// Whether this one may be told, and if so how many before it were not.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Self::WHILE) {
            (self.since, self.told) = (Some(now), 0);
        }
        if self.told == self.lines_max {
            self.untold += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_are_told_and_the_rest_counted() {
        let mut restraint = Restraint::new(10);
        let start = Instant::now();
        let told = (0..100).filter(|_| restraint.admit(start).is_some()).count();
        assert_eq!(told, 10);
        assert_eq!(restraint.admit(start + Restraint::WHILE), Some(90));
    }

    #[test]
    fn the_level_follows_the_flags() {
        let flags = |log_level| LogFlags { log_format: LogFormat::Text, log_level };
        let table = [
            (None, None, LevelFilter::INFO),
            (None, Some(4), LevelFilter::INFO),
            (None, Some(5), LevelFilter::DEBUG),
            (None, Some(9), LevelFilter::TRACE),
            (None, Some(-1), LevelFilter::INFO),
            (Some(LogLevel::Warn), Some(9), LevelFilter::WARN),
        ];
        for (explicit, v, want) in table {
            assert_eq!(level(&flags(explicit), v), want, "{explicit:?} {v:?}");
        }
    }
}
