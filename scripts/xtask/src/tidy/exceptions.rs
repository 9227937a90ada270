//! Who need not obey which rule, and why.

use super::Finding;

/// One file's release from one rule.
struct Exception {
    rule: &'static str,
    path: &'static str,
    /// What the finding's message contains, so that a release from one ban is none from the others.
    about: &'static str,
    /// For the reader; an exception without a good one is a rule that should change.
    #[allow(dead_code, reason = "the reason is written for people")]
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        rule: "ban",
        path: "dataplane/io/src/uring/mod.rs",
        about: "thread::sleep",
        reason: "a closed ring gives its locked memory back in the background, and nothing tells when; only at a start",
    },
    Exception {
        rule: "ban",
        path: "dataplane/benches/agents.rs",
        about: "thread::sleep",
        reason: "time in which nothing happens is what it measures",
    },
];

impl Exception {
    fn covers(&self, finding: &Finding) -> bool {
        finding.rule == self.rule && finding.path == self.path && finding.message.contains(self.about)
    }
}

/// Takes the excepted findings out, and adds one for every exception that nothing needs.
pub(crate) fn apply(findings: Vec<Finding>) -> Vec<Finding> {
    apply_these(findings, EXCEPTIONS)
}

fn apply_these(mut findings: Vec<Finding>, exceptions: &[Exception]) -> Vec<Finding> {
    for exception in exceptions {
        let before = findings.len();
        findings.retain(|finding| !exception.covers(finding));
        if findings.len() == before {
            findings.push(Finding {
                rule: "exception",
                path: exception.path.into(),
                line: 0,
                message: format!(
                    "needs no exception from `{}` any more: take it off the list",
                    exception.rule
                ),
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::{Exception, apply_these};

    #[test]
    fn exceptions_release_one_file_and_go_when_not_needed() {
        let finding = |path: &str| Finding { rule: "a", path: path.into(), line: 1, message: String::new() };
        let exception = |path| Exception { rule: "a", path, about: "", reason: "" };
        let left = apply_these(vec![finding("x"), finding("y")], &[exception("x")]);
        assert_eq!(left, [finding("y")]);
        let left = apply_these(vec![], &[exception("x")]);
        assert_eq!(left.first().map(|finding| finding.rule), Some("exception"));
    }
}
