//! TLS of a client that was granted one stream and believes that it was granted a million. Everything else is an
//! honest session's: the server sees a handshake like any other, and then streams that it never allowed.

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::{
    ClientConfig, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError};

/// `initial_max_streams_bidi` (RFC 9000 section 18.2).
const MAX_STREAMS_BIDI: u64 = 0x08;
/// The same parameter, of length 4, with the value 2²⁰.
const A_MILLION: [u8; 6] = [0x08, 0x04, 0x80, 0x10, 0x00, 0x00];

/// See the module.
pub(super) struct Greedy(pub(super) Arc<dyn ClientConfig>);

impl ClientConfig for Greedy {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let honest = Arc::clone(&self.0).start_session(version, server_name, params)?;
        Ok(Box::new(GreedySession(honest)))
    }
}

struct GreedySession(Box<dyn Session>);

impl Session for GreedySession {
    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        Ok(self.0.transport_parameters()?.map(|granted| exaggerated(&granted)))
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.0.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.0.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.0.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.0.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.0.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.0.read_handshake(buf)
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.0.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.0.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.0.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.0.export_keying_material(output, label, context)
    }
}

/// The same parameters with a million streams in the place of those that were granted.
fn exaggerated(granted: &TransportParameters) -> TransportParameters {
    let mut written = Vec::new();
    granted.write(&mut written);
    let mut claimed = A_MILLION.to_vec();
    let mut rest = &written[..];
    while !rest.is_empty() {
        let (id, id_bytes) = varint(rest);
        let (value_bytes, length_bytes) = varint(&rest[id_bytes..]);
        let end = id_bytes + length_bytes + usize::try_from(value_bytes).expect("it was written here");
        if id != MAX_STREAMS_BIDI {
            claimed.extend_from_slice(&rest[..end]);
        }
        rest = &rest[end..];
    }
    TransportParameters::read(Side::Client, &mut &claimed[..]).expect("valid parameters stay valid")
}

/// A variable-length integer (RFC 9000 section 16), and how many bytes it takes.
fn varint(bytes: &[u8]) -> (u64, usize) {
    let length = 1 << (bytes[0] >> 6);
    let first = u64::from(bytes[0] & 0x3f);
    (bytes[1..length].iter().fold(first, |value, byte| value << 8 | u64::from(*byte)), length)
}
