//! The suite on the machine's own loopback, without namespaces, as anybody may run it: with the real load, and with a
//! stand-in for it where it has to fail.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use adit_bench::record::{Sample, read_lines};
use adit_bench::suite::builtin;
use adit_bench::suite::cell::{Common, FOREIGN, NO_SAMPLE};
use adit_bench::suite::network::Network;
use adit_bench::suite::run::{Suite, Summary};
use adit_bench::suite::spec::System;
use tempfile::TempDir;

const BENCH: &str = env!("CARGO_BIN_EXE_adit-bench");
const DIRECT: &str = "name = \"direct\"\nabout = \"nothing\"\n[load]\nproxy = \"none\"\n";

/// A program that is `adit-bench` but for `load`, which is this shell script; `$found` is where the sample goes.
fn with_load(dir: &TempDir, script: &str) -> PathBuf {
    let path = dir.path().join("bench.sh");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = load ] || exec {BENCH} \"$@\"\nall=\"$*\"\n\
         while [ \"$1\" != --json ]; do shift; done\nfound=$2\n{script}\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// What a load that went well writes.
fn good() -> String {
    let mut sample: Sample = serde_json::from_str(
        r#"{"schema":1,"system":"x","network":"x","workload":"bulk-up","settings":{},"round":1,
        "stamp":{"unix_seconds":1,"kernel":"","cpu":"","cores":1,"version":"","congestion_control":"","more":{}},
        "window_seconds":1.0,"operations":3,"verified_up_bytes":0,"verified_down_bytes":0,"errors":{},"latencies":{},
        "figures":{},"series":{"every_ms":100,"bytes":[],"operations":[]},"processes":[],
        "generator":{"cpu_seconds":0.0,"lateness":null}}"#,
    )
    .unwrap();
    sample.figures.insert("bytes_per_second".to_owned(), 1.0);
    serde_json::to_string(&sample).unwrap()
}

fn suite(bench: &Path, systems: &[&str], workloads: &[&str]) -> Suite {
    Suite {
        systems: systems.iter().map(|text| System::parse("test.toml", text).unwrap()).collect(),
        networks: vec![Network::Loopback],
        workloads: workloads.iter().map(|&name| name.to_owned()).collect(),
        rounds: 2,
        congestion: None,
        apart: false,
        again: false,
        common: Common {
            bench: bench.display().to_string(),
            adit: "adit".to_owned(),
            warm_up: Duration::from_millis(50),
            duration: Duration::from_millis(200),
            flags: BTreeMap::from([("dial".to_owned(), vec!["--rate".to_owned(), "9".to_owned()])]),
            more: BTreeMap::from([("commit".to_owned(), "abc".to_owned())]),
        },
    }
}

/// Runs it to its end.
fn measure(suite: &Suite) -> (Summary, Vec<Sample>, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut out, mut progress) = (Vec::new(), Vec::new());
    let summary = runtime.block_on(suite.run(&mut out, &mut progress)).unwrap();
    let samples = read_lines(BufReader::new(out.as_slice())).unwrap();
    (summary, samples, String::from_utf8(progress).unwrap())
}

