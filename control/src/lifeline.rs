//! Ends a process with whoever started it: a parent that dies, however it dies, closes the pipe that is our standard
//! input. For the demo's children and for tests; nothing else reads standard input.

use std::io::{self, Read as _};

use tokio::sync::oneshot;

/// Resolves when standard input ends. Where no thread can be had, never.
pub(crate) async fn standard_input_closed() {
    let (closed, wait) = oneshot::channel();
    let watch = move || {
        let mut byte = [0; 64];
        let mut input = io::stdin().lock();
        while input.read(&mut byte).is_ok_and(|length| length > 0) {}
        // Nobody waits any more: then it does not matter.
        let _ = closed.send(());
    };
    if std::thread::Builder::new().name("adit-lifeline".to_owned()).spawn(watch).is_err()
        || wait.await.is_err()
    {
        std::future::pending::<()>().await;
    }
}
