//! Transfers without an announced end, through any stream: they stop at a given instant, and what was sent is seen to
//! arrive to the last byte. The target's side is `meter`, `pull` and `echo` of [`crate::target`].

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::Recorder;
use crate::client::Error;
use crate::payload;
use crate::proxy::Stream;

/// Bytes moved at a time.
const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes asked for at a time of a pulled target.
pub(super) const BLOCK_BYTES: u64 = 64 * 1024;
/// Fewest blocks that are asked for ahead of what has come.
const AHEAD_BLOCKS_MIN: u64 = 32;
/// Most blocks that are asked for ahead: 64 MiB, twenty milliseconds of the fastest memory there is.
const AHEAD_BLOCKS_MAX: u64 = 1024;
/// Twice what came in this time is asked for ahead.
const AHEAD_TIME: Duration = Duration::from_millis(250);
/// So many blocks are asked for with one write.
const ASKS: [u8; 32] = [b'.'; 32];
/// Longest line of a meter.
const LINE_BYTES_MAX: usize = 64;

/// Sends until `until`, and returns when the target has said that all of it was right.
pub(super) async fn up(
    stream: Box<dyn Stream>,
    seed: u64,
    until: Instant,
    record: &Recorder,
) -> Result<(), Error> {
    let (mut reader, writer) = tokio::io::split(stream);
    let (sent, total) = watch::channel(None);
    let receiving = async {
        let (mut total, mut lines, mut position) = (Total(total), Lines::default(), 0);
        while let Some(at) = total.unless_all(position, lines.next(&mut reader)).await {
            let at = at?;
            record.bytes(at.saturating_sub(position), 0, Instant::now());
            position = at;
        }
        Ok(())
    };
    tokio::try_join!(send(writer, seed, until, sent), receiving).map(|_| ())
}

/// Sends until `until` and receives all of it back.
pub(super) async fn both(
    stream: Box<dyn Stream>,
    seed: u64,
    until: Instant,
    record: &Recorder,
) -> Result<(), Error> {
    let (mut reader, writer) = tokio::io::split(stream);
    let (sent, total) = watch::channel(None);
    let receiving = async {
        let (mut total, mut buf, mut position) = (Total(total), vec![0; BUFFER_BYTES], 0);
        while let Some(read) = total.unless_all(position, reader.read(&mut buf)).await {
            let read = accept(&buf, read?, seed, position)?;
            record.bytes(read, read, Instant::now());
            position += read;
        }
        Ok(())
    };
    tokio::try_join!(send(writer, seed, until, sent), receiving).map(|_| ())
}

/// Receives until `until`, and then what was asked for before.
pub(super) async fn down(
    mut stream: Box<dyn Stream>,
    seed: u64,
    until: Instant,
    record: &Recorder,
) -> Result<(), Error> {
    let mut buf = vec![0; BUFFER_BYTES];
    let mut ahead = Ahead::new(Instant::now());
    let (mut asked, mut position) = (0_u64, 0_u64);
    loop {
        let now = Instant::now();
        let wanted = position / BLOCK_BYTES + ahead.blocks(now, position);
        if now < until && wanted > asked {
            // One byte is one block. The rest of what is wanted is asked for after the next read.
            let more = usize::try_from(wanted - asked).unwrap_or(usize::MAX).min(ASKS.len());
            stream.write_all(&ASKS[..more]).await?;
            stream.flush().await?;
            asked += more as u64;
        }
        if position == asked * BLOCK_BYTES {
            return Ok(());
        }
        let read = stream.read(&mut buf).await?;
        let read = accept(&buf, read, seed, position)?;
        record.bytes(0, read, Instant::now());
        position += read;
    }
}

/// Checks what was read at a position.
fn accept(buf: &[u8], read: usize, seed: u64, position: u64) -> Result<u64, Error> {
    if read == 0 {
        return Err(Error::Short { at: position });
    }
    payload::check(seed, position, &buf[..read]).map_err(|at| Error::Wrong { at })?;
    Ok(read as u64)
}

/// Sends payload until an instant, and says how much it was.
async fn send(
    mut writer: impl AsyncWrite + Unpin,
    seed: u64,
    until: Instant,
    sent: watch::Sender<Option<u64>>,
) -> Result<(), Error> {
    let mut buf = vec![0; BUFFER_BYTES];
    let (mut position, mut filled) = (0_u64, 0_usize);
    while Instant::now() < until {
        if filled == 0 {
            payload::fill(seed, position, &mut buf);
            filled = buf.len();
        }
        // One write at a time: where it is given up, nothing was taken.
        match timeout_at(until.into(), writer.write(&buf[buf.len() - filled..])).await {
            Ok(written) => {
                let written = written?;
                if written == 0 {
                    return Err(Error::Io(std::io::ErrorKind::WriteZero.into()));
                }
                position += written as u64;
                filled -= written;
            }
            Err(_) => break,
        }
    }
    sent.send_replace(Some(position));
    Ok(writer.flush().await?)
}

