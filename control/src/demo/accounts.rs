//! What a process cost and counted, seen from outside: `/proc/PID/stat` and its `/metrics`.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Clock ticks in a second as `/proc` counts them: `USER_HZ`, 100 on every architecture that Linux still builds for
/// servers (proc_pid_stat(5)).
const TICKS_PER_SECOND: f64 = 100.0;
/// A scrape takes milliseconds.
const SCRAPE_TIME_MAX: Duration = Duration::from_secs(10);

/// CPU seconds, user and system, that a process and its ended children have used.
///
/// # Errors
/// When there is no such process.
pub(crate) fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&stat).ok_or_else(|| io::Error::other("unexpected form of /proc/PID/stat"))
}

/// The second field is the program's name in parentheses and may hold anything; utime and stime are fields 14 and 15.
fn parse_stat(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (user, system): (u32, u32) = (fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?);
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

/// A `/metrics` document: samples by name and labels as written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Scrapes.
    ///
    /// # Errors
    /// The text to show.
    pub(crate) async fn scrape(address: SocketAddr) -> Result<Self, String> {
        let told = |what: &str| format!("cannot read metrics from {address}: {what}");
        let body = timeout(SCRAPE_TIME_MAX, get(address, "/metrics"))
            .await
            .map_err(|_| told("no answer"))?
            .map_err(|error| told(&error.to_string()))?;
        Ok(Self::parse(&body))
    }

    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// The sum over all samples of a family whose labels hold `label` (`name="value"`; empty: all).
    pub(crate) fn sum(&self, family: &str, label: &str) -> f64 {
        self.of(family).filter(|(labels, _)| labels.contains(label)).map(|(_, value)| value).sum()
    }

    /// The values of one label of a family, with the sample's value.
    pub(crate) fn by_label(&self, family: &str, label: &str) -> Vec<(String, f64)> {
        self.of(family).filter_map(|(labels, value)| Some((label_value(labels, label)?, value))).collect()
    }

    fn of<'a>(&'a self, family: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter_map(move |(name, value)| {
            let labels = name.strip_prefix(family)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }
}

/// The value of `label` in `{a="x",b="y"}`, unescaped.
fn label_value(labels: &str, label: &str) -> Option<String> {
    let at = ['{', ',']
        .iter()
        .find_map(|before| labels.find(&format!("{before}{label}=\"")).map(|at| at + label.len() + 3))?;
    let mut value = String::new();
    let mut rest = labels[at..].chars();
    loop {
        match rest.next()? {
            '"' => return Some(value),
            '\\' => value.push(match rest.next()? {
                'n' => '\n',
                other => other,
            }),
            c => value.push(c),
        }
    }
}

/// `GET` of a small document from a server of ours.
///
/// # Errors
/// The connection's, or what the status line says.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.lines().next().unwrap_or("");
    if status.contains(" 200 ") { Ok(body.to_owned()) } else { Err(io::Error::other(status.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stat_line_is_read_behind_the_name() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0 1";
        assert_eq!(parse_stat(stat), Some(4.0));
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
    }

    #[test]
    fn samples_are_found_by_family_and_label() {
        let text = "# HELP a x\na{op=\"send\",shard=\"0\"} 3\na{op=\"send\",shard=\"1\"} 4\nab 9\n\
                    d{driver=\"epoll\",fallback=\"x \\\"y\\\" z\"} 1\n";
        let metrics = Metrics::parse(text);
        assert!((metrics.sum("a", "op=\"send\"") - 7.0).abs() < 1e-9);
        assert!((metrics.sum("a", "shard=\"1\"") - 4.0).abs() < 1e-9);
        assert_eq!(metrics.by_label("d", "fallback"), vec![("x \"y\" z".to_owned(), 1.0)]);
        assert_eq!(metrics.by_label("d", "driver"), vec![("epoll".to_owned(), 1.0)]);
    }
}
