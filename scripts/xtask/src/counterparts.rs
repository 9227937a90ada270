//! `cargo xtask counterparts`: adit against kube-apiserver's own dialer, in Go, on both drivers.

use crate::run::{self, Done, Failure};

/// The modules with counterpart tests, and what each of them is about.
const TESTED: &[(&str, &str)] = &[
    ("control/tests/go", "egressselector v0.37.2 and kubelet's streaming"),
    ("control/tests/go-old", "egressselector v0.32.0"),
];

/// Every Go module of the repository: those with tests and what they share.
pub(crate) const MODULES: &[&str] = &["control/tests/go/harness", "control/tests/go", "control/tests/go-old"];

/// Runs the Go tests once for each driver; where Go is absent one line says so.
pub(crate) fn counterparts() -> Done {
    let Some(go) = run::go() else {
        println!("── Go counterparts: skipped, Go is absent");
        return Ok(());
    };
    run::step("the adit binary", &mut run::cargo(&["build", "--locked", "--release", "--bin", "adit"]))?;
    let go = go.display().to_string();
    for module in MODULES {
        vet(&go, module)?;
    }
    let adit = run::target_folder().join("release/adit");
    for driver in ["uring", "epoll"] {
        for (module, what) in TESTED {
            let mut test = run::command(&go, &["test", "-count=1", "-timeout=10m", "./..."]);
            test.current_dir(run::root().join(module)).env("ADIT_BIN", &adit).env("ADIT_IO", driver);
            run::step(&format!("{what} on {driver}"), &mut test)?;
        }
    }
    Ok(())
}

/// Runs `go vet` in a module.
pub(crate) fn vet(go: &str, module: &str) -> Done {
    let folder = run::root().join(module);
    if !folder.join("go.mod").is_file() {
        return Err(Failure::new(format!("{module} has no go.mod")));
    }
    run::step(&format!("go vet {module}"), run::command(go, &["vet", "./..."]).current_dir(folder))
}
