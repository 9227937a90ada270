//! Network namespaces of our own: made, wired and removed with the programs that an operator would use (`ip`, `nft`,
//! `ethtool`), and entered by a thread for as long as it takes to make a socket or start a process.
//!
//! Nothing here touches a namespace that it did not make; their names carry the process that made them.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Namespaces made by this process so far: part of their names.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
    /// Whether it is removed with this value.
    ours: bool,
}

impl Netns {
    /// Makes one with its loopback up; it is removed on drop.
    ///
    /// # Errors
    /// What `ip` complains about.
    pub fn create(role: &str) -> io::Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("adit-bench-{}-{number}-{role}", std::process::id());
        run("ip", &["netns", "add", &name], "")?;
        let mut made = match Self::open(&name) {
            Ok(made) => made,
            Err(error) => {
                let _ = run("ip", &["netns", "del", &name], "");
                return Err(error);
            }
        };
        made.ours = true;
        made.ip(&["link", "set", "lo", "up"])?;
        Ok(made)
    }

    /// One that somebody else made and will remove.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn open(name: &str) -> io::Result<Self> {
        let path = format!("/run/netns/{name}");
        let file =
            File::open(&path).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
        Ok(Self { name: name.to_owned(), file, ours: false })
    }

    /// As `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip`, in here.
    ///
    /// # Errors
    /// What it complains about.
    pub fn ip(&self, args: &[&str]) -> io::Result<String> {
        run("ip", &[&["-n", &self.name], args].concat(), "")
    }

    /// Some other program, in here, with a text as its standard input.
    ///
    /// # Errors
    /// What it complains about.
    pub fn run(&self, program: &str, args: &[&str], input: &str) -> io::Result<String> {
        run("ip", &[&["netns", "exec", &self.name, program], args].concat(), input)
    }

    /// Sets a value below `/proc/sys/net`, in here.
    ///
    /// # Errors
    /// There is no such value, or the kernel refuses it; both are named.
    pub fn set(&self, name: &str, value: &str) -> io::Result<()> {
        let path = format!("/proc/sys/net/{}", name.replace('.', "/"));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{path} to {value:?}: {error}"));
        self.within(|| std::fs::write(&path, value))?.map_err(named)
    }

    /// Does something on this thread in here: a socket made in it stays in here, and so does a process started in it.
    ///
    /// # Errors
    /// The thread may not enter.
    ///
    /// # Panics
    /// The thread cannot return to where it came from; going on would be in the wrong network.
    pub fn within<T>(&self, action: impl FnOnce() -> T) -> io::Result<T> {
        /// Takes the thread back, also when the action panics.
        struct Back(File);
        impl Drop for Back {
            fn drop(&mut self) {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("a thread may return to where it came from");
            }
        }
        let back = Back(File::open("/proc/thread-self/ns/net")?);
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
        let result = action();
        drop(back);
        Ok(result)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        if let Err(error) = run("ip", &["netns", "del", &self.name], "") {
            // Nothing is left to be told where this cannot be.
            let _ = writeln!(io::stderr(), "adit-bench: {error}; remove it with: ip netns del {}", self.name);
        }
    }
}

/// The search path, with where an administrator's programs are: that need not be on everybody's.
#[must_use]
pub fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Where a program is: itself where it is a path, otherwise on [`search_path`].
#[must_use]
pub fn find_program(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = search_path();
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

/// Runs a program to its end and returns what it wrote.
///
/// # Errors
/// Names the command line, and what it complained about.
pub fn run(program: &str, args: &[&str], input: &str) -> io::Result<String> {
    let said = |error: String| io::Error::other(format!("{program} {}: {error}", args.join(" ")));
    let mut child = Command::new(program)
        .args(args)
        .env("PATH", search_path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| said(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input says why on standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| said(error.to_string()))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(said(complaint.lines().next().unwrap_or("no word of why").to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
