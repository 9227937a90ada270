//! `/metrics` and the other endpoints, read with a few lines of HTTP.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::soon;

/// `GET path`: status and body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    get_over(soon("a connection", TcpStream::connect(address)).await.expect("it listens"), path).await
}

/// The same, over a connection that somebody else made.
pub(crate) async fn get_over(mut stream: TcpStream, path: &str) -> (u16, String) {
    soon("an HTTP answer", async {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an orderly end");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        (status, body.to_owned())
    })
    .await
}

/// Samples: name with labels, value.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// Scrapes.
    pub(crate) async fn scrape(address: SocketAddr) -> Self {
        Self::parse(&get(address, "/metrics").await)
    }

    /// Reads an answer to `/metrics`.
    pub(crate) fn parse((status, body): &(u16, String)) -> Self {
        assert_eq!(*status, 200, "{body}");
        let samples = body.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no value: {line:?}")))
        });
        Self(samples.collect())
    }

    /// The sum over a family's samples whose labels hold `label`, rounded.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and not negative")]
    pub(crate) fn sum(&self, family: &str, label: &str) -> u64 {
        let of_family = |name: &str| {
            name.strip_prefix(family).is_some_and(|labels| {
                (labels.is_empty() || labels.starts_with('{')) && labels.contains(label)
            })
        };
        self.0.iter().filter(|(name, _)| of_family(name)).map(|(_, value)| value).sum::<f64>().round() as u64
    }

    /// Whether there is such a family.
    pub(crate) fn has(&self, family: &str) -> bool {
        self.0.iter().any(|(name, _)| name == family || name.starts_with(&format!("{family}{{")))
    }
}
