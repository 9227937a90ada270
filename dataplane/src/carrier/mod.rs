//! What carries tunnels over TCP where no QUIC connection does: one HTTP/2 connection, as an object without I/O.
//!
//! ```text
//!   socket ─▶ TLS ─▶ receive ─▶ Carrier ─▶ poll_event ─▶ shard: sessions, dials, tunnels
//!          ◀─     ◀─ take_output ◀─       ◀─ open, write, read, finish, reset, stop
//! ```
//!
//! There is one kind of carrier for each thing that a peer may speak. To the shard they are alike, and like a QUIC
//! connection: a dial is a stream that begins with a header ([`crate::wire::StreamHeader`]), its answer is a
//! [`crate::wire::DialResponse`], and what follows are the tunnel's bytes. What the peer speaks has no such streams
//! where it is old; then the carrier makes them up.
//!
//! **Streams** keep [`crate::quic::Quic`]'s contract: [`CarrierEvent::Writable`] follows a write that was blocked,
//! [`CarrierEvent::Readable`] a read that was; a stream that was opened by the peer may be readable at once; each half
//! is gone once it has ended, and whoever uses it then is told [`Gone`].
//!
//! **The end** of a carrier is [`CarrierEvent::Lost`], exactly once and last. What [`Carrier::take_output`] still gives
//! is to be written, then the socket ends.
//!
//! Deliberately absent: sockets, TLS, a clock, the choice of an agent, whether a peer is who it says (control's).

mod call;
pub mod egress_proxy;
mod old_agent;
mod old_server;
pub mod pipes;
mod streams;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::Dir;

use crate::quic::{Gone, LostReason, ReadState, Side, StreamId, WriteState};
use crate::wire::{CloseCode, Hello, ResetCode, Welcome};

pub(crate) use call::Outgoing;
pub use old_agent::OldAgent;
pub use old_server::{NotCalled, OldServer, OldServerCall};

/// One connection's carrier. See the module.
pub trait Carrier: Debug + Send {
    /// Whether more may be received. Where not, taking output or reading streams changes that.
    fn wants_input(&self) -> bool;

    /// Takes what was received, decrypted. [`Self::poll_event`] says what came of it.
    fn receive(&mut self, now: Instant, bytes: Bytes);

    /// The socket has ended or broken: nothing more is received, and nothing more is sent. [`CarrierEvent::Lost`]
    /// follows if it has not come.
    fn on_transport_end(&mut self, now: Instant, reason: LostReason);

    /// What is to be written, all of it, behind what `pieces` has.
    fn take_output_into(&mut self, pieces: &mut Vec<Bytes>);

    /// The same in one piece: a copy, where there is payload.
    fn take_output(&mut self) -> Bytes {
        let mut pieces = Vec::new();
        self.take_output_into(&mut pieces);
        pieces.concat().into()
    }

    /// What happened next. `None` until there is new input, output was taken, or time has passed.
    fn poll_event(&mut self, now: Instant) -> Option<CarrierEvent>;

    /// When [`Self::on_time`] is to be called.
    fn deadline(&self) -> Option<Instant>;

    /// Does what is due: keep-alive, peers that are late, tunnels that nobody reads.
    fn on_time(&mut self, now: Instant);

    /// Opens a stream: a server's for a dial, an agent's for its control stream. `None` while there is no room;
    /// [`CarrierEvent::StreamsAvailable`] says when.
    ///
    /// # Errors
    /// [`Gone`] when the connection is.
    fn open(&mut self) -> Result<Option<StreamId>, Gone>;

    /// Appends what can be read in order, at most `max_bytes`, to `out`, and gives the peer as much credit.
    ///
    /// # Errors
    /// [`Gone`] when the connection is, or the receiving half.
    fn read(
        &mut self,
        now: Instant,
        stream: StreamId,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
    ) -> Result<ReadState, Gone>;

