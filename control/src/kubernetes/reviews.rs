//! Asks the Kubernetes API about agents' tokens (`authentication.k8s.io/v1` TokenReview), beside the control loop.
//!
//! Anybody who reaches the agents' port may present a token, so that what is asked at once is bounded, and who would
//! wait for too long is refused: an agent comes back by itself. As upstream, each connection is reviewed once, when it
//! begins; nothing is cached, and a connection outlives its token.

use std::sync::Arc;
use std::time::Duration;

use adit_dataplane::limits::{ATTEMPT_TIME_MAX, HELLO_TIME_MAX};
use adit_dataplane::port::{ConnectionKey, Token};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{Semaphore, mpsc};

use super::reason;
use super::token::{Expected, judge};
use crate::supervise::Finding;

/// Reviews at once. What comes above them waits.
const AT_ONCE_MAX: usize = 64;
/// Until the answer must be there: a moment before an agent gives its attempt up, so that it hears why.
const TIME_MAX: Duration = ATTEMPT_TIME_MAX.saturating_sub(Duration::from_millis(500));
const _: () = assert!(TIME_MAX.as_millis() < HELLO_TIME_MAX.as_millis(), "the shard waits for it");

/// See the module.
#[derive(Clone)]
pub(crate) struct Reviews {
    client: Client,
    expected: Arc<Expected>,
    at_once: Arc<Semaphore>,
    findings: mpsc::Sender<Finding>,
}

impl Reviews {
    /// Prepares to ask; nobody is asked yet. What is found comes to `findings`.
    pub(crate) fn new(client: Client, expected: Expected, findings: mpsc::Sender<Finding>) -> Self {
        Self {
            client,
            expected: Arc::new(expected),
            at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            findings,
        }
    }

    /// Has a token reviewed; [`Finding::Reviewed`] follows in time.
    pub(crate) fn begin(&self, connection: ConnectionKey, token: Token) {
        let reviews = self.clone();
        tokio::spawn(async move {
            let answer = tokio::time::timeout(TIME_MAX, reviews.review(token)).await;
            let result = answer.unwrap_or_else(|_| {
                Err(format!("the Kubernetes API did not review the token within {TIME_MAX:?}"))
            });
            // The loop has ended: then nobody waits for the answer.
            let _ = reviews.findings.send(Finding::Reviewed { connection, result }).await;
        });
    }

    async fn review(&self, token: Token) -> Result<(), String> {
        let _turn = self.at_once.acquire().await.expect("it is never closed");
        let spec = TokenReviewSpec { audiences: Some(vec![self.expected.audience.clone()]), token: token.0 };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer =
            Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await;
        match answer {
            Ok(review) => judge(&self.expected, review.status.as_ref()),
            Err(error) => Err(format!("the token could not be reviewed: {}", reason(&error))),
        }
    }
}

impl std::fmt::Debug for Reviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviews").field("expected", &self.expected).finish_non_exhaustive()
    }
}
