//! Packets: what the messages of `/ProxyService/Proxy` and `/AgentService/Connect` say (section 2.1).
//!
//! What a packet is stands in its type alone, as in upstream's programs: a payload of another kind counts as a missing
//! one, a missing one is empty, and unknown fields are passed over. Deliberately absent: what may be said when
//! (`frontend`).

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{
    WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint, int64, key_len,
};

use crate::limits::{DIAL_PROTOCOL_BYTES_MAX, GRPC_DATA_BYTES_MAX, PEER_TEXT_BYTES_MAX, TARGET_BYTES_MAX};
use crate::wire::clean_text;

use super::framing::{FramingError, Message, MessageReader, put_prefix};
use super::proto::{
    CloseDial, CloseRequest, CloseResponse, Data, DialRequest, DialResponse, Drain, Kind, PacketProto,
    Payload, field,
};

/// One packet. A `connect_id` of 0 means none; a `random` is what the client tells its dials apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Dial this.
    DialReq {
        /// `tcp`; at most [`DIAL_PROTOCOL_BYTES_MAX`] bytes.
        protocol: String,
        /// `host:port`; at most [`TARGET_BYTES_MAX`] bytes, and otherwise as it came.
        address: String,
        /// The dial's number, chosen by the client.
        random: i64,
    },
    /// The answer to a dial.
    DialRsp {
        /// The dial's number.
        random: i64,
        /// The connection's number, chosen by whoever answers.
        connect_id: i64,
        /// Empty if it went well. Clean, and at most [`PEER_TEXT_BYTES_MAX`] bytes.
        error: String,
    },
    /// Close this connection.
    CloseReq {
        /// Its number.
        connect_id: i64,
    },
    /// The connection is closed.
    CloseRsp {
        /// Its number.
        connect_id: i64,
        /// Empty if nothing was wrong. Clean, and at most [`PEER_TEXT_BYTES_MAX`] bytes.
        error: String,
    },
    /// Payload.
    Data {
        /// The connection's number.
        connect_id: i64,
        /// The bytes; when received, a part of the message they came in.
        data: Bytes,
    },
    /// The dial is not wanted any more, or not to be had.
    DialCls {
        /// The dial's number.
        random: i64,
    },
    /// No new dials for this agent, please.
    Drain,
    /// A type of the future: ignored everywhere.
    Unknown(i32),
}

/// Why bytes are no packet, or a packet is not sent. The peer's fault where it was received, and ours where it was to
/// be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Not a protobuf message of this shape: cut off, a text that is not UTF-8, a field of another wire type.
    #[error("not a valid packet: {0}")]
    NotProtobuf(String),
    /// A field of a DIAL_REQ that is longer than what anybody dials. Answered, see [`PacketError::refusal`].
    #[error("the {field} of DIAL_REQ {random} has {bytes} bytes; {max} are the most")]
    FieldTooLong {
        /// Which.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// Its limit.
        max: usize,
        /// The dial's number.
        random: i64,
    },
    /// DATA of our own above [`GRPC_DATA_BYTES_MAX`].
    #[error("DATA of {0} bytes; {GRPC_DATA_BYTES_MAX} are the most that is sent")]
    DataTooLong(usize),
}

impl PacketError {
    /// The answer to a dial that failed this way; none where nobody knows which dial it was.
    #[must_use]
    pub fn refusal(&self) -> Option<Packet> {
        match self {
            Self::FieldTooLong { field, bytes, max, random } => Some(Packet::DialRsp {
                random: *random,
                connect_id: 0,
                error: format!("dial tcp: {field} of {bytes} bytes: longer than {max}"),
            }),
            Self::NotProtobuf(_) | Self::DataTooLong(_) => None,
        }
    }
}

/// The next packet of a stream. DATA of a connection that `is_open` may come in parts, each a DATA of its own, as soon
/// as there is something of it.
///
/// # Errors
/// Inside: [`PacketError`], of this packet alone. Outside: [`FramingError`], of the stream.
pub(super) fn next_packet(
    reader: &mut MessageReader,
    is_open: impl FnOnce(i64) -> bool,
) -> Result<Option<Result<Packet, PacketError>>, FramingError> {
    let of_open = |message: &[u8], message_bytes: usize| {
        data_head(message, message_bytes).filter(|(connect_id, _)| is_open(*connect_id))
    };
    if let Some((connect_id, data)) = reader.poll_part(of_open) {
        return Ok(Some(Ok(Packet::Data { connect_id, data })));
    }
    Ok(reader.poll()?.map(Packet::decode))
}

