//! What operators and probes ask over plain HTTP: liveness, readiness, metrics. Ports as Konnectivity's.
//!
//! | listener | path | answer |
//! |---|---|---|
//! | health | `/healthz`, `/livez` | 200 `ok` while the control loop answers |
//! | health | `/readyz`, `/ready` | 200 `ok`, or what is missing; `?verbose` lists the checks |
//! | health, admin | `/metrics` | Prometheus text, families `adit_…` |
//!
//! Deliberately absent: anything that changes the process, profiles, and TLS.

pub(crate) mod http;
pub(crate) mod text;

use tokio::sync::{mpsc, oneshot};

/// Whether the process should be sent work, and what to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// The checks by name, with what is wrong.
    pub(crate) checks: Vec<(&'static str, Result<(), String>)>,
    /// The status of "not ready": Konnectivity's server says 500, its agent 503.
    pub(crate) status_not_ready: u16,
    /// What the server says alone when it is not ready; the agent always lists its checks.
    pub(crate) verbose_failure: bool,
}

impl Readiness {
    /// Whether every check passed.
    pub(crate) fn is_ready(&self) -> bool {
        self.checks.iter().all(|(_, result)| result.is_ok())
    }

    /// Status and body of `/readyz`.
    pub(crate) fn answer(&self, verbose: bool) -> (u16, String) {
        let ready = self.is_ready();
        let status = if ready { 200 } else { self.status_not_ready };
        if !verbose && (ready || !self.verbose_failure) {
            let first = self.checks.iter().find_map(|(_, result)| result.as_ref().err());
            return (status, first.map_or_else(|| "ok".to_owned(), Clone::clone));
        }
        let mut body: String = self
            .checks
            .iter()
            .map(|(name, result)| match result {
                Ok(()) => format!("[+]{name} ok\n"),
                Err(text) => format!("[-]{name} failed: {text}\n"),
            })
            .collect();
        if ready {
            body.push_str("check passed\n");
        }
        (status, body)
    }
}

/// A question to the control loop: the metrics, now.
pub(crate) type MetricsRequest = oneshot::Sender<String>;

/// How many such questions may wait; more get 503.
pub(crate) const METRICS_REQUESTS_MAX: usize = 16;

/// Both ends of the way to the control loop.
pub(crate) fn metrics_channel() -> (mpsc::Sender<MetricsRequest>, mpsc::Receiver<MetricsRequest>) {
    mpsc::channel(METRICS_REQUESTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_answers_as_konnectivity_does() {
        let server = |result: Result<(), String>| Readiness {
            checks: vec![("ping", Ok(())), ("agents", result)],
            status_not_ready: 500,
            verbose_failure: false,
        };
        assert_eq!(server(Ok(())).answer(false), (200, "ok".to_owned()));
        let missing = server(Err("no connection to any proxy agent".to_owned()));
        assert_eq!(missing.answer(false), (500, "no connection to any proxy agent".to_owned()));
        let agent = Readiness {
            checks: vec![("ping", Ok(())), ("server-connected", Err("no servers connected".to_owned()))],
            status_not_ready: 503,
            verbose_failure: true,
        };
        let text = "[+]ping ok\n[-]server-connected failed: no servers connected\n".to_owned();
        assert_eq!(agent.answer(false), (503, text));
        let (status, body) = server(Ok(())).answer(true);
        assert_eq!((status, body.as_str()), (200, "[+]ping ok\n[+]agents ok\ncheck passed\n"));
    }
}
