//! `tokio-uring-baseline`: a plain TCP hop. Each connection is read into one buffer each way, and written from it.
//!
//! tokio-uring's newest release (0.5, 2024) still builds and runs, but little has come since: it is here because it is
//! what one finds first for io_uring on tokio, and for nothing else.

use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

use tokio_uring::buf::BoundedBuf as _;
use tokio_uring::net::{TcpListener, TcpStream};

/// Bytes read at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// Serves until its listener fails. Says `listening on ADDR` on standard output when it does.
///
/// # Errors
/// An address that cannot be bound.
pub fn hop(listen: SocketAddr, to: SocketAddr) -> io::Result<()> {
    tokio_uring::start(async move {
        let listener = TcpListener::bind(listen)?;
        writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
        io::stdout().flush()?;
        loop {
            let (near, _) = listener.accept().await?;
            tokio_uring::spawn(async move {
                if let Err(error) = forward(near, to).await {
                    // Nothing is left to be told where this cannot be.
                    let _ = writeln!(io::stderr(), "a connection: {error}");
                }
            });
        }
    })
}

async fn forward(near: TcpStream, to: SocketAddr) -> io::Result<()> {
    let far = TcpStream::connect(to).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near, far) = (Rc::new(near), Rc::new(far));
    let up = tokio_uring::spawn(copy(Rc::clone(&near), Rc::clone(&far)));
    let down = copy(far, near).await;
    up.await.map_err(io::Error::other)?.and(down)
}

/// Copies to the end and passes the end on. Where it fails, both connections end, and with them the other direction.
async fn copy(from: Rc<TcpStream>, to: Rc<TcpStream>) -> io::Result<()> {
    let copied = copy_bytes(&from, &to).await;
    if copied.is_err() {
        for stream in [from, to] {
            // It may be over already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
    copied
}

async fn copy_bytes(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let mut buf = Vec::with_capacity(BUFFER_BYTES);
    loop {
        buf.clear();
        let (read, filled) = from.read(buf).await;
        let length = read?;
        if length == 0 {
            return to.shutdown(Shutdown::Write);
        }
        let (written, sent) = to.write_all(filled.slice(..length)).await;
        written?;
        buf = sent.into_inner();
    }
}
