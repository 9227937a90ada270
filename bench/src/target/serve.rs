//! One connection of a target: reads requests and behaves accordingly. See the parent's table.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Counts, GREETING, REQUEST_BYTES_MAX, REQUEST_TIME_MAX, Request};
use crate::payload;

/// Bytes moved at a time. A connection that moves none holds no buffer of this size.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;
/// How long a trickling reader rests between two reads.
const TRICKLE_INTERVAL: Duration = Duration::from_millis(20);

/// A connection and what was read of it beyond the request line.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    ahead: Vec<u8>,
}

/// How checked payload ended.
enum Checked {
    /// As many as announced, all right.
    Right,
    /// The byte at this position is wrong.
    Wrong(u64),
    /// The client finished after this many.
    Short(u64),
}

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, greets: bool, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection { stream, ahead: Vec::new() };
    if greets {
        connection.stream.write_all(GREETING).await?;
    }
    loop {
        let line = match timeout(REQUEST_TIME_MAX, connection.request_line()).await {
            Ok(line) => line?,
            Err(_) => return connection.refuse("no request line in time").await,
        };
        let Some(line) = line else { return Ok(()) };
        match line.parse() {
            Ok(Request::Greet) => connection.stream.write_all(GREETING).await?,
            Ok(request) => return connection.behave(request, counts).await,
            Err(error) => return connection.refuse(&error.to_string()).await,
        }
    }
}

