//! Running one test, if this machine can.

use std::pin::Pin;

use libtest_mimic::{Completion, Failed};

use super::needs;
use super::world::Case;

/// A test of a case.
pub(crate) type Run = fn(Case) -> Pin<Box<dyn Future<Output = ()>>>;

/// Runs it, or says what is missing.
pub(crate) fn told(run: Run, case: Case) -> Result<Completion, Failed> {
    match needs::met() {
        Err(reason) if needs::must_be_met() => return Err(reason.into()),
        Err(reason) => return Ok(Completion::ignored_with(reason)),
        Ok(()) => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(case));
    Ok(Completion::Completed)
}
