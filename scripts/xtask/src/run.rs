//! Running other programs, and saying so.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Why a verb failed; the text is for whoever ran it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// What every verb returns.
pub(crate) type Done = Result<(), Failure>;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where cargo keeps what it fetched.
pub(crate) fn cargo_home() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_default().join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// A command in the repository's root, without standard input.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// `cargo`, the one that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| String::from("cargo")), arguments)
}

/// Runs a command with its output shown; fails where it does.
pub(crate) fn step(what: &str, command: &mut Command) -> Done {
    println!("── {what}");
    let started = Instant::now();
    let status = command
        .status()
        .map_err(|error| Failure(format!("{what}: {}: {error}", command.get_program().display())))?;
    let seconds = started.elapsed().as_secs_f32();
    if !status.success() {
        return Err(Failure(format!("{what}: {status} after {seconds:.1} s")));
    }
    println!("   {what}: {seconds:.1} s");
    Ok(())
}

/// Runs a command and returns what it printed; fails where it does, with what it complained about.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let program = command.get_program().display().to_string();
    let output = command.output().map_err(|error| Failure(format!("{program}: {error}")))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure(format!("{program}: {}: {}", output.status, complaint.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is on the search path.
pub(crate) fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// The Go tool: on the search path, or where Go's own archive is unpacked.
pub(crate) fn go() -> Option<PathBuf> {
    if has("go") {
        return Some(PathBuf::from("go"));
    }
    let usual = PathBuf::from("/usr/local/go/bin/go");
    usual.is_file().then_some(usual)
}

/// Whether a program is there; system programs may be outside an ordinary user's search path.
pub(crate) fn present(program: &str) -> bool {
    has(program) || ["/usr/sbin", "/sbin"].iter().any(|folder| Path::new(folder).join(program).is_file())
}

/// Whether this runs as root.
pub(crate) fn is_root() -> Result<bool, Failure> {
    Ok(output(&mut command("id", &["-u"]))?.trim() == "0")
}
