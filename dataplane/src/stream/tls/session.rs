//! One frontend's TLS session: ciphertext ⇄ payload, and the ciphertext that is on its way out.
//!
//! Inputs are `on_*`; `want_*` says what is to be done next. Nothing here performs I/O.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use adit_io::Op;
use bytes::{Buf, Bytes, BytesMut};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};

use super::name::ClientName;
use crate::limits::{FRONTEND_EMPTY_RECORDS_MAX, FRONTEND_HANDSHAKE_BYTES_MAX};

/// Bytes of a record's header (RFC 8446 section 5.1): type, version, length.
const RECORD_HEADER_BYTES: usize = 5;
/// Most payload of one record (RFC 8446 section 5.1).
const RECORD_PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// What a record adds to its payload, at most, with the suites in use: header, explicit nonce, content type, tag.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Why a session has ended early, for the log. What is left to say to the peer waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsFailure(String);

/// What a receive came to.
#[derive(Debug, Default)]
pub struct Received {
    /// What the peer said; may be empty.
    pub payload: BytesMut,
    /// The handshake has just been completed: the peer is [`TlsSession::client`].
    pub established: bool,
    /// The peer has just said that nothing follows.
    pub ended: bool,
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The peer has not proved yet who it is.
    Handshaking,
    /// Payload flows, at least towards the peer.
    Established,
    /// Over: an alert may be on its way.
    Failed,
}

/// A batch that was sealed and is not sent whole yet.
#[derive(Debug)]
struct Sealed {
    payload_bytes: usize,
    /// The storage of the batch, empty, for reuse.
    storage: Vec<Bytes>,
}

