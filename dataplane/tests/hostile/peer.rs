//! A QUIC peer that keeps to no rule: TLS 1.3 by rustls, everything else by hand, so that it can send any frame, any
//! transport parameter and any packet number. It does not retransmit and has no congestion control.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustls::quic::{
    ClientConnection, Connection, DirectionalKeys, KeyChange, Keys, Secrets, ServerConnection, Version,
};
use rustls::{ClientConfig, ServerConfig, Side};

use crate::pki::SERVER_NAME;
use crate::wire::{self, Frame, Reader};

/// Packet number spaces.
pub(crate) const INITIAL: usize = 0;
pub(crate) const HANDSHAKE: usize = 1;
pub(crate) const APPLICATION: usize = 2;

const TAG_BYTES: usize = 16;

/// One packet number space.
#[derive(Default)]
struct Space {
    keys: Option<Keys>,
    next: u64,
    received: BTreeSet<u64>,
    to_acknowledge: bool,
    crypto_sent: u64,
    crypto_read: u64,
    crypto_waiting: BTreeMap<u64, Vec<u8>>,
}

/// See the module.
pub(crate) struct Peer {
    side: Side,
    tls: Connection,
    spaces: [Space; 3],
    /// What the other side calls itself.
    pub(crate) remote_id: Vec<u8>,
    pub(crate) local_id: Vec<u8>,
    /// The key phase of both directions, and where the next one's keys come from (RFC 9001 section 6).
    phase: bool,
    secrets: Option<Secrets>,
    token: Vec<u8>,
    /// Packets of TLS that wait to be sent.
    ready: Vec<Vec<u8>>,
    /// Frames received and not collected.
    pub(crate) heard: Vec<Frame>,
    /// Whether it acknowledges by itself.
    pub(crate) acknowledges: bool,
    /// Whether TLS went wrong on this side.
    pub(crate) failed: bool,
}

/// Parameters of a peer that allows everything; `more` comes behind.
pub(crate) fn generous(local_id: &[u8], more: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut entries = vec![
        wire::parameter(0x04, 1 << 30),
        wire::parameter(0x05, 1 << 30),
        wire::parameter(0x06, 1 << 30),
        wire::parameter(0x08, 1 << 20),
        (0x0f, local_id.to_vec()),
    ];
    entries.extend_from_slice(more);
    wire::parameters(&entries)
}

fn initial_keys(destination: &[u8], side: Side) -> Keys {
    let provider = adit_dataplane::quic::tls::provider();
    let suite = provider.cipher_suites[0].tls13().unwrap().quic_suite().unwrap();
    suite.keys(destination, side, Version::V1)
}

/// An ID that this test has not used before would be as good as any: it only has to differ between peers.
pub(crate) fn id(number: u64) -> Vec<u8> {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec()
}

impl Peer {
    fn new(side: Side, tls: Connection, keys: Keys, local_id: Vec<u8>, remote_id: Vec<u8>) -> Self {
        let mut spaces: [Space; 3] = Default::default();
        spaces[INITIAL].keys = Some(keys);
        Self {
            side,
            tls,
            spaces,
            remote_id,
            local_id,
            phase: false,
            secrets: None,
            token: Vec::new(),
            ready: Vec::new(),
            heard: Vec::new(),
            acknowledges: true,
            failed: false,
        }
    }

    /// A client with these transport parameters.
    pub(crate) fn client(tls: &Arc<ClientConfig>, number: u64, parameters: Vec<u8>) -> Self {
        let (local_id, destination) = (id(number), id(number ^ 1 << 40));
        let name = SERVER_NAME.try_into().unwrap();
        let tls = ClientConnection::new(Arc::clone(tls), Version::V1, name, parameters).unwrap();
        let keys = initial_keys(&destination, Side::Client);
        Self::new(Side::Client, tls.into(), keys, local_id, destination)
    }

    /// A server that answers this Initial.
    pub(crate) fn server(tls: &Arc<ServerConfig>, initial: &[u8]) -> Self {
        let mut reader = Reader(&initial[5..]);
        let length = usize::from(reader.byte());
        let destination = reader.take(length).to_vec();
        let length = usize::from(reader.byte());
        let remote_id = reader.take(length).to_vec();
        let local_id = id(1);
        let parameters = generous(&local_id, &[(0x00, destination.clone())]);
        let tls = ServerConnection::new(Arc::clone(tls), Version::V1, parameters).unwrap();
        let keys = initial_keys(&destination, Side::Server);
        Self::new(Side::Server, tls.into(), keys, local_id, remote_id)
    }

