//! The double: built once, started for each test, and listened to.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use adit_bench::proxy::{Connector, Files, Mode, Options, Proxy};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::watch;

use crate::certs;

/// What carries HTTP/2.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carrier {
    Unix,
    Tcp,
    Mtls,
}

impl Carrier {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unix => "a_unix_socket",
            Self::Tcp => "tcp",
            Self::Mtls => "mutual_tls",
        }
    }
}

/// What a test is run with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) carrier: Carrier,
    pub(crate) reuse: bool,
}

/// A running double. Dropping it kills it.
pub(crate) struct Double {
    pub(crate) proxy: Proxy,
    reuse: bool,
    tls: Option<Files>,
    lines: watch::Receiver<Vec<String>>,
    _child: Child,
    _folder: TempDir,
}

impl Double {
    /// Starts one, with more flags if need be.
    pub(crate) async fn start(case: Case, flags: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = tokio::process::Command::new(program().unwrap());
        command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        // A name that has to be encoded.
        let socket = folder.path().join("konnectivity server.sock");
        let mut tls = None;
        match case.carrier {
            Carrier::Unix => command.arg("--uds").arg(&socket),
            Carrier::Tcp => command.args(["--tcp", "127.0.0.1:0"]),
            Carrier::Mtls => {
                let certs = certs::make(folder.path());
                tls = Some(certs.client);
                command.args(["--tcp", "127.0.0.1:0", "--cert"]).arg(certs.proxy_cert);
                command.arg("--key").arg(certs.proxy_key).arg("--ca").arg(certs.ca)
            }
        };
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, lines) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                sender.send_modify(|lines: &mut Vec<String>| lines.push(line));
            }
        });
        let mut double = Self {
            proxy: Proxy::Unix(socket),
            reuse: case.reuse,
            tls,
            lines,
            _child: child,
            _folder: folder,
        };
        let said = double.says("listening on ").await;
        let at = said.trim_start_matches("listening on ").to_owned();
        match case.carrier {
            Carrier::Unix => {}
            Carrier::Tcp => double.proxy = Proxy::Http(at),
            Carrier::Mtls => double.proxy = Proxy::Https(at),
        }
        double
    }

    /// A way through it.
    pub(crate) fn connector(&self, target: impl std::fmt::Display) -> Connector {
        Connector::new(Options {
            proxy: self.proxy.clone(),
            target: target.to_string(),
            mode: Mode::Grpc,
            reuse: self.reuse,
            tls: self.tls.clone(),
            congestion_control: None,
        })
        .unwrap()
    }

    /// Waits until a line contains this, and returns it.
    pub(crate) async fn says(&self, text: &str) -> String {
        self.until(|lines| lines.iter().any(|line| line.contains(text))).await;
        self.lines.borrow().iter().find(|line| line.contains(text)).unwrap().clone()
    }

    /// Waits until the lines are like this.
    pub(crate) async fn until(&self, like: impl FnMut(&Vec<String>) -> bool) {
        self.lines.clone().wait_for(like).await.expect("the double lives");
    }

    /// Waits until so many lines contain this; there must be no more.
    pub(crate) async fn says_times(&self, text: &str, times: usize) {
        self.until(|lines| count(lines, text) >= times).await;
        assert_eq!(self.count(text), times, "{text}");
    }

    /// How many lines contain this so far.
    pub(crate) fn count(&self, text: &str) -> usize {
        count(&self.lines.borrow(), text)
    }

    /// Waits until every call and every connection that began has ended.
    pub(crate) async fn nothing_is_left(&self) {
        self.until(|lines| {
            count(lines, " begins authority") == count(lines, " ends: ")
                && count(lines, "connection begins") == count(lines, "connection ends")
        })
        .await;
    }
}

fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

/// The double's program, or the one line that says why there is none.
pub(crate) fn program() -> Result<&'static Path, String> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PROGRAM.get_or_init(build).as_deref().map_err(Clone::clone)
}

fn build() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join("grpc-double");
    // Somebody who may not write here, and who has no Go modules either, takes what the owner built.
    if program.is_file() && tempfile::tempfile_in(folder).is_err() {
        return Ok(program);
    }
    let go = ["go", "/usr/local/go/bin/go"]
        .into_iter()
        .find(|go| Command::new(go).arg("version").output().is_ok_and(|output| output.status.success()))
        .ok_or("needs Go, to build the server's double")?;
    let built = Command::new(go)
        // A checkout that belongs to somebody else is no reason to fail.
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go"))
        .output()
        .map_err(|error| format!("{go}: {error}"))?;
    if built.status.success() {
        Ok(program)
    } else {
        let why = String::from_utf8_lossy(&built.stderr);
        let why = why.lines().next().unwrap_or("no reason given");
        Err(format!("needs the Go modules of bench/tests/go, run cargo xtask set-up ({why})"))
    }
}
