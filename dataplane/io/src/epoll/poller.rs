//! The epoll set: registration, waiting, and what its events say.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::wake::WakeHandle;
use crate::driver::{SocketId, Wake};

/// Events taken from the kernel in one wait. Those beyond it come with the next.
const EVENTS_MAX: usize = 256;
/// The data of the wake event. No [`SocketId`] encodes to it: a table has fewer than 2^32 - 1 places.
const WAKE: u64 = u64::MAX;

/// What an event says of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer will send nothing more, or the connection is gone: a short read no longer means "empty".
    pub(super) read_ended: bool,
    /// Gone in both directions, or failed (`EPOLLHUP`, `EPOLLERR`).
    pub(super) hung_up: bool,
    /// An error is pending (`EPOLLERR`); on UDP the error queue has something.
    pub(super) error: bool,
}

/// An epoll descriptor, with the wake event in it.
pub(super) struct Poller {
    epoll: OwnedFd,
    wake: Arc<WakeHandle>,
    events: Vec<libc::epoll_event>,
    /// Whether epoll_pwait2(2) works here: Linux 5.11, and not denied by a filter.
    has_pwait2: bool,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1(2) takes an integer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(named("epoll_create1", &io::Error::last_os_error()));
        }
        // SAFETY: the descriptor is new and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let wake = Arc::new(WakeHandle::new().map_err(|error| named("eventfd2", &error))?);
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
        let poller = Self { epoll, wake, events, has_pwait2: true };
        poller
            .control(libc::EPOLL_CTL_ADD, poller.wake.fd(), libc::EPOLLIN | libc::EPOLLET, WAKE)
            .map_err(|error| named("epoll_ctl", &error))?;
        Ok(poller)
    }

    /// Registers a socket for both directions, edge-triggered. What it is ready for now comes as its first event.
    pub(super) fn add(&self, socket: BorrowedFd<'_>, id: SocketId) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let data = u64::from(id.index()) << 32 | u64::from(id.generation());
        self.control(libc::EPOLL_CTL_ADD, socket, interest, data)
    }

    /// Takes a socket out that stays open.
    pub(super) fn remove(&self, socket: BorrowedFd<'_>) {
        self.control(libc::EPOLL_CTL_DEL, socket, 0, 0).expect("a socket of the table is registered");
    }

    pub(super) fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.wake) as Arc<dyn Wake>
    }

    /// Waits for events, at most for `timeout` (`None`: without limit), and says how many came. 0 as well when a
    /// signal came.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let result = if self.has_pwait2 { self.wait_precisely(timeout) } else { self.wait_coarsely(timeout) };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            // Unknown to the kernel, or to the filter of a container that is older than the call.
            Err(error)
                if self.has_pwait2 && matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) =>
            {
                self.has_pwait2 = false;
                self.wait(timeout)
            }
            other => other,
        }
    }

    /// Event number `at` of the last wait; `None` if it is a wake.
    pub(super) fn event(&self, at: usize) -> Option<(SocketId, Ready)> {
        let libc::epoll_event { events, u64: data } = self.events[at];
        if data == WAKE {
            self.wake.seen();
            return None;
        }
        let has = |flags: libc::c_int| events & flags.cast_unsigned() != 0;
        let hung_up = has(libc::EPOLLHUP | libc::EPOLLERR);
        let ready = Ready {
            readable: hung_up || has(libc::EPOLLIN | libc::EPOLLRDHUP),
            writable: hung_up || has(libc::EPOLLOUT),
            read_ended: hung_up || has(libc::EPOLLRDHUP),
            hung_up,
            error: has(libc::EPOLLERR),
        };
        let (index, generation) = (u32::try_from(data >> 32), u32::try_from(data & u64::from(u32::MAX)));
        let (Ok(index), Ok(generation)) = (index, generation) else { unreachable!("both have 32 bits") };
        Some((SocketId::new(index, generation), ready))
    }

    /// To the nanosecond: a shard's timers pace packets, and a millisecond is long on a data centre's link.
    fn wait_precisely(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let time = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let no_mask = std::ptr::null::<libc::sigset_t>();
        // SAFETY: epoll_pwait2(2): the descriptor is open; `events` has room for EVENTS_MAX events; `time` is null
        // or points to a timespec that lives across the call; no signal mask, so its size is not looked at.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX,
                time,
                no_mask,
                0_usize,
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// To the millisecond, rounded up: a deadline must have passed when the wait ends.
    fn wait_coarsely(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout_ms = timeout.map_or(-1, |timeout| {
            libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
        });
        let room = libc::c_int::try_from(EVENTS_MAX).unwrap_or(libc::c_int::MAX);
        // SAFETY: epoll_wait(2): the descriptor is open and `events` has room for `room` events.
        let count =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), room, timeout_ms) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    fn control(
        &self,
        what: libc::c_int,
        fd: BorrowedFd<'_>,
        interest: libc::c_int,
        data: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.cast_unsigned(), u64: data };
        // SAFETY: epoll_ctl(2): both descriptors are open, and the event is a local that lives across the call.
        let rc = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd.as_raw_fd(), &raw mut event) };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn named(call: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{call}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    #[test]
    fn both_ways_of_waiting_keep_the_deadline() {
        let mut poller = Poller::new().unwrap();
        for precise in [true, false] {
            poller.has_pwait2 = precise;
            for timeout in [Duration::ZERO, Duration::from_micros(300), Duration::from_millis(5)] {
                let start = Instant::now();
                assert_eq!(poller.wait(Some(timeout)).unwrap(), 0);
                assert!(start.elapsed() >= timeout, "{timeout:?}, precisely: {precise}");
            }
        }
    }

    #[test]
    fn wake_ends_either_wait_once() {
        let mut poller = Poller::new().unwrap();
        let waker = poller.waker();
        for precise in [true, false] {
            poller.has_pwait2 = precise;
            waker.wake();
            waker.wake();
            assert_eq!(poller.wait(None).unwrap(), 1);
            assert_eq!(poller.event(0), None);
            assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), 0);
        }
    }

    #[test]
    fn id_and_readiness_come_back() {
        let mut poller = Poller::new().unwrap();
        let (a, b) = UnixStream::pair().unwrap();
        let id = SocketId::new(7, u32::MAX);
        poller.add(a.as_fd(), id).unwrap();
        assert_eq!(poller.wait(None).unwrap(), 1);
        let (same, ready) = poller.event(0).unwrap();
        assert_eq!(same, id);
        assert_eq!(ready, Ready { writable: true, ..Ready::default() });
        drop(b);
        assert_eq!(poller.wait(None).unwrap(), 1);
        let (_, ready) = poller.event(0).unwrap();
        assert!(ready.readable && ready.read_ended && ready.hung_up);
        poller.remove(a.as_fd());
        assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), 0);
    }
}