/// One frontend's session. While nothing is on its way it holds no buffers beyond rustls' state.
pub struct TlsSession {
    conn: UnbufferedServerConnection,
    remote: Option<SocketAddr>,
    state: State,
    /// Ciphertext whose record, or whose handshake message, is not complete.
    partial: BytesMut,
    /// Bytes received before the handshake was complete.
    handshake_bytes: usize,
    /// Records since the handshake that carried no payload, less those that carried some.
    empty_records: usize,
    client: Option<Arc<ClientName>>,
    peer_ended: bool,
    /// Whether `close_notify` was queued.
    closing: bool,
    /// Ciphertext to be sent, in the order in which it was encrypted.
    wire: Vec<Bytes>,
    sending: bool,
    sealed: Option<Sealed>,
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession")
            .field("remote", &self.remote)
            .field("state", &self.state)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl TlsSession {
    /// A session with whoever connected from `remote`.
    ///
    /// # Errors
    /// When rustls does not accept the configuration.
    pub fn new(config: Arc<ServerConfig>, remote: Option<SocketAddr>) -> Result<Self, TlsFailure> {
        let conn = UnbufferedServerConnection::new(config).map_err(|error| TlsFailure(error.to_string()))?;
        Ok(Self {
            conn,
            remote,
            state: State::Handshaking,
            partial: BytesMut::new(),
            handshake_bytes: 0,
            empty_records: 0,
            client: None,
            peer_ended: false,
            closing: false,
            wire: Vec::new(),
            sending: false,
            sealed: None,
        })
    }

    /// Who connected.
    #[must_use]
    pub const fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// Who the peer proved to be, once the handshake is complete.
    #[must_use]
    pub const fn client(&self) -> Option<&Arc<ClientName>> {
        self.client.as_ref()
    }

    /// Whether the handshake was completed, whatever came after.
    #[must_use]
    pub const fn was_established(&self) -> bool {
        self.client.is_some()
    }

    /// Whether the session has failed, and whoever asked was told.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// Whether the peer has said anything at all.
    #[must_use]
    pub const fn has_heard(&self) -> bool {
        self.handshake_bytes > 0
    }

    /// Whether the peer has said that nothing follows: the end of its socket is no truncation any more.
    #[must_use]
    pub const fn has_peer_ended(&self) -> bool {
        self.peer_ended
    }

    /// Takes what was received. After `close_notify`, and after a failure, it is ignored (RFC 8446 section 6.1).
    ///
    /// # Errors
    /// [`TlsFailure`]: the session is over, whether it was the peer or this side that ended it. An alert that tells
    /// the peer why, where TLS has one, waits in [`Self::want_send`].
    pub fn on_ciphertext(&mut self, mut bytes: BytesMut) -> Result<Received, TlsFailure> {
        if self.peer_ended || self.state == State::Failed {
            return Ok(Received::default());
        }
        if self.state == State::Handshaking {
            self.handshake_bytes = self.handshake_bytes.saturating_add(bytes.len());
            if self.handshake_bytes > FRONTEND_HANDSHAKE_BYTES_MAX {
                return Err(
                    self.fail(&format!("a handshake of more than {FRONTEND_HANDSHAKE_BYTES_MAX} bytes"))
                );
            }
        }
        let mut received = Received::default();
        if !self.partial.is_empty() {
            complete(&mut self.partial, &mut bytes);
            let mut partial = std::mem::take(&mut self.partial);
            self.process(&mut partial, &mut received)?;
            if !partial.is_empty() && !bytes.is_empty() {
                // A handshake message over several records: rare, and all of it must lie together.
                partial.extend_from_slice(&bytes);
                bytes.clear();
                self.process(&mut partial, &mut received)?;
            }
            self.keep(partial)?;
        }
        if !bytes.is_empty() {
            self.process(&mut bytes, &mut received)?;
            // A copy: the receive slot goes back.
            self.keep(BytesMut::from(&bytes[..]))?;
        }
        if self.state == State::Handshaking && !self.conn.is_handshaking() {
            self.state = State::Established;
            received.established = true;
            let leaf = self.conn.peer_certificates().and_then(<[_]>::first);
            self.client = Some(Arc::new(leaf.map(ClientName::of).unwrap_or_default()));
        }
        Ok(received)
    }

    /// Keeps what is not complete, up to the limit; what cannot matter any more is dropped.
    fn keep(&mut self, partial: BytesMut) -> Result<(), TlsFailure> {
        if partial.is_empty() || self.peer_ended {
            return Ok(());
        }
        if partial.len() > FRONTEND_HANDSHAKE_BYTES_MAX {
            return Err(self.fail(&format!("a message of more than {FRONTEND_HANDSHAKE_BYTES_MAX} bytes")));
        }
        self.partial = partial;
        Ok(())
    }

    /// Gives `bytes` to rustls until it wants more, and takes off their front what it is done with.
    ///
    /// What costs work and carries nothing is counted: rustls counts empty records and renewals of keys, but each kind
    /// starts the other's count anew. A record whose message goes on in the next is counted with that once more.
    fn process(&mut self, bytes: &mut BytesMut, received: &mut Received) -> Result<(), TlsFailure> {
        let records = if self.state == State::Established { whole_records(bytes) } else { 0 };
        let full = self.drive(bytes, received)?;
        let empty = records.saturating_sub(full);
        self.empty_records = self.empty_records.saturating_add(empty).saturating_sub(full);
        if self.empty_records > FRONTEND_EMPTY_RECORDS_MAX {
            return Err(self.fail(&format!(
                "more than {FRONTEND_EMPTY_RECORDS_MAX} records without payload (empty, renewals of keys, warnings)"
            )));
        }
        Ok(())
    }

    /// As [`Self::process`], without judgement; how many records with payload there were.
    fn drive(&mut self, bytes: &mut BytesMut, received: &mut Received) -> Result<usize, TlsFailure> {
        let mut full = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.conn.process_tls_records(bytes);
            let mut more = true;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let Ok(record) = record else { break };
                        discard += record.discard;
                        full += 1;
                        received.payload.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    self.wire.extend(written(|space| data.encode(space).map_err(Into::into)));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_ended = true;
                    received.ended = true;
                }
                // The rest cannot go on without more bytes; there is no early data, because none is accepted.
                Ok(_) => more = false,
                Err(error) => {
                    let text = error.to_string();
                    return Err(self.fail(&text));
                }
            }
            bytes.advance(discard);
            if !more {
                return Ok(full);
            }
        }
    }

    /// The session is over. What rustls has to say about it is put behind what waits to be sent.
    fn fail(&mut self, text: &str) -> TlsFailure {
        self.state = State::Failed;
        self.partial = BytesMut::new();
        // With nothing to read it gives what it has to say, one record at a time.
        while self.conn.wants_write() {
            let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
                self.conn.process_tls_records(&mut [])
            else {
                break;
            };
            self.wire.extend(written(|space| data.encode(space).map_err(Into::into)));
        }
        TlsFailure(text.to_owned())
    }

    /// Whether a batch may be sealed: the one before it was sent whole, and the peer has proved who it is.
    #[must_use]
    pub fn may_seal(&self) -> bool {
        self.state == State::Established && self.sealed.is_none() && self.wire.is_empty() && !self.sending
    }

    /// Encrypts a batch, in records as full as they get. One call, one beginning of a record.
    ///
    /// # Errors
    /// [`TlsFailure`] when the session's keys are used up (TLS 1.2 cannot renew them).
    pub fn seal(&mut self, mut batch: Vec<Bytes>) -> Result<(), TlsFailure> {
        debug_assert!(self.may_seal());
        let payload_bytes = batch.iter().map(Bytes::len).sum();
        let sealed = match self.conn.process_tls_records(&mut self.partial).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => encrypt(&mut traffic, &batch, payload_bytes),
            _ => Err(TlsFailure("the session takes no payload".to_owned())),
        };
        match sealed {
            Ok(sealed) => self.wire.push(sealed),
            Err(failure) => return Err(self.fail(&failure.0)),
        }
        batch.clear();
        self.sealed = Some(Sealed { payload_bytes, storage: batch });
        Ok(())
    }

    /// Nothing follows from this side: queues `close_notify`, once. After a failure the alert says it all.
    pub fn close(&mut self) {
        if std::mem::replace(&mut self.closing, true) || self.state != State::Established {
            return;
        }
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) =
            self.conn.process_tls_records(&mut self.partial).state
        {
            self.wire.extend(written(|space| traffic.queue_close_notify(space).map_err(Into::into)));
        }
    }

    /// Whether [`Self::close`] was called.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.closing
    }

    /// What to send now. It counts as outstanding until [`Self::on_sent`].
    pub fn want_send(&mut self) -> Option<Vec<Bytes>> {
        if self.sending || self.wire.is_empty() {
            return None;
        }
        self.sending = true;
        let mut data = std::mem::take(&mut self.wire);
        if data.len() > Op::SEND_PIECES_MAX {
            self.wire = data.split_off(Op::SEND_PIECES_MAX);
        }
        Some(data)
    }

    /// A send took `sent_bytes` from the front of `data`. `Some` when a batch that was sealed has gone out whole: how
    /// much payload it held, and its storage.
    pub fn on_sent(&mut self, sent_bytes: usize, mut data: Vec<Bytes>) -> Option<(usize, Vec<Bytes>)> {
        self.sending = false;
        let mut left = sent_bytes;
        data.retain_mut(|piece| {
            let taken = left.min(piece.len());
            piece.advance(taken);
            left -= taken;
            !piece.is_empty()
        });
        data.append(&mut self.wire);
        if data.is_empty() {
            return self.sealed.take().map(|sealed| (sealed.payload_bytes, sealed.storage));
        }
        self.wire = data;
        None
    }

    /// Whether ciphertext waits to be sent or is being sent.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.sending || !self.wire.is_empty()
    }

    /// Memory that waits here: for the rest of a record, or to be sent.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.partial.capacity() + self.wire.iter().map(Bytes::len).sum::<usize>()
    }
}