/// Of a message of so many bytes that begins like this, if it is DATA with its payload at the end, as everybody writes
/// it: its connection, and where the payload begins.
fn data_head(message: &[u8], message_bytes: usize) -> Option<(i64, usize)> {
    let mut rest = message;
    let field = |rest: &mut &[u8], wanted: u32, kind: WireType| {
        let mut ahead = *rest;
        let found = decode_key(&mut ahead).ok().filter(|found| *found == (wanted, kind));
        found.map(|_| *rest = ahead)
    };
    let to_the_end = |rest: &mut &[u8]| {
        let bytes = usize::try_from(decode_varint(rest).ok()?).ok()?;
        (message.len() - rest.len() + bytes == message_bytes).then_some(())
    };
    field(&mut rest, field::PACKET_TYPE, WireType::Varint)?;
    (decode_varint(&mut rest).ok()? == Kind::Data as u64).then_some(())?;
    field(&mut rest, field::PACKET_DATA, WireType::LengthDelimited)?;
    to_the_end(&mut rest)?;
    let connect_id = match field(&mut rest, field::DATA_CONNECT_ID, WireType::Varint) {
        Some(()) => decode_varint(&mut rest).ok()?.cast_signed(),
        None => 0,
    };
    field(&mut rest, field::DATA_DATA, WireType::LengthDelimited)?;
    to_the_end(&mut rest)?;
    Some((connect_id, message.len() - rest.len()))
}

impl Packet {
    /// The type's name, for logs and the label `packet_type`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DialReq { .. } => "DIAL_REQ",
            Self::DialRsp { .. } => "DIAL_RSP",
            Self::CloseReq { .. } => "CLOSE_REQ",
            Self::CloseRsp { .. } => "CLOSE_RSP",
            Self::Data { .. } => "DATA",
            Self::DialCls { .. } => "DIAL_CLS",
            Self::Drain => "DRAIN",
            Self::Unknown(_) => "Unknown",
        }
    }

    /// From a message. The payload of DATA is a part of `message`, not a copy.
    ///
    /// # Errors
    ///
    /// [`PacketError::NotProtobuf`], [`PacketError::FieldTooLong`].
    pub fn decode(message: Bytes) -> Result<Self, PacketError> {
        let PacketProto { kind, payload } =
            PacketProto::decode(message).map_err(|error| PacketError::NotProtobuf(error.to_string()))?;
        let Ok(known) = Kind::try_from(kind) else { return Ok(Self::Unknown(kind)) };
        Ok(match (known, payload) {
            (Kind::DialReq, Some(Payload::DialRequest(request))) => Self::dial_req(request)?,
            (Kind::DialReq, _) => Self::dial_req(DialRequest::default())?,
            (Kind::DialRsp, Some(Payload::DialResponse(response))) => Self::dial_rsp(&response),
            (Kind::DialRsp, _) => Self::dial_rsp(&DialResponse::default()),
            (Kind::CloseReq, Some(Payload::CloseRequest(CloseRequest { connect_id }))) => {
                Self::CloseReq { connect_id }
            }
            (Kind::CloseReq, _) => Self::CloseReq { connect_id: 0 },
            (Kind::CloseRsp, Some(Payload::CloseResponse(CloseResponse { error, connect_id }))) => {
                Self::CloseRsp { connect_id, error: clean_text(&error, PEER_TEXT_BYTES_MAX) }
            }
            (Kind::CloseRsp, _) => Self::CloseRsp { connect_id: 0, error: String::new() },
            (Kind::Data, Some(Payload::Data(Data { connect_id, data, .. }))) => {
                Self::Data { connect_id, data }
            }
            (Kind::Data, _) => Self::Data { connect_id: 0, data: Bytes::new() },
            (Kind::DialCls, Some(Payload::CloseDial(CloseDial { random }))) => Self::DialCls { random },
            (Kind::DialCls, _) => Self::DialCls { random: 0 },
            (Kind::Drain, _) => Self::Drain,
        })
    }

    fn dial_req(request: DialRequest) -> Result<Self, PacketError> {
        let DialRequest { protocol, address, random } = request;
        check_field("protocol", &protocol, DIAL_PROTOCOL_BYTES_MAX, random)?;
        check_field("address", &address, TARGET_BYTES_MAX, random)?;
        Ok(Self::DialReq { protocol, address, random })
    }

    fn dial_rsp(response: &DialResponse) -> Self {
        Self::DialRsp {
            random: response.random,
            connect_id: response.connect_id,
            error: clean_text(&response.error, PEER_TEXT_BYTES_MAX),
        }
    }

    /// As a message with its prefix. Error texts are cleaned and cut; the payload of DATA is handed on as it is.
    ///
    /// # Errors
    ///
    /// [`PacketError::DataTooLong`], [`PacketError::FieldTooLong`]: the caller's mistake.
    pub fn to_message(&self) -> Result<Message, PacketError> {
        let (kind, payload) = match self {
            Self::Data { connect_id, data } => return data_message(*connect_id, data),
            Self::DialReq { protocol, address, random } => {
                check_field("protocol", protocol, DIAL_PROTOCOL_BYTES_MAX, *random)?;
                check_field("address", address, TARGET_BYTES_MAX, *random)?;
                let request =
                    DialRequest { protocol: protocol.clone(), address: address.clone(), random: *random };
                (Kind::DialReq as i32, Some(Payload::DialRequest(request)))
            }
            Self::DialRsp { random, connect_id, error } => {
                let error = clean_text(error, PEER_TEXT_BYTES_MAX);
                let response = DialResponse { error, connect_id: *connect_id, random: *random };
                (Kind::DialRsp as i32, Some(Payload::DialResponse(response)))
            }
            Self::CloseReq { connect_id } => {
                let request = CloseRequest { connect_id: *connect_id };
                (Kind::CloseReq as i32, Some(Payload::CloseRequest(request)))
            }
            Self::CloseRsp { connect_id, error } => {
                let error = clean_text(error, PEER_TEXT_BYTES_MAX);
                let response = CloseResponse { error, connect_id: *connect_id };
                (Kind::CloseRsp as i32, Some(Payload::CloseResponse(response)))
            }
            Self::DialCls { random } => {
                (Kind::DialCls as i32, Some(Payload::CloseDial(CloseDial { random: *random })))
            }
            Self::Drain => (Kind::Drain as i32, Some(Payload::Drain(Drain {}))),
            Self::Unknown(kind) => (*kind, None),
        };
        let packet = PacketProto { kind, payload };
        let mut head = put_prefix(packet.encoded_len(), packet.encoded_len());
        packet.encode_raw(&mut head);
        Ok(Message { head: head.freeze(), payload: Bytes::new() })
    }
}