    /// One packet with this payload. Initials of a client are padded to 1200 bytes.
    pub(crate) fn packet(&mut self, space: usize, payload: &[u8]) -> Vec<u8> {
        let number = self.spaces[space].next;
        self.spaces[space].next += 1;
        let mut payload = payload.to_vec();
        let wanted = if space == INITIAL && self.side == Side::Client { 1200 - 30 } else { 8 };
        payload.resize(payload.len().max(wanted), 0);
        let mut out = Vec::new();
        if space == APPLICATION {
            out.push(0x43 | u8::from(self.phase) << 2);
            out.extend_from_slice(&self.remote_id);
        } else {
            out.push(if space == INITIAL { 0xc3 } else { 0xe3 });
            out.extend([0, 0, 0, 1]);
            for id in [&self.remote_id, &self.local_id] {
                out.push(u8::try_from(id.len()).unwrap());
                out.extend_from_slice(id);
            }
            if space == INITIAL {
                wire::varint(&mut out, self.token.len() as u64);
                out.extend_from_slice(&self.token);
            }
            let length = u16::try_from(4 + payload.len() + TAG_BYTES).unwrap();
            out.extend((length | 0x4000).to_be_bytes());
        }
        let number_at = out.len();
        out.extend(u32::try_from(number).unwrap().to_be_bytes());
        let keys = &self.spaces[space].keys.as_ref().expect("keys of this space").local;
        let tag = keys.packet.encrypt_in_place(number, &out, &mut payload).unwrap();
        out.extend_from_slice(&payload);
        out.extend_from_slice(tag.as_ref());
        protect(keys, &mut out, number_at);
        out
    }

    /// Lets TLS write, and takes the keys that it has: packets behind in the same datagram may need them.
    fn write_tls(&mut self) {
        let mut out = Vec::new();
        let mut space = self.writing();
        loop {
            let mut data = Vec::new();
            let change = self.tls.write_hs(&mut data);
            for piece in data.chunks(900) {
                let frame = wire::crypto(self.spaces[space].crypto_sent, piece);
                self.spaces[space].crypto_sent += piece.len() as u64;
                out.push(self.packet(space, &frame));
            }
            match change {
                Some(KeyChange::Handshake { keys }) => {
                    self.spaces[HANDSHAKE].keys = Some(keys);
                    space = HANDSHAKE;
                }
                Some(KeyChange::OneRtt { keys, next }) => {
                    self.spaces[APPLICATION].keys = Some(keys);
                    self.secrets = Some(next);
                }
                None => break,
            }
        }
        self.ready.extend(out);
    }

    /// What TLS and acknowledgements have to send.
    pub(crate) fn pending(&mut self) -> Vec<Vec<u8>> {
        self.write_tls();
        let mut out = std::mem::take(&mut self.ready);
        for space in [INITIAL, HANDSHAKE, APPLICATION] {
            let due = std::mem::take(&mut self.spaces[space].to_acknowledge);
            if due && self.acknowledges && self.closed().is_none() && self.spaces[space].keys.is_some() {
                let frame = self.acknowledgement(space);
                out.push(self.packet(space, &frame));
            }
        }
        out
    }

    /// The space that TLS writes in now.
    fn writing(&self) -> usize {
        if self.spaces[HANDSHAKE].keys.is_some() { HANDSHAKE } else { INITIAL }
    }