    /// Takes as many of the bytes as there is room for, from the front; what is left stays.
    ///
    /// # Errors
    /// [`Gone`] when the connection is, or the sending half.
    fn write(
        &mut self,
        now: Instant,
        stream: StreamId,
        chunks: &mut VecDeque<Bytes>,
    ) -> Result<WriteState, Gone>;

    /// Ends the sending half after what was written.
    ///
    /// # Errors
    /// [`Gone`] when the connection is, or the sending half.
    fn finish(&mut self, stream: StreamId) -> Result<(), Gone>;

    /// Ends the sending half at once. Where the peer's protocol has only one end for both halves, both end.
    ///
    /// # Errors
    /// [`Gone`] when the connection is, or the sending half.
    fn reset(&mut self, stream: StreamId, code: ResetCode) -> Result<(), Gone>;

    /// Reads no further: what is buffered is dropped and its credit returned.
    ///
    /// # Errors
    /// [`Gone`] when the connection is, or the receiving half.
    fn stop(&mut self, stream: StreamId, code: ResetCode) -> Result<(), Gone>;

    /// Whether the peer reset the stream; its bytes and the receiving half are gone then.
    fn received_reset(&mut self, stream: StreamId) -> bool;

    /// A server has accepted the agent of [`CarrierEvent::Presented`]. Dials may follow at once.
    fn welcome(&mut self, now: Instant, welcome: &Welcome);

    /// This end drains and takes nothing new; what runs goes on. The peer is told as far as its protocol allows.
    fn drain(&mut self, now: Instant);

    /// Ends the connection, with what is to be told to the peer. [`CarrierEvent::Lost`] follows.
    fn close(&mut self, now: Instant, code: CloseCode, reason: &str);
}

/// What a carrier tells the shard.
#[derive(Clone, Debug, PartialEq)]
pub enum CarrierEvent {
    /// Peers that speak adit's protocol: the control stream can be opened by an agent, and awaited by a server. Comes
    /// once and first. Other peers have no control stream, and present themselves as below.
    Connected,
    /// To a server: an agent without a control stream has said who it is. Wants [`Carrier::welcome`], or
    /// [`Carrier::close`] with [`CloseCode::Refused`].
    Presented(Box<Hello>),
    /// To an agent: a server without a control stream has said who it is; its dials may follow.
    Welcomed(Box<Welcome>),
    /// The peer opened a stream. It may already be readable.
    Opened(StreamId),
    /// There is something to read: bytes, the end or a reset.
    Readable(StreamId),
    /// A stream that had been blocked takes bytes again.
    Writable(StreamId),
    /// The peer will not read the stream any further.
    Stopped(StreamId, ResetCode),
    /// Everything written to a finished stream, and its end, is in the output.
    Finished(StreamId),
    /// [`Carrier::open`] may succeed where it said `None`.
    StreamsAvailable,
    /// A stream is over because nobody read it, and the peer's protocol has no flow control for one stream alone: all
    /// others waited for it. [`Self::Stopped`] and a reset, both with [`ResetCode::OverBudget`], follow. For the count
    /// and the log; comes from peers without a control stream.
    ReaderStopped(StreamId),
    /// The peer takes nothing new; what runs goes on. Said by peers without a control stream.
    Draining,
    /// The connection is over, and with it all streams.
    Lost(LostReason),
}

/// The name of a carrier's stream with this number. Both ends use the same.
#[must_use]
pub fn stream_id(number: u32) -> StreamId {
    StreamId::new(Side::Server, Dir::Bi, u64::from(number))
}

/// The number of a carrier's stream.
#[must_use]
pub fn stream_number(stream: StreamId) -> u32 {
    u32::try_from(stream.index()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_keep_their_numbers() {
        for number in [0, 1, 7, (1 << 31) - 1, u32::MAX] {
            assert_eq!(stream_number(stream_id(number)), number);
        }
    }
}
