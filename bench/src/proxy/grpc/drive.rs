//! The task that moves a session's bytes: reads, writes, and waits for the next deadline.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt, WriteHalf};
use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::failure::Failure;
use super::session::{OUTPUT_BYTES_TARGET, Session};
use crate::proxy::Stream;

/// Most bytes read at once.
const INPUT_BYTES: usize = 64 * 1024;

/// A session, its task, and everybody who holds one of its tunnels.
#[derive(Debug)]
pub(super) struct Shared {
    session: Mutex<Session>,
    /// There may be something to do.
    work: Notify,
}

impl Shared {
    /// Starts the task on the runtime that this is called in.
    pub(super) fn start(session: Session, stream: Box<dyn Stream>) -> Arc<Self> {
        let shared = Arc::new(Self { session: Mutex::new(session), work: Notify::new() });
        let guard = Guard(Arc::clone(&shared));
        tokio::spawn(async move {
            let failure = match guard.0.drive(stream).await {
                Ok(()) => Failure::io(io::ErrorKind::ConnectionAborted, "the connection was closed"),
                Err(error) => Failure::io(error.kind(), format!("the connection to the proxy: {error}")),
            };
            guard.0.lock().end(&failure);
        });
        shared
    }

    /// The session alone, for what gives the task nothing to do.
    pub(super) fn lock(&self) -> MutexGuard<'_, Session> {
        // A panic elsewhere leaves a session that is at worst wrong, and a judge that reports it.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the task look whether there is something to do.
    pub(super) fn wake(&self) {
        self.work.notify_one();
    }

    /// Acts on the session and lets the task look what came of it.
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut Session) -> T) -> T {
        let result = act(&mut self.lock());
        self.wake();
        result
    }

    async fn drive(&self, stream: Box<dyn Stream>) -> io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut input = vec![0; INPUT_BYTES];
        let (mut output, mut written, mut flushed) = (Vec::new(), 0, true);
        // Nothing can be written any more. What the proxy said before it hung up can still be read, and tells more.
        let mut deaf = false;
        loop {
            let (finished, deadline, takes_input) = {
                let mut session = self.lock();
                if written == output.len() {
                    output = session.output(Instant::now());
                    written = if deaf { output.len() } else { 0 };
                }
                (session.is_finished(), session.deadline(), session.output_bytes() < OUTPUT_BYTES_TARGET)
            };
            let idle = written == output.len();
            if finished && idle && flushed {
                return if deaf { Ok(()) } else { writer.shutdown().await };
            }
            tokio::select! {
                // Reading goes on while writing waits, or two that wait for each other would wait for good; but what is
                // read is answered, and nobody may make the answers grow.
                read = reader.read(&mut input), if takes_input => match read? {
                    0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the proxy")),
                    count => self.lock().receive(&input[..count]),
                },
                wrote = write_or_flush(&mut writer, &output[written..]), if !(idle && flushed) => match wrote {
                    Ok(count) => {
                        written += count;
                        flushed = idle;
                    }
                    Err(_) => {
                        deaf = true;
                        written = output.len();
                        flushed = true;
                    }
                },
                () = self.work.notified() => {}
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {}
            }
        }
    }
}

/// Writes some bytes or, where there are none, flushes: TLS may hold some back. Cancelled, it has done nothing.
async fn write_or_flush(writer: &mut WriteHalf<Box<dyn Stream>>, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() { writer.flush().await.map(|()| 0) } else { writer.write(bytes).await }
}

/// Ends the session where its task ends, were it only because a runtime is gone.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        let text = "the task of this connection is gone";
        self.0.lock().end(&Failure::io(io::ErrorKind::ConnectionAborted, text));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::super::session::{Request, Session};
    use super::super::stream::TunnelStream;
    use super::Shared;

    /// What a server says that refuses the first call and is gone before it reads it: SETTINGS, then a response of
    /// `:status: 200`, `grpc-status: 14`, with END_STREAM.
    const LAST_WORDS: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x11\x01\x05\0\0\0\x01\x88\0\x0bgrpc-status\x0214";

    #[test]
    fn what_was_said_before_hanging_up_is_heard() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = UnixStream::pair().unwrap();
            far.write_all(LAST_WORDS).await.unwrap();
            drop(far);
            let request = Request { authority: "x".to_owned(), scheme: "http" };
            let shared = Shared::start(Session::new(request).unwrap(), Box::new(near));
            let tunnel = TunnelStream::dial(&shared, 5, "h:1").unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(10), tunnel.answer()).await.unwrap();
            assert_eq!(answer.unwrap_err().to_string(), "grpc-status 14: ");
        });
    }

    #[test]
    fn a_runtime_that_ends_ends_its_connections() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (shared, mut far) = runtime.block_on(async {
            let (near, far) = UnixStream::pair().unwrap();
            let request = Request { authority: "x".to_owned(), scheme: "http" };
            (Shared::start(Session::new(request).unwrap(), Box::new(near)), far.into_std().unwrap())
        });
        assert!(shared.lock().is_usable());
        drop(runtime);
        assert!(!shared.lock().is_usable());
        far.set_nonblocking(false).unwrap();
        assert_eq!(std::io::Read::read_to_end(&mut far, &mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn a_connection_without_use_is_closed_with_goaway() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = UnixStream::pair().unwrap();
            let request = Request { authority: "x".to_owned(), scheme: "http" };
            let shared = Shared::start(Session::new(request).unwrap(), Box::new(near));
            shared.act(Session::no_more_dials);
            let mut said = Vec::new();
            let end = far.read_to_end(&mut said);
            tokio::time::timeout(Duration::from_secs(10), end).await.unwrap().unwrap();
            let goaway = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";
            assert!(said.ends_with(goaway), "{said:?}");
        });
    }
}
