//! Accept and connect.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::rig::{check_pattern, patterned};
use super::{Harness, Rig};
use crate::driver::{Driver, SocketId, Token};
use crate::error::OpError;
use crate::op::{Completion, Op, Outcome, PeerAddr};

#[track_caller]
fn accepted<H: Harness>(rig: &mut Rig<'_, H>, accept: Token) -> (SocketId, PeerAddr) {
    match rig.next(accept) {
        Completion { outcome: Outcome::Accepted(Ok(accepted)), .. } => accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

#[track_caller]
fn connected<H: Harness>(rig: &mut Rig<'_, H>, connect: Token) -> SocketId {
    match rig.next(connect).outcome {
        Outcome::Connected(Ok(socket)) => socket,
        other => panic!("not connected: {other:?}"),
    }
}

/// One accept, many connections, each with its peer's address.
pub fn accept_of_many<H: Harness>(harness: &H) {
    const MANY: usize = 24;
    let mut rig = Rig::new(harness);
    let (listener, addr) = harness.listener(&mut rig.driver);
    let accept = rig.submit(Op::Accept { listener });
    let connects: Vec<Token> = (0..MANY).map(|_| rig.submit(Op::Connect { addr })).collect();
    let mut peers: HashSet<SocketAddr> = HashSet::new();
    for connect in connects {
        let socket = connected(&mut rig, connect);
        peers.insert(rig.driver.local_addr(socket).expect("it is TCP"));
    }
    for _ in 0..MANY {
        let (socket, peer) = accepted(&mut rig, accept);
        let PeerAddr::Inet(peer) = peer else { panic!("not a TCP peer: {peer:?}") };
        assert!(peers.remove(&peer), "{peer} did not connect, or twice");
        assert_eq!(rig.driver.local_addr(socket).map(|local| local.port()), Some(addr.port()));
    }
    assert!(peers.is_empty());
    assert!(rig.is_outstanding(accept), "it stays armed");
    rig.expect_nothing(accept);
    rig.finish();
}

/// A connection that was opened carries bytes both ways.
pub fn connect_and_talk<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (listener, addr) = harness.listener(&mut rig.driver);
    let accept = rig.submit(Op::Accept { listener });
    let connect = rig.submit(Op::Connect { addr });
    let a = connected(&mut rig, connect);
    let (b, _) = accepted(&mut rig, accept);
    rig.send_all(a, patterned(1, 0, 3000));
    rig.send_all(b, patterned(2, 0, 3000));
    check_pattern(1, 0, &rig.recv_exact(b, 3000));
    check_pattern(2, 0, &rig.recv_exact(a, 3000));
    rig.finish();
}

/// Nobody listens: the connect says so and leaves no socket behind.
pub fn connect_refused<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let addr = harness.refusing_tcp_addr(&mut rig.driver);
    let open = rig.driver.counters().sockets_open;
    let connect = rig.submit(Op::Connect { addr });
    match rig.next(connect).outcome {
        Outcome::Connected(Err(error)) => assert_eq!(error, OpError::Os(libc::ECONNREFUSED)),
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(rig.driver.counters().sockets_open, open);
    rig.finish();
}

/// Connections that came before the accept are not missed, nor is what they sent.
pub fn accepted_before_accept_was_submitted<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (listener, addr) = harness.listener(&mut rig.driver);
    let connect = rig.submit(Op::Connect { addr });
    let a = connected(&mut rig, connect);
    rig.send_all(a, patterned(1, 0, 100));
    let accept = rig.submit(Op::Accept { listener });
    let (b, _) = accepted(&mut rig, accept);
    check_pattern(1, 0, &rig.recv_exact(b, 100));
    rig.finish();
}

