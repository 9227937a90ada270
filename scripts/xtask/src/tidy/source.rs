//! The files that rules look at, and a view of Rust code without its comments and literals.

use std::fs;
use std::io;
use std::path::Path;

/// A file of the repository.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// Rust only: the text with comments and the insides of literals blanked, line by line the same length. What
    /// is left is code.
    pub(crate) code: String,
}

impl SourceFile {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let code = if path.ends_with(".rs") { code_only(&text) } else { String::new() };
        Self { path, text, code }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    pub(crate) fn lines(&self) -> std::str::Lines<'_> {
        self.text.lines()
    }

    /// The line from which on there is only test code; past the end if there is none.
    pub(crate) fn tests_from(&self) -> usize {
        if self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/benches/")
        {
            return 0;
        }
        let mut lines = self.code.lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let next = lines.peek().map_or("", |(_, next)| next.trim_start());
            if line.trim_start().starts_with("#[cfg(test)]")
                && next.starts_with("mod ")
                && next.ends_with('{')
            {
                return number;
            }
        }
        usize::MAX
    }
}

/// Every text file below `root`, sorted, without build output, version control, locks and fuzzing corpora, whose
/// files are what they are byte by byte.
pub(crate) fn read_all(root: &Path) -> io::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let Ok(relative) = path.strip_prefix(root) else { continue };
            let name = relative.to_string_lossy().replace('\\', "/");
            let fixed = name.ends_with("go.sum") || name.ends_with("fuzz/corpus");
            if fixed || matches!(name.as_str(), ".git" | "target" | "Cargo.lock") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = String::from_utf8(fs::read(&path)?) {
                files.push(SourceFile::new(name, text));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Blanks comments and the insides of string and character literals; keeps every line's length in characters.
fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The end of the comment or literal that starts at `at`; `at` itself where none does.
fn skip(chars: &[char], at: usize) -> usize {
    let peek = |ahead: usize| chars.get(at + ahead).copied().unwrap_or('\0');
    match chars[at] {
        '/' if peek(1) == '/' => find(chars, at, |c| c == '\n'),
        '/' if peek(1) == '*' => block_comment(chars, at),
        '"' => string(chars, at + 1),
        'r' if !continues_word(chars, at) => {
            let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
            if peek(1 + hashes) == '"' { raw_string(chars, at + 2 + hashes, hashes) } else { at }
        }
        '\'' if peek(1) == '\\' => find(chars, at + 3, |c| c == '\'') + 1,
        '\'' if peek(2) == '\'' => at + 3,
        _ => at,
    }
    .min(chars.len())
}

/// Whether the character before belongs to the same word (`b` and `c` prefixes of literals do not count).
fn continues_word(chars: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map_or(' ', |index| chars[index]);
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let prefix = matches!(before(1), 'b' | 'c') && !word(before(2));
    word(before(1)) && !prefix
}

fn find(chars: &[char], from: usize, stop: impl Fn(char) -> bool) -> usize {
    chars.iter().skip(from).position(|&c| stop(c)).map_or(chars.len(), |index| from + index)
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut at, mut depth) = (at + 2, 1);
    while at < chars.len() && depth > 0 {
        let next = chars.get(at + 1).copied().unwrap_or('\0');
        match (chars[at], next) {
            ('/', '*') => (at, depth) = (at + 2, depth + 1),
            ('*', '/') => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

fn string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(chars: &[char], mut at: usize, hashes: usize) -> usize {
    while at < chars.len() {
        if chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::{SourceFile, code_only};

    #[test]
    fn comments_and_literals_are_blanked() {
        assert_eq!(code_only("a // b\nc /* d /* e */ f */ g"), "a     \nc                   g");
        assert_eq!(code_only(r#"x("a\"b", 'c', '\'', b"d") y"#), r"x(      ,    ,     , b   ) y");
        assert_eq!(
            code_only("f<'a>(&'a str, r#\"q\"q\"#, br\"z\") for"),
            "f<'a>(&'a str,         , b    ) for"
        );
        assert_eq!(code_only("\"a\nb\" c"), "  \n   c");
    }

    #[test]
    fn test_code_starts_where_it_says() {
        let file = SourceFile::new("x/src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n}\n");
        assert_eq!(file.tests_from(), 1);
        assert_eq!(SourceFile::new("x/tests/a.rs", "fn a() {}\n").tests_from(), 0);
        assert_eq!(SourceFile::new("x/src/a.rs", "#[cfg(test)]\nmod tests;\n").tests_from(), usize::MAX);
    }
}
