//! One dial and the connection that comes of it, as a client of konnectivity-client's kind sees it: packets in,
//! packets out, no input and output.
//!
//! What the wire shows is that library's behaviour (v0.37.0, `pkg/client`): DIAL_REQ with a random number; CLOSE_REQ,
//! and at most ten seconds for CLOSE_RSP; DIAL_CLS for a dial that nobody waits for any more; a CLOSE_REQ for DATA of
//! a connection that is not ours; the end of the stream after CLOSE_RSP, a dial error, DIAL_CLS or an unexpected
//! DIAL_RSP.
//!
//! Otherwise on purpose: a reader that stops for ten seconds does not end the tunnel, it stops its stream's window;
//! and a stream that ends without CLOSE_RSP, or with an error in it, is an error for the reader and not a plain end,
//! because an instrument that cannot tell them apart measures wrong things.
//!
//! The protocol has no half-close: [`Tunnel::close`] closes both directions. What the proxy sends before its CLOSE_RSP
//! can still be read.

use std::io;
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::http2::CREDIT_BYTES_MIN;
use super::message::Messages;
use super::packet::{self, Received};
use super::queue::Queue;

/// How long CLOSE_RSP may take: `CloseTimeout` of konnectivity-client.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);
/// Most payload in a DATA packet: what kube-apiserver writes at once is a TLS record (RFC 8446 §5.1).
const DATA_BYTES_MAX: usize = 16 * 1024;
/// More is not accepted while this much waits to be sent.
const OUTGOING_BYTES_TARGET: usize = 64 * 1024;

#[derive(Debug)]
enum State {
    /// DIAL_REQ is said.
    Dialing,
    /// DIAL_RSP was good.
    Open { connect_id: i64 },
    /// CLOSE_REQ is said.
    Closing { connect_id: i64, until: Instant },
    /// DIAL_CLS is said, and nothing is expected.
    Leaving { until: Instant },
    /// Nothing more can come.
    Over(Result<(), Failure>),
}

/// What can be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// This many bytes were.
    Some(usize),
    /// Nothing yet.
    Wait,
    /// The end, and whether it is a good one.
    End(Result<(), Failure>),
}

/// One tunnel.
#[derive(Debug)]
pub(super) struct Tunnel {
    random: i64,
    state: State,
    messages: Messages,
    /// Payload that nobody read yet: at most a stream's window and one message.
    incoming: Queue,
    /// Whole gRPC messages: at most [`OUTGOING_BYTES_TARGET`], one DATA and one packet that ends something.
    outgoing: Queue,
    /// Received, and not given back to the stream's window.
    uncredited_bytes: usize,
    /// Nobody will read any more.
    abandoned: bool,
}

impl Tunnel {
    /// Dials. `random` is the number that marks this dial at the proxy; it is not negative.
    pub(super) fn dial(random: i64, address: &str) -> Self {
        let mut outgoing = Queue::default();
        outgoing.push(&packet::dial_req(random, address));
        Self {
            random,
            state: State::Dialing,
            messages: Messages::default(),
            incoming: Queue::default(),
            outgoing,
            uncredited_bytes: 0,
            abandoned: false,
        }
    }

    /// The answer to the dial, once there is one.
    pub(super) fn answer(&self) -> Option<Result<(), Failure>> {
        match &self.state {
            State::Dialing => None,
            State::Over(Err(failure)) => Some(Err(failure.clone())),
            _ => Some(Ok(())),
        }
    }

