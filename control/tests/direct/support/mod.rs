//! What the tests are made of.

pub(crate) mod api;
pub(crate) mod client;
pub(crate) mod metrics;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod tunnel;

use std::time::{Duration, Instant};

/// The most that anything in these tests may take that is not measured.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a future that must end within [`PATIENCE`].
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Tries until `attempt` gives a value; fails after `limit`.
pub(crate) async fn until<T, F>(what: &str, limit: Duration, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