/// How many records lie whole at the front of `bytes`.
fn whole_records(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(&[_, _, _, high, low]) = bytes.first_chunk::<RECORD_HEADER_BYTES>() {
        let record = RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
        let Some(rest) = bytes.get(record..) else { break };
        (bytes, count) = (rest, count + 1);
    }
    count
}

/// Moves from `bytes` what the first record in `partial` lacks. A record that lacks nothing is part of a message over
/// several records: then everything is moved.
fn complete(partial: &mut BytesMut, bytes: &mut BytesMut) {
    let header_lacks = RECORD_HEADER_BYTES.saturating_sub(partial.len()).min(bytes.len());
    partial.extend_from_slice(&bytes.split_to(header_lacks));
    let Some(&[_, _, _, high, low]) = partial.first_chunk::<RECORD_HEADER_BYTES>() else { return };
    let record = RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    let lacks = match record.saturating_sub(partial.len()) {
        0 if header_lacks == 0 => bytes.len(),
        lacks => lacks.min(bytes.len()),
    };
    if !bytes.is_empty() {
        // Exact, and only now that the peer has sent a second time: a header alone claims no memory.
        partial.reserve(record.saturating_sub(partial.len()).max(lacks));
        partial.extend_from_slice(&bytes.split_to(lacks));
    }
}

