//! Readers that have stopped: tunnels filled until nothing moves any more.
//!
//! Shared by the tests and by the benchmark. The ends are held here and read by nobody, except that every third one
//! trickles where that is asked for: a few bytes now and then, for ever.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::stand::{DEADLINE, Stand};

/// No progress for so long means that everything is full.
const STILL: Duration = Duration::from_millis(300);
/// Between two attempts to write: the shards need the processor more.
const PAUSE: Duration = Duration::from_millis(2);
/// An end is asked in every 2ⁿth round after so many refusals, at most.
const REFUSALS_MAX: u32 = 5;
/// What the kernel may keep of each tunnel at the target, each way. Small, so that what fills is adit; a thousand
/// sockets whose buffers grow as they like exceed what Linux gives to all TCP together (`net.ipv4.tcp_mem`).
const TARGET_BUFFER_BYTES: usize = 64 * 1024;
/// The segment size that the target announces: Ethernet's. Loopback's would let each socket start with megabytes.
const TARGET_SEGMENT_BYTES: u32 = 1448;
/// What a reader that trickles takes at once.
const TRICKLE_BYTES: usize = 200;
/// How often each of them does.
const TRICKLE_INTERVAL: Duration = Duration::from_millis(100);

/// Which way the bytes go that nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The target has stopped reading.
    Upload,
    /// The client has stopped reading.
    Download,
}

struct Tunnel {
    client: UnixStream,
    target: TcpStream,
}

/// The end of a tunnel that is written to.
struct End<'a> {
    writer: Box<dyn Write + 'a>,
    /// How often in a row it took nothing.
    refusals: u32,
}

impl End<'_> {
    /// Writes until it takes nothing; how much it took.
    fn write(&mut self, piece: &[u8]) -> usize {
        let mut taken = 0;
        loop {
            match self.writer.write(piece) {
                Ok(count) => taken += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("after {taken} bytes: {error}"),
            }
        }
        self.refusals = if taken > 0 { 0 } else { self.refusals + 1 };
        taken
    }
}

impl Tunnel {
    fn end(&self, direction: Direction) -> End<'_> {
        let writer: Box<dyn Write + '_> = match direction {
            Direction::Upload => Box::new(&self.client),
            Direction::Download => Box::new(&self.target),
        };
        End { writer, refusals: 0 }
    }

    fn reader(&self, direction: Direction) -> Box<dyn Read + '_> {
        match direction {
            Direction::Upload => Box::new(&self.target),
            Direction::Download => Box::new(&self.client),
        }
    }
}

/// Tunnels of which nothing is read.
pub(crate) struct StoppedReaders {
    tunnels: Vec<Tunnel>,
    directions: &'static [Direction],
    /// What was written into them.
    pub(crate) filled_bytes: usize,
}

impl StoppedReaders {
    /// Opens so many tunnels and writes into them until none takes a byte any more.
    pub(crate) fn fill(stand: &Stand, count: usize, directions: &'static [Direction]) -> Self {
        let listener = listen();
        let address = listener.local_addr().unwrap();
        let open = |_| {
            let client = stand.connect(address);
            let (target, _) = listener.accept().unwrap();
            client.set_nonblocking(true).unwrap();
            target.set_nonblocking(true).unwrap();
            Tunnel { client, target }
        };
        let mut readers = Self { tunnels: (0..count).map(open).collect(), directions, filled_bytes: 0 };
        readers.write_until_still(stand);
        readers
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.tunnels.len()
    }

    fn write_until_still(&mut self, stand: &Stand) {
        let piece = [0x5a; 64 * 1024];
        let mut ends: Vec<End<'_>> = self
            .tunnels
            .iter()
            .flat_map(|tunnel| self.directions.iter().map(|direction| tunnel.end(*direction)))
            .collect();
        let began = Instant::now();
        let (mut moved_at, mut filled) = (began, 0);
        for round in 0_u32.. {
            if moved_at.elapsed() >= STILL && self.are_stopped(stand) {
                break;
            }
            assert!(began.elapsed() < 8 * DEADLINE, "not full after {filled} bytes");
            for end in &mut ends {
                // What took nothing the last times is asked less and less often: asking costs as much as writing.
                if round.is_multiple_of(1 << end.refusals.min(REFUSALS_MAX)) {
                    let taken = end.write(&piece);
                    filled += taken;
                    if taken > 0 {
                        moved_at = Instant::now();
                    }
                }
            }
            std::thread::park_timeout(PAUSE);
        }
        self.filled_bytes = filled;
    }

    /// Whether the shards say so, too.
    fn are_stopped(&self, stand: &Stand) -> bool {
        let (server, agent) = stand.report();
        self.directions.iter().all(|direction| {
            let stopped = match direction {
                Direction::Upload => agent.stats.stopped_readers,
                Direction::Download => server.stats.stopped_readers,
            };
            stopped >= self.count() as u64
        })
    }

    /// Every third reader takes a few bytes ten times a second, until `done`; while `paused` none does.
    pub(crate) fn trickle(&self, paused: &AtomicBool, done: &AtomicBool) {
        let mut few = [0; TRICKLE_BYTES];
        let trickling: Vec<_> = self.tunnels.iter().step_by(3).collect();
        let pause = TRICKLE_INTERVAL / u32::try_from(trickling.len()).unwrap_or(u32::MAX);
        for (index, tunnel) in trickling.iter().enumerate().cycle() {
            if done.load(Ordering::SeqCst) {
                return;
            }
            if !paused.load(Ordering::SeqCst) {
                for direction in self.directions {
                    let read = tunnel.reader(*direction).read(&mut few);
                    // A moment may pass until the socket is filled up again.
                    let fine = match &read {
                        Ok(count) => *count > 0,
                        Err(error) => error.kind() == ErrorKind::WouldBlock,
                    };
                    assert!(fine, "trickling reader {index}, {direction:?}: {read:?}");
                }
            }
            std::thread::park_timeout(pause);
        }
    }
}

/// Ends background threads, also when an assertion fails.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A listener whose connections have small buffers.
fn listen() -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(TARGET_BUFFER_BYTES).unwrap();
    socket.set_send_buffer_size(TARGET_BUFFER_BYTES).unwrap();
    socket.set_tcp_mss(TARGET_SEGMENT_BYTES).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(1024).unwrap();
    socket.into()
}
