//! The dependency direction: control → dataplane → io, and what must not be reachable from where.
//!
//! Asked of `cargo tree`, so that it is about what is built and not about what a manifest seems to say. A new
//! dependency that drags a forbidden one along fails here, with the path.

use std::collections::BTreeSet;

use crate::run::{self, Done, Failure};

/// What a package's normal and build dependencies, direct or not, must not contain.
struct Rule {
    package: &'static str,
    never: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        package: "adit-io",
        never: &[
            "adit-dataplane",
            "adit-sim",
            "adit-control",
            "adit-bench",
            "quinn",
            "quinn-proto",
            "rustls",
            "tokio",
        ],
        why: "the kernel seam knows no protocol",
    },
    Rule {
        package: "adit-dataplane",
        never: &[
            "adit-sim",
            "adit-control",
            "adit-bench",
            "tokio",
            "tonic",
            "kube",
            "hyper",
            "prometheus",
            "quinn",
            "async-std",
            "smol",
            "mio",
        ],
        why: "the data plane is sans-IO: no runtime, no Kubernetes, no metrics library",
    },
    Rule {
        package: "adit-sim",
        never: &["adit-control", "adit-bench", "tokio"],
        why: "a simulated world has one thread and no runtime",
    },
    Rule {
        package: "adit-control",
        never: &["adit-sim", "adit-fuzz", "openssl", "native-tls", "tonic"],
        why: "production builds contain no simulator, no fuzzer, and one TLS library",
    },
    Rule {
        package: "adit-fuzz",
        never: &["adit-io", "adit-dataplane", "adit-sim", "adit-control", "adit-bench"],
        why: "every package's tests may use it",
    },
    Rule {
        package: "adit-bench",
        never: &["adit-io", "adit-dataplane", "adit-sim", "adit-control"],
        why: "a judge does not link what it judges",
    },
];

/// Packages that only the named ones may depend on directly.
const RESERVED: &[(&str, &[&str])] = &[("io-uring", &["adit-io"]), ("libc", &["adit-io"])];

/// The packages of this repository.
const OURS: &[&str] =
    &["adit-io", "adit-dataplane", "adit-fuzz", "adit-sim", "adit-control", "adit-bench", "xtask"];

/// Checks every rule.
pub(crate) fn deps() -> Done {
    println!("── dependency direction");
    let mut broken = Vec::new();
    for rule in RULES {
        let reachable = names(&tree(&["--package", rule.package, "--edges", "normal,build"])?);
        for name in rule.never.iter().filter(|name| reachable.contains(**name)) {
            let path = tree(&["--package", rule.package, "--edges", "normal,build", "--invert", name]);
            let path = path.unwrap_or_default();
            broken.push(format!("{} depends on {name} ({}):\n{path}", rule.package, rule.why));
        }
    }
    for package in OURS {
        let direct = names(&tree(&["--package", package, "--edges", "normal,build,dev", "--depth", "1"])?);
        for (reserved, allowed) in RESERVED {
            if direct.contains(*reserved) && !allowed.contains(package) {
                broken.push(format!(
                    "{package} depends on {reserved}, which is for {} alone",
                    allowed.join(", ")
                ));
            }
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(Failure::new(broken.join("\n"))) }
}

/// `cargo tree` without the drawing.
fn tree(arguments: &[&str]) -> Result<String, Failure> {
    let mut all = vec!["tree", "--locked", "--prefix", "none", "--format", "{p}"];
    all.extend_from_slice(arguments);
    run::output(&mut run::cargo(&all))
}

/// The first word of each line: a package's name.
fn names(tree: &str) -> BTreeSet<String> {
    let words = tree.lines().filter_map(|line| line.split(' ').next());
    words.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn names_are_the_first_words() {
        let found = names("adit-io v0.1.0 (/somewhere)\nbytes v1.12.0\n\nlibc v0.2.1 (*)\n");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["adit-io", "bytes", "libc"]);
    }

    #[test]
    fn the_direction_holds() {
        super::deps().map_err(|failure| failure.to_string()).unwrap();
    }
}
