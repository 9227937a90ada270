//! A stream of the real HTTP/2 and a frontend, joined by credit: messages larger than every window come through, and a
//! tunnel that takes nothing stops its client.

use std::time::Instant;

use bytes::{Buf, Bytes};

use crate::http2::{Connection, Event as Http2Event, StreamId};
use crate::konnectivity::proto::{Data, PacketProto, Payload};
use crate::konnectivity::{Event, Frontend, MessageReader, Packet};
use crate::limits::{HTTP2_FRAME_BYTES_MAX, HTTP2_STREAM_WINDOW_BYTES, INGRESS_PENDING_BYTES_TARGET};

use super::{close_rsp, dial_req, dial_rsp, wire};

const ONE: StreamId = StreamId(1);

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, stream];
    [&head[..], payload].concat()
}

/// The preface, SETTINGS, their acknowledgement, and a call (RFC 9113 section 3.4; RFC 7541 section 6.2.2).
fn greeting() -> Vec<u8> {
    let block = b"\x83\x86\x04\x13/ProxyService/Proxy\x01\x01x\x0f\x10\x10application/grpc";
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    [&preface[..], &frame(4, 0, 0, b""), &frame(4, 1, 0, b""), &frame(1, 4, 1, block)].concat()
}

/// A client, the server's two halves, and a target.
struct Joined {
    connection: Connection,
    frontend: Frontend,
    now: Instant,
    /// What the client wants to send, and what its two windows allow it.
    unsent: Bytes,
    window_bytes: usize,
    connection_window_bytes: usize,
    /// What waits for the server's windows.
    outgoing: Bytes,
    /// What the target got, and what the client heard.
    target: Vec<u8>,
    heard: MessageReader,
}

impl Joined {
    fn new() -> Self {
        let now = Instant::now();
        let mut joined = Self {
            connection: Connection::server(now).unwrap(),
            frontend: Frontend::new(),
            now,
            unsent: Bytes::new(),
            window_bytes: HTTP2_STREAM_WINDOW_BYTES as usize,
            connection_window_bytes: 65_535,
            outgoing: Bytes::new(),
            target: Vec::new(),
            heard: MessageReader::new(),
        };
        joined.connection.receive(greeting().into());
        joined
    }

    /// Until nothing moves any more.
    fn run(&mut self, target_reads: bool) {
        loop {
            let sent = self.client_sends();
            let served = self.server_works(target_reads);
            let heard = self.client_hears();
            if !(sent || served || heard) {
                return;
            }
        }
    }

    fn client_sends(&mut self) -> bool {
        let windows = self.window_bytes.min(self.connection_window_bytes);
        let count = self.unsent.len().min(windows).min(HTTP2_FRAME_BYTES_MAX);
        if count > 0 {
            let payload = self.unsent.split_to(count);
            self.window_bytes -= count;
            self.connection_window_bytes -= count;
            self.connection.receive(frame(0, 0, 1, &payload).into());
        }
        count > 0
    }

