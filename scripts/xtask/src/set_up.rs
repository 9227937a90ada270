//! `cargo xtask set-up`: what building and testing need, by name.
//!
//! Idempotent: looks first and installs only what is missing. Deliberately absent: Rust itself (without it this
//! does not run; `rust-toolchain.toml` makes rustup fetch the pinned version) and Go, whose tests are skipped, with
//! a line that says so, where it is absent.

use crate::counterparts;
use crate::run::{self, Done, Failure};

/// A program, and the Debian package that brings it.
struct Needed {
    program: &'static str,
    packages: &'static [&'static str],
    what_for: &'static str,
}

const NEEDED: &[Needed] = &[
    Needed { program: "cc", packages: &["gcc", "libc6-dev"], what_for: "compiling the cryptography library" },
    Needed { program: "curl", packages: &["curl", "ca-certificates"], what_for: "trying tunnels out" },
    Needed { program: "ip", packages: &["iproute2"], what_for: "tests in network namespaces" },
    Needed {
        program: "nft",
        packages: &["nftables"],
        what_for: "their loss, silence and address translation",
    },
    Needed {
        program: "conntrack",
        packages: &["conntrack"],
        what_for: "their forgetful address translation",
    },
    Needed { program: "ethtool", packages: &["ethtool"], what_for: "their devices without offloads" },
    Needed {
        program: "etcd",
        packages: &["etcd-server"],
        what_for: "kube-apiserver in tests; not to run as a service",
    },
    Needed { program: "haproxy", packages: &["haproxy"], what_for: "benchmarks beside one plain hop" },
    Needed { program: "ssh", packages: &["openssh-client"], what_for: "benchmarks beside one encrypted hop" },
    Needed {
        program: "sshd",
        packages: &["openssh-server"],
        what_for: "its other end; not to run as a service",
    },
    Needed { program: "setpriv", packages: &["util-linux"], what_for: "tests as an unprivileged user" },
];

/// The version of cargo-deny that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// Installs what is missing.
pub(crate) fn set_up() -> Done {
    debian_packages()?;
    rust_components()?;
    cargo_deny()?;
    run::step("crates", &mut run::cargo(&["fetch", "--locked"]))?;
    go_modules()
}

fn debian_packages() -> Done {
    let missing: Vec<&Needed> = NEEDED.iter().filter(|needed| !run::present(needed.program)).collect();
    if missing.is_empty() {
        println!("── Debian packages: nothing is missing");
        return Ok(());
    }
    for needed in &missing {
        println!("── {} is missing ({})", needed.program, needed.what_for);
    }
    let packages: Vec<&str> = missing.iter().flat_map(|needed| needed.packages).copied().collect();
    if !run::has("apt-get") {
        println!("   this is no Debian: install what brings the programs above yourself");
        return Ok(());
    }
    if !run::is_root()? {
        println!("   not root, so this cannot install them; run: apt-get install {}", packages.join(" "));
        return Ok(());
    }
    run::step(
        "package lists",
        run::command("apt-get", &["-q", "update"]).env("DEBIAN_FRONTEND", "noninteractive"),
    )?;
    let mut install = run::command("apt-get", &["-q", "install", "--yes", "--no-install-recommends"]);
    // The tests start their own etcd. In this runlevel, and with systemd offline, a package starts no service.
    install.env("RUNLEVEL", "1").env("SYSTEMD_OFFLINE", "1");
    install.args(&packages).env("DEBIAN_FRONTEND", "noninteractive");
    run::step(&format!("install {}", packages.join(" ")), &mut install)
}

fn rust_components() -> Done {
    for (component, probe) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if run::output(&mut run::cargo(&[probe, "--version"])).is_ok() {
            println!("── {component}: present");
        } else if run::has("rustup") {
            run::step(component, &mut run::command("rustup", &["component", "add", component]))?;
        } else {
            return Err(Failure::new(format!("{component} is missing and there is no rustup to add it")));
        }
    }
    Ok(())
}

fn cargo_deny() -> Done {
    if run::has("cargo-deny") {
        println!("── cargo-deny: present");
        return Ok(());
    }
    let install = ["install", "--locked", "--quiet", "cargo-deny", "--version", CARGO_DENY];
    run::step("cargo-deny, which takes some minutes to build", &mut run::cargo(&install))
}

fn go_modules() -> Done {
    let Some(go) = run::go() else {
        println!("── Go modules: Go is absent, its counterpart tests will be skipped");
        return Ok(());
    };
    let go = go.display().to_string();
    for module in counterparts::MODULES {
        let mut download = run::command(&go, &["mod", "download"]);
        run::step(&format!("Go modules of {module}"), download.current_dir(run::root().join(module)))?;
    }
    Ok(())
}
