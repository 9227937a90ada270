//! A connected pair of stream sockets, TCP or Unix, as pure state: bytes in flight, bytes unread, ends and errors.
//!
//! Knows no time and no sockets: [`crate::net`] decides when what is in flight arrives. What Linux promises is kept
//! here: half-close, the difference between an end and a reset, EPIPE after the peer is gone, and what SIOCOUTQ
//! counts (Unix: what the reader has not read; TCP: what the other kernel has not acknowledged).

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// ECONNRESET, errno(3).
pub(crate) const ECONNRESET: i32 = 104;
/// EPIPE, errno(3).
pub(crate) const EPIPE: i32 = 32;

/// Which family a pair belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeKind {
    /// TCP: latency, acknowledgements, resets.
    Tcp,
    /// A Unix stream socket: what is written is there at once; no reset but by closing with bytes unread.
    Unix,
}

/// One of the two ends of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    A = 0,
    B = 1,
}

impl Side {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What travels between the ends.
#[derive(Debug)]
enum Segment {
    Data(Bytes),
    Fin,
    Reset,
}

/// What one end can expect from its incoming direction.
#[derive(Debug, PartialEq, Eq)]
pub enum Readable {
    /// Bytes wait.
    Bytes(usize),
    /// Every byte was read and the peer ended its direction.
    End,
    /// Nothing now.
    Nothing,
    /// The connection failed.
    Failed(i32),
}

/// What arrived, for whoever schedules what follows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Bytes that the receiving end keeps; their acknowledgement goes back.
    Kept(usize),
    /// Bytes or an end for a socket that was closed: the sender gets a reset.
    Unwanted,
    /// An end or a reset took effect, or nothing was in flight.
    Signal,
}

/// One direction, named after the end that writes it.
#[derive(Debug, Default)]
struct Flow {
    in_flight: VecDeque<Segment>,
    in_flight_bytes: usize,
    unread: VecDeque<Bytes>,
    unread_bytes: usize,
    unacknowledged_bytes: usize,
    fin_sent: bool,
    fin_arrived: bool,
}

/// One end's own state.
#[derive(Debug, Default)]
struct End {
    closed: bool,
    error: Option<i32>,
    error_taken: bool,
}

/// The pair.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) kind: PipeKind,
    capacity_bytes: usize,
    reset_discards: bool,
    flows: [Flow; 2],
    ends: [End; 2],
}

impl Pipe {
    pub(crate) fn new(kind: PipeKind, capacity_bytes: usize, reset_discards: bool) -> Self {
        Self {
            kind,
            capacity_bytes: capacity_bytes.max(1),
            reset_discards,
            flows: Default::default(),
            ends: Default::default(),
        }
    }

    /// How many bytes `side` can write now; `Err` with the errno that a send fails with.
    pub(crate) fn writable(&mut self, side: Side) -> Result<usize, i32> {
        let peer_closed = self.ends[side.other() as usize].closed;
        let end = &mut self.ends[side as usize];
        if let Some(error) = end.error {
            // The pending error is reported once; after it a send finds a dead connection (tcp(7)).
            let first = !end.error_taken;
            end.error_taken = true;
            return Err(if first { error } else { EPIPE });
        }
        let flow = &self.flows[side as usize];
        if end.closed || flow.fin_sent || (self.kind == PipeKind::Unix && peer_closed) {
            return Err(EPIPE);
        }
        Ok(self.capacity_bytes.saturating_sub(flow.in_flight_bytes + flow.unread_bytes))
    }

    /// Puts bytes in flight. The caller has asked [`Self::writable`]; one arrival is to be scheduled.
    pub(crate) fn write(&mut self, side: Side, data: Bytes) {
        let tcp = self.kind == PipeKind::Tcp;
        let flow = &mut self.flows[side as usize];
        debug_assert!(!flow.fin_sent && !data.is_empty());
        flow.in_flight_bytes += data.len();
        if tcp {
            flow.unacknowledged_bytes += data.len();
        }
        flow.in_flight.push_back(Segment::Data(data));
    }

    /// Ends the direction of `side`. True where an arrival is to be scheduled.
    pub(crate) fn shutdown_write(&mut self, side: Side) -> Result<bool, i32> {
        if self.ends[side as usize].error.is_some() {
            return Err(107); // ENOTCONN
        }
        let flow = &mut self.flows[side as usize];
        if flow.fin_sent {
            return Ok(false);
        }
        flow.fin_sent = true;
        flow.in_flight.push_back(Segment::Fin);
        Ok(true)
    }

