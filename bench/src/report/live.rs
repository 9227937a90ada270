//! One line that tells how a run goes: rewritten in place where standard error is a terminal, and a plain line every
//! few seconds where it is a file or another program.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::LiveState;
use super::text::{bytes_per_second, count, count_per_second, duration};

/// Between two lines on a terminal.
const TERMINAL_EVERY: Duration = Duration::from_millis(200);
/// Between two lines elsewhere.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// The line: time, rates, latencies and errors since the window began (`state` is [`LiveState::since`] that moment).
#[must_use]
pub fn progress_line(title: &str, state: &LiveState, elapsed: Duration, of: Option<Duration>) -> String {
    let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    let mut line = format!("{title}  {:.1} s", elapsed.as_secs_f64());
    if let Some(of) = of {
        line += &format!(" of {:.1} s", of.as_secs_f64());
    }
    let operations = state.operations();
    if operations > 0 {
        line += &format!("  {}", count_per_second(operations as f64 / seconds));
    }
    if state.bytes() > 0 {
        line += &format!("  {}", bytes_per_second(state.bytes() as f64 / seconds));
    }
    for (name, latency) in &state.operations {
        let at = |share| duration(latency.quantile(share));
        line += &format!("  {name} p50 {} p99 {}", at(0.5), at(0.99));
    }
    line += &match state.errors() {
        0 => "  no errors".to_owned(),
        1 => "  1 ERROR".to_owned(),
        errors => format!("  {} ERRORS", count(errors)),
    };
    line
}

/// Where progress is shown, and when it was last.
#[derive(Debug)]
pub struct Progress<W> {
    out: W,
    columns: Option<usize>,
    last: Option<Duration>,
}

impl Progress<io::Stderr> {
    /// Onto standard error, as suits what that is.
    #[must_use]
    pub fn stderr() -> Self {
        let out = io::stderr();
        let columns = out.is_terminal().then(|| {
            let size = rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col));
            size.filter(|columns| *columns > 0).unwrap_or(COLUMNS)
        });
        Self::new(out, columns)
    }
}

impl<W: Write> Progress<W> {
    /// Onto any writer: a terminal of so many columns, or (`None`) plain lines.
    pub const fn new(out: W, columns: Option<usize>) -> Self {
        Self { out, columns, last: None }
    }

    /// Whether it is time for another line, by a clock that the caller keeps. Formatting is left to those who need it.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        let every = if self.columns.is_some() { TERMINAL_EVERY } else { PLAIN_EVERY };
        self.last.is_none_or(|last| now.saturating_sub(last) >= every)
    }

    /// Shows a line. Errors are dropped: who closed our standard error does not want to hear.
    pub fn show(&mut self, now: Duration, line: &str) {
        self.last = Some(now);
        let _ = match self.columns {
            // A line that reaches the last column would wrap, and then not be overwritten as a whole.
            Some(columns) => {
                let cut: String = line.chars().filter(|c| !c.is_control()).take(columns - 1).collect();
                write!(self.out, "\r\x1b[K{cut}")
            }
            None => writeln!(self.out, "{line}"),
        };
        let _ = self.out.flush();
    }

    /// Takes the line away, for what is printed next. The next line is due at once.
    pub fn clear(&mut self) {
        if self.columns.is_some() && self.last.is_some() {
            let _ = write!(self.out, "\r\x1b[K");
            let _ = self.out.flush();
        }
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::LiveMetrics;
    use super::{Progress, progress_line};

    #[test]
    fn the_line_tells_time_rate_latency_and_errors() {
        let metrics = LiveMetrics::default();
        let of = Some(Duration::from_secs(4));
        let line = progress_line("idle 1/3", &metrics.state(), Duration::ZERO, None);
        assert_eq!(line, "idle 1/3  0.0 s  no errors");
        for _ in 0..2_500 {
            metrics.operation("ping", 81_000);
        }
        metrics.bytes(3_000_000, 0);
        let line = progress_line("ping-pong 1/3", &metrics.state(), Duration::from_secs(2), of);
        let expected =
            "ping-pong 1/3  2.0 s of 4.0 s  1,250/s  1.50 MB/s  ping p50 81.0 µs p99 81.0 µs  no errors";
        assert_eq!(line, expected);
        metrics.error("reset");
        let line = progress_line("x", &metrics.state(), Duration::from_secs(2), of);
        assert!(line.ends_with("  1 ERROR"), "{line}");
    }

    #[test]
    fn a_terminals_line_is_rewritten_and_never_wraps() {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, Some(10));
        assert!(progress.is_due(Duration::ZERO));
        progress.show(Duration::ZERO, "012345678901\n");
        assert!(!progress.is_due(Duration::from_millis(199)));
        assert!(progress.is_due(Duration::from_millis(200)));
        progress.clear();
        assert!(progress.is_due(Duration::ZERO));
        assert_eq!(out, b"\r\x1b[K012345678\r\x1b[K");
    }

    #[test]
    fn elsewhere_lines_are_plain_and_rare() {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, None);
        progress.show(Duration::ZERO, "a µs");
        assert!(!progress.is_due(Duration::from_millis(4_999)));
        assert!(progress.is_due(Duration::from_secs(5)));
        progress.clear();
        assert_eq!(out, "a µs\n".as_bytes());
    }
}
