//! A tunnel as a [`crate::proxy::Stream`].

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::drive::Shared;
use super::failure::Failure;

/// The near end of a tunnel. Dropping it says CLOSE_REQ, or DIAL_CLS where no answer came.
#[derive(Debug)]
pub(super) struct TunnelStream {
    shared: Arc<Shared>,
    stream: u32,
}

impl TunnelStream {
    /// Dials. The tunnel carries nothing before [`Self::answer`].
    ///
    /// # Errors
    /// There can be no new stream on this connection.
    pub(super) fn dial(shared: &Arc<Shared>, random: i64, address: &str) -> Result<Self, Failure> {
        let stream = shared.act(|session| session.dial(random, address))?;
        Ok(Self { shared: Arc::clone(shared), stream })
    }

    /// Waits for the answer to the dial.
    ///
    /// # Errors
    /// Why there is no tunnel.
    pub(super) async fn answer(&self) -> Result<(), Failure> {
        poll_fn(|cx| self.shared.lock().answer(self.stream, cx)).await
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        self.shared.act(|session| session.abandon(self.stream, Instant::now()));
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let (read, gives_back) = {
            let mut session = self.shared.lock();
            let read = session.read(self.stream, buf.initialize_unfilled(), cx);
            (read, session.has_output())
        };
        if gives_back {
            self.shared.wake();
        }
        buf.advance(ready!(read)?);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.shared.act(|session| session.write(self.stream, buf, cx)));
        Poll::Ready(written.map_err(io::Error::from))
    }

    /// Returns at once: what was written is on its way, as with a socket.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Closes both directions, for the protocol knows no other end. What still comes before CLOSE_RSP can be read.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.act(|session| session.close(self.stream, Instant::now()));
        Poll::Ready(Ok(()))
    }
}
