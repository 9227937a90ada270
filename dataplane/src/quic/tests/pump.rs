//! Moves bytes through streams, led by events only: an event that is missing shows as bytes that never arrive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::quic::{ConnId, Quic, QuicEvent, ReadState, StreamId, WriteState};

type Key = (ConnId, StreamId);

/// Byte `at` of a direction of a stream.
fn pattern(stream: StreamId, salt: u8, at: u64) -> u8 {
    let mixed = (at ^ u64::from(stream).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_le_bytes()[5] ^ salt
}

/// What is still to be written.
struct Outgoing {
    salt: u8,
    offset: u64,
    total: u64,
    finish: bool,
    pending: VecDeque<Bytes>,
    blocked: bool,
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) bytes: u64,
    pub(super) end: Option<ReadState>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Pump {
    /// The salt that the other side writes with.
    pub(super) expect_salt: u8,
    /// Streams that nobody reads.
    pub(super) stopped: BTreeSet<Key>,
    /// Nothing at all is read.
    pub(super) all_stopped: bool,
    pub(super) incoming: BTreeMap<Key, Incoming>,
    /// Streams that the peer opened, in order.
    pub(super) opened: Vec<Key>,
    outgoing: BTreeMap<Key, Outgoing>,
}

const CHUNK_BYTES: u64 = 16 * 1024;

impl Pump {
    /// Begins to write `total` bytes, and the end after them.
    pub(super) fn write(&mut self, quic: &mut Quic, key: Key, salt: u8, total: u64, finish: bool) {
        let outgoing = Outgoing { salt, offset: 0, total, finish, pending: VecDeque::new(), blocked: false };
        assert!(self.outgoing.insert(key, outgoing).is_none());
        self.advance(quic, key);
    }

    /// Bytes that the stream took so far.
    pub(super) fn taken(&self, key: Key) -> u64 {
        let outgoing = &self.outgoing[&key];
        outgoing.offset - outgoing.pending.iter().map(|bytes| bytes.len() as u64).sum::<u64>()
    }

    pub(super) fn is_blocked(&self, key: Key) -> bool {
        self.outgoing[&key].blocked
    }

    /// Whether everything was taken everywhere.
    pub(super) fn all_written(&self) -> bool {
        self.outgoing.values().all(|out| out.offset == out.total && out.pending.is_empty())
    }

    pub(super) fn read(&mut self, quic: &mut Quic, key: Key) {
        if self.all_stopped || self.stopped.contains(&key) {
            return;
        }
        let incoming = self.incoming.entry(key).or_default();
        let mut chunks = Vec::new();
        loop {
            let Ok(state) = quic.read(key.0, key.1, 64 * 1024, &mut chunks) else { return };
            for byte in chunks.drain(..).flatten() {
                assert_eq!(
                    byte,
                    pattern(key.1, self.expect_salt, incoming.bytes),
                    "at {} of {key:?}",
                    incoming.bytes
                );
                incoming.bytes += 1;
            }
            match state {
                ReadState::More => {}
                ReadState::Blocked => return,
                ReadState::Finished | ReadState::Reset(_) => {
                    incoming.end = Some(state);
                    return;
                }
            }
        }
    }

    pub(super) fn on_event(&mut self, quic: &mut Quic, event: &QuicEvent) {
        match *event {
            QuicEvent::Opened { conn, stream } => {
                self.opened.push((conn, stream));
                self.read(quic, (conn, stream));
            }
            QuicEvent::Readable { conn, stream } => self.read(quic, (conn, stream)),
            QuicEvent::Writable { conn, stream } => self.advance(quic, (conn, stream)),
            _ => {}
        }
    }

    fn advance(&mut self, quic: &mut Quic, key: Key) {
        let Some(out) = self.outgoing.get_mut(&key) else { return };
        out.blocked = false;
        loop {
            if out.pending.is_empty() && out.offset < out.total {
                let end = out.total.min(out.offset + CHUNK_BYTES);
                let chunk: BytesMut = (out.offset..end).map(|at| pattern(key.1, out.salt, at)).collect();
                out.offset = end;
                out.pending.push_back(chunk.freeze());
            }
            if out.pending.is_empty() {
                if std::mem::take(&mut out.finish) {
                    quic.finish(key.0, key.1).unwrap();
                }
                return;
            }
            match quic.write(key.0, key.1, &mut out.pending) {
                Ok(WriteState::Took) => assert!(out.pending.is_empty()),
                Ok(WriteState::Blocked) => {
                    out.blocked = true;
                    return;
                }
                Ok(WriteState::Stopped(_)) | Err(_) => return,
            }
        }
    }
}
