//! `client.proto` as prost structs: proto3, no package (`konnectivity-client/proto/client/client.proto`).
//!
//! The numbers of types and of fields are not in the same order: DATA is type 4 and field 4, but CLOSE_REQ is type 2
//! and field 5. Deliberately absent: any meaning (`packet`).

use bytes::Bytes;
use prost::{Enumeration, Message, Oneof};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(super) enum Kind {
    DialReq = 0,
    DialRsp = 1,
    CloseReq = 2,
    CloseRsp = 3,
    Data = 4,
    DialCls = 5,
    Drain = 6,
}

/// Field numbers of what the head of a DATA is written with by hand.
pub(super) mod field {
    /// `Packet.type`.
    pub(in crate::konnectivity) const PACKET_TYPE: u32 = 1;
    /// `Packet.data`.
    pub(in crate::konnectivity) const PACKET_DATA: u32 = 4;
    /// `Data.connectID`.
    pub(in crate::konnectivity) const DATA_CONNECT_ID: u32 = 1;
    /// `Data.data`: the last field, so that the payload is the end of the message.
    pub(in crate::konnectivity) const DATA_DATA: u32 = 3;
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PacketProto {
    #[prost(enumeration = "Kind", tag = "1")]
    pub(super) kind: i32,
    #[prost(oneof = "Payload", tags = "2, 3, 4, 5, 6, 7, 8")]
    pub(super) payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Payload {
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
    #[prost(message, tag = "8")]
    Drain(Drain),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DialRequest {
    #[prost(string, tag = "1")]
    pub(super) protocol: String,
    #[prost(string, tag = "2")]
    pub(super) address: String,
    #[prost(int64, tag = "3")]
    pub(super) random: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DialResponse {
    #[prost(string, tag = "1")]
    pub(super) error: String,
    #[prost(int64, tag = "2")]
    pub(super) connect_id: i64,
    #[prost(int64, tag = "3")]
    pub(super) random: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Data {
    #[prost(int64, tag = "1")]
    pub(super) connect_id: i64,
    /// Nothing of upstream's writes or reads it.
    #[prost(string, tag = "2")]
    pub(super) error: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CloseRequest {
    #[prost(int64, tag = "1")]
    pub(super) connect_id: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CloseResponse {
    #[prost(string, tag = "1")]
    pub(super) error: String,
    #[prost(int64, tag = "2")]
    pub(super) connect_id: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CloseDial {
    #[prost(int64, tag = "1")]
    pub(super) random: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Drain {}
