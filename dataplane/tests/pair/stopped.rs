//! Stopped readers cost only themselves: whoever else pings, dials or moves bytes meanwhile does not notice.
//!
//! A third of them trickle: they read a few bytes now and then, which must not help and must not hurt.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use adit_dataplane::limits::STREAM_WINDOW_BYTES;
use adit_io::{DatagramDriver, Driver, DriverConfig, ResourceLimits, net::OwnedSocket};

use crate::readers::{Direction, SetOnDrop, StoppedReaders};
use crate::stand::{DEADLINE, MakeDriver, Stand};

/// Nobody else may wait longer than this, for an echo or for a dial.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// One at a time: cases that run at once would measure each other.
pub(crate) static ALONE: Mutex<()> = Mutex::new(());

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

fn stopped_readers_cost_only_themselves<D>(make: MakeDriver<D>, count: usize)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let stand = Stand::start(make);
    let readers = StoppedReaders::fill(&stand, count, &[Direction::Upload, Direction::Download]);
    let least = count * 2 * STREAM_WINDOW_BYTES as usize;
    assert!(readers.filled_bytes >= least, "{} bytes: a window each way must fit", readers.filled_bytes);
    let (done, paused) = (AtomicBool::new(false), AtomicBool::new(false));
    let slowest = std::thread::scope(|scope| {
        let _done = SetOnDrop(&done);
        let echo = echo_target(scope, &done);
        scope.spawn(|| readers.trickle(&paused, &done));
        others_are_served(&stand, echo)
    });
    assert!(slowest <= WAIT_MAX, "somebody waited {slowest:?} beside {count} stopped readers");
    drop(readers);
    let (server, agent) = stand.stop();
    assert_eq!(server.stats.tunnels_over_budget + agent.stats.tunnels_over_budget, 0, "they fit the budget");
}

/// More readers than there are receive slots: what they pin must leave slots to those who move.
pub(crate) fn stopped_readers_leave_receive_slots_to_others<D>(make: MakeDriver<D>)
where
    D: DatagramDriver + Driver<Socket = OwnedSocket> + 'static,
{
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let config = DriverConfig {
        small_slots: 256,
        large_slots: 16,
        datagram_slots: 64,
        ..DriverConfig::sized_for(ResourceLimits::current())
    };
    let stand = Stand::start_sized(make, &config);
    let readers = StoppedReaders::fill(&stand, 64, &[Direction::Upload, Direction::Download]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = SetOnDrop(&done);
        let echo = echo_target(scope, &done);
        // Enough at once to be read with large slots, there and back.
        let mut stream = stand.connect(echo);
        let megabyte: Vec<u8> =
            (0..1024 * 1024_u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        let (mut writer, piece) = (stream.try_clone().unwrap(), megabyte.clone());
        scope.spawn(move || {
            for _ in 0..8 {
                writer.write_all(&piece).unwrap();
            }
        });
        let mut received = vec![0; megabyte.len()];
        for round in 0..8 {
            stream.read_exact(&mut received).unwrap();
            assert!(received == megabyte, "megabyte {round}");
        }
    });
    let (server, agent) = stand.report();
    for report in [server, agent] {
        let (large, stats) = (report.large_slots, report.stats);
        assert!(large.held * 4 <= large.total * 3, "{large:?} are held for good");
        assert!(stats.bytes_copied_out > 0, "what stopped later was copied out: {stats:?}");
    }
    drop(readers);
    stand.stop();
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
        let mut buffer = vec![0; 256 * 1024];
        while !done.load(Ordering::SeqCst) {
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::park_timeout(Duration::from_micros(200));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.set_write_timeout(Some(DEADLINE)).unwrap();
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        }
    });
    address
}