    /// Reads payload.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> Read {
        if !self.incoming.is_empty() {
            let count = buf.len().min(self.incoming.len());
            buf[..count].copy_from_slice(&self.incoming.bytes()[..count]);
            self.incoming.consume(count);
            return Read::Some(count);
        }
        match &self.state {
            State::Over(result) => Read::End(result.clone()),
            _ => Read::Wait,
        }
    }

    /// Whether [`Self::read`] has an answer.
    pub(super) fn is_readable(&self) -> bool {
        !self.incoming.is_empty() || self.is_over()
    }

    /// Takes payload to send, as much as there is room for: `None` if there is none now.
    ///
    /// # Errors
    /// The tunnel is closed, or failed.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let connect_id = match &self.state {
            State::Open { connect_id } => *connect_id,
            State::Over(Err(failure)) => return Err(failure.clone()),
            _ => return Err(Failure::io(io::ErrorKind::BrokenPipe, "the tunnel is closed")),
        };
        if !self.is_writable() {
            return Ok(None);
        }
        let count = bytes.len().min(DATA_BYTES_MAX);
        if count > 0 {
            self.outgoing.push(&packet::data(connect_id, &bytes[..count]));
        }
        Ok(Some(count))
    }

    /// Whether [`Self::write`] has an answer.
    pub(super) fn is_writable(&self) -> bool {
        self.outgoing.len() < OUTGOING_BYTES_TARGET || !matches!(self.state, State::Open { .. })
    }

    /// Closes both directions: CLOSE_REQ, or DIAL_CLS if there was no answer. A second time does nothing.
    pub(super) fn close(&mut self, now: Instant) {
        let until = now + CLOSE_TIME_MAX;
        match self.state {
            State::Open { connect_id } => {
                self.outgoing.push(&packet::close_req(connect_id));
                self.state = State::Closing { connect_id, until };
            }
            State::Dialing => {
                self.outgoing.push(&packet::dial_cls(self.random));
                self.state = State::Leaving { until };
            }
            _ => {}
        }
    }

    /// As [`Self::close`], and what still comes is thrown away.
    pub(super) fn abandon(&mut self, now: Instant) {
        self.close(now);
        self.abandoned = true;
        self.incoming.clear();
    }

    /// When [`Self::late`] is to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Closing { until, .. } | State::Leaving { until } => Some(until),
            _ => None,
        }
    }

    /// Gives up what took too long.
    pub(super) fn late(&mut self, now: Instant) {
        if self.deadline().is_some_and(|until| until <= now) {
            self.end(Err(Failure::io(io::ErrorKind::TimedOut, "close timeout: no CLOSE_RSP in 10 s")));
        }
    }

    /// Takes what a frame carried, which used up this much of the window.
    pub(super) fn receive(&mut self, bytes: &[u8], window_bytes: usize) {
        self.uncredited_bytes += window_bytes;
        if self.is_over() {
            return;
        }
        self.messages.push(bytes);
        loop {
            let received = match self.messages.next() {
                Ok(None) => return,
                Ok(Some(message)) => packet::decode(message).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match received {
                Ok(received) => self.packet(received),
                Err(text) => self.end(Err(Failure::malformed(text))),
            }
            if self.is_over() {
                return;
            }
        }
    }

    fn packet(&mut self, received: Received) {
        match (received, &self.state) {
            (_, State::Leaving { .. } | State::Over(_)) | (Received::Other, _) => {}
            (Received::DialRsp { random, connect_id, error }, State::Dialing) if random == self.random => {
                self.dialed(connect_id, error);
            }
            (Received::DialRsp { random, .. }, _) => {
                self.end(Err(Failure::malformed(format!(
                    "a DIAL_RSP that nobody waits for (dial {random})"
                ))));
            }
            (Received::DialCls { .. }, State::Dialing) => self.end(Err(Failure::refused("dial closed"))),
            (Received::DialCls { .. }, _) => {
                self.end(Err(Failure::io(io::ErrorKind::ConnectionReset, "DIAL_CLS after the dial")));
            }
            // What every part of Konnectivity drops.
            (Received::Data { connect_id: 0, .. }, _) => {}
            (
                Received::Data { connect_id, data },
                State::Open { connect_id: ours } | State::Closing { connect_id: ours, .. },
            ) if connect_id == *ours => {
                if !self.abandoned {
                    self.incoming.push(&data);
                }
            }
            (Received::Data { connect_id, .. }, _) => self.foreign(connect_id),
            (
                Received::CloseRsp { connect_id, error },
                State::Open { connect_id: ours } | State::Closing { connect_id: ours, .. },
            ) if connect_id == *ours => self.end(if error.is_empty() {
                Ok(())
            } else {
                Err(Failure::io(io::ErrorKind::ConnectionReset, format!("CLOSE_RSP: {error}")))
            }),
            (Received::CloseRsp { .. }, _) => {}
        }
    }

    fn dialed(&mut self, connect_id: i64, error: String) {
        if !error.is_empty() {
            self.end(Err(Failure::refused(error)));
        } else if connect_id == 0 {
            self.end(Err(Failure::malformed("a good DIAL_RSP without a connection's ID")));
        } else {
            self.state = State::Open { connect_id };
        }
    }

    /// Payload of somebody else's connection: whoever sends it is asked to stop.
    fn foreign(&mut self, connect_id: i64) {
        if self.outgoing.len() > 2 * OUTGOING_BYTES_TARGET {
            let text = format!("no end of DATA for other connections (the last: {connect_id})");
            self.end(Err(Failure::malformed(text)));
        } else {
            self.outgoing.push(&packet::close_req(connect_id));
        }
    }

    /// The stream ended; `result` says how.
    pub(super) fn end(&mut self, result: Result<(), Failure>) {
        if !self.is_over() {
            self.state = State::Over(result);
            self.outgoing.clear();
        }
    }

    /// The proxy ended the stream in good order, which it may not: the client does that, after CLOSE_RSP.
    pub(super) fn end_early(&mut self) {
        let text = match self.state {
            State::Dialing => "the proxy ended the stream without DIAL_RSP",
            _ if !self.messages.is_between_messages() => "the proxy ended the stream within a message",
            _ => "the proxy ended the stream without CLOSE_RSP",
        };
        self.end(Err(Failure::io(io::ErrorKind::UnexpectedEof, text)));
    }

    /// Whether the stream has no further use.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    /// Whether all is said and nothing is expected: the stream can end.
    pub(super) fn has_left(&self) -> bool {
        matches!(self.state, State::Leaving { .. }) && self.outgoing.is_empty()
    }

    /// What waits to be sent.
    pub(super) fn outgoing(&mut self) -> &mut Queue {
        &mut self.outgoing
    }

    /// How much window to give back now: not what nobody has read, and not in small steps.
    pub(super) fn credit(&mut self) -> Option<usize> {
        let bytes = self.uncredited_bytes.saturating_sub(self.incoming.len());
        if bytes < CREDIT_BYTES_MIN {
            return None;
        }
        self.uncredited_bytes -= bytes;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::packet::tests::{close_rsp, dial_rsp};
    use super::super::packet::{close_req, data, dial_cls, dial_req};
    use super::{OUTGOING_BYTES_TARGET, Read, Tunnel};

    fn take(tunnel: &mut Tunnel) -> Vec<u8> {
        let bytes = tunnel.outgoing().bytes().to_vec();
        tunnel.outgoing().clear();
        bytes
    }

    fn receive(tunnel: &mut Tunnel, message: &[u8]) {
        tunnel.receive(message, message.len());
    }

    fn open() -> Tunnel {
        let mut tunnel = Tunnel::dial(5, "h:1");
        assert_eq!(take(&mut tunnel), dial_req(5, "h:1"));
        assert_eq!(tunnel.answer(), None);
        receive(&mut tunnel, &dial_rsp(5, 7, ""));
        assert_eq!(tunnel.answer(), Some(Ok(())));
        tunnel
    }

    fn read(tunnel: &mut Tunnel) -> Result<String, String> {
        let mut buf = [0; 100];
        match tunnel.read(&mut buf) {
            Read::Some(count) => Ok(String::from_utf8_lossy(&buf[..count]).into_owned()),
            Read::Wait => Err("wait".to_owned()),
            Read::End(Ok(())) => Err("end".to_owned()),
            Read::End(Err(failure)) => Err(failure.to_string()),
        }
    }

    #[test]
    fn what_comes_before_close_rsp_is_read_even_after_close_req() {
        let mut tunnel = open();
        assert_eq!(tunnel.write(b"ab"), Ok(Some(2)));
        tunnel.close(Instant::now());
        tunnel.close(Instant::now());
        assert_eq!(take(&mut tunnel), [data(7, b"ab"), close_req(7)].concat());
        assert!(tunnel.write(b"c").unwrap_err().to_string().contains("closed"));
        receive(&mut tunnel, &data(7, b"late"));
        receive(&mut tunnel, &close_rsp(7, ""));
        assert_eq!(read(&mut tunnel), Ok("late".to_owned()));
        assert_eq!(read(&mut tunnel), Err("end".to_owned()));
    }

    #[test]
    fn every_refusal_has_its_text() {
        for (answer, text) in [
            (dial_rsp(5, 0, "connection refused"), "connection refused"),
            (dial_cls(5), "dial closed"),
            (dial_rsp(6, 7, ""), "nobody waits for (dial 6)"),
            (dial_rsp(5, 0, ""), "without a connection's ID"),
            (b"\x01\0\0\0\0".to_vec(), "compression"),
            (b"\0\0\0\0\x01\xff".to_vec(), "varint"),
        ] {
            let mut tunnel = Tunnel::dial(5, "h:1");
            receive(&mut tunnel, &answer);
            let error = tunnel.answer().unwrap().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        let mut tunnel = Tunnel::dial(5, "h:1");
        tunnel.end_early();
        assert!(tunnel.answer().unwrap().unwrap_err().to_string().contains("without DIAL_RSP"));
    }

    #[test]
    fn an_end_that_is_none_is_an_error() {
        for (answer, text) in [
            (close_rsp(7, "gone"), "CLOSE_RSP: gone"),
            (dial_cls(5), "DIAL_CLS after"),
            (dial_rsp(5, 8, ""), "nobody waits for"),
        ] {
            let mut tunnel = open();
            receive(&mut tunnel, &data(7, b"x"));
            receive(&mut tunnel, &answer);
            assert_eq!(read(&mut tunnel), Ok("x".to_owned()));
            let error = read(&mut tunnel).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
        let mut tunnel = open();
        tunnel.end_early();
        assert!(read(&mut tunnel).unwrap_err().contains("without CLOSE_RSP"));
    }

    #[test]
    fn payload_of_others_is_not_ours_and_is_answered() {
        let mut tunnel = open();
        receive(&mut tunnel, &data(0, b"dropped"));
        receive(&mut tunnel, &data(8, b"foreign"));
        receive(&mut tunnel, &close_rsp(8, ""));
        assert_eq!(read(&mut tunnel), Err("wait".to_owned()));
        assert_eq!(take(&mut tunnel), close_req(8));
        for _ in 0..OUTGOING_BYTES_TARGET {
            receive(&mut tunnel, &data(9, b""));
        }
        assert!(tunnel.is_over());
    }

    #[test]
    fn a_dial_that_nobody_waits_for_is_closed_and_left() {
        let mut tunnel = Tunnel::dial(5, "h:1");
        tunnel.abandon(Instant::now());
        assert!(!tunnel.has_left());
        assert_eq!(take(&mut tunnel), [dial_req(5, "h:1"), dial_cls(5)].concat());
        assert!(tunnel.has_left());
    }

    #[test]
    fn close_rsp_is_not_waited_for_longer_than_ten_seconds() {
        let mut tunnel = open();
        let now = Instant::now();
        tunnel.close(now);
        tunnel.late(now + Duration::from_millis(9_999));
        assert!(!tunnel.is_over());
        tunnel.late(tunnel.deadline().unwrap());
        assert!(read(&mut tunnel).unwrap_err().contains("close timeout"));
    }

    #[test]
    fn a_window_is_given_back_for_what_was_read_and_for_what_is_thrown_away() {
        let mut tunnel = open();
        let message = data(7, &[0; 40_000]);
        receive(&mut tunnel, &message);
        assert_eq!(tunnel.credit(), None);
        assert_eq!(tunnel.read(&mut [0; 39_000]), Read::Some(39_000));
        let given = tunnel.credit().unwrap();
        assert!((39_000..39_100).contains(&given), "{given}");
        receive(&mut tunnel, &message);
        tunnel.abandon(Instant::now());
        receive(&mut tunnel, &message);
        assert!(tunnel.credit().unwrap() >= 81_000);
        // The first part of a message that is longer than the window.
        let mut tunnel = open();
        receive(&mut tunnel, &data(7, &[0; 3_000_000])[..200_000]);
        assert!(tunnel.credit().unwrap() >= 200_000);
    }

    #[test]
    fn what_waits_to_be_sent_is_bounded() {
        let mut tunnel = open();
        let mut accepted = 0;
        while let Some(count) = tunnel.write(&[0; 100_000]).unwrap() {
            accepted += count;
        }
        assert!(accepted >= OUTGOING_BYTES_TARGET);
        assert!(tunnel.outgoing().len() < OUTGOING_BYTES_TARGET + 17_000);
        assert!(!tunnel.is_writable());
        tunnel.outgoing().consume(20_000);
        assert!(tunnel.is_writable());
    }
}