fn check_field(field: &'static str, value: &str, max: usize, random: i64) -> Result<(), PacketError> {
    let bytes = value.len();
    if bytes > max { Err(PacketError::FieldTooLong { field, bytes, max, random }) } else { Ok(()) }
}

/// DATA without a copy of its payload, which is the last field of the last field: everything before it is written by
/// hand.
fn data_message(connect_id: i64, data: &Bytes) -> Result<Message, PacketError> {
    if data.len() > GRPC_DATA_BYTES_MAX {
        return Err(PacketError::DataTooLong(data.len()));
    }
    // Fields that hold their default are left out.
    let mut inner = BytesMut::new();
    if connect_id != 0 {
        int64::encode(field::DATA_CONNECT_ID, &connect_id, &mut inner);
    }
    if !data.is_empty() {
        encode_key(field::DATA_DATA, WireType::LengthDelimited, &mut inner);
        encode_varint(data.len() as u64, &mut inner);
    }
    let inner_bytes = inner.len() + data.len();
    let kind = Kind::Data as u64;
    let outer_bytes = key_len(field::PACKET_TYPE)
        + encoded_len_varint(kind)
        + key_len(field::PACKET_DATA)
        + encoded_len_varint(inner_bytes as u64);
    let mut head = put_prefix(outer_bytes + inner_bytes, outer_bytes + inner.len());
    encode_key(field::PACKET_TYPE, WireType::Varint, &mut head);
    encode_varint(kind, &mut head);
    encode_key(field::PACKET_DATA, WireType::LengthDelimited, &mut head);
    encode_varint(inner_bytes as u64, &mut head);
    head.extend_from_slice(&inner);
    Ok(Message { head: head.freeze(), payload: data.clone() })
}
