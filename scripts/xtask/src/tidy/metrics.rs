//! A metric that a document names exists: operators copy names into alerts, and an alert on nothing never fires.

use super::Finding;
use super::source::SourceFile;

/// Where families get their names.
const EXPORTED_BY: &str = "control/src/metrics.rs";

pub(crate) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    let Some(exported) = files.iter().find(|file| file.path == EXPORTED_BY) else { return };
    for file in files.iter().filter(|file| file.is_markdown()) {
        for (index, line) in file.lines().enumerate() {
            for family in families(line).filter(|family| !exported.text.contains(&format!("\"{family}\""))) {
                findings.push(Finding {
                    rule: "unknown-metric",
                    path: file.path.clone(),
                    line: index + 1,
                    message: format!("{EXPORTED_BY} exports no {family}"),
                });
            }
        }
    }
}

/// The names in code spans that look like a family's: `adit_` and more of a word. Crates are named with a `::` or in
/// `use`, histograms by their family.
fn families(line: &str) -> impl Iterator<Item = &str> {
    let spans = line.split('`').skip(1).step_by(2);
    spans.filter_map(|span| {
        let end = span.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(span.len());
        let (name, rest) = span.split_at(end);
        let whole = rest.is_empty() || rest.starts_with('{');
        (name.starts_with("adit_") && name.len() > "adit_".len() && whole).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::super::source::SourceFile;
    use super::{EXPORTED_BY, check};

    #[test]
    fn unknown_metrics_are_found() {
        let code = SourceFile::new(EXPORTED_BY, "(\"adit_agents\", 1)");
        let text = "`adit_agents` `adit_agents{x=\"y\"}` `adit_…` `adit_io::Driver`\n`adit_agent`\n";
        let mut findings = Vec::new();
        check(&[code, SourceFile::new("docs/A.md", text)], &mut findings);
        assert_eq!(findings.into_iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
    }
}
