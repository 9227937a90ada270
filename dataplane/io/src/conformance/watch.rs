//! Watch: told that a connection is gone, without reading it.

use super::rig::{check_pattern, patterned};
use super::{Harness, Rig};
use crate::driver::{Close, Driver, Token};
use crate::op::{Op, Outcome, Shots, SlotSize};

#[track_caller]
fn gone<H: Harness>(rig: &mut Rig<'_, H>, watch: Token) {
    let completion = rig.next(watch);
    assert!(!completion.more && matches!(completion.outcome, Outcome::Gone(Ok(()))), "{completion:?}");
}

/// Bytes and a half-close are no reason to fire; the peer's disappearance is.
pub fn watch_fires_when_the_peer_is_gone_and_not_before<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let watch = rig.submit(Op::Watch { socket: a });
    rig.expect_nothing(watch);
    rig.send_all(b, &b"bytes"[..]);
    rig.expect_nothing(watch);
    let shutdown = rig.submit(Op::ShutdownWrite { socket: b });
    assert!(matches!(rig.next(shutdown).outcome, Outcome::ShutdownWrite(Ok(()))));
    rig.expect_nothing(watch);
    rig.close(b);
    gone(&mut rig, watch);
    rig.finish();
}

/// A reset fires it, with bytes unread.
pub fn watch_fires_on_reset<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.tcp_pair();
    rig.send_all(b, patterned(1, 0, 100));
    let watch = rig.submit(Op::Watch { socket: a });
    rig.expect_nothing(watch);
    rig.driver.close(b, Close::Reset);
    gone(&mut rig, watch);
    rig.finish();
}

/// What the peer sent before it went can still be read.
pub fn watch_consumes_nothing<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let watch = rig.submit(Op::Watch { socket: a });
    rig.send_all(b, patterned(1, 0, 5000));
    rig.close(b);
    gone(&mut rig, watch);
    let all = rig.recv_to_end(a);
    assert_eq!(all.len(), 5000);
    check_pattern(1, 0, &all);
    rig.finish();
}

/// It goes together with operations in either direction, and each is served.
pub fn watch_beside_a_send<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let watch = rig.submit(Op::Watch { socket: a });
    let (blocked, _) = rig.fill(a, 1);
    let recv = rig.recv(a, SlotSize::Small, Shots::One);
    rig.send_all(b, &b"x"[..]);
    assert_eq!(rig.received(recv).0.expect("a byte"), b"x"[..]);
    assert!(rig.is_outstanding(watch) && rig.is_outstanding(blocked));
    rig.close(b);
    gone(&mut rig, watch);
    assert!(rig.sent(blocked).0.is_err());
    rig.finish();
}

/// A watch that comes too late fires at once.
pub fn watch_of_a_peer_that_is_already_gone<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    rig.close(b);
    rig.pass(super::rig::SHORT);
    let watch = rig.submit(Op::Watch { socket: a });
    gone(&mut rig, watch);
    rig.finish();
}
