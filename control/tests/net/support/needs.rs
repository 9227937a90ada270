//! Whether this machine can run these tests at all, found out by trying.

use std::sync::OnceLock;

use super::netns::{Netns, run};

/// `Ok`, or the one line that says what is missing.
pub(crate) fn met() -> Result<(), String> {
    static MET: OnceLock<Result<(), String>> = OnceLock::new();
    MET.get_or_init(probe).clone()
}

/// Where continuous integration runs as root, a test that could not run is a failure.
pub(crate) fn must_be_met() -> bool {
    is_root() && std::env::var("CI").is_ok_and(|ci| ci == "true")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn probe() -> Result<(), String> {
    if !is_root() {
        return Err("needs root, to make network namespaces".to_owned());
    }
    for (program, package) in
        [("ip", "iproute2"), ("nft", "nftables"), ("ethtool", "ethtool"), ("conntrack", "conntrack")]
    {
        let version = if program == "ip" { "-V" } else { "--version" };
        run(program, &[version], "").map_err(|error| {
            format!("needs {program}: install {package}, or run cargo xtask set-up ({error})")
        })?;
    }
    let (one, other) = (Netns::try_new("probe")?, Netns::try_new("probe")?);
    let kernel = |error| format!("needs a kernel with veth, nftables, numgen and masquerade: {error}");
    one.try_ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", &other.prefix()[3]])
        .map_err(kernel)?;
    one.try_nft(
        "table inet adit {\n\
         counter seen {\n}\n\
         chain incoming {\n type filter hook input priority 0;\n\
         counter name seen\n numgen random mod 100 < 5 drop\n}\n\
         chain outgoing {\n type nat hook postrouting priority 100;\n\
         udp dport 1-65535 masquerade to :2000-3000\n}\n}\n",
    )
    .map_err(kernel)?;
    Ok(())
}
