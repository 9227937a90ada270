//! The `adit` program as a child whose log is read. It ends with the test, however the test ends: its standard input
//! is a pipe from it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{PATIENCE, until};

/// The program under test.
pub(crate) const ADIT: &str = env!("CARGO_BIN_EXE_adit");

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `adit` with these arguments; standard output and error are read line by line.
    pub(crate) fn start(args: &[String]) -> Self {
        Self::start_under(&[], args)
    }

    /// The same, by a program that changes what a process is given (its limits, its network) and then becomes `adit`.
    pub(crate) fn start_under(prefix: &[String], args: &[String]) -> Self {
        match prefix.split_first() {
            Some((program, first)) => {
                Self::spawn(Command::new(program).args(first).arg(ADIT), args, &std::env::temp_dir())
            }
            None => Self::start_in(args, &std::env::temp_dir()),
        }
    }

    /// With a temporary directory of its own choice.
    pub(crate) fn start_in(args: &[String], temporary: &Path) -> Self {
        Self::spawn(&mut Command::new(ADIT), args, temporary)
    }

    fn spawn(command: &mut Command, args: &[String], temporary: &Path) -> Self {
        // A test is not to depend on how whoever runs it reaches the world. `HTTPS_PROXY` and the like are given to
        // `env`, where they are wanted.
        for name in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
            command.env_remove(name);
        }
        let mut child = command
            .args(args)
            .env("TMPDIR", temporary)
            .env_remove("PROXY_SERVER_ID")
            .env_remove("PROXY_AGENT_ID")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Arc::<Mutex<Vec<String>>>::default();
        read_lines(child.stdout.take().expect("piped"), Arc::clone(&log));
        read_lines(child.stderr.take().expect("piped"), Arc::clone(&log));
        Self { stdin: child.stdin.take(), child, log }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no reader panics").join("\n")
    }

    /// Waits for a line that holds all of these words.
    pub(crate) async fn logged(&self, words: &[&str]) -> String {
        let found = tokio::time::timeout(
            PATIENCE,
            until("a log line", PATIENCE * 2, || async {
                let log = self.log.lock().expect("no reader panics");
                log.iter().find(|line| words.iter().all(|word| line.contains(word))).cloned()
            }),
        );
        found.await.unwrap_or_else(|_| panic!("no line with {words:?} in\n{}", self.log()))
    }

    /// The address that the process logged for `what`.
    pub(crate) async fn address(&self, what: &str) -> SocketAddr {
        let what = format!("\"what\":\"{what}\"");
        let line = self.logged(&["listening", &what]).await;
        let value: serde_json::Value = serde_json::from_str(&line).expect("a JSON log line");
        value["address"]
            .as_str()
            .and_then(|a| a.parse().ok())
            .unwrap_or_else(|| panic!("no address in {line}"))
    }

    /// Closes its standard input.
    pub(crate) fn close_stdin(&mut self) {
        drop(self.stdin.take());
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.expect("kill(1) is there").success());
    }

    /// Waits for the end.
    pub(crate) async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let deadline = std::time::Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "still running after {limit:?}; log:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it runs");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It may have ended; a test that fails must not wait for a drain.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of pid {}\n{}", self.pid(), self.log());
        }
    }
}

fn read_lines(from: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            log.lock().expect("no reader panics").push(line);
        }
    });
}

/// Runs `adit` to its end: status, standard output, standard error.
pub(crate) async fn run(args: &[&str]) -> (ExitStatus, String, String) {
    let output =
        tokio::process::Command::new(ADIT).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE * 3, output).await.expect("it ends").expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status, text(&output.stdout), text(&output.stderr))
}
