//! Leases by which servers say that they are there (`coordination.k8s.io/v1`; konnectivity's `pkg/server/leases` and
//! `pkg/agent/lease_counter.go`, section 5). Pure: the clock is an argument.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Begins the name of every server's lease; the server's id follows.
const NAME_PREFIX: &str = "konnectivity-proxy-server-";
/// For how long a lease is good, in seconds.
const DURATION_SECONDS: i32 = 30;

/// A server's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    /// `--server-id`.
    pub(crate) server_id: String,
    /// `--lease-namespace`.
    pub(crate) namespace: String,
    /// `--lease-label`.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Own {
    /// What it is called.
    pub(crate) fn name(&self) -> String {
        format!("{NAME_PREFIX}{}", self.server_id)
    }

    /// What finds all servers' leases.
    pub(crate) fn selector(&self) -> String {
        self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }

    /// The lease as it is to be from now on.
    pub(crate) fn renewed(&self, known: Option<Lease>, now: Timestamp) -> Lease {
        let known = known.unwrap_or_default();
        let acquired = known.spec.as_ref().and_then(|spec| spec.acquire_time.clone());
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name()),
                namespace: Some(self.namespace.clone()),
                labels: Some(self.labels.clone()),
                ..known.metadata
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.server_id.clone()),
                lease_duration_seconds: Some(DURATION_SECONDS),
                acquire_time: acquired.or(Some(MicroTime(now))),
                renew_time: Some(MicroTime(now)),
                ..known.spec.unwrap_or_default()
            }),
        }
    }
}

/// Whether whoever holds a lease is there: renewed, or else acquired, no longer ago than it is good for.
pub(crate) fn is_valid(lease: &Lease, now: Timestamp) -> bool {
    let Some(spec) = &lease.spec else { return false };
    let Some(MicroTime(since)) = spec.renew_time.as_ref().or(spec.acquire_time.as_ref()) else {
        return false;
    };
    let good_for = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(0).into());
    now.duration_since(*since) < good_for
}

/// `--lease-label`: `k=v,k=v`.
///
/// # Errors
/// The text to show.
pub(crate) fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pair = |item: &str| match item.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.contains('=') => {
            Some((key.to_owned(), value.to_owned()))
        }
        _ => None,
    };
    text.split(',')
        .map(pair)
        .collect::<Option<_>>()
        .ok_or_else(|| "--lease-label: write key=value, several apart by commas".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn own() -> Own {
        let labels = labels("k8s-app=konnectivity-server,tier=control-plane").unwrap();
        Own { server_id: "server-1".to_owned(), namespace: "kube-system".to_owned(), labels }
    }

    #[test]
    fn a_lease_is_renewed_in_place_and_valid_for_half_a_minute() {
        let first = own().renewed(None, at(0));
        assert_eq!(first.metadata.name.as_deref(), Some("konnectivity-proxy-server-server-1"));
        assert!(is_valid(&first, at(29)) && !is_valid(&first, at(30)));
        // Somebody has changed what is the server's to say, and something that is not.
        let mut known = first;
        known.metadata.labels = None;
        known.metadata.resource_version = Some("7".to_owned());
        known.spec.as_mut().unwrap().lease_transitions = Some(3);
        let again = own().renewed(Some(known), at(15));
        assert_eq!(again.metadata.labels, Some(own().labels));
        assert_eq!(again.metadata.resource_version.as_deref(), Some("7"));
        let spec = again.spec.as_ref().unwrap();
        assert_eq!(
            (spec.acquire_time.as_ref(), spec.renew_time.as_ref()),
            (Some(&MicroTime(at(0))), Some(&MicroTime(at(15))))
        );
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("server-1"), Some(3)));
        assert!(is_valid(&again, at(44)) && !is_valid(&again, at(45)));
    }

    #[test]
    fn a_lease_that_was_never_renewed_counts_from_when_it_was_acquired() {
        let mut lease = own().renewed(None, at(0));
        lease.spec.as_mut().unwrap().renew_time = None;
        assert!(is_valid(&lease, at(29)) && !is_valid(&lease, at(30)));
        lease.spec.as_mut().unwrap().acquire_time = None;
        assert!(!is_valid(&lease, at(0)), "nobody knows since when");
        lease.spec = None;
        assert!(!is_valid(&lease, at(0)));
    }

    #[test]
    fn labels_are_pairs() {
        assert_eq!(own().selector(), "k8s-app=konnectivity-server,tier=control-plane");
        for wrong in ["", "a", "a=b,", "=b", "a=b=c", ",a=b"] {
            assert!(labels(wrong).unwrap_err().contains("key=value"), "{wrong}");
        }
    }
}
