//! A carrier and an agent that is written by hand over our own HTTP/2 client, joined in memory.

mod calls;
mod contained;
mod dials;
mod orders;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use super::OldAgent;
use crate::carrier::{Carrier, CarrierEvent};
use crate::http2::{Call, CallStatus, Connection, Event, StreamId as CallId};
use crate::konnectivity::{MessageReader, Packet};
use crate::quic::{ReadState, StreamId, WriteState};
use crate::wire::{DialRequest, DialResponse, FrameReader, StreamHeader, Welcome};

/// What an agent says of itself in these tests.
const METADATA: &[(&str, &str)] = &[
    ("agentid", "node-1"),
    ("agentidentifiers", "host=node-1&ipv4=10.0.0.1"),
    ("authorization", "Bearer hunter2"),
];

/// An agent: the call, and what came of it.
struct Agent {
    http2: Connection,
    call: Option<CallId>,
    unsent: Bytes,
    reader: MessageReader,
    /// It takes what it is sent.
    reads: bool,
    unread_bytes: usize,
    heard: VecDeque<Packet>,
    /// The header fields that it was answered with.
    answer: Vec<(String, String)>,
    status: Option<CallStatus>,
    goaway: bool,
}

impl Agent {
    fn new(now: Instant) -> Self {
        Self {
            http2: Connection::client(now).unwrap(),
            call: None,
            unsent: Bytes::new(),
            reader: MessageReader::new(),
            reads: true,
            unread_bytes: 0,
            heard: VecDeque::new(),
            answer: Vec::new(),
            status: None,
            goaway: false,
        }
    }

    fn open(&mut self, path: &str, metadata: &[(&str, &str)]) -> CallId {
        let call =
            Call { scheme: "https", authority: "server:8091", path, user_agent: "grpc-go/1.80.0", metadata };
        self.http2.open(call).unwrap()
    }

    fn says(&mut self, packet: &Packet) {
        self.unsent = [&self.unsent[..], &packet.to_message().unwrap().to_bytes()].concat().into();
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Answered { stream, metadata } if Some(stream) == self.call => {
                for key in ["serverid", "servercount", "content-type"] {
                    let values = metadata.values(key);
                    let texts = values.map(|value| String::from_utf8(value.to_vec()).unwrap());
                    self.answer.extend(texts.map(|value| (key.to_owned(), value)));
                }
            }
            Event::Data { stream, bytes } if Some(stream) == self.call => {
                if self.reads {
                    self.http2.credit(stream, bytes.len());
                } else {
                    self.unread_bytes += bytes.len();
                }
                self.reader.push(bytes).unwrap();
                while let Some(message) = self.reader.poll().unwrap() {
                    self.heard.push_back(Packet::decode(message).unwrap());
                }
            }
            Event::Finished { stream, status } if Some(stream) == self.call => self.status = Some(status),
            Event::Goaway { .. } => self.goaway = true,
            _ => {}
        }
    }

    fn reads_on(&mut self) {
        self.reads = true;
        self.http2.credit(self.call.unwrap(), std::mem::take(&mut self.unread_bytes));
    }

    /// Takes its input, makes its output; what else happened is returned.
    fn work(&mut self, now: Instant, input: Bytes) -> Vec<Event> {
        self.http2.receive(input);
        let mut others = Vec::new();
        while let Some(event) = self.http2.poll_event(now) {
            if let Event::Finished { stream, .. } | Event::Reset { stream, .. } = &event
                && Some(*stream) != self.call
            {
                others.push(event.clone());
            }
            self.on_event(event);
        }
        if let Some(call) = self.call
            && self.status.is_none()
        {
            while !self.unsent.is_empty() {
                let Ok(sent @ 1..) = self.http2.send(call, self.unsent.clone()) else { break };
                self.unsent.advance(sent);
            }
        }
        others
    }
}

struct Joined {
    now: Instant,
    carrier: OldAgent,
    agent: Agent,
    events: VecDeque<CarrierEvent>,
    /// How other calls of the agent's ended.
    others: Vec<Event>,
}

impl Joined {
    /// Nothing was said.
    fn new(retire_after: Option<Duration>) -> Self {
        let now = Instant::now();
        let carrier = OldAgent::new(now, Duration::from_secs(3600), retire_after, [7; 16]).unwrap();
        Self { now, carrier, agent: Agent::new(now), events: VecDeque::new(), others: Vec::new() }
    }

    /// The agent has called.
    fn called(metadata: &[(&str, &str)]) -> Self {
        Self::called_of(None, metadata)
    }

    fn called_of(retire_after: Option<Duration>, metadata: &[(&str, &str)]) -> Self {
        let mut joined = Self::new(retire_after);
        joined.agent.call = Some(joined.agent.open("/AgentService/Connect", metadata));
        joined.run();
        joined
    }

