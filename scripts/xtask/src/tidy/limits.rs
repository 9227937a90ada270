//! A limit that nothing obeys is a lie: every constant of the limits file is used outside it.

use super::Finding;
use super::source::SourceFile;

/// Where the limits are.
const LIMITS: &str = "dataplane/src/limits.rs";
/// How many limits may still wait for the code that obeys them. Only ever lowered.
const UNUSED_MAX: usize = 0;

/// Counts the unused limits; one too many is a finding for each.
pub(crate) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) -> usize {
    let unused = unused(files);
    let count = unused.len();
    if count > UNUSED_MAX {
        findings.extend(unused);
    }
    count
}

fn unused(files: &[SourceFile]) -> Vec<Finding> {
    let Some(limits) = files.iter().find(|file| file.path == LIMITS) else { return Vec::new() };
    let mut findings = Vec::new();
    for (index, line) in limits.code.lines().enumerate() {
        let Some(name) = constant(line) else { continue };
        // Tests of a limit are not its use: somebody must obey it.
        let used = files.iter().any(|file| file.is_rust() && file.path != LIMITS && uses(file, name));
        if !used {
            findings.push(Finding {
                rule: "unused-limit",
                path: LIMITS.into(),
                line: index + 1,
                message: format!("nothing obeys {name}"),
            });
        }
    }
    findings
}

/// The name of the public constant that a line declares.
fn constant(line: &str) -> Option<&str> {
    line.strip_prefix("pub const ")?.split(':').next().map(str::trim).filter(|name| !name.starts_with("fn "))
}

fn uses(file: &SourceFile, name: &str) -> bool {
    let code = file.code.lines().take(file.tests_from());
    let part = |c: char| !c.is_alphanumeric() && c != '_';
    code.filter(|line| line.contains(name)).any(|line| line.split(part).any(|word| word == name))
}

#[cfg(test)]
mod tests {
    use super::super::source::SourceFile;
    use super::{LIMITS, unused};

    #[test]
    fn unused_limits_are_found() {
        let limits =
            SourceFile::new(LIMITS, "pub const A: u8 = 1;\npub const A_MAX: u8 = 2;\nassert!(A < A_MAX);\n");
        let user = SourceFile::new("dataplane/src/x.rs", "limits::A\n#[cfg(test)]\nmod tests {\nA_MAX\n}\n");
        let findings = unused(&[limits, user]);
        assert_eq!(findings.into_iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
    }
}