    /// Lets the oldest thing in flight from `from` arrive.
    pub(crate) fn arrive(&mut self, from: Side) -> Arrived {
        let discards = self.reset_discards;
        let receiver_closed = self.ends[from.other() as usize].closed;
        let flow = &mut self.flows[from as usize];
        match flow.in_flight.pop_front() {
            Some(Segment::Data(data)) => {
                flow.in_flight_bytes -= data.len();
                if receiver_closed {
                    return Arrived::Unwanted;
                }
                flow.unread_bytes += data.len();
                let bytes = data.len();
                flow.unread.push_back(data);
                Arrived::Kept(bytes)
            }
            Some(Segment::Fin) => {
                flow.fin_arrived = true;
                Arrived::Signal
            }
            Some(Segment::Reset) => {
                if discards {
                    flow.unread.clear();
                    flow.unread_bytes = 0;
                }
                self.fail(from.other(), ECONNRESET);
                Arrived::Signal
            }
            None => Arrived::Signal,
        }
    }

    /// The other kernel has these bytes.
    pub(crate) fn acknowledge(&mut self, side: Side, bytes: usize) {
        let flow = &mut self.flows[side as usize];
        flow.unacknowledged_bytes = flow.unacknowledged_bytes.saturating_sub(bytes);
    }

    pub(crate) fn readable(&self, side: Side) -> Readable {
        let flow = &self.flows[side.other() as usize];
        let end = &self.ends[side as usize];
        if flow.unread_bytes > 0 {
            return Readable::Bytes(flow.unread_bytes);
        }
        match end.error {
            Some(error) if !end.error_taken => Readable::Failed(error),
            // After the error was taken a receive finds the end (tcp(7)).
            Some(_) => Readable::End,
            None if flow.fin_arrived => Readable::End,
            None => Readable::Nothing,
        }
    }

    /// Notes that the pending error was reported to the owner of this end.
    pub(crate) fn take_error(&mut self, side: Side) {
        self.ends[side as usize].error_taken = true;
    }

    /// Takes up to `max` bytes, in pieces, in order.
    pub(crate) fn read(&mut self, side: Side, max: usize, mut take: impl FnMut(&[u8])) -> usize {
        let flow = &mut self.flows[side.other() as usize];
        let mut taken = 0;
        while taken < max {
            let Some(front) = flow.unread.front_mut() else { break };
            let bytes = front.len().min(max - taken);
            take(&front[..bytes]);
            front.advance(bytes);
            taken += bytes;
            if front.is_empty() {
                flow.unread.pop_front();
            }
        }
        flow.unread_bytes -= taken;
        taken
    }

    /// `SIOCOUTQ` of this end.
    pub(crate) fn unsent_bytes(&self, side: Side) -> usize {
        let flow = &self.flows[side as usize];
        match self.kind {
            PipeKind::Unix => flow.in_flight_bytes + flow.unread_bytes,
            PipeKind::Tcp => flow.unacknowledged_bytes,
        }
    }

    /// Whether poll(2) would say POLLHUP or POLLERR.
    pub(crate) fn gone(&self, side: Side) -> bool {
        let end = &self.ends[side as usize];
        let peer_closed = self.kind == PipeKind::Unix && self.ends[side.other() as usize].closed;
        let both = self.flows[side as usize].fin_sent && self.flows[side.other() as usize].fin_arrived;
        end.error.is_some() || peer_closed || both
    }

    /// Closes one end. True where it closes with a reset (asked for, or because bytes were left unread): an
    /// arrival is to be scheduled in either case, unless this end was dead already.
    pub(crate) fn close(&mut self, side: Side, reset: bool) -> bool {
        let unread = self.flows[side.other() as usize].unread_bytes > 0;
        let dead = self.ends[side as usize].error.is_some();
        self.ends[side as usize].closed = true;
        let incoming = &mut self.flows[side.other() as usize];
        incoming.unread.clear();
        incoming.unread_bytes = 0;
        if dead {
            return false;
        }
        if unread || (reset && self.kind == PipeKind::Tcp) {
            self.send_reset(side);
            return true;
        }
        let flow = &mut self.flows[side as usize];
        if !flow.fin_sent {
            flow.fin_sent = true;
            flow.in_flight.push_back(Segment::Fin);
        }
        false
    }