    /// An honest ACK of all that was received, newest first.
    fn acknowledgement(&self, space: usize) -> Vec<u8> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for number in self.spaces[space].received.iter().rev() {
            let full = ranges.len() == 32;
            match ranges.last_mut() {
                Some(range) if range.0 == number + 1 => range.0 = *number,
                _ if full => break,
                _ => ranges.push((*number, *number)),
            }
        }
        let mut fields = vec![ranges[0].1, 0, ranges.len() as u64 - 1, ranges[0].1 - ranges[0].0];
        for pair in ranges.windows(2) {
            fields.extend([pair[0].0 - pair[1].1 - 2, pair[1].1 - pair[1].0]);
        }
        wire::frame(0x02, &fields)
    }

    /// Takes in a datagram of the other side; drops what it has no keys for.
    pub(crate) fn receive(&mut self, datagram: &[u8]) {
        let mut rest = datagram.to_vec();
        while !rest.is_empty() {
            let (space, number_at, end) = if rest[0] & 0x80 == 0 {
                (APPLICATION, 1 + self.local_id.len(), rest.len())
            } else {
                let mut reader = Reader(&rest[5..]);
                let length = usize::from(reader.byte());
                reader.take(length);
                let length = usize::from(reader.byte());
                let source = reader.take(length).to_vec();
                let kind = rest[0] >> 4 & 3;
                if kind == 3 {
                    return self.on_retry(source, &rest);
                }
                self.remote_id = source;
                if kind == 0 {
                    reader.sized();
                }
                let length = usize::try_from(reader.varint()).unwrap();
                let number_at = rest.len() - reader.0.len();
                (if kind == 0 { INITIAL } else { HANDSHAKE }, number_at, number_at + length)
            };
            let next = rest.split_off(end);
            self.open(space, number_at, &mut rest);
            rest = next;
        }
    }

    /// A Retry: its token goes back, and the keys are those of the new ID (RFC 9001 section 5.2).
    fn on_retry(&mut self, source: Vec<u8>, packet: &[u8]) {
        let head = 1 + 4 + 1 + self.local_id.len() + 1 + source.len();
        self.token = packet[head..packet.len() - TAG_BYTES].to_vec();
        self.spaces[INITIAL].keys = Some(initial_keys(&source, Side::Client));
        self.remote_id = source;
    }

    /// The same client with its first flight to send once more, to where a Retry has led.
    pub(crate) fn again(self, tls: &Arc<ClientConfig>, parameters: Vec<u8>) -> Self {
        let name = SERVER_NAME.try_into().unwrap();
        let tls = ClientConnection::new(Arc::clone(tls), Version::V1, name, parameters).unwrap();
        let keys = initial_keys(&self.remote_id, Side::Client);
        let mut spaces: [Space; 3] = Default::default();
        spaces[INITIAL] = Space { keys: Some(keys), next: self.spaces[INITIAL].next, ..Space::default() };
        Self { tls: tls.into(), spaces, ..self }
    }

    /// Makes the token another one: cut, lengthened or with a bit flipped; 0 leaves it.
    pub(crate) fn change_token(&mut self, change: u64) {
        let at = usize::try_from(change).unwrap();
        match change % 3 {
            _ if change == 0 => {}
            0 => self.token.truncate(at),
            1 => self.token.extend(std::iter::repeat_n(1, at)),
            _ => self.token[at] ^= 1,
        }
    }

    /// Whether a Retry came.
    pub(crate) fn has_token(&self) -> bool {
        !self.token.is_empty()
    }

    fn open(&mut self, space: usize, number_at: usize, packet: &mut [u8]) {
        let received = &self.spaces[space].received;
        let Some(keys) = &mut self.spaces[space].keys else { return };
        let Some((number, length)) = unprotect(&keys.remote, packet, number_at, received) else { return };
        if space == APPLICATION && (packet[0] & 4 != 0) != self.phase {
            let secrets = self.secrets.as_mut().expect("1-RTT keys come with their successors");
            let next = secrets.next_packet_keys();
            (keys.local.packet, keys.remote.packet) = (next.local, next.remote);
            self.phase = !self.phase;
        }
        let (header, payload) = packet.split_at_mut(number_at + length);
        let Ok(payload) = keys.remote.packet.decrypt_in_place(number, header, payload) else { return };
        let frames = wire::frames(payload);
        self.spaces[space].received.insert(number);
        for frame in frames {
            match frame {
                Frame::Crypto(offset, data) => {
                    self.spaces[space].crypto_waiting.insert(offset, data);
                    self.spaces[space].to_acknowledge = true;
                }
                Frame::Other(0x02 | 0x03) => {}
                // An answer to a close would be answered by another one, for ever.
                close @ Frame::Close(..) => self.heard.push(close),
                frame => {
                    self.spaces[space].to_acknowledge = true;
                    self.heard.push(frame);
                }
            }
        }
        let space = &mut self.spaces[space];
        while let Some(data) = space.crypto_waiting.remove(&space.crypto_read) {
            space.crypto_read += data.len() as u64;
            self.failed |= self.tls.read_hs(&data).is_err();
        }
        self.write_tls();
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.spaces[APPLICATION].keys.is_some() && !self.tls.is_handshaking()
    }

    /// The reason with which the other side closed, if it did.
    pub(crate) fn closed(&self) -> Option<(u64, &str)> {
        self.heard.iter().find_map(|frame| match frame {
            Frame::Close(code, reason) => Some((*code, reason.as_str())),
            _ => None,
        })
    }

    /// The largest packet number received in 1-RTT.
    pub(crate) fn largest_received(&self) -> u64 {
        self.spaces[APPLICATION].received.last().copied().unwrap_or(0)
    }
}

/// Header protection (RFC 9001 section 5.4), for packet numbers of four bytes.
fn protect(keys: &DirectionalKeys, packet: &mut [u8], number_at: usize) {
    let (header, body) = packet.split_at_mut(number_at);
    let (number, rest) = body.split_at_mut(4);
    keys.header.encrypt_in_place(&rest[..16], &mut header[0], number).unwrap();
}

/// The packet number and its length; `None` for a packet that is too short.
fn unprotect(
    keys: &DirectionalKeys,
    packet: &mut [u8],
    number_at: usize,
    received: &BTreeSet<u64>,
) -> Option<(u64, usize)> {
    if packet.len() < number_at + 20 {
        return None;
    }
    let (header, body) = packet.split_at_mut(number_at);
    let (number, rest) = body.split_at_mut(4);
    keys.header.decrypt_in_place(&rest[..16], &mut header[0], number).ok()?;
    let length = usize::from(header[0] & 3) + 1;
    let truncated = number[..length].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    // RFC 9000 appendix A.3: the number nearest to the next expected one.
    let (expected, window) = (received.last().map_or(0, |n| n + 1), 1u64 << (8 * length));
    let number = match expected & !(window - 1) | truncated {
        n if n + window / 2 <= expected => n + window,
        n if n > expected + window / 2 && n >= window => n - window,
        n => n,
    };
    Some((number, length))
}
