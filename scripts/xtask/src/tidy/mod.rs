//! House rules, as a test.
//!
//! Each rule is a function from files to findings, so each has its own small tests; `cargo test -p xtask` and
//! `cargo xtask check` run all of them over the repository. A ban names what to use instead. What cannot obey is
//! listed in [`exceptions`] with a reason, and an exception that nothing needs any more is itself a finding.
//!
//! Deliberately absent: whatever rustfmt, clippy and rustc already say.

mod adr;
mod bans;
mod exceptions;
mod functions;
mod limits;
mod markdown;
mod metrics;
mod rust;
mod source;
mod text;

use std::fmt;
use std::io;
use std::path::Path;

use source::SourceFile;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The rule's name, as exceptions use it.
    pub(crate) rule: &'static str,
    /// From the root.
    pub(crate) path: String,
    /// From 1; 0 for the whole file.
    pub(crate) line: usize,
    /// What is wrong and what to do instead.
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} [{}]", self.path, self.line, self.message, self.rule)
    }
}

/// What a run found.
#[derive(Debug)]
pub(crate) struct Report {
    /// Broken rules, exceptions taken out.
    pub(crate) findings: Vec<Finding>,
    /// One line of figures.
    pub(crate) summary: String,
}

/// Applies every rule to the repository at `root`.
pub(crate) fn tidy(root: &Path) -> io::Result<Report> {
    let files = source::read_all(root)?;
    let mut findings = Vec::new();
    for file in &files {
        text::check(file, &mut findings);
        if file.is_rust() {
            rust::check(file, &mut findings);
            functions::check(file, &mut findings);
            bans::check(file, &mut findings);
        }
        if file.is_markdown() {
            markdown::check(file, root, &mut findings);
            adr::check(file, &mut findings);
        }
    }
    metrics::check(&files, &mut findings);
    let unused = limits::check(&files, &mut findings);
    let long = functions::ratchet(&files, &mut findings);
    let findings = exceptions::apply(findings);
    let rust: Vec<&SourceFile> = files.iter().filter(|file| file.is_rust()).collect();
    let lines: usize = rust.iter().map(|file| file.lines().count()).sum();
    let summary = format!(
        "{} files, {} of them Rust with {lines} lines; {long} functions above {} lines; \
         {unused} limits unused; {} findings",
        files.len(),
        rust.len(),
        functions::LINES_TARGET,
        findings.len()
    );
    Ok(Report { findings, summary })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_keeps_its_rules() {
        let report = super::tidy(&crate::run::root()).unwrap();
        let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
    }
}
