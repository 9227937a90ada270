//! What people and other programs see of a run, while it lasts and afterwards.
//!
//! * [`LiveMetrics`]: what a running load counts, for [`progress_line`] in the terminal and for [`serve()`], which
//!   Prometheus scrapes.
//! * [`html()`], [`hgrm()`]: what many runs found, as one file for people and as files for plotters.
//!
//! Deliberately absent: measuring, and judging.

mod exposition;
mod hgrm;
mod html;
mod live;
mod metrics;
mod serve;
pub mod text;

pub use exposition::exposition;
pub use hgrm::{file_name, hgrm};
pub use html::html;
pub use live::{Progress, progress_line};
pub use metrics::{ERROR_KINDS_MAX, LiveMetrics, LiveState, OTHER, ProcessNow};
pub use serve::{Serving, serve};
