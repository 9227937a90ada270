//! The packets of `/ProxyService/Proxy`: Konnectivity's `client.proto` (proto3, no package), written as prost structs.
//!
//! What a packet is stands in its type alone, as in konnectivity-client: a payload of another kind is ignored, and a
//! missing one is empty.

use prost::{DecodeError, Enumeration, Message, Oneof};

use super::message;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum Kind {
    DialReq = 0,
    DialRsp = 1,
    CloseReq = 2,
    CloseRsp = 3,
    Data = 4,
    DialCls = 5,
    Drain = 6,
}

#[derive(Clone, PartialEq, Message)]
struct Packet {
    #[prost(enumeration = "Kind", tag = "1")]
    kind: i32,
    #[prost(oneof = "Payload", tags = "2, 3, 4, 5, 6, 7")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Payload {
    #[prost(message, tag = "2")]
    DialRequest(DialRequest),
    #[prost(message, tag = "3")]
    DialResponse(DialResponse),
    #[prost(message, tag = "4")]
    Data(Data),
    #[prost(message, tag = "5")]
    CloseRequest(CloseRequest),
    #[prost(message, tag = "6")]
    CloseResponse(CloseResponse),
    #[prost(message, tag = "7")]
    CloseDial(CloseDial),
}

#[derive(Clone, PartialEq, Message)]
struct DialRequest {
    #[prost(string, tag = "1")]
    protocol: String,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(int64, tag = "3")]
    random: i64,
}

