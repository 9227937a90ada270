//! A server's lease: written, renewed, taken back at the end; and leases of servers that are gone, removed.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Api, Client};
use rand::RngExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::in_time;
use super::lease::{Own, is_valid};

/// Between renewals, and up to a twenty-fifth more.
const RENEW_INTERVAL: Duration = Duration::from_secs(15);
/// After a failure, at first; doubled with each further one.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// See [`RETRY_INTERVAL`].
const RETRY_INTERVAL_MAX: Duration = Duration::from_secs(7);
/// Until one answer of the API's must be there.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// What taking the lease back may take at the end.
const END_TIME_MAX: Duration = Duration::from_secs(2);

/// A lease that is kept until [`Self::end`].
#[derive(Debug)]
pub(crate) struct Kept {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Kept {
    /// Begins to keep a lease.
    pub(crate) fn begin(client: Client, own: Own) -> Self {
        let (stop, stopped) = oneshot::channel();
        let api = Api::namespaced(client, &own.namespace);
        Self { stop, task: tokio::spawn(Keeper { api, own, known: None }.run(stopped)) }
    }

    /// Takes it back: agents need not look for this server any more.
    pub(crate) async fn end(self) {
        // It may have ended by itself only by panicking.
        let _ = self.stop.send(());
        if tokio::time::timeout(END_TIME_MAX, self.task).await.is_err() {
            tracing::warn!("the lease could not be taken back: it expires by itself");
        }
    }
}

struct Keeper {
    api: Api<Lease>,
    own: Own,
    /// As it was written last.
    known: Option<Lease>,
}

impl Keeper {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        // Of failures in a row; `None` before the first attempt.
        let mut failures: Option<u32> = None;
        loop {
            let result = in_time(ANSWER_TIME_MAX, self.renew()).await;
            self.tell(&result, failures);
            let in_a_row = if result.is_ok() { 0 } else { failures.unwrap_or(0).saturating_add(1) };
            failures = Some(in_a_row);
            if result.is_ok()
                && let Err(error) = in_time(ANSWER_TIME_MAX, self.remove_expired()).await
            {
                tracing::debug!(error, "leases of servers that are gone could not be removed");
            }
            tokio::select! {
                () = tokio::time::sleep(pause(in_a_row)) => {}
                _ = &mut stopped => break,
            }
        }
        let (name, params) = (self.own.name(), DeleteParams::default());
        if let Err(error) = in_time(ANSWER_TIME_MAX, self.api.delete(&name, &params)).await {
            tracing::debug!(error, "the lease could not be taken back");
        }
    }

    /// Of many attempts alike the first.
    fn tell(&self, result: &Result<(), String>, failures_before: Option<u32>) {
        let (lease, namespace) = (self.own.name(), &self.own.namespace);
        match result {
            Ok(()) if failures_before != Some(0) => tracing::info!(lease, namespace, "the lease is kept"),
            Err(error) if matches!(failures_before, None | Some(0)) => {
                let remedy = "let its user get, create, update, list and delete leases there";
                tracing::warn!(
                    lease,
                    namespace,
                    error,
                    remedy,
                    "the lease cannot be written; it is tried again"
                );
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Writes the lease. What somebody else has written meanwhile is read first.
    async fn renew(&mut self) -> kube::Result<()> {
        let (name, params) = (self.own.name(), PostParams::default());
        let known = match self.known.take() {
            Some(known) => Some(known),
            None => self.api.get_opt(&name).await?,
        };
        let is_new = known.is_none();
        let lease = self.own.renewed(known, Timestamp::now());
        let written = if is_new {
            self.api.create(&params, &lease).await
        } else {
            self.api.replace(&name, &params, &lease).await
        };
        self.known = Some(written?);
        Ok(())
    }

    /// Removes leases that have expired, unless they were renewed since they were looked at.
    async fn remove_expired(&self) -> kube::Result<()> {
        let now = Timestamp::now();
        let all = self.api.list(&ListParams::default().labels(&self.own.selector())).await?;
        for lease in all.items.iter().filter(|lease| !is_valid(lease, now)) {
            let (Some(name), metadata) = (&lease.metadata.name, &lease.metadata) else { continue };
            let preconditions = Preconditions {
                resource_version: metadata.resource_version.clone(),
                uid: metadata.uid.clone(),
            };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match self.api.delete(name, &params).await {
                Ok(_) => tracing::info!(lease = name, "the lease of a server that is gone was removed"),
                // It is gone, or its server is back.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => RENEW_INTERVAL.mul_f64(rand::rng().random_range(1.0..1.04)),
        Some(doublings) => RETRY_INTERVAL.saturating_mul(1 << doublings.min(16)).min(RETRY_INTERVAL_MAX),
    }
}
