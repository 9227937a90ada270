//! R3: bytes arrive in order, all of them, once.

use bytes::Bytes;

use super::rig::{check_pattern, patterned};
use super::{Harness, Rig};
use crate::driver::{SocketId, Token};
use crate::op::{Completion, Op, Outcome, Shots, SlotSize};

/// Many small sends, one armed receive.
pub fn r3_bytes_arrive_in_order<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let mut reader = Reader::new(b, 1, SlotSize::Small);
    let mut sent = 0;
    for len in (1..200).chain([4095, 4096, 4097, 9000]) {
        rig.send_all(a, patterned(1, sent, len));
        sent += len;
        reader.poll(&mut rig);
    }
    rig.wait_for("every byte", |rig| {
        reader.poll(rig);
        (reader.received == sent).then_some(())
    });
    rig.finish();
}

/// As many pieces as a send may have arrive in their order.
pub fn r3_vectored_send_keeps_the_order_of_its_pieces<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let mut data = Vec::new();
    let mut total = 0;
    for index in 0..Op::SEND_PIECES_MAX {
        // Of differing length, and together less than what a socket's buffers hold: nobody reads yet.
        let len = 1 + index * 7 % 61;
        data.push(patterned(5, total, len));
        total += len;
    }
    let token = rig.submit(Op::Send { socket: a, data, zero_copy: false });
    let (result, pieces) = rig.sent(token);
    let went = result.expect("sent");
    assert!(went > 0 && went <= total);
    let rest: Bytes = pieces.concat()[went..].to_vec().into();
    rig.send_all(a, rest);
    check_pattern(5, 0, &rig.recv_exact(b, total));
    rig.finish();
}

/// Bulk in both directions of one connection at the same time.
pub fn r3_four_mebibytes_each_way<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let pair = rig.stream_pair();
    bulk_both_ways(rig, pair);
}

/// The same over TCP.
pub fn r3_four_mebibytes_each_way_over_tcp<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let pair = rig.tcp_pair();
    bulk_both_ways(rig, pair);
}

fn bulk_both_ways<H: Harness>(mut rig: Rig<'_, H>, (a, b): (SocketId, SocketId)) {
    const TOTAL: usize = 4 * 1024 * 1024;
    let mut writers = [Writer::new(a, 1, TOTAL), Writer::new(b, 2, TOTAL)];
    let mut readers = [Reader::new(b, 1, SlotSize::Large), Reader::new(a, 2, SlotSize::Small)];
    rig.wait_for("eight mebibytes", |rig| {
        for writer in &mut writers {
            writer.poll(rig);
        }
        for reader in &mut readers {
            reader.poll(rig);
        }
        readers.iter().all(|reader| reader.received == TOTAL).then_some(())
    });
    assert!(writers.iter().all(|writer| writer.sent == TOTAL));
    rig.finish();
}

/// Sends larger than any socket buffer go in parts, whose sum is what arrives.
pub fn r3_short_sends_lose_nothing<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.stream_pair();
    let (blocked, before) = rig.fill(a, 3);
    // Room for a part of the blocked send, then the rest.
    let mut all = Vec::new();
    let mut reported = None;
    while reported.is_none_or(|sent| all.len() < sent) {
        let token = rig.recv(b, SlotSize::Small, Shots::One);
        all.extend_from_slice(&rig.received(token).0.expect("bytes"));
        if reported.is_none() && !rig.is_outstanding(blocked) {
            reported = Some(before + rig.sent(blocked).0.expect("room was made"));
        }
    }
    check_pattern(3, 0, &all);
    rig.close(a);
    assert_eq!(rig.recv_to_end(b), b"", "no more than the sends reported");
    rig.finish();
}

/// One-shot receives, one after the other, miss nothing between them.
pub fn r3_one_shot_receives_in_order<H: Harness>(harness: &H) {
    let mut rig = Rig::new(harness);
    let (a, b) = rig.tcp_pair();
    rig.send_all(a, patterned(4, 0, 50_000));
    let mut at = 0;
    while at < 50_000 {
        let token = rig.recv(b, SlotSize::Small, Shots::One);
        let data = rig.received(token).0.expect("bytes");
        assert!(!data.is_empty() && data.len() <= SlotSize::Small.bytes());
        check_pattern(4, at, &data);
        at += data.len();
    }
    rig.finish();
}

/// Keeps one send outstanding until everything went.
pub(super) struct Writer {
    socket: SocketId,
    seed: u8,
    pub(super) sent: usize,
    total: usize,
    outstanding: Option<Token>,
}

impl Writer {
    pub(super) const fn new(socket: SocketId, seed: u8, total: usize) -> Self {
        Self { socket, seed, sent: 0, total, outstanding: None }
    }

    /// Notes what went and sends on.
    pub(super) fn poll<H: Harness>(&mut self, rig: &mut Rig<'_, H>) {
        const PIECE: usize = 48 * 1024;
        if let Some(token) = self.outstanding {
            let Some(Completion { outcome, .. }) = rig.take(token) else { return };
            let Outcome::Sent { result, data: Some(_) } = outcome else { panic!("not sent: {outcome:?}") };
            self.sent += result.expect("the peer is there");
            self.outstanding = None;
        }
        if self.sent < self.total {
            let mut data = Vec::new();
            let mut at = self.sent;
            while at < self.total && data.len() < 4 {
                let len = PIECE.min(self.total - at);
                data.push(patterned(self.seed, at, len));
                at += len;
            }
            self.outstanding = Some(rig.submit(Op::Send { socket: self.socket, data, zero_copy: false }));
        }
    }
}

/// Keeps a receive armed and checks every byte.
pub(super) struct Reader {
    socket: SocketId,
    seed: u8,
    slot: SlotSize,
    pub(super) received: usize,
    armed: Option<Token>,
}

impl Reader {
    pub(super) const fn new(socket: SocketId, seed: u8, slot: SlotSize) -> Self {
        Self { socket, seed, slot, received: 0, armed: None }
    }

    /// Takes what has come and arms the receive again if it has ended.
    pub(super) fn poll<H: Harness>(&mut self, rig: &mut Rig<'_, H>) {
        loop {
            let token = match self.armed {
                Some(token) => token,
                None => *self.armed.insert(rig.recv(self.socket, self.slot, Shots::Many)),
            };
            let Some(Completion { outcome, more, .. }) = rig.take(token) else { return };
            let Outcome::Received(result) = outcome else { panic!("not received: {outcome:?}") };
            match result {
                Ok(data) => {
                    assert!(!data.is_empty(), "the stream ends");
                    check_pattern(self.seed, self.received, &data);
                    self.received += data.len();
                }
                Err(error) => assert_eq!(error, crate::OpError::NoBuffers),
            }
            if !more {
                self.armed = None;
            }
        }
    }
}
