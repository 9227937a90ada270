//! Baselines: what one gets without adit's data plane, so that its figures have something to be judged against.
//!
//! * [`quic`]: what one writes in an afternoon with quinn on tokio; the same two hops, encrypted.
//! * [`uring`]: a plain TCP hop on tokio-uring.
//!
//! Deliberately absent: everything that an afternoon does not bring. No tuning, no metrics, no drain, no
//! reconnecting: a baseline is started fresh for each sample, and where it cannot do a workload, that is a result.

pub mod quic;
pub mod uring;

/// Why a baseline ended.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
