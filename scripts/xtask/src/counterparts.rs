//! `cargo xtask counterparts`: adit against kube-apiserver's own dialer, in Go, on both drivers.

use crate::run::{self, Done, Failure};

/// Runs the Go tests once for each driver; where Go is absent one line says so.
pub(crate) fn counterparts() -> Done {
    let Some(go) = run::go() else {
        println!("── Go counterparts: skipped, Go is absent");
        return Ok(());
    };
    let folder = run::root().join("control/tests/go");
    if !folder.join("go.mod").is_file() {
        return Err(Failure::new("control/tests/go has no go.mod"));
    }
    run::step("the adit binary", &mut run::cargo(&["build", "--locked", "--release", "--bin", "adit"]))?;
    let go = go.display().to_string();
    run::step("go vet", run::command(&go, &["vet", "./..."]).current_dir(&folder))?;
    let adit = run::target_folder().join("release/adit");
    for driver in ["uring", "epoll"] {
        let mut test = run::command(&go, &["test", "-count=1", "-timeout=10m", "./..."]);
        test.current_dir(&folder).env("ADIT_BIN", &adit).env("ADIT_IO", driver);
        run::step(&format!("Go counterparts on {driver}"), &mut test)?;
    }
    Ok(())
}
