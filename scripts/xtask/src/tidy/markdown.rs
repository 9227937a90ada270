//! Markdown: one title, and links that lead somewhere.

use std::fs;
use std::path::Path;

use super::Finding;
use super::source::SourceFile;

pub(crate) fn check(file: &SourceFile, root: &Path, findings: &mut Vec<Finding>) {
    let prose = prose(&file.text);
    let titles = prose.iter().filter(|(_, line)| line.starts_with("# ")).count();
    if titles != 1 {
        let message = format!("{titles} titles (`# …`); a page has one");
        findings.push(Finding { rule: "markdown-title", path: file.path.clone(), line: 1, message });
    }
    for (number, line) in prose {
        for target in links(line) {
            if let Some(problem) = broken(target, file, root) {
                let message = format!("the link {target} leads nowhere: {problem}");
                findings.push(Finding {
                    rule: "markdown-link",
                    path: file.path.clone(),
                    line: number,
                    message,
                });
            }
        }
    }
}

/// The lines outside fenced code, numbered from 1.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push((index + 1, line));
        }
    }
    lines
}

/// The targets of `[text](target)`, outside code spans.
fn links(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    // Every second piece between back-ticks is code.
    for piece in line.split('`').step_by(2) {
        for (at, _) in piece.match_indices("](") {
            if let Some(end) = piece[at + 2..].find(')') {
                found.push(&piece[at + 2..at + 2 + end]);
            }
        }
    }
    found
}

/// Why a link does not resolve; `None` if it does or leads outside.
fn broken(target: &str, file: &SourceFile, root: &Path) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let folder = Path::new(&file.path).parent().unwrap_or_else(|| Path::new(""));
    let full = root.join(folder).join(path);
    if !path.is_empty() && !full.exists() {
        return Some(String::from("no such file"));
    }
    let anchor = anchor?;
    let text = if path.is_empty() { file.text.clone() } else { fs::read_to_string(full).ok()? };
    let known = prose(&text).iter().any(|(_, line)| line.starts_with('#') && slug(line) == anchor);
    (!known).then(|| String::from("no such heading"))
}

/// The anchor that renderers give a heading: lower case, spaces to hyphens, punctuation gone.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::SourceFile;
    use super::{check, slug};

    fn rules(text: &str) -> Vec<(&'static str, usize)> {
        let mut findings = Vec::new();
        check(&SourceFile::new("README.md", text), &crate::run::root(), &mut findings);
        findings.into_iter().map(|finding| (finding.rule, finding.line)).collect()
    }

    #[test]
    fn a_page_has_one_title() {
        assert_eq!(rules("# a\n## b\n```\n# c\n```\n"), []);
        assert_eq!(rules("## b\n"), [("markdown-title", 1)]);
        assert_eq!(rules("# a\n# b\n"), [("markdown-title", 1)]);
    }

    #[test]
    fn links_resolve() {
        assert_eq!(rules("# a b\n[x](Cargo.toml) [y](#a-b) [z](https://example.com) `[c](d)`\n"), []);
        assert_eq!(rules("# a\n[x](nowhere.md)\n[y](#b)\n"), [("markdown-link", 2), ("markdown-link", 3)]);
    }

    #[test]
    fn headings_become_anchors() {
        assert_eq!(slug("## Threads, ports: `adit`"), "threads-ports-adit");
    }
}
