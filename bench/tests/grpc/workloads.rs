//! The load generator itself through a proxy in GRPC mode.

use std::process::Stdio;

use adit_bench::target::Target;
use tokio::task::JoinSet;

use crate::double::{Case, Double};
use crate::tunnels::{ANY_PORT, none_open};

const WORKLOADS: &[&str] = &[
    "bulk-up",
    "bulk-down",
    "bulk-both",
    "ping-pong",
    "dial",
    "idle",
    "slow-reader",
    "beside-bulk",
    "cut-off",
    "churn",
    "soak",
];

/// Loads at once: each is short, and what each waits for is not the CPU.
const AT_ONCE: usize = 4;

pub(crate) async fn every_workload_is_clean(case: Case) {
    let double = Double::start(case, &[]).await;
    let target = Target::start(ANY_PORT).await.unwrap();
    for some in WORKLOADS.chunks(AT_ONCE) {
        let mut loads = JoinSet::new();
        for &workload in some {
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_adit-bench"));
            command.args(["load", "--quiet", "--workload", workload, "--mode", "grpc", "--connections", "2"]);
            command.args(["--warm-up", "100ms", "--duration", "1500ms"]);
            command.args([
                "--proxy",
                &double.proxy.to_string(),
                "--target",
                &target.local_addr().to_string(),
            ]);
            if case.reuse {
                command.arg("--reuse");
            }
            let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
            loads.spawn(async move { (workload, output.await.unwrap()) });
        }
        while let Some(ended) = loads.join_next().await {
            let (workload, output) = ended.unwrap();
            // It ends well only where every byte was right and nothing failed.
            assert!(output.status.success(), "{workload}: {}", String::from_utf8_lossy(&output.stderr));
        }
        none_open(&target).await;
    }
    double.nothing_is_left().await;
}
