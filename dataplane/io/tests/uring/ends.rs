//! How things end: a driver with operations in flight, a half-closed connection under watch, a full table.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use adit_io::net::{UdpOptions, bind_udp};
use adit_io::{Close, Completion, DatagramDriver, DatagramOp, Driver, Op, OpError, OpKind, Outcome, Shots};
use bytes::Bytes;

use crate::{Bench, PATIENCE, SMALL, tcp_pair};

/// Counts the drops of buffers.
struct Owner(Arc<AtomicUsize>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &[9; 4096]
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// R6: with one of every kind in flight a driver goes away at once, its sockets are closed, and every buffer is
/// freed: none had to be leaked.
#[test]
fn r6_a_driver_with_everything_in_flight_ends_cleanly() {
    let freed = Arc::new(AtomicUsize::new(0));
    let mut bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let listener = bench.adopt(listener);
    bench.submit(Op::Accept { listener });
    let mut queued = TcpStream::connect(addr).unwrap();
    let (inside, mut outside) = tcp_pair(&mut bench);
    bench.recv(inside, Shots::Many);
    bench.submit(Op::Watch { socket: inside });
    // More than the kernel takes without a reader, so that a send is left waiting for room.
    let mut sends = 0;
    let waiting = loop {
        let data = vec![Bytes::from_owner(Owner(Arc::clone(&freed))); 64];
        let token = bench.submit(Op::Send { socket: inside, data, zero_copy: false });
        sends += 1;
        let limit = Instant::now() + Duration::from_millis(100);
        while Instant::now() < limit && !bench.arrived.iter().any(|c| c.token == token) {
            bench.poll();
        }
        if !bench.arrived.iter().any(|c| c.token == token) {
            break token;
        }
        bench.arrived.retain(|completion| completion.token != token);
        assert!(sends < 1000, "nothing fills the socket");
    };
    let shutdown = bench.submit(Op::ShutdownWrite { socket: inside });
    let (udp, _) = bind_udp("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
    let udp = bench.adopt(udp);
    let token = bench.token();
    bench.driver.submit_datagrams(DatagramOp::Recv { socket: udp }, token).unwrap();
    bench.poll();
    assert!(!bench.arrived.iter().any(|c| c.token == waiting || c.token == shutdown), "both wait");

    let start = Instant::now();
    drop(bench);
    assert!(start.elapsed() < Duration::from_millis(900), "the end took {:?}", start.elapsed());
    assert_eq!(freed.load(Ordering::SeqCst), sends);
    outside.read_to_end(&mut Vec::new()).expect("what was sent, then the end");
    queued.set_read_timeout(Some(PATIENCE)).unwrap();
    let end = queued.read(&mut [0; 1]);
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert_ne!(end.err().map(|error| error.kind()), Some(std::io::ErrorKind::WouldBlock), "still open");
    assert!(TcpStream::connect(addr).is_err(), "the listener is closed");
}

/// The peer ends its direction: a one-shot poll of io_uring would take that for the end of the connection.
#[test]
fn a_half_closed_connection_is_watched_on() {
    for reset in [false, true] {
        let mut bench = Bench::new();
        let (inside, mut outside) = tcp_pair(&mut bench);
        let watch = bench.submit(Op::Watch { socket: inside });
        bench.poll();
        outside.shutdown(Shutdown::Write).unwrap();
        bench.until(|bench| (bench.driver.counters().submitted(OpKind::Watch) == 2).then_some(()));
        let quiet = Instant::now() + Duration::from_millis(50);
        bench.until(|_| (Instant::now() > quiet).then_some(()));
        assert!(bench.arrived.is_empty(), "only one direction has ended: {:?}", bench.arrived);
        assert_eq!(bench.driver.counters().submitted(OpKind::Watch), 2, "it is not armed again and again");
        if reset {
            socket2::SockRef::from(&outside).set_linger(Some(Duration::ZERO)).unwrap();
            drop(outside);
        } else {
            let shutdown = bench.submit(Op::ShutdownWrite { socket: inside });
            assert!(matches!(bench.next(shutdown).outcome, Outcome::ShutdownWrite(Ok(()))));
            outside.read_to_end(&mut Vec::new()).unwrap();
        }
        let gone = bench.next(watch);
        assert!(matches!(gone.outcome, Outcome::Gone(Ok(()))), "{gone:?}");
        assert!(!gone.more);
        bench.driver.release(inside).expect("nothing is outstanding");
    }
}

#[test]
fn the_watch_of_a_half_closed_connection_can_be_cancelled() {
    let mut bench = Bench::new();
    let (inside, outside) = tcp_pair(&mut bench);
    outside.shutdown(Shutdown::Write).unwrap();
    let watch = bench.submit(Op::Watch { socket: inside });
    bench.until(|bench| (bench.driver.counters().submitted(OpKind::Watch) == 2).then_some(()));
    bench.driver.cancel(watch);
    assert!(matches!(bench.next(watch).outcome, Outcome::Gone(Err(OpError::Cancelled))));
}

/// With no place left in the table an accept ends; the connections wait in the listener's queue until there is one.
#[test]
fn a_full_table_ends_accept_and_leaves_the_listener_usable() {
    let mut bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let listener = bench.adopt(listener);
    let mut accept = bench.submit(Op::Accept { listener });
    let mut inside = Vec::new();
    let mut outside = Vec::new();
    let ended = loop {
        outside.push(TcpStream::connect(addr).unwrap());
        let completion = bench.next(accept);
        match completion.outcome {
            Outcome::Accepted(Ok((socket, _))) => inside.push(socket),
            Outcome::Accepted(Err(error)) => break (error, completion.more),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ended, (OpError::Os(libc::EMFILE), false));
    assert_eq!(inside.len() + 1, SMALL.sockets_max);
    let refused = bench.driver.submit(Op::Connect { addr }, adit_io::Token(u64::MAX)).unwrap_err();
    assert_eq!(refused.reason, adit_io::Refusal::Full);
    bench.driver.close(inside.pop().unwrap(), Close::Graceful);
    accept = bench.submit(Op::Accept { listener });
    let mut late = TcpStream::connect(addr).unwrap();
    late.write_all(b"there").unwrap();
    let completion = bench.next(accept);
    assert!(matches!(completion.outcome, Outcome::Accepted(Ok(_))), "{completion:?}");
}

/// A shutdown waits for the send before it, so that it cannot cut it off.
#[test]
fn a_shutdown_does_not_overtake_a_send() {
    let mut bench = Bench::new();
    let (inside, mut outside) = tcp_pair(&mut bench);
    let data = vec![Bytes::from(vec![1; 100_000])];
    let send = bench.submit(Op::Send { socket: inside, data, zero_copy: false });
    let shutdown = bench.submit(Op::ShutdownWrite { socket: inside });
    let Outcome::Sent { result: Ok(sent), .. } = bench.next(send).outcome else { panic!("not sent") };
    assert!(matches!(bench.next(shutdown).outcome, Outcome::ShutdownWrite(Ok(()))));
    let mut received = Vec::new();
    outside.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), sent);
}

/// Linux 6.18 loses the end of a Unix stream now and then, if it comes while a multishot receive is at work on the last
/// bytes: so the other end writes and goes at any moment of the receive.
#[test]
fn the_end_of_a_unix_stream_is_seen_whenever_it_comes() {
    const STREAMS: usize = 3000;
    let mut bench = Bench::new();
    let (pass, take) = std::sync::mpsc::sync_channel::<UnixStream>(64);
    let writer = std::thread::spawn(move || {
        for mut outside in take {
            outside.write_all(b"last words").unwrap();
            outside.shutdown(Shutdown::Write).unwrap();
        }
    });
    for round in 0..STREAMS / 2 {
        let streams: Vec<_> = (0..2)
            .map(|_| {
                let (inside, outside) = UnixStream::pair().unwrap();
                let inside = bench.adopt(inside);
                (inside, bench.recv(inside, Shots::Many), outside)
            })
            .collect();
        bench.poll();
        let keep: Vec<_> = streams.iter().map(|(_, _, outside)| outside.try_clone().unwrap()).collect();
        let mut tokens = Vec::new();
        for (inside, recv, outside) in streams {
            pass.send(outside).unwrap();
            tokens.push((inside, recv));
        }
        for (inside, recv) in tokens {
            let completion = bench.next(recv);
            assert!(matches!(completion.outcome, Outcome::Received(Ok(bytes)) if bytes == b"last words"[..]));
            let Completion { more, outcome, .. } = bench.next(recv);
            let ended = matches!(&outcome, Outcome::Received(Ok(bytes)) if bytes.is_empty());
            assert!(!more && ended, "round {round}: {outcome:?}, more {more}");
            bench.driver.close(inside, Close::Graceful);
        }
        drop(keep);
    }
    drop(pass);
    writer.join().unwrap();
}