impl Connection {
    /// The next line without its `\n`; `None` where the client finished without any.
    async fn request_line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.ahead.iter().take(REQUEST_BYTES_MAX).position(|&byte| byte == b'\n') {
                let rest = self.ahead.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.ahead, rest);
                line.pop();
                // What is not UTF-8 is no request either; the replacement characters make sure of that.
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.ahead.len() >= REQUEST_BYTES_MAX {
                // Long enough to be no request, whatever it goes on with.
                return Ok(Some(String::from("(too long)")));
            }
            let mut buf = [0; REQUEST_BYTES_MAX];
            match self.stream.read(&mut buf).await? {
                0 if self.ahead.is_empty() => return Ok(None),
                0 => return Ok(Some(String::from("(unfinished)"))),
                read => self.ahead.extend_from_slice(&buf[..read]),
            }
        }
    }

    async fn behave(&mut self, request: Request, counts: &Counts) -> io::Result<()> {
        match request {
            Request::Echo => self.echo().await,
            Request::Sink { seed, bytes } => self.sink(seed, bytes, counts).await,
            Request::Source { seed, bytes } => {
                self.send(seed, bytes).await?;
                self.stream.shutdown().await?;
                self.discard().await
            }
            Request::Meter { seed } => self.meter(seed, counts).await,
            Request::Pull { seed, block_bytes } => self.pull(seed, block_bytes).await,
            Request::Greet => Ok(()),
            Request::Stall => self.stall().await,
            Request::Trickle { bytes_per_second } => self.trickle(bytes_per_second).await,
            Request::Reset { bytes } => {
                self.send(0, bytes).await?;
                self.stream.set_zero_linger()
            }
            Request::HalfClose { seed, bytes } => {
                self.discard().await?;
                self.send(seed, bytes).await?;
                self.stream.shutdown().await
            }
            Request::FinishFirst { seed, bytes } => self.finish_first(seed, bytes, counts).await,
        }
    }

    async fn echo(&mut self) -> io::Result<()> {
        let mut buf = vec![0; BUFFER_BYTES];
        loop {
            let read = self.read(&mut buf).await?;
            if read == 0 {
                return self.stream.shutdown().await;
            }
            self.stream.write_all(&buf[..read]).await?;
        }
    }

    async fn sink(&mut self, seed: u64, bytes: u64, counts: &Counts) -> io::Result<()> {
        let mut buf = vec![0; BUFFER_BYTES];
        let mut checked = self.check(seed, bytes, &mut buf, counts).await?;
        if matches!(checked, Checked::Right) {
            self.stream.write_all(format!("ok {bytes}\n").as_bytes()).await?;
            match self.read(&mut buf).await? {
                0 => return self.stream.shutdown().await,
                _ => checked = Checked::Wrong(bytes),
            }
        }
        counts.wrong.fetch_add(1, Ordering::Relaxed);
        let answer = match checked {
            Checked::Short(at) => format!("short at {at}\n"),
            Checked::Wrong(at) => format!("bad at {at}\n"),
            Checked::Right => return Ok(()),
        };
        self.stream.write_all(answer.as_bytes()).await?;
        self.stream.shutdown().await?;
        // Closing with bytes unread would reset the connection, and the answer with it.
        self.discard().await
    }

    async fn finish_first(&mut self, seed: u64, bytes: u64, counts: &Counts) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut buf = vec![0; BUFFER_BYTES];
        let checked = self.check(seed, bytes, &mut buf, counts).await?;
        if matches!(checked, Checked::Right) && self.read(&mut buf).await? == 0 {
            return Ok(());
        }
        counts.wrong.fetch_add(1, Ordering::Relaxed);
        self.stream.set_zero_linger()
    }

    /// Reads and checks `bytes` bytes of payload.
    async fn check(&mut self, seed: u64, bytes: u64, buf: &mut [u8], counts: &Counts) -> io::Result<Checked> {
        let mut position = 0;
        while position < bytes {
            let most = usize::try_from(bytes - position).unwrap_or(buf.len()).min(buf.len());
            let read = self.read(&mut buf[..most]).await?;
            if read == 0 {
                return Ok(Checked::Short(position));
            }
            if let Err(at) = payload::check(seed, position, &buf[..read]) {
                return Ok(Checked::Wrong(at));
            }
            position += read as u64;
            counts.checked_bytes.fetch_add(read as u64, Ordering::Relaxed);
        }
        Ok(Checked::Right)
    }

    async fn send(&mut self, seed: u64, bytes: u64) -> io::Result<()> {
        self.send_from(seed, 0, bytes, &mut vec![0; BUFFER_BYTES]).await
    }

    /// Sends `bytes` bytes of payload from `position` on.
    pub(super) async fn send_from(
        &mut self,
        seed: u64,
        mut position: u64,
        bytes: u64,
        buf: &mut [u8],
    ) -> io::Result<()> {
        let end = position.saturating_add(bytes);
        while position < end {
            let next = usize::try_from(end - position).unwrap_or(buf.len()).min(buf.len());
            payload::fill(seed, position, &mut buf[..next]);
            self.stream.write_all(&buf[..next]).await?;
            position += next as u64;
        }
        Ok(())
    }

    async fn stall(&mut self) -> io::Result<()> {
        self.ahead = Vec::new();
        // A FIN stays behind the unread bytes: only a reset ends this.
        while !self.stream.ready(Interest::ERROR).await?.is_error() {}
        Ok(())
    }

    async fn trickle(&mut self, bytes_per_second: u64) -> io::Result<()> {
        let mut buf = vec![0; BUFFER_BYTES];
        let started = Instant::now();
        let mut position = 0_u64;
        loop {
            let due = started.elapsed().as_millis() * u128::from(bytes_per_second) / 1000;
            let allowed = due.saturating_sub(u128::from(position));
            if allowed > 0 {
                let most = usize::try_from(allowed).unwrap_or(buf.len()).min(buf.len());
                let read = self.read(&mut buf[..most]).await?;
                if read == 0 {
                    return self.stream.shutdown().await;
                }
                position += read as u64;
            } else {
                sleep_until(Instant::now() + TRICKLE_INTERVAL).await;
            }
        }
    }

    pub(super) async fn discard(&mut self) -> io::Result<()> {
        let mut buf = vec![0; BUFFER_BYTES];
        while self.read(&mut buf).await? > 0 {}
        Ok(())
    }

    /// Answers with one line and the end.
    async fn refuse(&mut self, reason: &str) -> io::Result<()> {
        self.stream.write_all(format!("error: {reason}\n").as_bytes()).await?;
        self.stream.shutdown().await?;
        timeout(REQUEST_TIME_MAX, self.discard()).await.unwrap_or(Ok(()))
    }

    /// Reads what came behind the request line first, then from the socket.
    pub(super) async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            return self.stream.read(buf).await;
        }
        let taken = buf.len().min(self.ahead.len());
        buf[..taken].copy_from_slice(&self.ahead[..taken]);
        self.ahead.drain(..taken);
        Ok(taken)
    }
}
