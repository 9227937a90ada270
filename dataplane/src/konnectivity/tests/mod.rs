//! Tests of the protocol: bytes derived from field numbers, tables of what each rule does, and properties over
//! arbitrary bytes, cuts and orders of events.

mod agent;
mod backend;
mod framing;
mod frontend;
mod golden;
mod joined;
mod legacy;
mod metadata;
mod misbehaviour;
mod orders;
mod packet;

use bytes::Bytes;

use super::{DialKey, Event, Frontend, Message, MessageReader, Packet, Status};

/// A packet as a client sends it.
fn wire(packet: &Packet) -> Bytes {
    packet.to_message().unwrap().to_bytes()
}

/// The packet of a message, prefix included.
fn packet_of(message: &Message) -> Packet {
    let mut reader = MessageReader::new();
    reader.push(message.to_bytes()).unwrap();
    let packet = Packet::decode(reader.poll().unwrap().unwrap()).unwrap();
    reader.finish().unwrap();
    packet
}

fn dial_req(random: i64, address: &str) -> Packet {
    Packet::DialReq { protocol: "tcp".to_owned(), address: address.to_owned(), random }
}

fn dial_rsp(random: i64, connect_id: i64, error: &str) -> Packet {
    Packet::DialRsp { random, connect_id, error: error.to_owned() }
}

fn data(connect_id: i64, data: &str) -> Packet {
    Packet::Data { connect_id, data: Bytes::copy_from_slice(data.as_bytes()) }
}

fn close_req(connect_id: i64) -> Packet {
    Packet::CloseReq { connect_id }
}

fn close_rsp(connect_id: i64, error: &str) -> Packet {
    Packet::CloseRsp { connect_id, error: error.to_owned() }
}

/// A stream with short words for what its client does, and for what comes of it.
struct Stream(Frontend);

impl Stream {
    fn new() -> Self {
        Self(Frontend::new())
    }

    fn says(&mut self, packet: &Packet) -> &mut Self {
        self.0.on_bytes(wire(packet));
        self
    }

    /// Everything that the client is sent.
    fn hears(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.0.next_message()).map(|message| packet_of(&message)).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.0.poll_event()).collect()
    }

    /// Dials, and expects that it is to be dialed.
    fn dials(&mut self, random: i64) -> DialKey {
        self.says(&dial_req(random, "10.0.0.1:443"));
        match self.events().as_slice() {
            [Event::Dial { key, random: told, address, .. }]
                if *told == random && address == "10.0.0.1:443" =>
            {
                *key
            }
            other => panic!("{other:?}"),
        }
    }

    /// A stream with connection 1.
    fn established() -> Self {
        let mut stream = Self::new();
        let key = stream.dials(7);
        assert_eq!(stream.0.on_established(key), Some(1));
        assert_eq!(stream.hears(), [dial_rsp(7, 1, "")]);
        stream
    }

    /// What a connection gets.
    fn taken(&mut self, connect_id: i64) -> String {
        let pieces = std::iter::from_fn(|| self.0.take_for_tunnel(connect_id));
        String::from_utf8(pieces.flatten().collect()).unwrap()
    }

    /// Gives a connection's bytes, all of which must be taken.
    fn gets(&mut self, connect_id: i64, text: &str) {
        let mut bytes = Bytes::copy_from_slice(text.as_bytes());
        self.0.on_tunnel_bytes(connect_id, &mut bytes);
        assert!(bytes.is_empty());
    }

    fn ends_well(&mut self) {
        self.0.on_client_end();
        assert_eq!(self.events().last(), Some(&Event::End(Status::Ok)));
    }
}
