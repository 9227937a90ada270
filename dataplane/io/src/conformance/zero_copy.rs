//! Sends that ask for zero copy: the same bytes, and one of two shapes of completions, whether or not the driver
//! can do it. The rig checks the shapes; these cases drive them.

use super::rig::{check_pattern, patterned};
use super::{Harness, Rig};
use crate::driver::{Close, Driver};
use crate::error::OpError;
use crate::op::{Op, Transmit};

/// Result, then the pieces: together, or the pieces later.
pub fn zero_copy_send_has_the_right_shape<H: Harness>(harness: &H) {
    const BYTES: usize = 100_000;
    let mut rig = Rig::new(harness);
    let (a, b) = rig.tcp_pair();
    let data = vec![patterned(1, 0, BYTES / 2), patterned(1, BYTES / 2, BYTES / 2)];
    let token = rig.submit(Op::Send { socket: a, data: data.clone(), zero_copy: true });
    // The kernel may keep the pieces until the peer has them: read before waiting for their release.
    let mut all = Vec::new();
    rig.pump(Some(rig.driver.now() + super::rig::SHORT), 16);
    all.extend(rig.recv_exact_or_less(b, BYTES));
    let (result, back) = rig.sent(token);
    let went = result.expect("the peer is there");
    assert!(went > 0 && went <= BYTES);
    assert_eq!(back, data);
    if all.len() < went {
        let rest = rig.recv_exact(b, went - all.len());
        all.extend(rest);
    }
    assert_eq!(all.len(), went);
    check_pattern(1, 0, &all);
    rig.finish();
}

/// The same for a train of datagrams.
pub fn zero_copy_train_has_the_right_shape<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let ((a, _), (b, b_addr)) = harness.udp_pair(&mut rig.driver);
    let recv = rig.recv_datagrams(b);
    let transmit = Transmit {
        buffer: patterned(1, 0, 20_000).to_vec(),
        segment_bytes: 20_000,
        peer: b_addr,
        local_ip: None,
        ecn: None,
        zero_copy: true,
    };
    let token = rig.send_datagrams(a, transmit.clone());
    // Received bytes may be the sender's own until they are copied: drop them before the release is awaited.
    check_pattern(1, 0, &rig.datagrams(recv).data);
    let (result, back) = rig.datagrams_sent(token);
    assert_eq!(result, Ok(()));
    assert_eq!(back, transmit);
    rig.finish();
}

/// A failure gives the pieces back as well.
pub fn zero_copy_send_to_a_closed_peer_has_the_right_shape<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.tcp_pair();
    rig.driver.close(b, Close::Reset);
    let data = vec![patterned(1, 0, 1000)];
    let error = rig.wait_for("the failure", |rig| {
        let token = rig.submit(Op::Send { socket: a, data: data.clone(), zero_copy: true });
        let (result, back) = rig.sent(token);
        assert_eq!(back, data);
        result.err()
    });
    assert!(matches!(error, OpError::Os(libc::EPIPE | libc::ECONNRESET)), "{error:?}");
    rig.finish();
}

/// Closing the socket meanwhile takes no pieces away.
pub fn closed_while_zero_copy_is_outstanding<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    for how in [Close::Graceful, Close::Reset] {
        let (a, _b) = rig.tcp_pair();
        rig.fill(a, 1);
        let (c, d) = rig.tcp_pair();
        let data = vec![patterned(2, 0, 30_000)];
        let token = rig.submit(Op::Send { socket: c, data: data.clone(), zero_copy: true });
        rig.pump(Some(rig.driver.now()), 1);
        rig.driver.close(c, how);
        rig.close(d);
        let (_, back) = rig.sent(token);
        assert_eq!(back, data);
    }
    rig.finish();
}
