//! QUIC as bytes (RFC 9000 sections 16, 18 and 19): what a hostile peer writes by hand, and what it must read.

/// Appends a variable-length integer.
pub(crate) fn varint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..0x40 => out.push(u8::try_from(value).unwrap()),
        0x40..0x4000 => out.extend((u16::try_from(value).unwrap() | 0x4000).to_be_bytes()),
        0x4000..0x4000_0000 => out.extend((u32::try_from(value).unwrap() | 0x8000_0000).to_be_bytes()),
        _ => out.extend((value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// A frame of a type and integers, as most are.
pub(crate) fn frame(kind: u64, fields: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, kind);
    for field in fields {
        varint(&mut out, *field);
    }
    out
}

/// CRYPTO.
pub(crate) fn crypto(offset: u64, data: &[u8]) -> Vec<u8> {
    let mut out = frame(0x06, &[offset, data.len() as u64]);
    out.extend_from_slice(data);
    out
}

/// STREAM with offset and length.
pub(crate) fn stream(id: u64, offset: u64, data: &[u8]) -> Vec<u8> {
    let mut out = frame(0x0e, &[id, offset, data.len() as u64]);
    out.extend_from_slice(data);
    out
}

/// NEW_CONNECTION_ID with an ID of eight bytes.
pub(crate) fn new_connection_id(sequence: u64, retire_prior_to: u64) -> Vec<u8> {
    let mut out = frame(0x18, &[sequence, retire_prior_to]);
    out.push(8);
    out.extend((sequence | 1 << 60).to_be_bytes());
    out.extend([7; 8]);
    out.extend(sequence.to_be_bytes());
    out
}

/// PATH_CHALLENGE.
pub(crate) fn path_challenge(token: u64) -> Vec<u8> {
    let mut out = vec![0x1a];
    out.extend(token.to_be_bytes());
    out
}

/// Transport parameters, in order, as they are given.
pub(crate) fn parameters(entries: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (id, value) in entries {
        varint(&mut out, *id);
        varint(&mut out, value.len() as u64);
        out.extend_from_slice(value);
    }
    out
}

/// A transport parameter that is an integer.
pub(crate) fn parameter(id: u64, value: u64) -> (u64, Vec<u8>) {
    let mut out = Vec::new();
    varint(&mut out, value);
    (id, out)
}

/// Reads bytes that the production endpoint wrote.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(bytes);
        self.0 = rest;
        head
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub(crate) fn varint(&mut self) -> u64 {
        let first = self.byte();
        let mut value = u64::from(first & 0x3f);
        for _ in 1..1 << (first >> 6) {
            value = value << 8 | u64::from(self.byte());
        }
        value
    }

    pub(crate) fn sized(&mut self) -> &'a [u8] {
        let length = usize::try_from(self.varint()).unwrap();
        self.take(length)
    }
}

/// A frame of the production endpoint, as far as a hostile peer cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Crypto(u64, Vec<u8>),
    /// Error code and reason of either kind of CONNECTION_CLOSE.
    Close(u64, String),
    MaxStreams(u64),
    PathChallenge(u64),
    PathResponse(u64),
    NewConnectionId(Vec<u8>),
    Stream(u64, Vec<u8>),
    /// Whatever else, by its type.
    Other(u64),
}

/// The frames of a packet's payload. The production endpoint's frames are well formed; a panic is a finding.
pub(crate) fn frames(payload: &[u8]) -> Vec<Frame> {
    let mut reader = Reader(payload);
    let mut out = Vec::new();
    while !reader.0.is_empty() {
        let kind = reader.varint();
        let integers = match kind {
            0x00 => continue,
            0x06 => {
                let offset = reader.varint();
                out.push(Frame::Crypto(offset, reader.sized().to_vec()));
                continue;
            }
            0x08..=0x0f => {
                let id = reader.varint();
                if kind & 4 != 0 {
                    reader.varint();
                }
                let data = if kind & 2 != 0 { reader.sized() } else { std::mem::take(&mut reader.0) };
                out.push(Frame::Stream(id, data.to_vec()));
                continue;
            }
            0x12 => {
                out.push(Frame::MaxStreams(reader.varint()));
                continue;
            }
            0x18 => {
                reader.varint();
                reader.varint();
                let length = usize::from(reader.byte());
                out.push(Frame::NewConnectionId(reader.take(length).to_vec()));
                reader.take(16);
                continue;
            }
            0x1a | 0x1b => {
                let token = u64::from_be_bytes(reader.take(8).try_into().unwrap());
                out.push(if kind == 0x1b { Frame::PathResponse(token) } else { Frame::PathChallenge(token) });
                continue;
            }
            0x1c | 0x1d => {
                let code = reader.varint();
                if kind == 0x1c {
                    reader.varint();
                }
                let reason = String::from_utf8_lossy(reader.sized()).into_owned();
                out.push(Frame::Close(code, reason));
                continue;
            }
            0x02 | 0x03 => {
                reader.varint();
                reader.varint();
                let ranges = reader.varint();
                reader.varint();
                2 * ranges + if kind == 3 { 3 } else { 0 }
            }
            0x04 => 3,
            0x05 | 0x11 | 0x15 => 2,
            0x01 | 0x1e => 0,
            0x10 | 0x13 | 0x14 | 0x16 | 0x17 | 0x19 => 1,
            _ => panic!("a frame of type {kind:#x} that nobody should send"),
        };
        // MAX_STREAM_DATA and STREAM_DATA_BLOCKED name their stream first.
        for _ in 0..integers {
            reader.varint();
        }
        out.push(Frame::Other(kind));
    }
    out
}
