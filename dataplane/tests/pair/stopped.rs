//! Stopped readers cost only themselves: whoever else pings or dials meanwhile does not notice.
//!
//! A third of them trickle: they read a few bytes now and then, which must not help and must not hurt.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use adit_io::{DatagramDriver, Driver, net::OwnedSocket};

use crate::stand::{DEADLINE, MakeDriver, Stand};

/// Nobody else may wait longer than this, for an echo or for a dial.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// No progress for so long means that everything is full.
const STILL: Duration = Duration::from_millis(300);

pub(crate) fn one_stopped_reader_costs_only_itself<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    stopped_readers_cost_only_themselves(make, 1);
}

pub(crate) fn a_hundred_stopped_readers_cost_only_themselves<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    stopped_readers_cost_only_themselves(make, 100);
}

pub(crate) fn a_thousand_stopped_readers_cost_only_themselves<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    stopped_readers_cost_only_themselves(make, 1000);
}

/// A tunnel whose two ends are held here: nobody reads either, unless told to.
struct Pair {
    client: UnixStream,
    target: TcpStream,
}

fn stopped_readers_cost_only_themselves<D>(make: MakeDriver<D>, count: usize)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    // One at a time: three sizes on two drivers at once would measure each other.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let stand = Stand::start(make);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pairs: Vec<Pair> = (0..count)
        .map(|_| {
            let client = stand.connect(address);
            let (target, _) = listener.accept().unwrap();
            client.set_nonblocking(true).unwrap();
            target.set_nonblocking(true).unwrap();
            Pair { client, target }
        })
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = SetOnDrop(&done);
        let echo = echo_target(scope, &done);
        // Both directions of every tunnel are filled until nothing moves.
        let filled = fill(&pairs);
        assert!(filled >= count * 2 * 1024 * 1024, "{filled} bytes: a window each way must fit");
        for (index, pair) in pairs.iter().enumerate().filter(|(index, _)| index % 3 == 0) {
            trickle(pair, index);
        }
        let slowest = others_are_served(&stand, echo);
        assert!(slowest <= WAIT_MAX, "somebody waited {slowest:?} beside {count} stopped readers");
    });
    drop(pairs);
    stand.stop();
}

/// Ends the echo target, also when an assertion fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Writes to every end until none takes a byte any more; how many bytes that were.
fn fill(pairs: &[Pair]) -> usize {
    let piece = [0x5a; 64 * 1024];
    let mut total = 0;
    let mut moved_at = Instant::now();
    let began = Instant::now();
    while moved_at.elapsed() < STILL {
        assert!(began.elapsed() < 8 * DEADLINE, "still moving after {total} bytes");
        for pair in pairs {
            for end in [&mut (&pair.client) as &mut dyn Write, &mut (&pair.target)] {
                match end.write(&piece) {
                    Ok(count) => {
                        total += count;
                        moved_at = Instant::now();
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
                }
            }
        }
        std::thread::yield_now();
    }
    total
}

/// Reads a little at both ends.
fn trickle(pair: &Pair, index: usize) {
    let mut few = [0; 200];
    let (mut client, mut target) = (&pair.client, &pair.target);
    assert!(
        client.read(&mut few).is_ok_and(|count| count > 0),
        "the client of tunnel {index} has bytes to read"
    );
    assert!(
        target.read(&mut few).is_ok_and(|count| count > 0),
        "the target of tunnel {index} has bytes to read"
    );
}

/// Dials and pings; the longest that any of them took.
fn others_are_served(stand: &Stand, echo: SocketAddr) -> Duration {
    let mut slowest = Duration::ZERO;
    for dial in 0..30_u8 {
        let began = Instant::now();
        let mut stream = stand.connect(echo);
        slowest = slowest.max(began.elapsed());
        for ping in 0..20_u8 {
            let message = [dial, ping, 0x11, 0x22, 0x33];
            let began = Instant::now();
            stream.write_all(&message).unwrap();
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, message);
            slowest = slowest.max(began.elapsed());
        }
    }
    slowest
}

/// A target that gives back what it gets, one connection after the other.
fn echo_target<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    done: &'scope AtomicBool,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    scope.spawn(move || {
        while !done.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((mut stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_nodelay(true).unwrap();
                    let mut buffer = [0; 1024];
                    while let Ok(count @ 1..) = stream.read(&mut buffer) {
                        stream.write_all(&buffer[..count]).unwrap();
                    }
                }
                Err(_) => std::thread::yield_now(),
            }
        }
    });
    address
}