#[test]
fn every_cell_is_measured_in_turn_and_completed_with_what_the_suite_knows() {
    let dir = tempfile::tempdir().unwrap();
    let bench = with_load(
        &dir,
        // As long as a few of the kernel's ticks, by which it counts who used the machine.
        &format!(
            "echo \"$all\" >> {0}/calls; sleep 0.05; echo '{1}' > \"$found\"",
            dir.path().display(),
            good()
        ),
    );
    let other = "name = \"other\"\nabout = \"a hop\"\n[[files]]\npath = \"a.txt\"\ntext = \"{target}\"\n\
                 [[processes]]\nname = \"hop\"\nside = \"near\"\n\
                 command = [\"sh\", \"-c\", \"cat {dir}/a.txt; echo mtu=1234 on {port:front}; exec sleep 300\"]\n\
                 ready = { log = \"mtu=\" }\n[load]\nproxy = \"forward:{near}:{port:front}\"\nflags = [\"--reuse\"]\n\
                 [[facts]]\nname = \"path_mtu_bytes\"\nlog = { process = \"hop\", after = \"mtu=\" }\n";
    let (summary, samples, progress) = measure(&suite(&bench, &[DIRECT, other], &["bulk-up", "dial"]));
    assert_eq!(summary, Summary { samples: 8, bad: 0 }, "{progress}");
    let order: Vec<(String, u32)> =
        samples.iter().map(|sample| (sample.system.clone(), sample.round)).collect();
    let systems = ["direct", "other", "direct", "other"].map(str::to_owned);
    let expected: Vec<(String, u32)> =
        [1, 2].into_iter().flat_map(|round| systems.clone().map(|system| (system, round))).collect();
    assert_eq!(order, expected);
    let more = &samples[1].stamp.more;
    assert_eq!((more["commit"].as_str(), more["path_mtu_bytes"].as_str()), ("abc", "1234"));
    assert!(more["command_hop"].contains("exec sleep 300") && samples[1].figures.contains_key(FOREIGN));
    let calls = std::fs::read_to_string(dir.path().join("calls")).unwrap();
    let call = calls.lines().nth(3).unwrap();
    for part in [
        "--workload dial",
        "--proxy forward:127.0.0.1:",
        "--watch-pid",
        "--rate 9",
        "--reuse",
        "--duration 200ms",
    ] {
        assert!(call.contains(part), "{part} is not in {call}");
    }
    assert_eq!(progress.lines().count(), 8);
    assert!(
        progress.starts_with("[1/8, ")
            && progress.contains("[8/8, 0s left] loopback bulk-up other round 2: "),
        "{progress}"
    );
}

#[test]
fn what_cannot_be_measured_is_written_down_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let bench = with_load(
        &dir,
        &format!(
            "case \"$all\" in *bulk-up*) echo 'no luck' >&2; exit 1;; esac; echo '{}' > \"$found\"",
            good()
        ),
    );
    let broken = "name = \"broken\"\nabout = \"ends\"\n[[processes]]\nname = \"hop\"\nside = \"near\"\n\
                  command = [\"sh\", \"-c\", \"echo out of order; exit 3\"]\nready = { log = \"never\" }\n\
                  [load]\nproxy = \"none\"\n";
    let unprepared = "name = \"unprepared\"\nabout = \"fails\"\n[[prepare]]\n\
                      command = [\"sh\", \"-c\", \"echo no entropy >&2; exit 1\"]\n[load]\nproxy = \"none\"\n";
    let (summary, samples, progress) =
        measure(&suite(&bench, &[DIRECT, broken, unprepared], &["bulk-up", "dial"]));
    assert_eq!(summary, Summary { samples: 12, bad: 10 }, "{progress}");
    let why = |index: usize| samples[index].errors[NO_SAMPLE].examples[0].as_str();
    assert!(why(0).contains("load wrote last: no luck"), "{}", why(0));
    assert!(why(1).contains("hop ended: exit status: 3") && why(1).contains("out of order"), "{}", why(1));
    assert!(why(2).contains("no entropy"), "{}", why(2));
    assert!(samples[3].is_clean());
    assert!(progress.contains("ERROR suite: no sample (1 times): hop ended"), "{progress}");
}

#[test]
fn a_system_whose_process_ends_under_load_has_an_error_beside_its_figures() {
    let dir = tempfile::tempdir().unwrap();
    let hop = "hop=$(echo \"$all\" | sed 's/.*--watch-pid \\([0-9]*\\).*/\\1/')";
    let end = "rm $(dirname \"$found\")/alive; until grep -q ') Z ' /proc/$hop/stat; do :; done";
    let bench = with_load(&dir, &format!("{hop}\n{end}\necho '{}' > \"$found\"", good()));
    let dies = "name = \"dies\"\nabout = \"ends\"\n[[processes]]\nname = \"hop\"\nside = \"near\"\n\
                command = [\"sh\", \"-c\", \"touch {dir}/alive; echo up; \
                while [ -e {dir}/alive ]; do :; done; exit 4\"]\n\
                ready = { log = \"up\" }\n[load]\nproxy = \"none\"\n";
    let (summary, samples, _) = measure(&suite(&bench, &[dies], &["dial"]));
    assert_eq!(summary, Summary { samples: 2, bad: 2 });
    let error = &samples[0].errors["suite: a process ended"];
    assert!(error.examples[0].contains("hop: exit status: 4") && samples[0].operations == 3, "{error:?}");
}

