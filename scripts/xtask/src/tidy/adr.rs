//! Decision records: each says what was decided, whether it holds, and which number decided it.

use super::Finding;
use super::source::SourceFile;

/// What each record has, beside its title.
const PARTS: &[&str] = &["Status:", "## Decision", "## Measurement"];

pub(crate) fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    let Some(name) = file.path.strip_prefix("docs/adr/") else { return };
    let mut find = |message: String| {
        findings.push(Finding { rule: "decision-record", path: file.path.clone(), line: 1, message });
    };
    let number = name.split('-').next().unwrap_or_default();
    if number.len() != 4 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        find("a record's name starts with its number, in four digits".into());
    }
    for part in PARTS.iter().filter(|part| !file.lines().any(|line| line.starts_with(**part))) {
        find(format!("no line starts with `{part}`"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::SourceFile;
    use super::check;

    fn count(path: &str, text: &str) -> usize {
        let mut findings = Vec::new();
        check(&SourceFile::new(path, text), &mut findings);
        findings.len()
    }

    #[test]
    fn records_are_complete() {
        let good = "# 1. A\n\nStatus: accepted\n\n## Decision\n\n## Measurement\n";
        assert_eq!(count("docs/adr/0001-a.md", good), 0);
        assert_eq!(count("docs/adr/one.md", good), 1);
        assert_eq!(count("docs/adr/0001-a.md", "# 1. A\n"), 3);
        assert_eq!(count("docs/OTHER.md", "# A\n"), 0);
    }
}
