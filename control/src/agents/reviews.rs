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
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::sync::{Semaphore, mpsc};

use super::token::{Expected, judge, shown};
use crate::supervise::Finding;

/// Reviews at once. What comes above them waits.
const AT_ONCE_MAX: usize = 64;
/// Until the answer must be there: a moment before an agent gives its attempt up, so that it hears why.
const TIME_MAX: Duration = ATTEMPT_TIME_MAX.saturating_sub(Duration::from_millis(500));
const _: () = assert!(TIME_MAX.as_millis() < HELLO_TIME_MAX.as_millis(), "the shard waits for it");

/// `--agent-namespace`, `--agent-service-account`, `--authentication-audience` and `--kubeconfig`.
#[derive(Clone, Debug)]
pub(crate) struct TokenAuth {
    /// Whose tokens are agents'.
    pub(crate) expected: Expected,
    /// How the API is reached; `None`: as a pod of the cluster.
    pub(crate) kubeconfig: Option<Box<Kubeconfig>>,
}

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
    ///
    /// # Errors
    /// The text to show.
    pub(crate) async fn new(auth: &TokenAuth, findings: mpsc::Sender<Finding>) -> Result<Self, String> {
        let config = match &auth.kubeconfig {
            Some(kubeconfig) => {
                let options = KubeConfigOptions::default();
                let config = Config::from_custom_kubeconfig((**kubeconfig).clone(), &options).await;
                config.map_err(|error| format!("--kubeconfig: {error}: give one with a current context"))
            }
            None => Config::incluster().map_err(|error| {
                format!(
                    "--kubeconfig: not a pod of a cluster ({error}): name a kubeconfig whose user may create \
                         tokenreviews (ClusterRole system:auth-delegator)"
                )
            }),
        };
        let mut config = config?;
        // Agents come again by themselves, and meanwhile others have their turn.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|error| format!("--kubeconfig: {error}"))?;
        Ok(Self {
            client,
            expected: Arc::new(auth.expected.clone()),
            at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            findings,
        })
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
            Err(error) => Err(format!("the token could not be reviewed: {}", shown(&reason(&error)))),
        }
    }
}

/// What is wrong, with every cause of it: the outermost says next to nothing.
fn reason(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("{} (status {})", status.message, status.code);
    }
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl std::fmt::Debug for Reviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviews").field("expected", &self.expected).finish_non_exhaustive()
    }
}
