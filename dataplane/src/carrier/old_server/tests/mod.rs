//! Our agent's end against a server that is written by hand over our own HTTP/2, and against the server's end of ours.

mod calls;
mod dials;
mod whole;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use super::{OldServer, OldServerCall};
use crate::carrier::{Carrier, CarrierEvent};
use crate::http2::{Connection, Event, Request, StreamId as CallId};
use crate::konnectivity::{MessageReader, Packet};
use crate::quic::{LostReason, ReadState, StreamId, WriteState};
use crate::wire::{DialRequest, DialResponse, FrameReader, StreamHeader};

/// What the agent says of itself in these tests.
fn call() -> OldServerCall<'static> {
    OldServerCall {
        authority: "server:8091",
        agent_id: "node-1",
        identifiers: "host=node-1&ipv4=10.0.0.1",
        token: "hunter2",
        user_agent: "adit/1.2.3",
        keep_alive: Duration::from_secs(3600),
    }
}

/// A server: the call, and what came of it.
struct Server {
    http2: Connection,
    call: Option<CallId>,
    request: Option<Request>,
    unsent: Bytes,
    reader: MessageReader,
    heard: VecDeque<Packet>,
    half_closed: bool,
    goaway: bool,
}

impl Server {
    fn new(now: Instant) -> Self {
        Self {
            http2: Connection::server(now).unwrap(),
            call: None,
            request: None,
            unsent: Bytes::new(),
            reader: MessageReader::new(),
            heard: VecDeque::new(),
            half_closed: false,
            goaway: false,
        }
    }

    fn says(&mut self, packet: &Packet) {
        self.unsent = [&self.unsent[..], &packet.to_message().unwrap().to_bytes()].concat().into();
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Opened { stream, request } => {
                self.call = Some(stream);
                self.request = Some(request);
            }
            Event::Data { stream, bytes } => {
                self.http2.credit(stream, bytes.len());
                self.reader.push(bytes).unwrap();
                while let Some(message) = self.reader.poll().unwrap() {
                    self.heard.push_back(Packet::decode(message).unwrap());
                }
            }
            Event::HalfClosed { .. } => self.half_closed = true,
            Event::Goaway { .. } => self.goaway = true,
            _ => {}
        }
    }

    fn work(&mut self, now: Instant, input: Bytes) {
        self.http2.receive(input);
        while let Some(event) = self.http2.poll_event(now) {
            self.on_event(event);
        }
        if let Some(call) = self.call {
            while !self.unsent.is_empty() {
                let Ok(sent @ 1..) = self.http2.send(call, self.unsent.clone()) else { break };
                self.unsent.advance(sent);
            }
        }
    }
}

struct Joined {
    now: Instant,
    carrier: OldServer,
    server: Server,
    events: VecDeque<CarrierEvent>,
}

impl Joined {
    /// The agent has called.
    fn called() -> Self {
        let now = Instant::now();
        let carrier = OldServer::new(now, call()).unwrap();
        let mut joined = Self { now, carrier, server: Server::new(now), events: VecDeque::new() };
        joined.run();
        joined
    }

    /// The server has answered with these header fields.
    fn answered(metadata: &[(&str, &str)]) -> Self {
        let mut joined = Self::called();
        joined.server.http2.respond(joined.server.call.unwrap(), metadata).unwrap();
        joined.run();
        joined
    }

    /// The server has presented itself.
    fn ready() -> Self {
        let mut joined = Self::answered(&[("serverid", "server-1"), ("servercount", "3")]);
        assert!(matches!(joined.events.pop_front(), Some(CarrierEvent::Welcomed(_))));
        joined
    }

    /// Until nothing moves any more.
    fn run(&mut self) {
        let mut input = self.carrier.take_output();
        loop {
            self.server.work(self.now, input);
            let output = self.server.http2.take_output();
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
        packets.iter().for_each(|packet| self.server.says(packet));
        self.run();
    }

    fn hears(&mut self) -> Vec<Packet> {
        self.run();
        self.server.heard.drain(..).collect()
    }

    fn events(&mut self) -> Vec<CarrierEvent> {
        self.run();
        self.events.drain(..).collect()
    }

    fn lost(&mut self) -> LostReason {
        match self.events().pop() {
            Some(CarrierEvent::Lost(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, stream: StreamId, bytes: &[u8]) -> (WriteState, usize) {
        let mut chunks = VecDeque::from([Bytes::copy_from_slice(bytes)]);
        let state = self.carrier.write(self.now, stream, &mut chunks).unwrap();
        (state, chunks.iter().map(Bytes::len).sum())
    }

    fn read(&mut self, stream: StreamId) -> (Vec<u8>, ReadState) {
        let mut out = Vec::new();
        loop {
            match self.carrier.read(self.now, stream, 1000, &mut out).unwrap() {
                ReadState::More => {}
                state => return (out.concat(), state),
            }
        }
    }

    /// A stream that a dial has opened, with what is to be dialed.
    fn dialed(&mut self, random: i64, address: &str) -> (StreamId, DialRequest) {
        self.says(&[dial_req(random, address)]);
        let [CarrierEvent::Opened(stream)] = self.events()[..] else { panic!("not opened") };
        let (bytes, state) = self.read(stream);
        assert_eq!(state, ReadState::Blocked);
        let mut reader = FrameReader::new();
        reader.push(bytes.into());
        let header = StreamHeader::decode(reader.poll().unwrap().unwrap()).unwrap();
        assert!(reader.into_rest().is_empty());
        (stream, header.dial.unwrap())
    }

    /// A stream whose dial went well.
    fn connected(&mut self, random: i64) -> StreamId {
        let (stream, _) = self.dialed(random, "10.0.0.1:443");
        assert_eq!(self.write(stream, &ok()), (WriteState::Took, 0));
        let [Packet::DialRsp { random: answered, connect_id: 1.., ref error }] = self.hears()[..] else {
            panic!("not answered")
        };
        assert_eq!((answered, error.as_str()), (random, ""));
        stream
    }

    fn time_passes(&mut self, time: Duration) {
        self.now += time;
        self.carrier.on_time(self.now);
        self.run();
    }
}

/// A dial that went well, as the shard says it.
fn ok() -> Bytes {
    DialResponse::ok("10.0.0.1:443".parse().unwrap()).to_frame().unwrap()
}

fn dial_req(random: i64, address: &str) -> Packet {
    Packet::DialReq { protocol: "tcp".to_owned(), address: address.to_owned(), random }
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