    fn server_works(&mut self, target_reads: bool) -> bool {
        let mut worked = false;
        while let Some(event) = self.connection.poll_event(self.now) {
            worked = true;
            match event {
                Http2Event::Data { stream: ONE, bytes } => self.frontend.on_bytes(bytes),
                Http2Event::Opened { stream: ONE, .. } | Http2Event::Window { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        while let Some(event) = self.frontend.poll_event() {
            let Event::Dial { key, .. } = event else { panic!("{event:?}") };
            assert_eq!(self.frontend.on_established(key), Some(1));
        }
        while target_reads && let Some(bytes) = self.frontend.take_for_tunnel(1) {
            worked = true;
            self.target.extend_from_slice(&bytes);
        }
        let credit = self.frontend.take_credit();
        self.connection.credit(ONE, credit);
        worked | self.server_sends()
    }

    fn server_sends(&mut self) -> bool {
        let mut worked = false;
        loop {
            if self.outgoing.is_empty() {
                let Some(message) = self.frontend.next_message() else { return worked };
                self.outgoing = message.to_bytes();
            }
            let sent = self.connection.send(ONE, self.outgoing.clone()).unwrap();
            self.outgoing.advance(sent);
            if sent == 0 {
                return worked;
            }
            worked = true;
        }
    }

    fn client_hears(&mut self) -> bool {
        let mut rest = self.connection.take_output();
        let heard = !rest.is_empty();
        while !rest.is_empty() {
            let (kind, stream) = (rest[3], rest[8]);
            let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
            let payload = rest.split_to(9 + length).slice(9..);
            match (kind, stream) {
                (0, 1) => {
                    self.heard.push(payload).unwrap();
                    // Read at once: the windows are given back.
                    let back = u32::try_from(length).unwrap().to_be_bytes();
                    self.connection.receive([frame(8, 0, 0, &back), frame(8, 0, 1, &back)].concat().into());
                }
                (8, 0) => self.connection_window_bytes += payload.clone().get_u32() as usize,
                (8, 1) => self.window_bytes += payload.clone().get_u32() as usize,
                _ => {}
            }
        }
        heard
    }

    fn packet(&mut self) -> Option<Packet> {
        self.heard.poll().unwrap().map(|message| Packet::decode(message).unwrap())
    }
}

/// DATA of any length, which ours is not: Go's clients send what they were given at once.
fn large_data(payload: &[u8]) -> Vec<u8> {
    let data = Data { connect_id: 1, error: String::new(), data: Bytes::copy_from_slice(payload) };
    let body = prost::Message::encode_to_vec(&PacketProto { kind: 4, payload: Some(Payload::Data(data)) });
    [&[0][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), &body].concat()
}

#[test]
fn messages_larger_than_every_window_come_through_both_ways() {
    let mut joined = Joined::new();
    joined.unsent = wire(&dial_req(7, "10.0.0.1:443"));
    joined.run(true);
    assert_eq!(joined.packet(), Some(dial_rsp(7, 1, "")));
    let upload: Vec<u8> = (0_u32..750_000).flat_map(u32::to_be_bytes).collect();
    joined.unsent = upload.chunks(1_500_000).flat_map(large_data).collect();
    joined.run(true);
    assert!(joined.unsent.is_empty() && joined.target == upload);

    let mut download = Bytes::from(upload.clone());
    let mut heard = Vec::new();
    while !download.is_empty() {
        let before = download.len();
        joined.frontend.on_tunnel_bytes(1, &mut download);
        joined.run(true);
        assert!(download.len() < before);
        while let Some(Packet::Data { connect_id: 1, data }) = joined.packet() {
            heard.extend_from_slice(&data);
        }
    }
    assert!(heard == upload);
}

#[test]
fn a_tunnel_that_takes_nothing_stops_its_client_with_a_bounded_amount_waiting_and_nothing_is_lost() {
    let mut joined = Joined::new();
    joined.unsent = wire(&dial_req(7, "10.0.0.1:443"));
    joined.run(false);
    let upload: Vec<u8> = (0_u32..500_000).flat_map(u32::to_be_bytes).collect();
    joined.unsent = upload.chunks(16 * 1024).flat_map(large_data).collect();
    let all_bytes = joined.unsent.len();
    joined.run(false);
    let sent_bytes = all_bytes - joined.unsent.len();
    let most = INGRESS_PENDING_BYTES_TARGET + HTTP2_STREAM_WINDOW_BYTES as usize + 2 * 16 * 1024;
    assert!((HTTP2_STREAM_WINDOW_BYTES as usize..=most).contains(&sent_bytes), "{sent_bytes}");
    // The other direction goes on.
    assert_eq!(joined.packet(), Some(dial_rsp(7, 1, "")));
    joined.frontend.on_tunnel_bytes(1, &mut Bytes::from_static(b"still here"));
    joined.run(false);
    assert_eq!(joined.packet(), Some(super::data(1, "still here")));
    joined.run(true);
    assert!(joined.unsent.is_empty() && joined.target == upload);
    joined.frontend.on_tunnel_ended(1, crate::konnectivity::TunnelEnd::Closed);
    joined.run(true);
    assert_eq!(joined.packet(), Some(close_rsp(1, "")));
}
