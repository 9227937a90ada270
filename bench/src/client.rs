//! The client's side of a [`crate::target`]'s conversations, over any stream: a TCP connection, a tunnel, a pipe.
//!
//! Each function sends its request, moves the payload, and returns only when everything was right and the end came
//! as it should. None has a time limit of its own: whoever calls knows what is late.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::payload;
use crate::target::{GREETING, Request};

/// Bytes moved at a time.
const BUFFER_BYTES: usize = 64 * 1024;
/// Longest answer line that is understood.
const ANSWER_BYTES_MAX: usize = 256;

/// What went wrong, seen from the client.
#[derive(Debug)]
pub enum Error {
    /// The stream failed.
    Io(io::Error),
    /// The byte at this position is wrong.
    Wrong {
        /// Counted from the start of the payload.
        at: u64,
    },
    /// The stream ended after this many bytes.
    Short {
        /// Bytes received, all right.
        at: u64,
    },
    /// Bytes came after the last one.
    Surplus,
    /// The target answered something else.
    Answer(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Wrong { at } => write!(f, "the byte at {at} is wrong"),
            Self::Short { at } => write!(f, "the stream ended after {at} bytes"),
            Self::Surplus => f.write_str("bytes came after the last one"),
            Self::Answer(text) => write!(f, "the target answered {text:?}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Sends a request line and nothing else.
///
/// # Errors
/// [`Error::Io`].
pub async fn request<S: AsyncWrite + Unpin>(stream: &mut S, request: Request) -> Result<(), Error> {
    stream.write_all(format!("{request}\n").as_bytes()).await?;
    Ok(stream.flush().await?)
}

/// `sink`: sends `bytes` bytes of payload, waits for the answer, and for the end after its own FIN.
///
/// # Errors
/// [`Error::Answer`] with what the target found wrong; [`Error::Io`]; [`Error::Surplus`].
pub async fn upload<S>(stream: &mut S, seed: u64, bytes: u64) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    request(stream, Request::Sink { seed, bytes }).await?;
    send(stream, seed, bytes).await?;
    let answer = line(stream).await?;
    if answer != format!("ok {bytes}") {
        return Err(Error::Answer(answer));
    }
    stream.shutdown().await?;
    // A byte that was repeated at the very end would show only now.
    end(stream).await
}

/// `source`: receives `bytes` bytes of payload and the target's FIN, then sends its own.
///
/// # Errors
/// [`Error::Wrong`], [`Error::Short`], [`Error::Surplus`], [`Error::Io`].
pub async fn download<S>(stream: &mut S, seed: u64, bytes: u64) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    request(stream, Request::Source { seed, bytes }).await?;
    receive(stream, seed, bytes).await?;
    end(stream).await?;
    Ok(stream.shutdown().await?)
}

/// `echo`: sends payload while it receives it back, then its FIN, and waits for the target's.
///
/// # Errors
/// [`Error::Wrong`], [`Error::Short`], [`Error::Surplus`], [`Error::Io`].
pub async fn echo<S>(stream: &mut S, seed: u64, bytes: u64) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    request(stream, Request::Echo).await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sending = async {
        send(&mut writer, seed, bytes).await?;
        Ok(writer.shutdown().await?)
    };
    let receiving = async {
        receive(&mut reader, seed, bytes).await?;
        end(&mut reader).await
    };
    tokio::try_join!(sending, receiving).map(|((), ())| ())
}

/// `echo` without FINs: sends payload while it receives it back, and returns when all of it came. For ways that do not
/// carry half-closed connections.
///
/// # Errors
/// [`Error::Wrong`], [`Error::Short`], [`Error::Io`].
pub async fn echo_all<S>(stream: &mut S, seed: u64, bytes: u64) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    request(stream, Request::Echo).await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::try_join!(send(&mut writer, seed, bytes), receive(&mut reader, seed, bytes)).map(|((), ())| ())
}

/// `half-close`: sends its FIN first, then receives payload and the target's FIN.
///
/// # Errors
/// [`Error::Wrong`], [`Error::Short`], [`Error::Surplus`], [`Error::Io`].
pub async fn half_close<S>(stream: &mut S, seed: u64, bytes: u64) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    request(stream, Request::HalfClose { seed, bytes }).await?;
    stream.shutdown().await?;
    receive(stream, seed, bytes).await?;
    end(stream).await
}

/// `finish-first`: waits for the target's FIN, then sends payload and its own. That it arrived whole is in the
/// target's [`crate::target::Stats`].
///
/// # Errors
/// [`Error::Surplus`], [`Error::Io`].
pub async fn finish_first<S>(stream: &mut S, seed: u64, bytes: u64) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    request(stream, Request::FinishFirst { seed, bytes }).await?;
    end(stream).await?;
    send(stream, seed, bytes).await?;
    Ok(stream.shutdown().await?)
}

/// Receives the greeting of a target that speaks first (or was asked to).
///
/// # Errors
/// [`Error::Answer`] with what came instead; [`Error::Io`].
pub async fn greeting<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), Error> {
    let said = line(stream).await?;
    match GREETING.strip_suffix(b"\n") {
        Some(expected) if expected == said.as_bytes() => Ok(()),
        _ => Err(Error::Answer(said)),
    }
}

/// Sends `bytes` bytes of payload from position 0 on.
///
/// # Errors
/// [`Error::Io`].
pub async fn send<S: AsyncWrite + Unpin>(stream: &mut S, seed: u64, bytes: u64) -> Result<(), Error> {
    let mut buf = vec![0; BUFFER_BYTES];
    let mut position = 0;
    while position < bytes {
        let next = usize::try_from(bytes - position).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        payload::fill(seed, position, &mut buf[..next]);
        stream.write_all(&buf[..next]).await?;
        position += next as u64;
    }
    Ok(stream.flush().await?)
}

/// Receives and checks `bytes` bytes of payload from position 0 on; does not wait for the end.
///
/// # Errors
/// [`Error::Wrong`], [`Error::Short`], [`Error::Io`].
pub async fn receive<S: AsyncRead + Unpin>(stream: &mut S, seed: u64, bytes: u64) -> Result<(), Error> {
    let mut buf = vec![0; BUFFER_BYTES];
    let mut position = 0;
    while position < bytes {
        let most = usize::try_from(bytes - position).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        let read = stream.read(&mut buf[..most]).await?;
        if read == 0 {
            return Err(Error::Short { at: position });
        }
        payload::check(seed, position, &buf[..read]).map_err(|at| Error::Wrong { at })?;
        position += read as u64;
    }
    Ok(())
}

/// Waits for the other end's FIN.
///
/// # Errors
/// [`Error::Surplus`] where bytes come instead; [`Error::Io`].
pub async fn end<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), Error> {
    match stream.read(&mut [0; 1]).await? {
        0 => Ok(()),
        _ => Err(Error::Surplus),
    }
}

/// Reads one line, byte by byte: nothing behind it may be taken.
async fn line<S: AsyncRead + Unpin>(stream: &mut S) -> Result<String, Error> {
    let mut text = Vec::new();
    let mut byte = [0; 1];
    while text.len() < ANSWER_BYTES_MAX && stream.read(&mut byte).await? == 1 && byte != *b"\n" {
        text.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