    /// Puts a reset in flight towards the other end of `side`.
    pub(crate) fn send_reset(&mut self, side: Side) {
        let flow = &mut self.flows[side as usize];
        flow.fin_sent = true;
        flow.in_flight.push_back(Segment::Reset);
    }

    /// Discards the newest part of what is in flight, as a kernel that resets does with what it has not sent yet.
    pub(crate) fn discard_in_flight(&mut self, side: Side, keep_segments: usize) {
        let flow = &mut self.flows[side as usize];
        flow.in_flight.truncate(keep_segments);
        flow.in_flight_bytes = flow
            .in_flight
            .iter()
            .map(|segment| if let Segment::Data(data) = segment { data.len() } else { 0 })
            .sum();
    }

    pub(crate) fn in_flight_segments(&self, side: Side) -> usize {
        self.flows[side as usize].in_flight.len()
    }

    /// The connection of this end fails; what was received before can still be read.
    pub(crate) fn fail(&mut self, side: Side, errno: i32) {
        let end = &mut self.ends[side as usize];
        if end.error.is_none() {
            end.error = Some(errno);
        }
        // What this end had in flight or unacknowledged is of no interest any more.
        self.flows[side as usize].unacknowledged_bytes = 0;
    }

    pub(crate) fn closed(&self, side: Side) -> bool {
        self.ends[side as usize].closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe(kind: PipeKind) -> Pipe {
        Pipe::new(kind, 8, false)
    }

    fn read_all(pipe: &mut Pipe, side: Side) -> Vec<u8> {
        let mut seen = Vec::new();
        pipe.read(side, usize::MAX, |piece| seen.extend_from_slice(piece));
        seen
    }

    #[test]
    fn half_close_stays_half() {
        let mut pipe = pipe(PipeKind::Tcp);
        pipe.write(Side::A, Bytes::from_static(b"last"));
        assert_eq!(pipe.shutdown_write(Side::A), Ok(true));
        assert_eq!(pipe.writable(Side::A), Err(EPIPE));
        pipe.arrive(Side::A);
        pipe.arrive(Side::A);
        assert_eq!(pipe.readable(Side::B), Readable::Bytes(4));
        assert_eq!(read_all(&mut pipe, Side::B), b"last");
        assert_eq!(pipe.readable(Side::B), Readable::End);
        assert_eq!(pipe.writable(Side::B), Ok(8));
        assert!(!pipe.gone(Side::B));
    }

    #[test]
    fn the_writer_is_bounded_and_outq_counts_by_family() {
        for (kind, after_arrival) in [(PipeKind::Unix, 8), (PipeKind::Tcp, 0)] {
            let mut pipe = pipe(kind);
            pipe.write(Side::A, Bytes::from_static(b"12345678"));
            assert_eq!(pipe.writable(Side::A), Ok(0));
            assert_eq!(pipe.unsent_bytes(Side::A), 8);
            assert_eq!(pipe.arrive(Side::A), Arrived::Kept(8));
            pipe.acknowledge(Side::A, 8);
            assert_eq!(pipe.unsent_bytes(Side::A), after_arrival);
            read_all(&mut pipe, Side::B);
            assert_eq!(pipe.unsent_bytes(Side::A), 0);
            assert_eq!(pipe.writable(Side::A), Ok(8));
        }
    }

    #[test]
    fn closing_with_bytes_unread_resets_the_peer() {
        for kind in [PipeKind::Tcp, PipeKind::Unix] {
            let mut pipe = pipe(kind);
            pipe.write(Side::A, Bytes::from_static(b"x"));
            pipe.arrive(Side::A);
            assert!(pipe.close(Side::B, false));
            pipe.arrive(Side::B);
            assert_eq!(pipe.readable(Side::A), Readable::Failed(ECONNRESET));
            assert_eq!(pipe.writable(Side::A), Err(ECONNRESET));
            assert_eq!(pipe.writable(Side::A), Err(EPIPE));
            assert!(pipe.gone(Side::A));
        }
    }

    #[test]
    fn data_for_a_closed_end_is_unwanted() {
        let mut pipe = pipe(PipeKind::Tcp);
        pipe.close(Side::B, false);
        pipe.write(Side::A, Bytes::from_static(b"x"));
        assert_eq!(pipe.arrive(Side::A), Arrived::Unwanted);
    }
}
