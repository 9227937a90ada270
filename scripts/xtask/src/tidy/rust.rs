//! What every Rust file keeps to: its size, its introduction, and where `unsafe` may be.

use super::Finding;
use super::source::SourceFile;

/// Most lines of a file. Past 300 it usually has two meanings.
const FILE_LINES_MAX: usize = 600;
/// Most characters of a line; rustfmt breaks code at 110, this is for what it leaves alone.
const LINE_CHARACTERS_MAX: usize = 120;
/// How far above an unsafe block its reason may start.
const SAFETY_LINES_MAX: usize = 12;
/// The one package with unsafe code.
const UNSAFE_HOME: &str = "dataplane/io/";

pub(crate) fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    let mut find = |rule, line, message: String| {
        findings.push(Finding { rule, path: file.path.clone(), line, message });
    };
    let count = file.lines().count();
    if count > FILE_LINES_MAX {
        find("file-length", 0, format!("{count} lines; split it by meaning, {FILE_LINES_MAX} are the most"));
    }
    if !file.lines().find(|line| !line.is_empty()).is_some_and(|line| line.starts_with("//!")) {
        find(
            "module-doc",
            1,
            "starts without a `//!` that says what it is for and what it does not do".into(),
        );
    }
    if is_crate_root(&file.path) && !file.code.contains("#![forbid(unsafe_code)]") {
        find("forbid-unsafe", 1, "a crate root outside dataplane/io needs #![forbid(unsafe_code)]".into());
    }
    for (number, line) in file.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        let characters = line.chars().count();
        let comment = line.trim_start().trim_start_matches(['/', '!']).trim_start();
        if characters > LINE_CHARACTERS_MAX && !comment.starts_with('|') && !line.contains("://") {
            find(
                "line-length",
                number,
                format!("{characters} characters; {LINE_CHARACTERS_MAX} are the most"),
            );
        }
    }
    for (number, line) in file.code.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        let trimmed = line.trim_start();
        if trimmed.starts_with("#[ignore]") {
            find("ignore-reason", number, "say why: #[ignore = \"…\"]".into());
        }
        if !has_word(line, "unsafe") {
            continue;
        }
        if !file.path.starts_with(UNSAFE_HOME) {
            find("unsafe", number, "unsafe code lives in dataplane/io and nowhere else".into());
        } else if needs_safety(line) && !explained(file, number) {
            find("safety-comment", number, "no `// SAFETY:` says why this is sound".into());
        }
    }
}

/// Roots of libraries and programs. Tests and benches are covered by the rule on `unsafe` itself.
fn is_crate_root(path: &str) -> bool {
    let root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs") || path.contains("src/bin/");
    root && !path.starts_with(UNSAFE_HOME)
}

/// Whether `word` stands alone somewhere in the line.
fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

/// Blocks and implementations claim soundness; declarations (`unsafe fn`, `unsafe trait`) pass the duty on.
fn needs_safety(line: &str) -> bool {
    line.contains("unsafe {") || line.contains("unsafe impl")
}

fn explained(file: &SourceFile, number: usize) -> bool {
    let from = number.saturating_sub(SAFETY_LINES_MAX);
    file.lines().skip(from).take(number - from).any(|line| line.contains("SAFETY:"))
}

#[cfg(test)]
mod tests {
    use super::super::source::SourceFile;
    use super::check;

    fn rules(path: &str, text: &str) -> Vec<(&'static str, usize)> {
        let mut findings = Vec::new();
        check(&SourceFile::new(path, text), &mut findings);
        findings.into_iter().map(|finding| (finding.rule, finding.line)).collect()
    }

    #[test]
    fn a_good_file_has_no_findings() {
        assert!(
            rules("control/src/lib.rs", "//! For this.\n#![forbid(unsafe_code)]\n// unsafe {\n").is_empty()
        );
        let io = "//! For this.\n// SAFETY: because.\nlet x = unsafe { y() };\n";
        assert!(rules("dataplane/io/src/a.rs", io).is_empty());
    }

    #[test]
    fn size_is_bounded() {
        let long = format!("//! For this.\n{}", "\n".repeat(600));
        assert_eq!(rules("a/src/a.rs", &long), [("file-length", 0)]);
        let wide = format!("//! For this.\n// {}\n//! | {}\n", "x".repeat(118), "x".repeat(200));
        assert_eq!(rules("a/src/a.rs", &wide), [("line-length", 2)]);
    }

    #[test]
    fn introductions_are_required() {
        assert_eq!(rules("a/src/a.rs", "use b;\n"), [("module-doc", 1)]);
        assert_eq!(rules("a/src/bin/b.rs", "//! For this.\n"), [("forbid-unsafe", 1)]);
        assert_eq!(rules("a/src/a.rs", "//! For this.\n#[ignore]\nfn b() {}\n"), [("ignore-reason", 2)]);
        assert!(rules("a/src/a.rs", "//! For this.\n#[ignore = \"slow\"]\nfn b() {}\n").is_empty());
    }

    #[test]
    fn unsafe_stays_at_home_and_is_explained() {
        assert_eq!(rules("a/src/a.rs", "//! For this.\nunsafe fn b() {}\n"), [("unsafe", 2)]);
        assert_eq!(
            rules("dataplane/io/src/a.rs", "//! For this.\nlet x = unsafe { y() };\n"),
            [("safety-comment", 2)]
        );
    }
}
