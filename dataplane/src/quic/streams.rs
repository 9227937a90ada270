//! Stream operations. Each leaves its connection marked, so that the next drive sends what came of it.

use std::collections::VecDeque;

use bytes::Bytes;
use quinn_proto::{Dir, FinishError, ReadError, StreamId, VarInt, WriteError};

use super::Quic;
use super::connection::Conn;
use super::event::{ConnId, Gone, ReadState, WriteState};
use super::lost::reset_code;
use crate::wire::ResetCode;

impl Quic {
    /// Opens a bidirectional stream; `None` while the peer grants no more ([`super::QuicEvent::StreamsAvailable`] says
    /// when it does). Costs nothing on the wire: the peer learns of it by the first bytes, the end or a reset.
    ///
    /// # Errors
    /// [`Gone`] when the connection is.
    pub fn open(&mut self, id: ConnId) -> Result<Option<StreamId>, Gone> {
        let conn = self.usable(id)?;
        Ok(conn.inner.streams().open(Dir::Bi))
    }

    /// Whether the peer reset the stream. Unlike [`Self::read`] this sees a reset behind bytes that nobody reads; those
    /// bytes and the receiving half are gone then.
    pub fn received_reset(&mut self, id: ConnId, stream: StreamId) -> bool {
        let Ok(conn) = self.usable(id) else { return false };
        matches!(conn.inner.recv_stream(stream).received_reset(), Ok(Some(_)))
    }

    /// Appends what can be read in order, at most `max_bytes`, to `out`, and grants the peer as much credit. Chunks are
    /// slices of the received datagrams and hold their receive slots (see [`Self::set_copy_received`]).
    ///
    /// # Errors
    /// [`Gone`] when the connection is, or the receiving half: it was read to its end, reset or stopped before.
    pub fn read(
        &mut self,
        id: ConnId,
        stream: StreamId,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
    ) -> Result<ReadState, Gone> {
        let conn = self.table.get_mut(id).filter(|conn| conn.is_usable()).ok_or(Gone)?;
        let mut receiving = conn.inner.recv_stream(stream);
        let mut chunks = receiving.read(true).map_err(|_| Gone)?;
        let mut left = max_bytes;
        let state = loop {
            if left == 0 {
                break ReadState::More;
            }
            match chunks.next(left) {
                Ok(Some(chunk)) => {
                    left -= chunk.bytes.len();
                    out.push(chunk.bytes);
                }
                Ok(None) => break ReadState::Finished,
                Err(ReadError::Blocked) => break ReadState::Blocked,
                Err(ReadError::Reset(code)) => break ReadState::Reset(reset_code(code)),
            }
        };
        if chunks.finalize().should_transmit() {
            self.queues.mark(conn);
        }
        Ok(state)
    }

    /// Takes as many of the bytes as flow control and the send window allow, from the front; what is left stays.
    ///
    /// # Errors
    /// [`Gone`] when the connection is, or the sending half: it was finished, reset or stopped before.
    pub fn write(
        &mut self,
        id: ConnId,
        stream: StreamId,
        chunks: &mut VecDeque<Bytes>,
    ) -> Result<WriteState, Gone> {
        let conn = self.table.get_mut(id).filter(|conn| conn.is_usable()).ok_or(Gone)?;
        let mut sending = conn.inner.send_stream(stream);
        let mut took = false;
        let state = loop {
            while chunks.front().is_some_and(Bytes::is_empty) {
                chunks.pop_front();
            }
            if chunks.is_empty() {
                break Ok(WriteState::Took);
            }
            // After a part was taken the next call says Blocked, and only that makes quinn-proto report it writable.
            match sending.write_chunks(chunks.make_contiguous()) {
                Ok(written) => {
                    took = true;
                    chunks.drain(..written.chunks);
                }
                Err(WriteError::Blocked) => break Ok(WriteState::Blocked),
                Err(WriteError::Stopped(code)) => {
                    break Ok(WriteState::Stopped(reset_code(code)));
                }
                Err(WriteError::ClosedStream) => break Err(Gone),
            }
        };
        // A blocked write may have queued a frame that says so.
        if took || state == Ok(WriteState::Blocked) {
            self.queues.mark(conn);
        }
        state
    }

    /// Ends the sending half after what was written. [`super::QuicEvent::Finished`] comes when all of it is
    /// acknowledged. On a stream that the peer has stopped this does nothing.
    ///
    /// # Errors
    /// [`Gone`] when the connection is, or the sending half.
    pub fn finish(&mut self, id: ConnId, stream: StreamId) -> Result<(), Gone> {
        let conn = self.usable(id)?;
        match conn.inner.send_stream(stream).finish() {
            Ok(()) | Err(FinishError::Stopped(_)) => Ok(()),
            Err(FinishError::ClosedStream) => Err(Gone),
        }
    }

    /// Ends the sending half at once (RESET_STREAM); what was not acknowledged is not sent again.
    ///
    /// # Errors
    /// [`Gone`] when the connection is, or the sending half.
    pub fn reset(&mut self, id: ConnId, stream: StreamId, code: ResetCode) -> Result<(), Gone> {
        let conn = self.usable(id)?;
        conn.inner.send_stream(stream).reset(VarInt::from_u32(code.code())).map_err(|_| Gone)
    }

    /// Reads no further (STOP_SENDING): what is buffered is dropped and its credit returned.
    ///
    /// # Errors
    /// [`Gone`] when the connection is, or the receiving half.
    pub fn stop(&mut self, id: ConnId, stream: StreamId, code: ResetCode) -> Result<(), Gone> {
        let conn = self.usable(id)?;
        conn.inner.recv_stream(stream).stop(VarInt::from_u32(code.code())).map_err(|_| Gone)
    }

    /// A connection that is about to be changed.
    fn usable(&mut self, id: ConnId) -> Result<&mut Conn, Gone> {
        let conn = self.table.get_mut(id).filter(|conn| conn.is_usable()).ok_or(Gone)?;
        self.queues.mark(conn);
        Ok(conn)
    }
}
