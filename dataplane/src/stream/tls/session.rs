//! One connection's TLS session, either end: ciphertext ⇄ payload, and the ciphertext that is on its way out.
//!
//! Inputs are `on_*`; `want_*` says what is to be done next. Nothing here performs I/O.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use adit_io::Op;
use bytes::{Buf, Bytes, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ProtocolVersion, ServerConfig};
use rustls_pki_types::ServerName;

use super::alpn::ALPN_ADIT_H2;
use super::conn::{Conn, Step};
use super::name::ClientName;
use crate::limits::{TLS_EMPTY_RECORDS_MAX, TLS_HANDSHAKE_BYTES_MAX};

/// Bytes of a record's header (RFC 8446 section 5.1): type, version, length.
const RECORD_HEADER_BYTES: usize = 5;

/// Why a session has ended early, for the log. What is left to say to the peer waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsFailure(String);

/// What a receive came to.
#[derive(Debug, Default)]
pub struct Received {
    /// What the peer said; may be empty.
    pub payload: BytesMut,
    /// The handshake has just been completed: the peer is who it says, see [`TlsSession::peer_certificates`].
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

/// One session. While nothing is on its way it holds no buffers beyond rustls' state.
pub struct TlsSession {
    conn: Conn,
    remote: Option<SocketAddr>,
    state: State,
    /// Ciphertext whose record, or whose handshake message, is not complete.
    partial: BytesMut,
    /// Bytes received before the handshake was complete.
    handshake_bytes: usize,
    /// Records since the handshake that carried no payload, less those that carried some.
    empty_records: usize,
    established: bool,
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
    /// The server's end of a session with whoever connected from `remote`.
    ///
    /// # Errors
    /// When rustls does not accept the configuration.
    pub fn accept(config: Arc<ServerConfig>, remote: Option<SocketAddr>) -> Result<Self, TlsFailure> {
        let conn = UnbufferedServerConnection::new(config).map_err(|error| TlsFailure(error.to_string()))?;
        Ok(Self::new(Conn::Server(conn), remote))
    }

    /// The client's end of a session with the server at `remote`, whose certificate must be for `name`. It has
    /// something to say at once.
    ///
    /// # Errors
    /// When rustls does not accept the configuration.
    pub fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        remote: Option<SocketAddr>,
    ) -> Result<Self, TlsFailure> {
        let conn =
            UnbufferedClientConnection::new(config, name).map_err(|error| TlsFailure(error.to_string()))?;
        let mut session = Self::new(Conn::Client(conn), remote);
        session.drive(&mut BytesMut::new(), &mut Received::default())?;
        Ok(session)
    }

    fn new(conn: Conn, remote: Option<SocketAddr>) -> Self {
        Self {
            conn,
            remote,
            state: State::Handshaking,
            partial: BytesMut::new(),
            handshake_bytes: 0,
            empty_records: 0,
            established: false,
            client: None,
            peer_ended: false,
            closing: false,
            wire: Vec::new(),
            sending: false,
            sealed: None,
        }
    }

    /// The peer's address, where it has one.
    #[must_use]
    pub const fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// Who the client proved to be, once the handshake is complete. This end's own business where it is the client.
    #[must_use]
    pub const fn client(&self) -> Option<&Arc<ClientName>> {
        self.client.as_ref()
    }

    /// The protocol that both ends agreed on (RFC 7301), once the handshake is complete; `None` where the client
    /// offered none, or the server chose none.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        if self.established { self.conn.common().alpn_protocol() } else { None }
    }

    /// The certificates that the peer has shown and rustls has verified, as DER, leaf first. None before the handshake
    /// is complete.
    #[must_use]
    pub fn peer_certificates(&self) -> Vec<Vec<u8>> {
        let shown = if self.established { self.conn.common().peer_certificates() } else { None };
        shown.unwrap_or_default().iter().map(|certificate| certificate.to_vec()).collect()
    }

    /// Whether the handshake was completed, whatever came after.
    #[must_use]
    pub const fn was_established(&self) -> bool {
        self.established
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
            if self.handshake_bytes > TLS_HANDSHAKE_BYTES_MAX {
                return Err(self.fail(&format!("a handshake of more than {TLS_HANDSHAKE_BYTES_MAX} bytes")));
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
        if self.state == State::Handshaking && !self.conn.common().is_handshaking() {
            self.on_established()?;
            received.established = true;
        }
        Ok(received)
    }

    /// The handshake is complete, and good where its version befits what is spoken inside.
    fn on_established(&mut self) -> Result<(), TlsFailure> {
        let common = self.conn.common();
        let adit = common.alpn_protocol() == Some(ALPN_ADIT_H2);
        if adit && common.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            // In TLS there is no alert for it: the peer, which will not have it either, hears an orderly end.
            self.wire.extend(self.conn.close_notify(&mut self.partial));
            return Err(
                self.fail("adit speaks TLS 1.3 with its own kind, and a version before it was agreed on")
            );
        }
        if let Conn::Server(_) = self.conn {
            let leaf = common.peer_certificates().and_then(<[_]>::first);
            self.client = Some(Arc::new(leaf.map(ClientName::of).unwrap_or_default()));
        }
        self.state = State::Established;
        self.established = true;
        Ok(())
    }

    /// Keeps what is not complete, up to the limit; what cannot matter any more is dropped.
    fn keep(&mut self, partial: BytesMut) -> Result<(), TlsFailure> {
        if partial.is_empty() || self.peer_ended {
            return Ok(());
        }
        if partial.len() > TLS_HANDSHAKE_BYTES_MAX {
            return Err(self.fail(&format!("a message of more than {TLS_HANDSHAKE_BYTES_MAX} bytes")));
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
        if self.empty_records > TLS_EMPTY_RECORDS_MAX {
            return Err(self.fail(&format!(
                "more than {TLS_EMPTY_RECORDS_MAX} records without payload (empty, renewals of keys, warnings)"
            )));
        }
        Ok(())
    }

    /// As [`Self::process`], without judgement; how many records with payload there were.
    fn drive(&mut self, bytes: &mut BytesMut, received: &mut Received) -> Result<usize, TlsFailure> {
        let mut full = 0;
        loop {
            let (discard, step) = self.conn.step(bytes, &mut received.payload);
            bytes.advance(discard);
            match step {
                Step::Read(records) => full += records,
                Step::Write(piece) => self.wire.extend(piece),
                Step::Done => {}
                Step::PeerClosed => {
                    self.peer_ended = true;
                    received.ended = true;
                }
                Step::Blocked => return Ok(full),
                Step::Failed(error) => return Err(self.fail(&error.to_string())),
            }
        }
    }

    /// The session is over. What rustls has to say about it is put behind what waits to be sent.
    fn fail(&mut self, text: &str) -> TlsFailure {
        self.state = State::Failed;
        self.partial = BytesMut::new();
        // With nothing to read it gives what it has to say, one record at a time.
        while self.conn.common().wants_write() {
            let (_, Step::Write(piece)) = self.conn.step(&mut [], &mut BytesMut::new()) else { break };
            self.wire.extend(piece);
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
        match self.conn.encrypt(&mut self.partial, &batch, payload_bytes) {
            Ok(sealed) => self.wire.push(sealed),
            Err(failure) => return Err(self.fail(failure)),
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
        self.wire.extend(self.conn.close_notify(&mut self.partial));
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
