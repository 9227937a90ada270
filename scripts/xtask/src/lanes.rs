//! Runs the compiled test programs in lanes, side by side: those that mostly wait (for a deadline, for silence to last,
//! for a process to end) beside those that mostly compute, which would otherwise take turns with them. Who computes is
//! nicer, so that who waits gets a core at once when the wait is over, and nobody is less so than the namespaces, whose
//! outages and restarts last as long as a test says only where its processes run at once.
//!
//! A program that no list here names computes, so a new one is never left out. Deliberately absent: threads within a
//! program, which are its own business.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::run::{self, Failure};

/// What mostly waits, by the names of the test targets: a lane of namespaces, one of whole tunnels, one of the load
/// generator with what else is hostile or short of something. Each takes about as long as the others.
const WAITING: [&[&str]; 3] = [
    &["net", "networks"],
    &["direct", "hostile"],
    &["baselines", "grpc", "limits", "load", "suite", "target", "uring"],
];
/// How nice each of these lanes is, and how nice the one that computes.
const NICENESS: [&str; WAITING.len()] = ["0", "10", "10"];
const NICEST: &str = "15";
/// What judges times, of dials beside others or of one input of a fuzzer: runs when everything else is done.
const ALONE: &[&str] = &["adit_control", "adit_io", "corpus", "fleet", "pair"];

/// A compiled test program.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    /// The name of its target.
    name: String,
    /// Its package's folder, which cargo makes the working directory of a test.
    folder: PathBuf,
    path: PathBuf,
}

impl Program {
    /// The program behind the words of `through`, as cargo would start it.
    fn command(&self, through: &[&str]) -> Command {
        let mut command = match through {
            [] => Command::new(&self.path),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.path);
                command
            }
        };
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder).stdin(Stdio::null());
        command
    }
}

/// What the lanes share.
#[derive(Debug, Default)]
struct Ran {
    /// What the programs printed, one whole program after the other.
    output: Mutex<String>,
    failed: Mutex<Vec<String>>,
    /// Set by the first failure: what has not begun by then does not begin.
    stop: AtomicBool,
}

/// Builds every test program of the workspace, runs them, shows what each printed when it ended, and returns all that
/// was printed. Fails where one of them does, and names it.
pub(crate) fn run() -> Result<String, Failure> {
    let build = ["test", "--locked", "--workspace", "--no-run", "--message-format=json-render-diagnostics"];
    let mut build = run::cargo(&build);
    let built = build.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?.wait_with_output()?;
    if !built.status.success() {
        return Err(Failure::new(format!("building the tests: {}", built.status)));
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let lanes = Lanes::new(messages.lines().filter_map(program).collect());
    let ran = Ran::default();
    std::thread::scope(|scope| {
        for (waiting, niceness) in lanes.waiting.iter().zip(NICENESS) {
            let ran = &ran;
            scope.spawn(move || lane(waiting, &["nice", "-n", niceness], ran));
        }
        lane(&lanes.computing, &["nice", "-n", NICEST], &ran);
    });
    lane(&lanes.alone, &[], &ran);
    let failed = ran.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() {
        Ok(ran.output.into_inner().unwrap_or_else(PoisonError::into_inner))
    } else {
        Err(Failure::new(format!("tests failed: {}", failed.join(", "))))
    }
}

/// Every program in the lane where it belongs.
#[derive(Debug)]
struct Lanes {
    waiting: [Vec<Program>; WAITING.len()],
    computing: Vec<Program>,
    alone: Vec<Program>,
}

impl Lanes {
    fn new(programs: Vec<Program>) -> Self {
        let mut lanes =
            Self { waiting: [const { Vec::new() }; WAITING.len()], computing: Vec::new(), alone: Vec::new() };
        for program in programs {
            let name = program.name.as_str();
            match WAITING.iter().position(|names| names.contains(&name)) {
                Some(lane) => lanes.waiting[lane].push(program),
                None if ALONE.contains(&name) => lanes.alone.push(program),
                None => lanes.computing.push(program),
            }
        }
        lanes
    }
}

/// Runs these one after the other, each behind the words of `through`.
fn lane(programs: &[Program], through: &[&str], ran: &Ran) {
    for program in programs {
        if ran.stop.load(Ordering::SeqCst) {
            return;
        }
        let shown = program.path.strip_prefix(run::root()).unwrap_or(&program.path).display();
        println!("   running {shown}");
        let began = Instant::now();
        let output = program.command(through).output();
        let seconds = began.elapsed().as_secs_f32();
        let (text, good) = match output {
            Ok(output) => (printed(&output), output.status.success()),
            Err(error) => (error.to_string(), false),
        };
        let mut all = ran.output.lock().unwrap_or_else(PoisonError::into_inner);
        println!("   {} {shown}, {seconds:.1} s", if good { "done:" } else { "FAILED:" });
        println!("{text}");
        all.push_str(&text);
        if !good {
            ran.failed.lock().unwrap_or_else(PoisonError::into_inner).push(program.name.clone());
            ran.stop.store(true, Ordering::SeqCst);
        }
    }
}

fn printed(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

/// The test program that a line of cargo's messages tells of. The programs that tests start are not among `deps`.
fn program(line: &str) -> Option<Program> {
    let path = field(line, "executable").filter(|path| path.contains("/deps/"))?;
    let folder = field(line, "manifest_path")?.strip_suffix("/Cargo.toml")?;
    let (_, target) = line.split_once("\"target\":")?;
    let name = field(target, "name")?;
    Some(Program { name: name.to_owned(), folder: PathBuf::from(folder), path: PathBuf::from(path) })
}

/// The first string of this name in a line of JSON. Neither names of targets nor our paths need escapes.
fn field<'line>(line: &'line str, name: &str) -> Option<&'line str> {
    let (_, value) = line.split_once(&format!("\"{name}\":\""))?;
    value.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{ALONE, Lanes, Program, WAITING, program};

    const NET: &str = concat!(
        r#"{"reason":"compiler-artifact","manifest_path":"/adit/control/Cargo.toml","#,
        r#""target":{"kind":["test"],"name":"net","test":true},"#,
        r#""executable":"/adit/target/debug/deps/net-0"}"#
    );

    #[test]
    fn a_test_program_is_found_in_cargos_messages() {
        let net = Program {
            name: String::from("net"),
            folder: PathBuf::from("/adit/control"),
            path: PathBuf::from("/adit/target/debug/deps/net-0"),
        };
        assert_eq!(program(NET), Some(net));
        assert_eq!(program(&NET.replace("/deps/net-0", "/adit")), None, "a program that tests start");
        assert_eq!(program(&NET.replace("\"/adit/target/debug/deps/net-0\"", "null")), None, "a library");
        assert_eq!(program(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn every_program_has_one_lane() {
        let named = |name: &&str| Program { name: (*name).to_owned(), ..program(NET).expect("a program") };
        let of = |names: &[&str]| names.iter().map(named).collect::<Vec<_>>();
        let all = [WAITING.concat(), vec!["scenarios", "a_new_one"], ALONE.to_vec()].concat();
        let lanes = Lanes::new(of(&all));
        assert_eq!(lanes.waiting, WAITING.map(of));
        assert_eq!(lanes.computing, of(&["scenarios", "a_new_one"]));
        assert_eq!(lanes.alone, of(ALONE));
    }
}
