//! A wire with a delay, in user space: two TUN devices (the kernel's `networking/tuntap` document), each in a network
//! namespace of its own, and every packet of one written to the other when its time has come. No netem is needed.
//!
//! It delays packets, not streams, so that UDP and TCP meet the same road, acknowledgements included. It costs a read
//! and a write for each packet of at most the device's MTU, on the same cores as everything else: bulk through it is
//! capped by that; `docs/SUITE.md` says how far.
//!
//! Deliberately absent: loss (nftables does that), rates and jitter.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::netns::Netns;

mod delay;

pub use delay::DelayQueue;

/// Bytes on their way in one direction at most. At 10 ms that is a rate of more than the forwarder ever reaches.
pub const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest packet: no device's MTU is larger.
const PACKET_BYTES_MAX: usize = 65_536;

/// Attaches to a TUN device that exists in a namespace (`ip tuntap add`).
///
/// # Errors
/// What the system says: no right to (CAP_NET_ADMIN), or no `/dev/net/tun`.
pub fn open(netns: &Netns, device: &str) -> io::Result<SyncDevice> {
    // The descriptor stays with the namespace in which it was opened, wherever its reader is.
    netns.within(|| DeviceBuilder::new().name(device).build_sync())?
}

/// Carries packets both ways until one direction fails, and says why it did.
pub async fn run(near: SyncDevice, far: SyncDevice, delay: Duration) -> io::Error {
    let (near, far) = (Arc::new(near), Arc::new(far));
    let (failed, mut failure) = mpsc::channel(1);
    for (from, to) in [(Arc::clone(&near), Arc::clone(&far)), (far, near)] {
        let road = Arc::new(Road {
            queue: Mutex::new(DelayQueue::new(delay, QUEUE_BYTES_MAX)),
            arrived: Condvar::new(),
        });
        let (reading, failed) = (Arc::clone(&road), failed.clone());
        thread::spawn(move || {
            // Nobody listens any more where the process is about to end.
            let _ = failed.blocking_send(read(&from, &reading));
        });
        thread::spawn(move || write(&to, &road));
    }
    drop(failed);
    failure.recv().await.unwrap_or_else(|| io::Error::other("the forwarder's threads are gone"))
}

/// One direction.
struct Road {
    queue: Mutex<DelayQueue>,
    /// Something is in the queue that was empty.
    arrived: Condvar,
}

impl Road {
    fn lock(&self) -> MutexGuard<'_, DelayQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(device: &SyncDevice, road: &Road) -> io::Error {
    let mut buf = vec![0; PACKET_BYTES_MAX];
    loop {
        let length = match device.recv(&mut buf) {
            Ok(length) => length,
            Err(error) => return error,
        };
        if road.lock().push(Instant::now(), buf[..length].to_vec()) {
            road.arrived.notify_one();
        }
    }
}

fn write(device: &SyncDevice, road: &Road) -> ! {
    let mut due = Vec::new();
    loop {
        wait_for_due(road, &mut due);
        for packet in due.drain(..) {
            // A device that is down loses packets like any other wire; one that is gone ends the reader.
            let _ = device.send(&packet);
        }
    }
}

/// Waits until packets' time has come, and takes them.
fn wait_for_due(road: &Road, due: &mut Vec<Vec<u8>>) {
    let mut queue = road.lock();
    loop {
        let now = Instant::now();
        queue.take_due(now, due);
        if !due.is_empty() {
            return;
        }
        queue = match queue.next_at() {
            Some(at) => {
                let waited = road.arrived.wait_timeout(queue, at.saturating_duration_since(now));
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => road.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner),
        };
    }
}
