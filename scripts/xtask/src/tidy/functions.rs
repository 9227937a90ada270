//! The length of functions: a ceiling, and a ratchet on how many are longer than a screen.

use super::Finding;
use super::source::SourceFile;

/// A screen. Longer ones are the exception, and counted.
pub(crate) const LINES_TARGET: usize = 70;
/// Most lines of a function, signature included.
const LINES_MAX: usize = 100;
/// How many functions may be longer than [`LINES_TARGET`]. Only ever lowered.
const ABOVE_TARGET_MAX: usize = 4;

/// A function: its name, the line of its `fn`, and how many lines it takes.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

pub(crate) fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    for function in functions(&file.code).into_iter().filter(|function| function.lines > LINES_MAX) {
        let message = format!("`{}` has {} lines; {LINES_MAX} are the most", function.name, function.lines);
        findings.push(Finding {
            rule: "function-length",
            path: file.path.clone(),
            line: function.line,
            message,
        });
    }
}

/// Counts the functions above the target; one too many is a finding that names them all.
pub(crate) fn ratchet(files: &[SourceFile], findings: &mut Vec<Finding>) -> usize {
    let mut long = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let above = functions(&file.code).into_iter().filter(|function| function.lines > LINES_TARGET);
        long.extend(above.map(|function| format!("{}:{} {}", file.path, function.line, function.lines)));
    }
    if long.len() > ABOVE_TARGET_MAX {
        let message = format!(
            "{} functions have more than {LINES_TARGET} lines, {ABOVE_TARGET_MAX} may: {}",
            long.len(),
            long.join(", ")
        );
        findings.push(Finding {
            rule: "function-ratchet",
            path: "scripts/xtask/src/tidy/functions.rs".into(),
            line: 0,
            message,
        });
    }
    long.len()
}

/// Every function with a body, inner ones as well.
fn functions(code: &str) -> Vec<Function> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("fn ").map(|index| from + index) {
        from = at + 3;
        let starts_word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let name: String = code[from..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&bytes[from..]) {
            let line = code[..at].matches('\n').count() + 1;
            let lines = code[at..from + end].matches('\n').count() + 1;
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// Where the body ends, counted from the name; `None` for a declaration without one.
fn body_end(bytes: &[u8]) -> Option<usize> {
    let (mut nesting, mut braces) = (0_usize, 0_usize);
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'(' | b'[' => nesting += 1,
            b')' | b']' => nesting = nesting.saturating_sub(1),
            b';' if nesting == 0 && braces == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::source::SourceFile;
    use super::{ABOVE_TARGET_MAX, LINES_MAX, LINES_TARGET, check, functions, ratchet};

    fn function(name: &str, lines: usize) -> String {
        format!("fn {name}() {{{}}}\n", "\n".repeat(lines - 1))
    }

    #[test]
    fn functions_are_found_with_their_lines() {
        let code = "trait T { fn a(); }\npub fn b(x: [u8; 2]) -> fn() {\n  { }\n}\nfn_c();\n";
        let found: Vec<_> = functions(code).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("b".to_owned(), 2, 3)]);
    }

    #[test]
    fn the_ceiling_holds() {
        let mut findings = Vec::new();
        check(&SourceFile::new("a.rs", function("ok", LINES_MAX)), &mut findings);
        assert!(findings.is_empty());
        check(&SourceFile::new("a.rs", function("long", LINES_MAX + 1)), &mut findings);
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn the_ratchet_counts() {
        let text = function("long", LINES_TARGET + 1).repeat(ABOVE_TARGET_MAX + 1);
        let mut findings = Vec::new();
        assert_eq!(ratchet(&[SourceFile::new("a.rs", text)], &mut findings), ABOVE_TARGET_MAX + 1);
        assert_eq!(findings.len(), 1);
        findings.clear();
        ratchet(&[SourceFile::new("a.rs", function("fine", LINES_TARGET))], &mut findings);
        assert!(findings.is_empty());
    }
}
