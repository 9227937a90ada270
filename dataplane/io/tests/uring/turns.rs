//! What a turn costs, and what ends it.

use std::io::{Read, Write};
use std::thread;
use std::time::Instant;

use adit_io::{Driver, Op, OpKind, Outcome, Shots};

use crate::{Bench, tcp_pair};

/// An echo in the steady state: one system call per turn and nothing else.
#[test]
fn one_system_call_per_turn() {
    const ROUNDS: u64 = 200;
    let mut bench = Bench::new();
    let (inside, mut outside) = tcp_pair(&mut bench);
    let recv = bench.recv(inside, Shots::Many);
    bench.poll();
    let before = bench.driver.counters().clone();
    for _ in 0..ROUNDS {
        outside.write_all(b"ping").unwrap();
        let Outcome::Received(Ok(data)) = bench.next(recv).outcome else { panic!("nothing received") };
        let send = bench.submit(Op::Send { socket: inside, data: vec![data.freeze()], zero_copy: false });
        assert!(matches!(bench.next(send).outcome, Outcome::Sent { result: Ok(4), .. }));
        outside.read_exact(&mut [0; 4]).unwrap();
    }
    let after = bench.driver.counters();
    assert_eq!(after.syscalls - before.syscalls, after.turns - before.turns);
    assert_eq!(after.submitted(OpKind::Send), ROUNDS);
    assert_eq!(after.submitted(OpKind::RecvMultishot), 1);
    assert_eq!(after.stream_bytes_sent, 4 * ROUNDS);
    assert_eq!(after.completion_overflows, 0);
}

/// Wakes from many threads: what was done before a wake is seen after a turn, and a driver that is gone is woken
/// without harm.
#[test]
fn a_wake_is_never_lost() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    const THREADS: u64 = 4;
    const WAKES: u64 = 2000;
    let mut bench = Bench::new();
    let done = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (waker, done) = (bench.driver.waker(), Arc::clone(&done));
            thread::spawn(move || {
                for _ in 0..WAKES {
                    done.fetch_add(1, Ordering::SeqCst);
                    waker.wake();
                }
            })
        })
        .collect();
    let limit = Instant::now() + crate::PATIENCE;
    while done.load(Ordering::SeqCst) < THREADS * WAKES {
        // No deadline of use: a lost wake would hold this turn up, and the assertion below would tell.
        bench.driver.turn(Some(limit), 1, &mut bench.arrived).unwrap();
        assert!(Instant::now() < limit, "a wake was lost");
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let counters = bench.driver.counters();
    assert!(counters.completed(OpKind::Wake) <= THREADS * WAKES);
    let waker = bench.driver.waker();
    drop(bench);
    waker.wake();
    waker.wake();
}
