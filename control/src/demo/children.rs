//! The demo's other processes: this very program, started as server, agent and target.
//!
//! They end with the demo however it ends: their standard input is a pipe from it. Their logs are read as JSON, for
//! the ports that they got, and kept for the moment one of them dies.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a child may take to open its ports.
const START_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a child may take to end once it was asked to.
const END_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the end of a child's log may take to be read.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(1);
/// Lines of a child's log that are kept.
const TAIL_LINES: usize = 40;
/// Bytes of a line that are kept.
const LINE_BYTES_MAX: usize = 2000;

/// One child.
#[derive(Debug)]
pub(crate) struct Process {
    /// What the report calls it.
    pub(crate) name: String,
    /// Its process id.
    pub(crate) pid: u32,
    child: Child,
    /// Held open: when it closes, the child ends. (Kept apart from `child`, whose `wait` would close it.)
    lifeline: Option<ChildStdin>,
    said: Arc<Said>,
    /// End when the child's outputs do.
    readers: Vec<JoinHandle<()>>,
}

/// What a child wrote.
#[derive(Debug, Default)]
struct Said {
    state: Mutex<Log>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Log {
    tail: VecDeque<String>,
    listening: HashMap<String, SocketAddr>,
    /// Lines of standard output.
    output: VecDeque<String>,
}

impl Process {
    /// Starts this program with `args`.
    ///
    /// # Errors
    /// The text to show.
    pub(crate) fn start(name: &str, args: &[String]) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|e| format!("cannot find this program itself: {e}"))?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("cannot start {name}: {e}"))?;
        let pid = child.id().ok_or_else(|| format!("{name} ended at once"))?;
        let lifeline = child.stdin.take();
        let said = Arc::new(Said::default());
        let mut readers = Vec::new();
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            readers.push(tokio::spawn(listen(BufReader::new(stderr), Arc::clone(&said), Said::log_line)));
            readers.push(tokio::spawn(listen(BufReader::new(stdout), Arc::clone(&said), Said::output_line)));
        }
        Ok(Self { name: name.to_owned(), pid, child, lifeline, said, readers })
    }

    /// The address that the child logged for `what`.
    ///
    /// # Errors
    /// The text to show, with the log's tail: it ended, or said nothing in time.
    pub(crate) async fn address(&mut self, what: &str) -> Result<SocketAddr, String> {
        self.wait_for(what, |log| log.listening.get(what).copied()).await
    }

    /// The next line of the child's standard output.
    ///
    /// # Errors
    /// As [`Self::address`].
    pub(crate) async fn output(&mut self) -> Result<String, String> {
        self.wait_for("its addresses", |log| log.output.pop_front()).await
    }

    /// Waits until the log holds a line with this text.
    ///
    /// # Errors
    /// As [`Self::address`].
    pub(crate) async fn logged(&mut self, text: &str) -> Result<(), String> {
        self.wait_for(text, |log| log.tail.iter().any(|line| line.contains(text)).then_some(())).await
    }

    async fn wait_for<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&mut Log) -> Option<T>,
    ) -> Result<T, String> {
        let said = Arc::clone(&self.said);
        let wait = async {
            loop {
                let news = said.news.notified();
                if let Some(found) = found(&mut said.lock()) {
                    return found;
                }
                news.await;
            }
        };
        tokio::select! {
            found = timeout(START_TIME_MAX, wait) => {
                found.map_err(|_| self.trouble(&format!("did not say {what:?} in time")))
            }
            ended = self.ended() => Err(ended),
        }
    }

    /// Resolves when the child ends, which it should not, with the end of its log.
    pub(crate) async fn ended(&mut self) -> String {
        let status = self.child.wait().await;
        for reader in self.readers.drain(..) {
            // What it wrote last is still in the pipe. A reader that fails has read what there was.
            let _ = timeout(LAST_WORDS_TIME_MAX, reader).await;
        }
        self.trouble(&ended(status))
    }

    /// What happened to this child, with the end of its log.
    fn trouble(&self, what: &str) -> String {
        let tail: Vec<String> = self.said.lock().tail.iter().map(|line| format!("    {line}")).collect();
        format!("{} (pid {}) {what}; the end of its log:\n{}", self.name, self.pid, tail.join("\n"))
    }

    /// Asks the child to end, and sees to it.
    pub(crate) async fn stop(mut self) {
        drop(self.lifeline.take());
        if timeout(END_TIME_MAX, self.child.wait()).await.is_err() {
            // It may end by itself in this very moment.
            let _ = self.child.kill().await;
        }
    }
}

fn ended(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| format!("is lost: {error}"), |status| format!("ended ({status})"))
}

impl Said {
    fn lock(&self) -> std::sync::MutexGuard<'_, Log> {
        // A reader that panicked left whole lines behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_line(&self, line: String) {
        let parsed: Option<serde_json::Value> = serde_json::from_str(&line).ok();
        let field =
            |name: &str| parsed.as_ref().and_then(|v| v.get(name)).and_then(serde_json::Value::as_str);
        let mut log = self.lock();
        if let (Some("listening"), Some(what), Some(Ok(address))) =
            (field("message"), field("what"), field("address").map(str::parse))
        {
            log.listening.insert(what.to_owned(), address);
        }
        if log.tail.len() == TAIL_LINES {
            log.tail.pop_front();
        }
        log.tail.push_back(line);
        drop(log);
        self.news.notify_waiters();
    }

    fn output_line(&self, line: String) {
        let mut log = self.lock();
        if log.output.len() < TAIL_LINES {
            log.output.push_back(line);
        }
        drop(log);
        self.news.notify_waiters();
    }
}

/// Reads lines to the end.
async fn listen<R: AsyncBufRead + Unpin>(reader: R, said: Arc<Said>, line: fn(&Said, String)) {
    let mut lines = reader.lines();
    while let Ok(Some(mut text)) = lines.next_line().await {
        let cut = (0..=LINE_BYTES_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(cut.unwrap_or(0));
        line(&said, text);
    }
}
