//! `cargo xtask check`: everything that can be said without running adit.

use crate::run::{self, Done, Failure};
use crate::{deps, tidy};

/// Runs every check; the first failure ends it.
pub(crate) fn check() -> Done {
    run::step("formatting", &mut run::cargo(&["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--locked", "--workspace", "--all-targets"];
    run::step("lints", run::cargo(&clippy).args(["--", "-D", "warnings"]))?;
    run::step("lints, every feature", run::cargo(&clippy).args(["--all-features", "--", "-D", "warnings"]))?;
    let doc = ["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"];
    run::step("documentation", run::cargo(&doc).env("RUSTDOCFLAGS", "-D warnings"))?;
    deps::deps()?;
    if run::has("cargo-deny") {
        run::step("licences, advisories, bans", &mut run::cargo(&["deny", "--all-features", "check"]))?;
    } else {
        println!("── licences, advisories, bans: not checked, cargo-deny is not installed");
    }
    tidy()
}

/// Checks the house rules.
pub(crate) fn tidy() -> Done {
    println!("── house rules");
    let report = tidy::tidy(&run::root())?;
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("   {}", report.summary);
    match report.findings.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} house rules are broken"))),
    }
}
