//! What is asked of the Kubernetes API, and how it is reached. The server has agents' tokens reviewed and keeps a
//! lease; an agent counts leases. All of it runs beside the control loop; tunnels do not need the API.

pub(crate) mod count;
pub(crate) mod keep;
pub(crate) mod lease;
pub(crate) mod reviews;
pub(crate) mod token;

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Longest text of the API's that is passed on.
const API_TEXT_CHARS_MAX: usize = 256;

/// A client by `--kubeconfig`, or as a pod of the cluster. Nobody is asked anything yet.
///
/// # Errors
/// The text to show; `needs` is what the user in the kubeconfig must be allowed.
pub(crate) async fn client(kubeconfig: Option<&Kubeconfig>, needs: &str) -> Result<Client, String> {
    let config = match kubeconfig {
        Some(kubeconfig) => {
            let config =
                Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await;
            config.map_err(|error| format!("--kubeconfig: {error}: give one with a current context"))
        }
        None => Config::incluster().map_err(|error| {
            format!(
                "--kubeconfig: not a pod of a cluster ({error}): name a kubeconfig whose user may {needs}"
            )
        }),
    };
    let mut config = config?;
    // Whoever asks comes again by themselves, and meanwhile others have their turn.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| format!("--kubeconfig: {error}"))
}

/// An answer of the API's, or what is wrong: with it, or that it was not there within `limit`.
async fn in_time<T>(limit: Duration, asking: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer.map_err(|error| reason(&error)),
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}

/// What is wrong, with every cause of it: the outermost says next to nothing.
fn reason(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return shown(&format!("{} (status {})", status.message, status.code));
    }
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    shown(&causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// A text of somebody else's, on one line and not too long.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(API_TEXT_CHARS_MAX).collect()
}
