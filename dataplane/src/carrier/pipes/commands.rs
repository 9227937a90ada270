//! What the shard does with streams.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::http2::{self, ErrorCode, NotOpened};
use crate::limits::PIPES_TURN_BYTES;
use crate::quic::{Fault, Gone, LostKind, LostReason, ReadState, StreamId, WriteState};
use crate::wire::{CloseCode, ResetCode};

use super::super::{CarrierEvent, stream_id, stream_number};
use super::pipe::{Pipe, Receiving};
use super::{AUTHORITY, Pipes, STREAM_PATH, reason};

impl Pipes {
    pub(super) fn open_stream(&mut self) -> Result<Option<StreamId>, Gone> {
        if self.is_lost {
            return Err(Gone);
        }
        if !self.is_server {
            // The server opens all streams; the first is the agent's.
            let fresh = !std::mem::replace(&mut self.control_given, self.control.is_some());
            return Ok(self.control.filter(|_| fresh).map(stream_id));
        }
        match self.http2.open_pipe(AUTHORITY, STREAM_PATH) {
            Ok(stream) => {
                self.pipes.insert(stream.0, Pipe::new());
                Ok(Some(stream_id(stream.0)))
            }
            Err(NotOpened::Full(_)) => {
                self.wants_stream = true;
                Ok(None)
            }
            Err(NotOpened::Leaving) => Err(Gone),
            Err(error @ NotOpened::Invalid(_)) => {
                // The numbers of streams are used up, after a thousand million: there must be another connection.
                let text = error.to_string();
                self.http2.leave(&reason::close_text(CloseCode::NoError, &text));
                self.lose(LostReason::new(LostKind::Protocol, Fault::None, true, text));
                Err(Gone)
            }
        }
    }

    pub(super) fn read_stream(
        &mut self,
        stream: StreamId,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
    ) -> Result<ReadState, Gone> {
        let number = stream_number(stream);
        let pipe = self.pipes.get_mut(&number).ok_or(Gone)?;
        let (state, bytes) = pipe.read(max_bytes, out).ok_or(Gone)?;
        self.http2.credit(http2::StreamId(number), bytes);
        self.forget_if_over(number);
        Ok(state)
    }

    pub(super) fn write_stream(
        &mut self,
        stream: StreamId,
        chunks: &mut VecDeque<Bytes>,
    ) -> Result<WriteState, Gone> {
        let number = self.sending(stream)?;
        let mut left = self.turn_bytes(number);
        let (mut took, mut bound_by_window) = (false, false);
        while let Some(first) = chunks.front_mut() {
            let wanted = first.len().min(left);
            if wanted == 0 && !first.is_empty() {
                break;
            }
            let Ok(count) = self.http2.send(http2::StreamId(number), first.slice(..wanted)) else {
                return self.broke(number);
            };
            took |= count > 0;
            left -= count;
            first.advance(count);
            if first.is_empty() {
                chunks.pop_front();
            } else if count == 0 {
                bound_by_window = self.http2.window_bytes(http2::StreamId(number)) == 0;
                break;
            }
        }
        if chunks.is_empty() {
            self.turns.leave(number);
            return Ok(WriteState::Took);
        }
        if bound_by_window {
            self.turns.leave(number);
        } else if took {
            self.turns.queue_up(number);
        } else {
            self.turns.wait_on(number);
        }
        if let Some(pipe) = self.pipes.get_mut(&number) {
            pipe.wants_window = bound_by_window;
        }
        Ok(WriteState::Blocked)
    }

    /// How much a stream may put out now. Where others wait it is a turn; and whoever was not called leaves room for
    /// the turn of one that was.
    fn turn_bytes(&self, stream: u32) -> usize {
        if !self.turns.others_wait(stream) {
            usize::MAX
        } else if self.turns.is_called(stream) {
            PIPES_TURN_BYTES
        } else {
            self.http2.room_bytes().saturating_sub(PIPES_TURN_BYTES).min(PIPES_TURN_BYTES)
        }
    }

    pub(super) fn finish_stream(&mut self, stream: StreamId) -> Result<(), Gone> {
        let number = self.sending(stream)?;
        let id = http2::StreamId(number);
        if self.http2.half_close(id).is_err() {
            return self.broke(number);
        }
        let pipe = self.end_sending(number)?;
        if let Receiving::Unread(code) = pipe.receiving {
            // The peer may go on for ever, and now it can be told not to.
            pipe.receiving = Receiving::Gone;
            self.http2.reset(id, ErrorCode(code.code()));
        }
        self.events.push_back(CarrierEvent::Finished(stream));
        self.forget_if_over(number);
        Ok(())
    }

    pub(super) fn reset_stream(&mut self, stream: StreamId, code: ResetCode) -> Result<(), Gone> {
        let number = self.sending(stream)?;
        self.http2.reset(http2::StreamId(number), ErrorCode(code.code()));
        let pipe = self.end_sending(number)?;
        if matches!(pipe.receiving, Receiving::Open | Receiving::Unread(_)) {
            pipe.drop_received();
            pipe.receiving = Receiving::Gone;
        }
        self.forget_if_over(number);
        Ok(())
    }

    pub(super) fn stop_stream(&mut self, stream: StreamId, code: ResetCode) -> Result<(), Gone> {
        let number = stream_number(stream);
        let pipe = self.pipes.get_mut(&number).ok_or(Gone)?;
        let id = http2::StreamId(number);
        let dropped_bytes = pipe.drop_received();
        match pipe.receiving {
            Receiving::Gone | Receiving::Unread(_) => return Err(Gone),
            Receiving::Open if pipe.sends => {
                pipe.receiving = Receiving::Unread(code);
                self.http2.credit(id, dropped_bytes);
            }
            Receiving::Open => {
                pipe.receiving = Receiving::Gone;
                self.http2.reset(id, ErrorCode(code.code()));
            }
            Receiving::Ended | Receiving::Reset(_) => pipe.receiving = Receiving::Gone,
        }
        self.forget_if_over(number);
        Ok(())
    }

    pub(super) fn take_reset(&mut self, stream: StreamId) -> bool {
        let number = stream_number(stream);
        let Some(pipe) = self.pipes.get_mut(&number) else { return false };
        if !matches!(pipe.receiving, Receiving::Reset(_)) {
            return false;
        }
        pipe.receiving = Receiving::Gone;
        self.forget_if_over(number);
        true
    }

    /// The number of a stream that still sends.
    fn sending(&self, stream: StreamId) -> Result<u32, Gone> {
        let number = stream_number(stream);
        if self.pipes.get(&number).is_some_and(|pipe| pipe.sends) { Ok(number) } else { Err(Gone) }
    }

    fn end_sending(&mut self, number: u32) -> Result<&mut Pipe, Gone> {
        self.turns.leave(number);
        let pipe = self.pipes.get_mut(&number).ok_or(Gone)?;
        pipe.sends = false;
        pipe.wants_window = false;
        Ok(pipe)
    }

    /// HTTP/2 could not do it, and has reset the stream. That is a defect; the tunnel ends by it and no other does.
    fn broke<T>(&mut self, number: u32) -> Result<T, Gone> {
        self.on_reset(number, ResetCode::Internal);
        Err(Gone)
    }
}