/// Encrypts `batch` into one piece. Small pieces are put together: a record for each datagram of the stream would cost
/// the peer a read for each.
fn encrypt<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    batch: &[Bytes],
    payload_bytes: usize,
) -> Result<Bytes, TlsFailure> {
    let records = payload_bytes.div_ceil(RECORD_PAYLOAD_BYTES_MAX);
    let mut out = BytesMut::zeroed(payload_bytes + records * RECORD_OVERHEAD_BYTES);
    let mut filled = 0;
    let mut put = |record: &[u8]| {
        loop {
            match traffic.encrypt(record, &mut out[filled..]).map_err(Space::from) {
                Ok(count) => {
                    filled += count;
                    return Ok(());
                }
                // Something else goes first: an answer to a renewal of keys.
                Err(Space::Needs(bytes)) if filled + bytes > out.len() => out.resize(filled + bytes, 0),
                Err(_) => return Err(TlsFailure("the session's keys are used up".to_owned())),
            }
        }
    };
    let mut gathered = Vec::new();
    for piece in batch {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let (next, after) = rest.split_at(rest.len().min(RECORD_PAYLOAD_BYTES_MAX - gathered.len()));
            rest = after;
            if next.len() == RECORD_PAYLOAD_BYTES_MAX {
                put(next)?;
                continue;
            }
            gathered.reserve_exact(payload_bytes.min(RECORD_PAYLOAD_BYTES_MAX) - gathered.len());
            gathered.extend_from_slice(next);
            if gathered.len() == RECORD_PAYLOAD_BYTES_MAX {
                put(&gathered)?;
                gathered.clear();
            }
        }
    }
    if !gathered.is_empty() {
        put(&gathered)?;
    }
    out.truncate(filled);
    Ok(out.freeze())
}

/// Why rustls did not write.
enum Space {
    /// It needs so many bytes.
    Needs(usize),
    /// It will not.
    Never,
}

impl From<EncodeError> for Space {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Needs(required_size)
            }
            EncodeError::AlreadyEncoded => Self::Never,
        }
    }
}

impl From<EncryptError> for Space {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Needs(required_size)
            }
            EncryptError::EncryptExhausted => Self::Never,
        }
    }
}

/// What rustls writes when it is given the space it asks for; `None` when that is nothing.
fn written(mut write: impl FnMut(&mut [u8]) -> Result<usize, Space>) -> Option<Bytes> {
    let mut out = BytesMut::new();
    loop {
        match write(&mut out) {
            Ok(count) => {
                out.truncate(count);
                return (count > 0).then(|| out.freeze());
            }
            Err(Space::Needs(bytes)) if bytes > out.len() => out.resize(bytes, 0),
            Err(_) => return None,
        }
    }
}
