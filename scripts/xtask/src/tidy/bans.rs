//! What code may not say, and what it says instead.

use super::Finding;
use super::source::SourceFile;

/// Where a ban holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// In every Rust file.
    Everywhere,
    /// In `dataplane/src`, its tests excepted: a test may take one real instant as its base.
    SansIo,
}

/// A word that is banned.
struct Ban {
    /// Found in code, not in comments or literals; not inside a longer name.
    word: &'static str,
    scope: Scope,
    instead: &'static str,
}

const BANS: &[Ban] = &[
    Ban { word: "todo!", scope: Scope::Everywhere, instead: "finish it, or do not land it" },
    Ban { word: "unimplemented!", scope: Scope::Everywhere, instead: "finish it, or do not land it" },
    Ban { word: "dbg!", scope: Scope::Everywhere, instead: "tracing in control, an assertion in a test" },
    Ban {
        word: "thread::sleep",
        scope: Scope::Everywhere,
        instead: "wait for the condition itself, with a deadline",
    },
    Ban {
        word: "unbounded_channel",
        scope: Scope::Everywhere,
        instead: "a bounded channel whose limit has a name",
    },
    Ban { word: "SegQueue", scope: Scope::Everywhere, instead: "ArrayQueue: every queue is bounded" },
    Ban { word: "Instant::now", scope: Scope::SansIo, instead: "the `now` argument" },
    Ban {
        word: "SystemTime::now",
        scope: Scope::SansIo,
        instead: "an argument, or quinn-proto's TimeSource",
    },
    Ban { word: "rand::rng", scope: Scope::SansIo, instead: "the shard's seeded generator" },
    Ban { word: "rand::random", scope: Scope::SansIo, instead: "the shard's seeded generator" },
    Ban { word: "thread::spawn", scope: Scope::SansIo, instead: "control spawns threads; a shard is one" },
    Ban { word: "env::var", scope: Scope::SansIo, instead: "a field of the shard's configuration" },
    Ban { word: "std::net::UdpSocket", scope: Scope::SansIo, instead: "the Driver" },
    Ban { word: "std::net::TcpStream", scope: Scope::SansIo, instead: "the Driver" },
    Ban { word: "async fn", scope: Scope::SansIo, instead: "a state and a method that advances it" },
    Ban { word: "println!", scope: Scope::SansIo, instead: "an event to control" },
    Ban { word: "eprintln!", scope: Scope::SansIo, instead: "an event to control" },
];

pub(crate) fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    let sans_io = file.path.starts_with("dataplane/src/");
    let tests_from = file.tests_from();
    for (index, line) in file.code.lines().enumerate() {
        for ban in BANS {
            let applies = match ban.scope {
                Scope::Everywhere => true,
                Scope::SansIo => sans_io && index < tests_from,
            };
            if applies && says(line, ban.word) {
                findings.push(Finding {
                    rule: "ban",
                    path: file.path.clone(),
                    line: index + 1,
                    message: format!("`{}` is banned here; instead: {}", ban.word, ban.instead),
                });
            }
        }
    }
}

/// Whether the line contains the word, and not as part of a longer one.
fn says(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part);
        let after = line[at + word.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::super::source::SourceFile;
    use super::check;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let mut findings = Vec::new();
        check(&SourceFile::new(path, text), &mut findings);
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn banned_words_are_found_in_code_only() {
        assert_eq!(lines("a/src/a.rs", "todo!()\n// todo!()\n\"todo!()\"\nstd::thread::sleep(x)\n"), [1, 4]);
        assert_eq!(lines("a/src/a.rs", "my_todo!()\nthread::sleepy()\n"), []);
    }

    #[test]
    fn sans_io_bans_hold_outside_tests() {
        let text = "Instant::now()\n#[cfg(test)]\nmod tests {\nInstant::now()\n}\n";
        assert_eq!(lines("dataplane/src/shard/turn.rs", text), [1]);
        assert_eq!(lines("dataplane/io/src/uring/mod.rs", text), []);
        assert_eq!(lines("control/src/a.rs", text), []);
    }
}
