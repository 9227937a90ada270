//! `cargo xtask check`: everything that can be said without running adit.

use crate::run::{self, Done, Failure};
use crate::{deps, tidy};

/// Runs every check; the first failure ends it.
pub(crate) fn check() -> Done {
    run::step("formatting", &mut run::cargo(&["fmt", "--all", "--check"]))?;
    let deny = ["--", "-D", "warnings"];
    let clippy = ["clippy", "--locked", "--all-targets"];
    run::step("lints", run::cargo(&clippy).arg("--workspace").args(deny))?;
    // The packages with features; in a build of the whole workspace the programs would get the defects, too.
    let featured = ["--package=adit-io", "--package=adit-dataplane", "--package=adit-sim", "--all-features"];
    run::step("lints, every feature", run::cargo(&clippy).args(featured).args(deny))?;
    // These documents are for who works here, private items included: a link to one leads somewhere.
    let flags = "-D warnings -A rustdoc::private_intra_doc_links";
    let doc = ["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"];
    run::step("documentation", run::cargo(&doc).env("RUSTDOCFLAGS", flags))?;
    deps::deps()?;
    dependencies()?;
    tidy()
}

/// What `deny.toml` asks of the dependencies. The advisories are a repository of their own, which nothing here fetches:
/// not every machine may reach it.
fn dependencies() -> Done {
    if !run::has("cargo-deny") {
        let text = "cargo-deny is missing: `cargo xtask set-up` installs it";
        return if std::env::var_os("CI").is_some() {
            Err(Failure::new(text.to_owned()))
        } else {
            println!("── licences, bans, sources, advisories: not checked, {text}");
            Ok(())
        };
    }
    let deny = ["deny", "--offline", "--all-features", "check"];
    run::step("licences, bans, sources", run::cargo(&deny).args(["licenses", "bans", "sources"]))?;
    if run::cargo_home().join("advisory-dbs").is_dir() {
        run::step("advisories", run::cargo(&deny).arg("advisories"))
    } else {
        println!("── advisories: not checked, their database is not here (`cargo deny fetch db` brings it)");
        Ok(())
    }
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
