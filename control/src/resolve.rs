//! Host names to addresses: the system's resolver (so `/etc/hosts`, search domains and NSS count), on a bounded pool
//! of threads, with a deadline. It runs beside the control loop, never in it.
//!
//! Which of the addresses may be dialed is not decided here: the shard's policy sees every one of them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use adit_dataplane::limits::AGENT_DIAL_TIME_MAX;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Lookups that run at once: each holds a thread, for as long as the system's resolver takes.
pub(crate) const LOOKUPS_AT_ONCE_MAX: usize = 16;
/// Lookups that may wait for a thread.
const LOOKUPS_WAITING_MAX: usize = 4096;
/// Addresses of one answer that are kept.
const ADDRESSES_MAX: usize = 32;

/// The resolver. Clones share its bounds.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    deadline: Duration,
}

impl Resolver {
    /// A resolver that answers every question within a dial's time.
    pub(crate) fn new() -> Self {
        Self {
            running: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE_MAX)),
            waiting: Arc::new(Semaphore::new(LOOKUPS_WAITING_MAX)),
            deadline: AGENT_DIAL_TIME_MAX,
        }
    }

    /// The addresses of `name`, families alternating, the resolver's preferred family first.
    ///
    /// # Errors
    /// Go's words (`net.DNSError`), which kube-apiserver's users know: `lookup NAME: no such host`.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Err(format!("lookup {name}: server misbehaving: too many lookups wait"));
        };
        match timeout(self.deadline, self.lookup(name)).await {
            Ok(Ok(addresses)) if addresses.is_empty() => Err(format!("lookup {name}: no such host")),
            Ok(Ok(addresses)) => Ok(interleave(addresses)),
            Ok(Err(error)) => Err(go_text(name, &error)),
            Err(_) => Err(format!("lookup {name}: i/o timeout")),
        }
    }

    /// One question to the system. The permit goes with the thread: an abandoned lookup still counts as running.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.running).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let found = std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), 0))?;
            Ok(found.map(|address: SocketAddr| address.ip()).collect())
        });
        asked.await.map_err(io::Error::other)?
    }
}

/// Alternates the families, starting with that of the first answer (RFC 8305 section 4), each address once.
fn interleave(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut seen = Vec::new();
    for address in addresses {
        if seen.len() < ADDRESSES_MAX && !seen.contains(&address) {
            seen.push(address);
        }
    }
    let Some(first_is_v6) = seen.first().map(IpAddr::is_ipv6) else { return seen };
    let (preferred, other): (Vec<IpAddr>, Vec<IpAddr>) =
        seen.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let mut out = Vec::with_capacity(preferred.len() + other.len());
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    loop {
        let before = out.len();
        out.extend(preferred.next());
        out.extend(other.next());
        if out.len() == before {
            return out;
        }
    }
}

/// The error as Go's resolver words it. The C library's text is all there is to go by: the standard library drops
/// the number (gai_strerror(3)).
fn go_text(name: &str, error: &io::Error) -> String {
    let text = error.to_string();
    let reason = text.rsplit_once(": ").map_or(text.as_str(), |(_, reason)| reason);
    let missing = ["not known", "No address associated", "does not resolve", "Name does not", "no such host"];
    if missing.iter().any(|m| reason.contains(m)) || error.kind() == io::ErrorKind::InvalidInput {
        format!("lookup {name}: no such host")
    } else {
        format!("lookup {name}: {reason}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_alternate_and_duplicates_go() {
        let got =
            interleave(vec![ip("::1"), ip("::2"), ip("10.0.0.1"), ip("::1"), ip("10.0.0.2"), ip("10.0.0.3")]);
        let want: Vec<IpAddr> =
            ["::1", "10.0.0.1", "::2", "10.0.0.2", "10.0.0.3"].into_iter().map(ip).collect();
        assert_eq!(got, want);
        assert!(interleave(Vec::new()).is_empty());
    }

    #[test]
    fn errors_are_worded_as_go_words_them() {
        let error = |text: &str| io::Error::other(text.to_owned());
        let table = [
            ("failed to lookup address information: Name or service not known", "lookup x.y: no such host"),
            (
                "failed to lookup address information: No address associated with hostname",
                "lookup x.y: no such host",
            ),
            (
                "failed to lookup address information: Temporary failure in name resolution",
                "lookup x.y: Temporary failure in name resolution",
            ),
        ];
        for (given, want) in table {
            assert_eq!(go_text("x.y", &error(given)), want);
        }
    }

    #[tokio::test]
    async fn localhost_resolves() {
        let found = Resolver::new().resolve("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[tokio::test]
    async fn a_lookup_that_finds_no_thread_in_time_is_a_timeout() {
        let resolver = Resolver { deadline: Duration::from_millis(20), ..Resolver::new() };
        let _all = Arc::clone(&resolver.running).acquire_many_owned(16).await.unwrap();
        assert_eq!(resolver.resolve("localhost").await, Err("lookup localhost: i/o timeout".to_owned()));
    }
}
