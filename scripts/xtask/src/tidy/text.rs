//! What no file may contain: paths of one machine, hosts of package registries, stray white space.

use super::Finding;
use super::source::SourceFile;

/// Paths that exist on somebody's machine only, put together here so that this file does not contain them.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
/// Hosts that packages come from: which one is the machine's configuration, not the repository's.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("proxy.golang", ".org"),
    concat!("sum.golang", ".org"),
    concat!("deb.debian", ".org"),
    concat!("pypi", ".org"),
    concat!("registry.npmjs", ".org"),
];

pub(crate) fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    let mut find = |rule, line, message: String| {
        findings.push(Finding { rule, path: file.path.clone(), line, message });
    };
    for (number, line) in file.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        for path in MACHINE_PATHS.iter().filter(|path| contains_path(line, path)) {
            find(
                "machine-path",
                number,
                format!("`{path}` is one machine's; use a relative path or a variable"),
            );
        }
        for host in REGISTRY_HOSTS.iter().filter(|host| line.contains(*host)) {
            find("registry-host", number, format!("`{host}`: where packages come from is not said here"));
        }
        if line.ends_with([' ', '\t']) {
            find("white-space", number, "white space at the end of the line".into());
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        find("white-space", file.lines().count(), "the last line has no end".into());
    }
}

/// Whether the path stands at its own root, not inside a longer one (`dataplane/…`, `https://…/…`).
fn contains_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        !line[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}'))
    })
}

#[cfg(test)]
mod tests {
    use super::super::source::SourceFile;
    use super::{MACHINE_PATHS, REGISTRY_HOSTS, check};

    fn rules(text: &str) -> Vec<&'static str> {
        let mut findings = Vec::new();
        check(&SourceFile::new("a.md", text), &mut findings);
        findings.into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn machine_paths_and_hosts_are_found() {
        assert_eq!(rules(&format!("see {}x\n", MACHINE_PATHS[0])), ["machine-path"]);
        assert_eq!(rules(&format!("see a{}x\n", MACHINE_PATHS[0])), [""; 0]);
        assert_eq!(rules(&format!("https://{}/x\n", REGISTRY_HOSTS[0])), ["registry-host"]);
    }

    #[test]
    fn white_space_is_found() {
        assert_eq!(rules("a \n"), ["white-space"]);
        assert_eq!(rules("a"), ["white-space"]);
        assert_eq!(rules("a\n"), [""; 0]);
    }
}