/// How much was sent, once the sender says so.
#[derive(Debug)]
struct Total(watch::Receiver<Option<u64>>);

impl Total {
    /// What `step` gives; `None` as soon as it is known that everything ends at `position`, so that nothing is left to
    /// wait for. `step` is given up then.
    async fn unless_all<T>(&mut self, position: u64, step: impl Future<Output = T>) -> Option<T> {
        let mut step = pin!(step);
        loop {
            let known = *self.0.borrow();
            if known == Some(position) {
                return None;
            }
            tokio::select! {
                given = &mut step => return Some(given),
                _ = self.0.changed(), if known.is_none() => {}
            }
        }
    }
}

/// How far ahead a receiver asks: enough for the path's delay, so little that what is under way when the window ends
/// is soon there.
#[derive(Debug)]
struct Ahead {
    blocks: u64,
    since: Instant,
    position: u64,
}

impl Ahead {
    const fn new(now: Instant) -> Self {
        Self { blocks: AHEAD_BLOCKS_MIN, since: now, position: 0 }
    }

    fn blocks(&mut self, now: Instant, position: u64) -> u64 {
        if now.saturating_duration_since(self.since) >= AHEAD_TIME {
            let came = 2 * (position - self.position) / BLOCK_BYTES;
            self.blocks = came.clamp(AHEAD_BLOCKS_MIN, AHEAD_BLOCKS_MAX);
            self.since = now;
            self.position = position;
        }
        self.blocks
    }
}

/// The lines of a meter. A call that is given up loses nothing.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// The position that the next line tells.
    async fn next(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> Result<u64, Error> {
        loop {
            if let Some(end) = self.0.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.0.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line[..end]).into_owned();
                let position = line.strip_prefix("at ").and_then(|number| number.parse().ok());
                return position.ok_or(Error::Answer(line));
            }
            if self.0.len() > LINE_BYTES_MAX {
                return Err(Error::Answer(String::from_utf8_lossy(&self.0).into_owned()));
            }
            if reader.read_buf(&mut self.0).await? == 0 {
                return Err(Error::Short { at: 0 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{AHEAD_BLOCKS_MAX, AHEAD_BLOCKS_MIN, Ahead, BLOCK_BYTES, Lines};
    use crate::client::Error;

    #[test]
    fn a_receiver_asks_ahead_for_what_the_path_carries() {
        let (start, s) = (Instant::now(), Duration::from_secs(1));
        let mut ahead = Ahead::new(start);
        assert_eq!(ahead.blocks(start, 0), AHEAD_BLOCKS_MIN);
        assert_eq!(ahead.blocks(start + s, 100 * BLOCK_BYTES), 200);
        assert_eq!(ahead.blocks(start + s, 100_000 * BLOCK_BYTES), 200);
        assert_eq!(ahead.blocks(start + 2 * s, 100_000 * BLOCK_BYTES), AHEAD_BLOCKS_MAX);
        assert_eq!(ahead.blocks(start + 3 * s, 100_000 * BLOCK_BYTES), AHEAD_BLOCKS_MIN);
    }

    #[test]
    fn lines_come_in_any_pieces() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut input = in_pieces(&["at 1", "0\nat 20\nat ", "30\nbad at 7\n"]);
            let mut lines = Lines::default();
            for expected in [10, 20, 30] {
                assert_eq!(lines.next(&mut input).await.unwrap(), expected);
            }
            assert!(matches!(lines.next(&mut input).await, Err(Error::Answer(line)) if line == "bad at 7"));
        });
    }

    /// A reader that gives these pieces one by one.
    fn in_pieces(pieces: &[&str]) -> impl tokio::io::AsyncRead + Unpin {
        let mut all: Box<dyn tokio::io::AsyncRead + Unpin> = Box::new(tokio::io::empty());
        for piece in pieces.iter().rev() {
            let first = std::io::Cursor::new(piece.as_bytes().to_vec());
            all = Box::new(tokio::io::AsyncReadExt::chain(first, all));
        }
        all
    }
}
