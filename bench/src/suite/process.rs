//! Processes that the suite started, and how it knows that they are ready.
//!
//! Each writes into a log file of its own, is in a process group of its own (a Ctrl-C in the terminal is for the suite,
//! which ends them in order), and is killed with all that it started when it is dropped.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::machine;
use super::spec::Ready;
use crate::netns::{Netns, find_program};

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long one look may take.
const LOOK_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a process may take to end before it is killed.
const END_WITHIN: Duration = Duration::from_millis(500);
/// Lines of a log that go into a message.
const LOG_LINES: usize = 5;
/// Most bytes of an HTTP answer.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What starting needs beside the command line.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The `adit-bench` program.
    pub bench: &'a str,
    /// Where log files go.
    pub dir: &'a Path,
}

/// A process of ours.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a command line in a namespace, or in ours; it writes into `NAME.log` in that folder.
    ///
    /// # Errors
    /// There is no such program, or it cannot be started; it is named.
    pub fn start(name: &str, command: &[String], netns: Option<&Netns>, dir: &Path) -> io::Result<Self> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| io::Error::other(format!("{name}: no command")))?;
        // sshd insists on being called by its whole path.
        let found = find_program(program).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("{name}: there is no {program}"))
        })?;
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let mut command = Command::new(found);
        command.args(arguments).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let spawned = match netns {
            Some(netns) => netns.within(|| command.spawn())?,
            None => command.spawn(),
        };
        let child =
            spawned.map_err(|error| io::Error::new(error.kind(), format!("{name}: {program}: {error}")))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// The end of what it wrote, for a message.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        if last.is_empty() {
            return format!("{} wrote nothing", self.name);
        }
        format!("{} wrote last: {}", self.name, last.join(" / "))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It has not ended by then.
    pub async fn end_within(&mut self, limit: Duration) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(format!("{} had not ended after {limit:?}; {}", self.name, self.last_words()));
            }
            tokio::time::sleep(POLL_INTERVAL * 2).await;
        }
    }

    /// Asks it to end (SIGTERM), and kills it where it does not.
    pub async fn stop(mut self) {
        signal(self.pid(), Signal::TERM);
        // Whether it was in time or not, dropping it leaves nothing.
        let _ = self.end_within(END_WITHIN).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        for pid in machine::with_descendants(&[self.pid()]) {
            signal(pid, Signal::KILL);
        }
        // Killed processes end.
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // One that is gone has what was wanted of it.
        let _ = kill_process(pid, signal);
    }
}

/// Waits until a look at a running process finds something.
///
/// # Errors
/// The process ended, or the time did; with what it wrote last.
pub async fn until<T>(
    running: &mut Running,
    limit: Duration,
    mut look: impl FnMut(&mut Running) -> io::Result<Option<T>>,
) -> Result<T, String> {
    let deadline = Instant::now() + limit;
    loop {
        let looked = look(running);
        if let Ok(Some(found)) = looked {
            return Ok(found);
        }
        if let Some(status) = running.ended() {
            return Err(format!("{} ended: {status}; {}", running.name, running.last_words()));
        }
        if Instant::now() >= deadline {
            let why = looked.err().map_or(String::new(), |error| format!(" ({error})"));
            return Err(format!(
                "{} was not ready within {limit:?}{why}; {}",
                running.name,
                running.last_words()
            ));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Looks whether a process is ready; placeholders in the condition are filled.
///
/// # Errors
/// What the system says; it may be another thing the next time.
pub fn look(running: &Running, ready: &Ready, netns: Option<&Netns>) -> io::Result<Option<()>> {
    match ready {
        Ready::Log(text) => Ok(running.log().contains(text.as_str()).then_some(())),
        Ready::Unix(path) => UnixStream::connect(path).map(|_| Some(())),
        Ready::Tcp(at) => connect(at, netns).map(|_| Some(())),
        Ready::Http(url) => get(url, netns).map(|_| Some(())),
    }
}

fn connect(at: &str, netns: Option<&Netns>) -> io::Result<TcpStream> {
    let addr: SocketAddr = at
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{at:?} is no ADDRESS:PORT")))?;
    let connect = || TcpStream::connect_timeout(&addr, LOOK_TIME_MAX);
    match netns {
        Some(netns) => netns.within(connect)?,
        None => connect(),
    }
}

/// GETs `ADDRESS:PORT/PATH` and returns the body of a 200.
///
/// # Errors
/// What the system says, or another status.
pub fn get(url: &str, netns: Option<&Netns>) -> io::Result<String> {
    let (at, path) = url.split_once('/').unwrap_or((url, ""));
    let mut stream = connect(at, netns)?;
    stream.set_read_timeout(Some(LOOK_TIME_MAX))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let head = answer.lines().next().unwrap_or_default();
    if head.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("http://{url} answered {head:?}")));
    }
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