    /// The agent is welcome.
    fn ready() -> Self {
        Self::ready_for(None)
    }

    /// The agent is welcome, and may take nothing for so long while a dial waits for it.
    fn ready_for(retire_after: Option<Duration>) -> Self {
        let mut joined = Self::called_of(retire_after, METADATA);
        assert!(matches!(joined.events.pop_front(), Some(CarrierEvent::Presented(_))));
        let welcome =
            Welcome { server_id: "server-1".to_owned(), server_count: 3, shards: 8, ..Welcome::default() };
        joined.carrier.welcome(joined.now, &welcome);
        joined.run();
        joined
    }

    /// Until nothing moves any more.
    fn run(&mut self) {
        let mut input = Bytes::new();
        loop {
            let others = self.agent.work(self.now, input);
            self.others.extend(others);
            let output = self.agent.http2.take_output();
            let heard = !output.is_empty();
            if heard {
                self.carrier.receive(self.now, output);
            }
            while let Some(event) = self.carrier.poll_event(self.now) {
                self.events.push_back(event);
            }
            input = self.carrier.take_output();
            if !heard && input.is_empty() {
                return;
            }
        }
    }

    fn says(&mut self, packets: &[Packet]) {
        packets.iter().for_each(|packet| self.agent.says(packet));
        self.run();
    }

    fn hears(&mut self) -> Vec<Packet> {
        self.run();
        self.agent.heard.drain(..).collect()
    }

    fn events(&mut self) -> Vec<CarrierEvent> {
        self.run();
        self.events.drain(..).collect()
    }

    fn write(&mut self, stream: StreamId, bytes: &[u8]) -> (WriteState, usize) {
        let mut chunks = VecDeque::from([Bytes::copy_from_slice(bytes)]);
        let state = self.carrier.write(self.now, stream, &mut chunks).unwrap();
        (state, chunks.iter().map(Bytes::len).sum())
    }

    /// Everything that can be read, and how it ended.
    fn read(&mut self, stream: StreamId) -> (Vec<u8>, ReadState) {
        let mut out = Vec::new();
        loop {
            match self.carrier.read(self.now, stream, 1000, &mut out).unwrap() {
                ReadState::More => {}
                state => return (out.concat(), state),
            }
        }
    }

    /// Asks the agent; what it was asked with.
    fn asks(&mut self, address: &str) -> (StreamId, i64) {
        let stream = self.carrier.open().unwrap().unwrap();
        let request = DialRequest { address: address.to_owned(), ..DialRequest::default() };
        assert_eq!(
            self.write(stream, &StreamHeader::dial(request).to_frame().unwrap()),
            (WriteState::Took, 0)
        );
        match &self.hears()[..] {
            [Packet::DialReq { protocol, address: asked, random }]
                if protocol == "tcp" && asked == address =>
            {
                (stream, *random)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The answer that can be read of a stream, and what follows.
    fn answer(&mut self, stream: StreamId) -> (DialResponse, Vec<u8>, ReadState) {
        let (bytes, state) = self.read(stream);
        let mut reader = FrameReader::new();
        reader.push(bytes.into());
        let answer = DialResponse::decode(reader.poll().unwrap().unwrap()).unwrap();
        (answer, reader.into_rest().into_iter().flatten().collect(), state)
    }

    /// A stream with a connection of this number.
    fn connected(&mut self, connect_id: i64) -> StreamId {
        let (stream, random) = self.asks("10.0.0.1:443");
        self.says(&[dial_rsp(random, connect_id, "")]);
        let (answer, rest, state) = self.answer(stream);
        assert_eq!((answer.into_result(), &rest[..], state), (Ok(()), &b""[..], ReadState::Blocked));
        assert_eq!(self.events(), [CarrierEvent::Readable(stream)]);
        stream
    }

    fn time_passes(&mut self, time: Duration) {
        self.now += time;
        self.carrier.on_time(self.now);
        self.run();
    }

    fn lost(&mut self) -> crate::quic::LostReason {
        match self.events().pop() {
            Some(CarrierEvent::Lost(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }
}

fn dial_rsp(random: i64, connect_id: i64, error: &str) -> Packet {
    Packet::DialRsp { random, connect_id, error: error.to_owned() }
}

fn data(connect_id: i64, data: &[u8]) -> Packet {
    Packet::Data { connect_id, data: Bytes::copy_from_slice(data) }
}

fn close_req(connect_id: i64) -> Packet {
    Packet::CloseReq { connect_id }
}

fn close_rsp(connect_id: i64, error: &str) -> Packet {
    Packet::CloseRsp { connect_id, error: error.to_owned() }
}
