//! `adit demo`, small: every byte right, on the driver that was asked for, as it is meant to be used.

use serde_json::Value;

use crate::support::metrics::get;
use crate::support::process::{Process, run};
use crate::support::{PATIENCE, until};

/// Runs the demo and gives its report.
async fn demo(flags: &[&str]) -> Value {
    let mut args = vec!["demo", "--json", "--bulk-mib", "64", "--requests", "20", "--dials", "50"];
    args.extend(flags);
    let (status, stdout, stderr) = run(&args).await;
    assert!(status.success(), "{stdout}\n{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}"));
    assert_eq!(report["ok"], Value::Bool(true));
    assert_eq!(report["failures"], Value::Array(Vec::new()));
    assert_eq!(report["bulk_up"]["bytes"], 64 << 20);
    assert_eq!(report["bulk_down"]["bytes"], 64 << 20);
    assert_eq!(report["requests"]["count"], 20);
    assert_eq!(report["dials"]["count"], 50);
    assert_eq!(report["other_ca_refused"], Value::Bool(true));
    assert_eq!(report["refused"]["status"], 502);
    report
}

fn processes(report: &Value) -> &Vec<Value> {
    let processes = report["processes"].as_array().expect("processes");
    assert_eq!(processes.len(), 3);
    processes
}

/// A counter, summed over server and agents.
fn total(report: &Value, path: &[&str]) -> u64 {
    processes(report)
        .iter()
        .map(|process| path.iter().fold(process, |value, key| &value[key]).as_u64().unwrap_or(0))
        .sum()
}

#[tokio::test]
async fn on_io_uring_it_runs_on_multishot_receives_and_provided_buffers() {
    let report = demo(&["--io", "uring", "--mtu-max", "1452"]).await;
    for process in processes(&report) {
        assert_eq!(process["driver"], "uring");
        assert_eq!(process["fallback"], "");
        assert_eq!(process["path_mtu_bytes"], 1452);
        let datagrams = &process["operations"]["recv_datagrams_multishot"];
        assert!(datagrams["submitted"].as_u64().unwrap_or(0) >= 1, "{process}");
        // Armed once, completed many times: that is what multishot is.
        assert!(datagrams["completed"].as_u64() > datagrams["submitted"].as_u64(), "{process}");
        assert!(process["io"]["provided_buffer_receives"].as_u64().unwrap_or(0) > 0, "{process}");
    }
    assert!(total(&report, &["operations", "recv_multishot", "submitted"]) > 0);
    assert!(total(&report, &["operations", "accept_multishot", "submitted"]) > 0);
    for direction in ["bulk_up", "bulk_down"] {
        let segments = report[direction]["segments_per_send"].as_f64().expect("a figure");
        assert!(segments > 10.0, "{direction}: {segments} datagrams a send");
    }
}

#[tokio::test]
async fn on_epoll_it_moves_the_same_bytes() {
    let report = demo(&["--io", "epoll", "--mtu-max", "1452"]).await;
    for process in processes(&report) {
        assert_eq!(process["driver"], "epoll");
        assert_eq!(process["fallback"], "");
    }
    for direction in ["bulk_up", "bulk_down"] {
        let segments = report[direction]["segments_per_send"].as_f64().expect("a figure");
        assert!(segments > 10.0, "{direction}: {segments} datagrams a send");
    }
}

#[tokio::test]
async fn on_loopback_the_path_carries_the_largest_datagrams() {
    let report = demo(&[]).await;
    for process in processes(&report) {
        assert!(process["path_mtu_bytes"].as_u64().unwrap_or(0) > 60_000, "{process}");
    }
}

#[tokio::test]
async fn nothing_of_it_is_left_when_it_is_killed() {
    let args =
        ["demo", "--json", "--bulk-mib", "100000", "--requests", "1", "--dials", "1"].map(str::to_owned);
    // A process that is killed cannot remove its directory: it gets one that goes away with the test.
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let demo = Process::start_in(&args, temporary.path());
    let children = || {
        let path = format!("/proc/{0}/task/{0}/children", demo.pid());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let pids = until("the children to run", PATIENCE, || async {
        let pids = children();
        (pids.len() == 4).then_some(pids)
    })
    .await;
    demo.signal("KILL");
    until("the children to end", PATIENCE, || async {
        // A process that ended but was not waited for has no command line.
        let gone =
            |pid: &String| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty();
        pids.iter().all(gone).then_some(())
    })
    .await;
}

#[tokio::test]
async fn keep_leaves_it_up_with_commands_that_work_until_a_signal() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let args = ["demo", "--keep", "--bulk-mib", "1", "--requests", "1", "--dials", "1"].map(str::to_owned);
    let mut demo = Process::start_in(&args, temporary.path());
    demo.logged(&["every byte was right"]).await;
    let line = demo.logged(&[" forward --uds-name ", "--listen"]).await;
    let words: Vec<String> =
        line.trim_end_matches('&').split_whitespace().skip(1).map(str::to_owned).collect();
    let forward = Process::start(&words);
    forward.logged(&["forwarding "]).await;
    demo.logged(&["curl -s --cacert", "https://localhost:"]).await;
    for name in ["# server", "# agent-a", "# agent-b"] {
        let line = demo.logged(&["/readyz?verbose", name]).await;
        let address = line.split('/').nth(2).and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(get(address, "/readyz").await.0, 200, "{name}");
    }
    demo.signal("INT");
    assert!(demo.ended(PATIENCE).await.success());
    let left = std::fs::read_dir(temporary.path()).expect("our directory").count();
    assert_eq!(left, 0, "files are left behind");
}

#[tokio::test]
async fn a_signal_in_the_middle_stops_everything() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let args = ["demo", "--bulk-mib", "100000", "--requests", "1", "--dials", "1"].map(str::to_owned);
    let mut demo = Process::start_in(&args, temporary.path());
    demo.logged(&["this process", "server"]).await;
    demo.signal("TERM");
    assert_eq!(demo.ended(PATIENCE).await.code(), Some(1));
    let left = std::fs::read_dir(temporary.path()).expect("our directory").count();
    assert_eq!(left, 0, "files are left behind");
}
