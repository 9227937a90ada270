//! Network namespaces of a test's own: made, wired, spoiled and removed with the programs that an operator would use
//! (`ip`, `nft`, `ethtool`). Nothing here touches a namespace that it did not make.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Namespaces made by this process so far: part of their names.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A namespace with its loopback up, removed on drop.
#[derive(Debug)]
pub(crate) struct Netns {
    name: String,
    file: File,
}

/// What a counter of nftables has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Netns {
    /// A new one, or the complaint.
    pub(crate) fn try_new(role: &str) -> Result<Self, String> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("adit-{}-{number}-{role}", std::process::id());
        run("ip", &["netns", "add", &name], "")?;
        let file = File::open(format!("/run/netns/{name}")).map_err(|error| error.to_string());
        let made = file.map(|file| Self { name: name.clone(), file });
        if made.is_err() {
            let _ = run("ip", &["netns", "del", &name], "");
        }
        let made = made?;
        made.try_ip(&["link", "set", "lo", "up"])?;
        Ok(made)
    }

    pub(crate) fn new(role: &str) -> Self {
        Self::try_new(role).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What a command line begins with to run in here.
    pub(crate) fn prefix(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }

    /// `ip`, in here.
    pub(crate) fn try_ip(&self, args: &[&str]) -> Result<String, String> {
        run("ip", &[&["-n", &self.name], args].concat(), "")
    }

    pub(crate) fn ip(&self, args: &[&str]) {
        self.try_ip(args).unwrap_or_else(|error| panic!("{error}"));
    }

    /// `tc`, in here.
    pub(crate) fn try_tc(&self, args: &[&str]) -> Result<String, String> {
        run("tc", &[&["-n", &self.name], args].concat(), "")
    }

    /// Some other program, in here.
    pub(crate) fn try_run(&self, program: &str, args: &[&str], input: &str) -> Result<String, String> {
        run("ip", &[&["netns", "exec", &self.name, program], args].concat(), input)
    }

    /// Rules for nftables, in here.
    pub(crate) fn try_nft(&self, rules: &str) -> Result<String, String> {
        self.try_run("nft", &["-f", "-"], rules)
    }

    pub(crate) fn nft(&self, rules: &str) {
        self.try_nft(rules).unwrap_or_else(|error| panic!("{error}"));
    }

    /// The same, beside what the test does: streams that stand still meanwhile would be idle ones.
    pub(crate) async fn nft_beside(&self, rules: String) {
        let args = [&self.prefix()[1..], &["nft".to_owned(), "-f".to_owned(), "-".to_owned()]].concat();
        let done = tokio::task::spawn_blocking(move || {
            run("ip", &args.iter().map(String::as_str).collect::<Vec<_>>(), &rules)
        });
        done.await.expect("a task of ours").unwrap_or_else(|error| panic!("{error}"));
    }

    /// Removes every rule.
    pub(crate) fn heal(&self) {
        self.nft("flush ruleset\n");
    }

    /// A named counter of the table `inet adit`.
    pub(crate) fn counted(&self, counter: &str) -> Counted {
        let text = self.try_run("nft", &["list", "counter", "inet", "adit", counter], "");
        let text = text.unwrap_or_else(|error| panic!("{error}"));
        let after = |word: &str| {
            let rest = text.split(word).nth(1).and_then(|rest| rest.split_whitespace().next());
            rest.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {word} in {text}"))
        };
        Counted { packets: after("packets "), bytes: after("bytes ") }
    }

    /// A pair of devices of the same name, one in here and one in `other`, with these addresses, up.
    pub(crate) fn wire(&self, other: &Self, device: &str, here: &str, there: &str) {
        let pair = ["link", "add", device, "type", "veth", "peer", "name", device, "netns", &other.name];
        self.ip(&pair);
        for (end, address) in [(self, here), (other, there)] {
            end.ip(&["addr", "add", address, "dev", device]);
            end.ip(&["link", "set", device, "up"]);
        }
    }

    /// Does something on this thread in here: a socket made in it stays in here. Not to be held across an await.
    pub(crate) fn within<T>(&self, action: impl FnOnce() -> T) -> T {
        /// Takes the thread back, also when the action panics.
        struct Back(File);
        impl Drop for Back {
            fn drop(&mut self) {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("a thread may return to where it came from");
            }
        }
        let back = Back(File::open("/proc/thread-self/ns/net").expect("/proc is mounted"));
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter a namespace");
        let result = action();
        drop(back);
        result
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = run("ip", &["netns", "del", &self.name], "") {
            eprintln!("{error}");
        }
    }
}

/// Runs a program to its end; an error says what it complained about.
pub(crate) fn run(program: &str, args: &[&str], input: &str) -> Result<String, String> {
    let said = || format!("{program} {}", args.join(" "));
    // Where an administrator's programs are need not be on everybody's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut child = Command::new(program)
        .args(args)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", said()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input says why on standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| format!("{}: {error}", said()))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", said(), complaint.lines().next().unwrap_or("no word of why")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