#[derive(Clone, PartialEq, Message)]
struct DialResponse {
    #[prost(string, tag = "1")]
    error: String,
    #[prost(int64, tag = "2")]
    connect_id: i64,
    #[prost(int64, tag = "3")]
    random: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Data {
    #[prost(int64, tag = "1")]
    connect_id: i64,
    #[prost(string, tag = "2")]
    error: String,
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct CloseRequest {
    #[prost(int64, tag = "1")]
    connect_id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct CloseResponse {
    #[prost(string, tag = "1")]
    error: String,
    #[prost(int64, tag = "2")]
    connect_id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct CloseDial {
    #[prost(int64, tag = "1")]
    random: i64,
}

/// What a client may receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// The answer to a dial; an empty error means that it went well.
    DialRsp { random: i64, connect_id: i64, error: String },
    /// The dial is no longer wanted, or not to be had.
    DialCls { random: i64 },
    /// Payload.
    Data { connect_id: i64, data: Vec<u8> },
    /// The connection is over; an empty error means that nothing was wrong.
    CloseRsp { connect_id: i64, error: String },
    /// What a client ignores, unknown kinds among it.
    Other,
}

/// Reads one message.
///
/// # Errors
/// It is no protobuf message of this kind.
pub(super) fn decode(bytes: &[u8]) -> Result<Received, DecodeError> {
    let Packet { kind, payload } = Packet::decode(bytes)?;
    Ok(match Kind::try_from(kind) {
        Ok(Kind::DialRsp) => {
            let DialResponse { error, connect_id, random } = match payload {
                Some(Payload::DialResponse(response)) => response,
                _ => DialResponse::default(),
            };
            Received::DialRsp { random, connect_id, error }
        }
        Ok(Kind::DialCls) => Received::DialCls {
            random: match payload {
                Some(Payload::CloseDial(close)) => close.random,
                _ => 0,
            },
        },
        Ok(Kind::Data) => {
            let Data { connect_id, data, .. } = match payload {
                Some(Payload::Data(data)) => data,
                _ => Data::default(),
            };
            Received::Data { connect_id, data }
        }
        Ok(Kind::CloseRsp) => {
            let CloseResponse { connect_id, error } = match payload {
                Some(Payload::CloseResponse(response)) => response,
                _ => CloseResponse::default(),
            };
            Received::CloseRsp { connect_id, error }
        }
        _ => Received::Other,
    })
}

/// DIAL_REQ as a whole gRPC message; `random` is not negative.
pub(super) fn dial_req(random: i64, address: &str) -> Vec<u8> {
    let request = DialRequest { protocol: "tcp".to_owned(), address: address.to_owned(), random };
    encode(Kind::DialReq, Payload::DialRequest(request))
}

/// DATA as a whole gRPC message.
pub(super) fn data(connect_id: i64, data: &[u8]) -> Vec<u8> {
    encode(Kind::Data, Payload::Data(Data { connect_id, error: String::new(), data: data.to_vec() }))
}

/// CLOSE_REQ as a whole gRPC message.
pub(super) fn close_req(connect_id: i64) -> Vec<u8> {
    encode(Kind::CloseReq, Payload::CloseRequest(CloseRequest { connect_id }))
}

/// DIAL_CLS as a whole gRPC message.
pub(super) fn dial_cls(random: i64) -> Vec<u8> {
    encode(Kind::DialCls, Payload::CloseDial(CloseDial { random }))
}

fn encode(kind: Kind, payload: Payload) -> Vec<u8> {
    let packet = Packet { kind: kind as i32, payload: Some(payload) };
    let mut message = message::prefix(packet.encoded_len());
    packet.encode_raw(&mut message);
    message
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        CloseResponse, Data, DialResponse, Kind, Packet, Payload, Received, close_req, data, decode,
        dial_cls, dial_req, encode,
    };

    pub(in crate::proxy::grpc) fn dial_rsp(random: i64, connect_id: i64, error: &str) -> Vec<u8> {
        let response = DialResponse { error: error.to_owned(), connect_id, random };
        encode(Kind::DialRsp, Payload::DialResponse(response))
    }

    pub(in crate::proxy::grpc) fn close_rsp(connect_id: i64, error: &str) -> Vec<u8> {
        let response = CloseResponse { error: error.to_owned(), connect_id };
        encode(Kind::CloseRsp, Payload::CloseResponse(response))
    }

    /// The fields of `client.proto`, by hand: tags and numbers are what a Go server reads.
    #[test]
    fn packets_have_the_bytes_of_client_proto() {
        // The type is 0 and therefore absent; field 2 holds protocol, address, random.
        assert_eq!(dial_req(5, "a:1"), b"\0\0\0\0\x0e\x12\x0c\x0a\x03tcp\x12\x03a:1\x18\x05");
        assert_eq!(data(7, b"xy"), b"\0\0\0\0\x0a\x08\x04\x22\x06\x08\x07\x1a\x02xy");
        assert_eq!(close_req(7), b"\0\0\0\0\x06\x08\x02\x2a\x02\x08\x07");
        assert_eq!(dial_cls(5), b"\0\0\0\0\x06\x08\x05\x3a\x02\x08\x05");
    }

    #[test]
    fn answers_are_understood() {
        let body = |message: Vec<u8>| message[5..].to_vec();
        let answer = Received::DialRsp { random: 3, connect_id: 9, error: "no".to_owned() };
        assert_eq!(decode(&body(dial_rsp(3, 9, "no"))).unwrap(), answer);
        let payload = Received::Data { connect_id: 1, data: b"z".to_vec() };
        assert_eq!(decode(&body(data(1, b"z"))).unwrap(), payload);
        let end = Received::CloseRsp { connect_id: 1, error: String::new() };
        assert_eq!(decode(&body(close_rsp(1, ""))).unwrap(), end);
        assert_eq!(decode(&body(dial_cls(4))).unwrap(), Received::DialCls { random: 4 });
        // DRAIN, a client's own kinds, and a kind of the future.
        for kind in [6, 0, 2, 99] {
            let packet = Packet { kind, payload: None };
            assert_eq!(decode(&prost::Message::encode_to_vec(&packet)).unwrap(), Received::Other);
        }
        assert!(decode(b"\x22\xff").is_err());
    }

    #[test]
    fn the_type_decides_and_not_the_payload() {
        let packet = Packet { kind: Kind::CloseRsp as i32, payload: Some(Payload::Data(Data::default())) };
        let end = Received::CloseRsp { connect_id: 0, error: String::new() };
        assert_eq!(decode(&prost::Message::encode_to_vec(&packet)).unwrap(), end);
    }
}
