//! How many servers there are, by their leases: for an agent whose servers are behind one address.
//!
//! Upstream's agents watch. These ask four times a minute and are answered from the API's cache: a watch of each agent
//! costs the API more than a list of a few objects.

use std::time::Duration;

use adit_dataplane::port::ServerCount;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client};
use rand::RngExt as _;
use tokio::sync::mpsc;

use super::in_time;
use super::lease::is_valid;
use crate::supervise::{Finding, Post};

/// Between two counts; shortened at random by up to a fifth, so that agents do not ask in step.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);
/// Until the answer must be there.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// `--count-server-leases` and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counting {
    /// `--lease-namespace`.
    pub(crate) namespace: String,
    /// `--lease-label-selector`.
    pub(crate) selector: String,
    /// `--server-count-source=max`: what servers say counts where it is more.
    pub(crate) at_least: bool,
}

/// Counts until the loop has ended. A count that fails leaves the one before; there is always one server.
pub(crate) async fn keep_counting(client: Client, counting: Counting, findings: mpsc::Sender<Finding>) {
    let api = Api::<Lease>::namespaced(client, &counting.namespace);
    let params = ListParams::default().labels(&counting.selector).match_any();
    let (mut known, mut has_failed) = (None, false);
    loop {
        match in_time(ANSWER_TIME_MAX, api.list(&params)).await {
            Ok(leases) => {
                has_failed = false;
                let now = Timestamp::now();
                let valid = leases.items.iter().filter(|lease| is_valid(lease, now)).count();
                let count = u32::try_from(valid).unwrap_or(u32::MAX).max(1);
                if known.replace(count) != Some(count) {
                    tracing::info!(servers = count, "servers by their leases");
                    let count = if counting.at_least {
                        ServerCount::AtLeast(count)
                    } else {
                        ServerCount::Instead(count)
                    };
                    if findings.send(Post::ServerCount(count).into()).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut has_failed, true) {
                    let namespace = &counting.namespace;
                    let remedy = "let the agent's service account list leases there, and check the selector";
                    tracing::warn!(
                        namespace,
                        error,
                        remedy,
                        "servers' leases cannot be counted: the count stays"
                    );
                }
            }
        }
        let pause = COUNT_INTERVAL.mul_f64(rand::rng().random_range(0.8..1.0));
        tokio::time::sleep(pause).await;
    }
}