#[test]
fn what_needs_no_other_program_is_measured_by_anybody() {
    let mut suite =
        suite(Path::new(BENCH), &[], &["bulk-up", "bulk-both", "ping-pong", "dial", "idle", "beside-bulk"]);
    let own = ["direct", "quinn-baseline", "tokio-uring-baseline"];
    suite.systems = builtin::systems().unwrap();
    suite.systems.retain(|system| own.contains(&system.name.as_str()));
    suite.rounds = 1;
    let few = ["--connections", "20"].map(str::to_owned).to_vec();
    suite.common.flags = BTreeMap::from([("idle".to_owned(), few)]);
    let (summary, samples, progress) = measure(&suite);
    assert_eq!(summary, Summary { samples: 18, bad: 0 }, "{progress}");
    for sample in &samples {
        let processes: Vec<&str> = sample.processes.iter().map(|process| process.name.as_str()).collect();
        let expected = own.iter().position(|name| *name == sample.system).unwrap();
        assert_eq!(processes.len(), [0, 2, 1][expected], "{}: {processes:?}", sample.system);
        assert!(sample.processes.iter().all(|process| process.resident_at_rest_bytes > 100_000));
        assert_eq!((sample.network.as_str(), sample.stamp.more["commit"].as_str()), ("loopback", "abc"));
    }
}

fn command(dir: &TempDir, arguments: &[&str], ci: bool) -> Output {
    let mut command = Command::new(BENCH);
    command.arg("suite").args(arguments).arg("--out").arg(dir.path().join("out"));
    if ci {
        command.env("CI", "true")
    } else {
        command.env_remove("CI")
    };
    command.output().unwrap()
}

#[test]
fn what_is_not_installed_is_left_out_with_a_line_but_not_in_continuous_integration() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    let needs = "needs = [{ program = \"surely-not-there\", package = \"apt-get install surely\" }]\n";
    std::fs::write(
        &file,
        DIRECT.replace("\"direct\"", "\"mine\"").replace("[load]", &format!("{needs}[load]")),
    )
    .unwrap();
    let arguments = [
        "--system-files",
        file.to_str().unwrap(),
        "--systems",
        "direct,mine",
        "--networks",
        "loopback",
        "--list",
    ];
    let output = command(&dir, &arguments, false);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = "mine: there is no surely-not-there; get it with apt-get install surely";
    assert!(output.status.success() && said.contains(&format!("left out: {line}")), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("direct: "));
    let output = command(&dir, &arguments, true);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(line), "{said}");
}

#[test]
fn names_that_nobody_knows_are_answered_with_those_that_are_known() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, known) in [
        (["--systems", "dircet", "--list"], "tokio-uring-baseline"),
        (["--workloads", "bulk", "--list"], "slow-reader"),
        (["--networks", "veth", "--list"], "delay-20ms"),
    ] {
        let output = command(&dir, &arguments, false);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(known), "{arguments:?}: {said}");
    }
}

#[test]
fn a_report_is_made_of_what_was_measured() {
    let dir = tempfile::tempdir().unwrap();
    let bench = with_load(&dir, &format!("echo '{}' > \"$found\"", good()));
    let bench = bench.to_str().unwrap();
    let arguments =
        ["--bench", bench, "--systems", "direct", "--workloads", "dial", "--networks", "loopback"];
    let output = command(&dir, &arguments, false);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("3 samples are in"), "{said}");
    let page = std::fs::read_to_string(dir.path().join("out.html")).unwrap();
    assert!(page.contains("direct") && page.contains("adit-bench suite: out"), "{page}");
}

#[test]
fn results_that_exist_are_not_replaced_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    std::fs::write(&path, "precious").unwrap();
    let output = command(&dir, &["--systems", "direct", "--networks", "loopback"], false);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--force"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
