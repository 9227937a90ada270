//! Where everybody waits until all connections are made, so that the clock starts for all at once.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::phases::Phases;

/// One participant's side. Dropping it (a set-up that failed) counts as being there.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    here: mpsc::Sender<()>,
    open: watch::Receiver<Option<Phases>>,
}

/// The side that opens.
#[derive(Debug)]
pub(super) struct Keeper {
    waiting: mpsc::Receiver<()>,
    open: watch::Sender<Option<Phases>>,
}

/// A closed gate. Clone it for each participant and drop the original.
pub(super) fn gate() -> (Gate, Keeper) {
    let (here, waiting) = mpsc::channel(1);
    let (opener, open) = watch::channel(None);
    (Gate { here, open }, Keeper { waiting, open: opener })
}

impl Gate {
    /// Says that this participant is ready, and waits. `None` where the round was given up.
    pub(super) async fn pass(mut self) -> Option<Phases> {
        drop(self.here);
        self.open.wait_for(Option::is_some).await.ok().and_then(|phases| *phases)
    }
}

impl Keeper {
    /// Waits until everybody is there; false where that took longer than `limit`.
    pub(super) async fn everybody(&mut self, limit: Duration) -> bool {
        // Nobody sends: the end of the channel is the end of waiting.
        timeout(limit, self.waiting.recv()).await.is_ok()
    }

    /// Opens.
    pub(super) fn open(&self, phases: Phases) {
        self.open.send_replace(Some(phases));
    }
}
