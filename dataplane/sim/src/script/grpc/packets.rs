//! One call's state: what was said on it, and what the server said.

use std::collections::VecDeque;

use adit_dataplane::http2::StreamId;
use adit_dataplane::konnectivity::{Message, MessageReader, Packet};
use bytes::{Buf, Bytes};

/// How a call came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The server said how it went; `None`: without a gRPC status.
    Finished(Option<u32>),
    /// The server reset it.
    Reset,
    /// Its connection was lost.
    Lost,
    /// The client cut the connection.
    Cut,
    /// The client reset it.
    GivenUp,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct State {
    pub(super) stream: StreamId,
    /// The connection that carries it.
    pub(super) connection: Option<u64>,
    /// The dial's number.
    pub(super) random: i64,
    reader: MessageReader,
    /// The connection's number, once there is one.
    pub(super) connect_id: Option<i64>,
    /// The answer to the dial: what went wrong, if anything.
    pub(super) answer: Option<Result<(), String>>,
    /// Payload that was not read yet.
    pub(super) incoming: VecDeque<Bytes>,
    /// Bytes of the stream's window that were not given back yet.
    pub(super) uncredited: usize,
    /// What the stream has not taken yet.
    pub(super) sending: VecDeque<Bytes>,
    /// Whether somebody waits to write.
    pub(super) wants_room: bool,
    /// DIAL_CLS was said: whatever is said of the dial crossed it.
    pub(super) cancelled: bool,
    /// CLOSE_RSP came.
    pub(super) closed: bool,
    /// Nobody reads or writes it any more.
    pub(super) released: bool,
    /// The client has ended its side.
    pub(super) half_closed: bool,
    pub(super) over: Option<Over>,
}

impl State {
    pub(super) fn new(stream: StreamId, connection: Option<u64>, random: i64) -> Self {
        Self {
            stream,
            connection,
            random,
            reader: MessageReader::new(),
            connect_id: None,
            answer: None,
            incoming: VecDeque::new(),
            uncredited: 0,
            sending: VecDeque::new(),
            wants_room: false,
            cancelled: false,
            closed: false,
            released: false,
            half_closed: false,
            over: None,
        }
    }

    /// Puts a packet behind what is to be sent.
    pub(super) fn say(&mut self, packet: &Packet) {
        let Message { head, payload } = packet.to_message().expect("what clients say is within the limits");
        self.sending.extend([head, payload].into_iter().filter(|piece| !piece.is_empty()));
    }

    /// Whether the protocol has nothing left to say.
    pub(super) fn is_settled(&self) -> bool {
        self.closed || self.cancelled || matches!(self.answer, Some(Err(_)))
    }

    /// Takes what came on the stream.
    pub(super) fn on_bytes(&mut self, bytes: Bytes) -> Result<(), String> {
        self.uncredited += bytes.len();
        if self.cancelled {
            return Ok(());
        }
        self.reader.push(bytes).map_err(|error| error.to_string())?;
        while let Some(message) = self.reader.poll().map_err(|error| error.to_string())? {
            let packet = Packet::decode(message).map_err(|error| error.to_string())?;
            self.on_packet(packet)?;
        }
        Ok(())
    }

    fn on_packet(&mut self, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::DialRsp { random, connect_id, error } => {
                self.on_answer(random, if error.is_empty() { Ok(connect_id) } else { Err(error) })
            }
            Packet::DialCls { random } => self.on_answer(random, Err("DIAL_CLS".to_owned())),
            Packet::Data { connect_id, data } => {
                self.expect_own("DATA", connect_id)?;
                if !self.released {
                    self.incoming.push_back(data);
                }
                Ok(())
            }
            Packet::CloseRsp { connect_id, .. } => {
                self.expect_own("CLOSE_RSP", connect_id)?;
                self.closed = true;
                Ok(())
            }
            other => Err(format!("{} came, which is not for clients", other.name())),
        }
    }

    fn on_answer(&mut self, random: i64, answer: Result<i64, String>) -> Result<(), String> {
        if random != self.random || self.answer.is_some() {
            return Err(format!(
                "an answer to dial {random}, but dial {} was asked and answered {:?}",
                self.random, self.answer
            ));
        }
        if answer == Ok(0) {
            return Err("a connection without a number".to_owned());
        }
        self.connect_id = answer.as_ref().ok().copied();
        self.answer = Some(answer.map(|_| ()));
        Ok(())
    }

    fn expect_own(&self, what: &str, connect_id: i64) -> Result<(), String> {
        match self.connect_id {
            None => Err(format!("{what} for connection {connect_id} came before the dial was answered")),
            Some(own) if own != connect_id => {
                Err(format!("{what} for connection {connect_id} on the stream of connection {own}"))
            }
            Some(_) if self.closed => Err(format!("{what} came behind CLOSE_RSP")),
            Some(_) => Ok(()),
        }
    }

    /// Takes up to `max` bytes of payload and shows them; returns how many.
    pub(super) fn read(&mut self, max: usize, mut take: impl FnMut(&[u8])) -> usize {
        let mut read = 0;
        while read < max
            && let Some(piece) = self.incoming.front_mut()
        {
            let part = piece.split_to(piece.len().min(max - read));
            take(&part);
            read += part.remaining();
            if piece.is_empty() {
                self.incoming.pop_front();
            }
        }
        read
    }

    /// What may be given back of the stream's window now: what was read, or has no payload in it.
    pub(super) fn take_credit(&mut self) -> usize {
        let unread: usize = self.incoming.iter().map(Bytes::len).sum();
        let credit = self.uncredited.saturating_sub(unread);
        self.uncredited -= credit;
        credit
    }
}
