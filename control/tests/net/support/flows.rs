//! Conversations that go on while the network misbehaves: downloads, uploads, echoes and idle streams, whose bytes
//! are checked by position, and which tell how far they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use adit_bench::client as bytes;
use adit_bench::payload;
use adit_bench::target::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::tunnels::client::connect;
use crate::tunnels::{soon, until};

/// Bytes moved at a time, and the pause after them: enough to keep packets on their way all the time, and little
/// enough for several tests to run beside each other.
const PIECE_BYTES: usize = 32 * 1024;
const PAUSE: Duration = Duration::from_millis(4);
/// More than any test moves.
const ENDLESS: u64 = 1 << 40;

/// Which way a conversation's bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Download,
    Upload,
    Echo,
}

/// One conversation.
#[derive(Debug)]
struct Flow {
    kind: Kind,
    moved: Arc<AtomicU64>,
    task: JoinHandle<Result<(), bytes::Error>>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Flows {
    flows: Vec<Flow>,
    idle: Vec<UnixStream>,
    stop: Arc<AtomicBool>,
}

impl Flows {
    /// Begins one of each kind, `times` over, and waits until every one moves.
    pub(crate) async fn start(socket: &Path, to: &str, times: u64) -> Self {
        let mut flows = Self::of(&[Kind::Download, Kind::Upload, Kind::Echo], socket, to, times).await;
        for _ in 0..times {
            flows.idle.push(idle(socket, to).await);
        }
        flows
    }

    /// Begins uploads alone: the agent has nothing to say but that it hears.
    pub(crate) async fn start_uploads(socket: &Path, to: &str, times: u64) -> Self {
        Self::of(&[Kind::Upload], socket, to, times).await
    }

    async fn of(kinds: &[Kind], socket: &Path, to: &str, times: u64) -> Self {
        let mut flows = Self { flows: Vec::new(), idle: Vec::new(), stop: Arc::default() };
        for seed in 0..times {
            for &kind in kinds {
                flows.begin(kind, socket.to_owned(), to.to_owned(), seed).await;
            }
        }
        flows.go_on("the start").await;
        flows
    }

    async fn begin(&mut self, kind: Kind, socket: PathBuf, to: String, seed: u64) {
        let stream = connect(&socket, &to).await.expect("a tunnel");
        let (moved, stop) = (Arc::<AtomicU64>::default(), Arc::clone(&self.stop));
        let told = Arc::clone(&moved);
        let task = tokio::spawn(async move {
            match kind {
                Kind::Download => download(stream, seed, &told, &stop).await,
                Kind::Upload => upload(stream, seed, &told, &stop).await,
                Kind::Echo => echo(stream, seed, &told, &stop).await,
            }
        });
        self.flows.push(Flow { kind, moved, task });
    }

    /// Bytes that each conversation has moved.
    fn moved(&self) -> Vec<u64> {
        self.flows.iter().map(|flow| flow.moved.load(Ordering::Relaxed)).collect()
    }

    /// Waits until every conversation has moved another two mebibytes since now: more than the buffers on the way hold,
    /// a stream's window included. None may have ended.
    pub(crate) async fn go_on(&mut self, after: &str) {
        let before = self.moved();
        until(&format!("every stream to go on after {after}"), Duration::from_secs(30), || {
            let now = self.moved();
            let all = before.iter().zip(&now).all(|(before, now)| now - before >= 2 << 20);
            let ended = self.flows.iter().position(|flow| flow.task.is_finished());
            async move {
                assert!(ended.is_none(), "stream {ended:?} of {now:?} ended after {after}");
                all.then_some(())
            }
        })
        .await;
    }

    /// Waits until every conversation has ended by itself: they were cut.
    pub(crate) async fn cut(self, limit: Duration) {
        until("every stream to end", limit, || {
            let all = self.flows.iter().all(|flow| flow.task.is_finished());
            async move { all.then_some(()) }
        })
        .await;
        for Flow { kind, task, .. } in self.flows {
            let ended = task.await.expect("a task of ours");
            // Cut is not finished, and what came before the cut was right.
            assert!(
                matches!(ended, Err(bytes::Error::Io(_) | bytes::Error::Short { .. })),
                "{kind:?}: {ended:?}"
            );
        }
    }

    /// Stops every conversation at its end; each must have been right to its last byte, idle ones still carry.
    pub(crate) async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for Flow { kind, task, .. } in self.flows {
            let ended = soon("the end of a stream", task).await.expect("a task of ours");
            ended.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        }
        for stream in self.idle {
            carry(stream).await;
        }
    }
}

/// A tunnel on which nothing is said until [`carry`].
pub(crate) async fn idle(socket: &Path, to: &str) -> UnixStream {
    let mut stream = connect(socket, to).await.expect("a tunnel");
    // A target does not wait for a request for long.
    soon("a request", bytes::request(&mut stream, Request::Echo)).await.expect("a tunnel's first bytes");
    stream
}

/// An idle tunnel still carries, to its end.
pub(crate) async fn carry(stream: UnixStream) {
    let (mut reader, mut writer) = stream.into_split();
    let sending = async {
        bytes::send(&mut writer, 1, 100_000).await?;
        Ok(writer.shutdown().await?)
    };
    let receiving = async {
        bytes::receive(&mut reader, 1, 100_000).await?;
        bytes::end(&mut reader).await
    };
    let said = soon("an idle stream", async { tokio::try_join!(sending, receiving) }).await;
    said.expect("an idle stream carries its bytes");
}

async fn download(
    mut stream: UnixStream,
    seed: u64,
    moved: &AtomicU64,
    stop: &AtomicBool,
) -> Result<(), bytes::Error> {
    bytes::request(&mut stream, Request::Source { seed, bytes: ENDLESS }).await?;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(bytes::Error::Short { at });
        }
        payload::check(seed, at, &buffer[..read]).map_err(|at| bytes::Error::Wrong { at })?;
        at += read as u64;
        moved.store(at, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// What arrived is the target's to judge: it answers at the first wrong byte, and then there is something to read.
async fn upload(
    mut stream: UnixStream,
    seed: u64,
    moved: &AtomicU64,
    stop: &AtomicBool,
) -> Result<(), bytes::Error> {
    bytes::request(&mut stream, Request::Sink { seed, bytes: ENDLESS }).await?;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        payload::fill(seed, at, &mut buffer);
        stream.write_all(&buffer).await?;
        at += PIECE_BYTES as u64;
        moved.store(at, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer == format!("short at {at}\n") { Ok(()) } else { Err(bytes::Error::Answer(answer)) }
}

async fn echo(
    stream: UnixStream,
    seed: u64,
    moved: &AtomicU64,
    stop: &AtomicBool,
) -> Result<(), bytes::Error> {
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(format!("{}\n", Request::Echo).as_bytes()).await?;
    let (mut out, mut back) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        payload::fill(seed, at, &mut out);
        let (wrote, read) = tokio::join!(writer.write_all(&out), reader.read_exact(&mut back));
        wrote?;
        read?;
        payload::check(seed, at, &back).map_err(|at| bytes::Error::Wrong { at })?;
        at += PIECE_BYTES as u64;
        moved.store(at, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    writer.shutdown().await?;
    bytes::end(&mut reader).await
}