/// After a cancelled accept the next one takes up where it stopped.
pub fn cancelled_accept_leaves_the_listener_usable<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (listener, addr) = harness.listener(&mut rig.driver);
    let accept = rig.submit(Op::Accept { listener });
    rig.pump(Some(rig.driver.now()), 1);
    rig.cancel(accept);
    let connect = rig.submit(Op::Connect { addr });
    connected(&mut rig, connect);
    let accept = rig.submit(Op::Accept { listener });
    accepted(&mut rig, accept);
    rig.finish();
}

/// A closed listener, even with an accept outstanding on it, refuses.
pub fn closed_listener_refuses<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (listener, addr) = harness.listener(&mut rig.driver);
    let accept = rig.submit(Op::Accept { listener });
    rig.pump(Some(rig.driver.now()), 1);
    rig.close(listener);
    let last = rig.next(accept);
    assert!(!last.more && matches!(last.outcome, Outcome::Accepted(Err(_))), "{last:?}");
    // The descriptor may be closed a moment after the last completion.
    let error = rig.wait_for("the refusal", |rig| {
        let connect = rig.submit(Op::Connect { addr });
        match rig.next(connect).outcome {
            Outcome::Connected(Err(error)) => Some(error),
            Outcome::Connected(Ok(socket)) => {
                rig.close(socket);
                None
            }
            other => panic!("not a connect: {other:?}"),
        }
    });
    assert!(matches!(error, OpError::Os(libc::ECONNREFUSED | libc::ECONNRESET)), "{error:?}");
    rig.finish();
}

/// A table without room for a connection ends the accept or the connect, and harms neither the listener nor whoever
/// comes once there is room again.
pub fn accept_goes_on_after_the_table_was_full<H: Harness>(harness: &H) {
    let mut rig = Rig::small(harness);
    let (listener, addr) = harness.listener(&mut rig.driver);
    let mut accept = rig.submit(Op::Accept { listener });
    let mut open = Vec::new();
    let mut refusals = 0;
    // A driver refuses at the submission, or ends the connect or the accept with an error.
    while refusals < 3 {
        assert!(open.len() < 10_000, "the table takes sockets without end");
        match rig.try_submit(Op::Connect { addr }) {
            Ok(connect) => match rig.next(connect).outcome {
                Outcome::Connected(Ok(socket)) => open.push(socket),
                Outcome::Connected(Err(_)) => refusals += 1,
                other => panic!("not a connect: {other:?}"),
            },
            Err(refused) => {
                assert_eq!(refused.reason, crate::Refusal::Full);
                refusals += 1;
            }
        }
        rig.pump(Some(rig.driver.now()), 16);
        while let Some(Completion { outcome: Outcome::Accepted(result), more, .. }) = rig.take(accept) {
            open.extend(result.ok().map(|(socket, _)| socket));
            if !more {
                refusals += 1;
                accept = rig.submit(Op::Accept { listener });
            }
        }
    }
    for socket in open {
        rig.close(socket);
    }
    rig.driver.cancel(accept);
    let connect = rig.wait_for("a connection", |rig| {
        let connect = rig.try_submit(Op::Connect { addr }).ok()?;
        match rig.next(connect).outcome {
            Outcome::Connected(result) => result.ok(),
            other => panic!("not a connect: {other:?}"),
        }
    });
    let ours = rig.driver.local_addr(connect).expect("it is TCP");
    // Those that waited meanwhile come first.
    let mut accept = rig.submit(Op::Accept { listener });
    let accepted = rig.wait_for("the connection", |rig| {
        let Completion { outcome: Outcome::Accepted(result), more, .. } = rig.take(accept)? else {
            panic!("not an accept");
        };
        if !more {
            accept = rig.submit(Op::Accept { listener });
        }
        match result {
            Ok((socket, PeerAddr::Inet(peer))) if peer == ours => Some(socket),
            Ok((socket, _)) => {
                rig.close(socket);
                None
            }
            Err(_) => None,
        }
    });
    rig.send_all(connect, &b"welcome"[..]);
    assert_eq!(rig.recv_exact(accepted, 7), b"welcome");
    rig.finish();
}
