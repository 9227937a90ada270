//! A TCP relay with one fault.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What goes wrong. Positions count the bytes of one connection and direction, the request line included.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    FlipUp {
        at: u64,
    },
    FlipDown {
        at: u64,
    },
    /// One byte is missing.
    LoseUp {
        at: u64,
    },
    LoseDown {
        at: u64,
    },
    /// The connection breaks.
    CutDown {
        at: u64,
    },
    /// Nothing comes any more, and nothing ends.
    SwallowDown {
        at: u64,
    },
    /// Nothing moves for a while, once, counted from the relay's first connection.
    Stall {
        after: Duration,
        pause: Duration,
    },
}

/// A relay; its threads end with the connections.
pub(crate) struct Relay {
    addr: SocketAddr,
}

/// When the first connection came, for everybody.
type Began = Arc<(Mutex<Option<Instant>>, Condvar)>;

impl Relay {
    pub(crate) fn start(target: SocketAddr, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            let began = Began::default();
            for stream in listener.incoming() {
                let (Ok(near), Ok(far)) = (stream, TcpStream::connect(target)) else { continue };
                began.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
                let _ = near.set_nodelay(true);
                let _ = far.set_nodelay(true);
                let (near2, far2) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (up, down) = (began.clone(), began.clone());
                thread::spawn(move || carry(near, far, fault, true, &up));
                thread::spawn(move || carry(far2, near2, fault, false, &down));
            }
        });
        Self { addr }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Carries one direction to its end.
fn carry(mut from: TcpStream, mut to: TcpStream, fault: Fault, up: bool, began: &Began) {
    let mut buf = vec![0; 64 * 1024];
    let mut position = 0_u64;
    loop {
        let read = match from.read(&mut buf) {
            Ok(read) if read > 0 => read,
            _ => break,
        };
        let mut bytes = buf[..read].to_vec();
        let within = |at: u64| {
            (position..position + read as u64).contains(&at).then(|| usize::try_from(at - position).unwrap())
        };
        match fault {
            Fault::FlipUp { at } if up => within(at).into_iter().for_each(|index| bytes[index] ^= 1),
            Fault::FlipDown { at } if !up => within(at).into_iter().for_each(|index| bytes[index] ^= 1),
            Fault::LoseUp { at } if up => within(at).into_iter().for_each(|index| lose(&mut bytes, index)),
            Fault::LoseDown { at } if !up => within(at).into_iter().for_each(|index| lose(&mut bytes, index)),
            Fault::CutDown { at } if !up && position + read as u64 > at => {
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
            Fault::SwallowDown { at } if !up && position + read as u64 > at => bytes.clear(),
            Fault::Stall { after, pause } => stall(began, after, pause),
            _ => {}
        }
        position += read as u64;
        if to.write_all(&bytes).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn lose(bytes: &mut Vec<u8>, index: usize) {
    bytes.remove(index);
}

/// Holds everybody who comes in the pause until it is over.
fn stall(began: &Began, after: Duration, pause: Duration) {
    let first = began.0.lock().unwrap_or_else(PoisonError::into_inner);
    let since = first.map_or(Duration::ZERO, |first| first.elapsed());
    if since >= after && since < after + pause {
        let left = after + pause - since;
        let _ = began.1.wait_timeout_while(first, left, |_| true);
    }
}
