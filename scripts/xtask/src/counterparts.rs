//! `cargo xtask counterparts`: adit against kube-apiserver's own dialer, in Go, on both drivers; and `cargo xtask
//! kube`: the same with a whole kube-apiserver, which is built for it.

use std::path::Path;

use crate::run::{self, Done, Failure};

/// What old peers and clients do differs in what is said, not in what the kernel does: one driver is enough for it.
const ON_URING_ALONE: &str = "^Test(Old|Our|Duplicate|BasicHA|Reusable|SingleUse|GRPCCutOff|GRPCBlackHole)";

/// The modules with counterpart tests, what each of them is about, the driver that it runs on, and the tests that are
/// left to the other driver's run.
const TESTED: &[(&str, &str, &str, &str)] = &[
    (
        "control/tests/go",
        "egressselector v0.37.2, konnectivity-client v0.37.0, kubelet's streaming",
        "uring",
        "",
    ),
    (
        "control/tests/go",
        "egressselector v0.37.2 in both modes, kubelet's streaming",
        "epoll",
        ON_URING_ALONE,
    ),
    ("control/tests/go-v0.32", "egressselector v0.32.0", "uring", ""),
    ("control/tests/go-v0.34", "egressselector v0.34.0", "epoll", ""),
    ("control/tests/go-v0.36", "egressselector v0.36.0", "uring", ""),
];

/// The doubles of Konnectivity's agent and server, which prove themselves on each other.
const DOUBLES: (&str, &str) = ("control/tests/go/harness", "./serverdouble");

/// The module with kube-apiserver and kubectl.
const KUBE: &str = "control/tests/kube";

/// Every Go module of the repository: those with tests, what they share, and the server's double that the Rust tests
/// of adit-bench build for themselves.
pub(crate) const MODULES: &[&str] = &[
    "control/tests/go/harness",
    "control/tests/go",
    "control/tests/go-v0.32",
    "control/tests/go-v0.34",
    "control/tests/go-v0.36",
    "bench/tests/go",
    KUBE,
];

/// What kube-apiserver and kubectl are to call themselves: the version of the module that they are built from.
const KUBE_VERSION: &str = "-X k8s.io/component-base/version.gitVersion=v1.36.3";

/// Runs the Go tests once for each driver; where Go is absent one line says so.
pub(crate) fn counterparts() -> Done {
    let Some(go) = run::go() else {
        println!("── Go counterparts: skipped, Go is absent");
        return Ok(());
    };
    adit()?;
    let go = go.display().to_string();
    for module in MODULES.iter().filter(|module| **module != KUBE) {
        vet(&go, module)?;
    }
    let mut doubles = run::command(&go, &["test", "-count=1", "-timeout=5m", DOUBLES.1]);
    run::step("the doubles on each other", doubles.current_dir(run::root().join(DOUBLES.0)))?;
    let adit = run::target_folder().join("release/adit");
    for (module, what, driver, left_out) in TESTED {
        let mut test = run::command(&go, &["test", "-count=1", "-timeout=10m"]);
        if !left_out.is_empty() {
            test.args(["-skip", left_out]);
        }
        test.arg("./...").current_dir(run::root().join(module)).env("ADIT_BIN", &adit).env("ADIT_IO", driver);
        run::step(&format!("{what} on {driver}"), &mut test)?;
    }
    Ok(())
}

/// Builds kube-apiserver and kubectl, and runs adit with them once for each driver; each run goes over both
/// transports. Where something is absent that set-up cannot bring either, one line says so.
pub(crate) fn kube() -> Done {
    let Some(go) = run::go() else {
        println!("── kube-apiserver: skipped, Go is absent");
        return Ok(());
    };
    if !run::present("etcd") && !run::is_root()? {
        println!("── kube-apiserver: skipped, etcd is absent and only root can install it (etcd-server)");
        return Ok(());
    }
    adit()?;
    let go = go.display().to_string();
    vet(&go, KUBE)?;
    let folder = run::root().join(KUBE);
    let programs = run::target_folder().join("kube");
    build_kube(&go, &folder, &programs)?;
    for driver in ["uring", "epoll"] {
        // Without a package to test Go shows what the tests say, also of a skipped run.
        let mut test = run::command(&go, &["test", "-count=1", "-timeout=10m"]);
        test.current_dir(&folder).env("ADIT_KUBE_PROGRAMS", &programs);
        test.env("ADIT_BIN", run::target_folder().join("release/adit")).env("ADIT_IO", driver);
        run::step(&format!("kube-apiserver and kubectl on {driver}"), &mut test)?;
    }
    Ok(())
}

/// Builds the module's tools, which are kube-apiserver and kubectl. Go looks by itself whether there is anything to do.
fn build_kube(go: &str, folder: &Path, programs: &Path) -> Done {
    std::fs::create_dir_all(programs)?;
    let mut build = run::command(go, &["build", "-ldflags", KUBE_VERSION, "-o"]);
    build.arg(programs).arg("tool").current_dir(folder);
    run::step("building kube-apiserver and kubectl", &mut build)
}

fn adit() -> Done {
    run::step("the adit binary", &mut run::cargo(&["build", "--locked", "--release", "--bin", "adit"]))
}

/// Runs `go vet` in a module.
fn vet(go: &str, module: &str) -> Done {
    let folder = run::root().join(module);
    if !folder.join("go.mod").is_file() {
        return Err(Failure::new(format!("{module} has no go.mod")));
    }
    run::step(&format!("go vet {module}"), run::command(go, &["vet", "./..."]).current_dir(folder))
}
